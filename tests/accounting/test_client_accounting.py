"""A partition that is read by a group: judged over the group as a whole, every record once, no loss hidden."""

from __future__ import annotations

from hydra.accounting.client_accounting import count_alone, count_group
from hydra.accounting.evidence import AuditedPartition, OffsetRange
from hydra.accounting.loss import PartitionLog
from hydra.accounting.stats import PartitionOutcomes, PartitionStats


def reading(*spans, start=0, position=None, handed_over=(), jumps=()):
    position = position if position is not None else max((at + count for at, _, count in spans), default=start)
    return PartitionStats(0, start, position, tuple(spans), tuple(jumps), tuple(handed_over))


def log_of(records, readers, *, log_records=None):
    """All acked; the log as an auditor read it, with the sequences at the offsets of their number."""
    in_log = records if log_records is None else log_records
    return PartitionLog(
        OffsetRange(0, records),
        begin_offset=0,
        outcomes=PartitionOutcomes(0, records, ((0, records),)),
        has_acks=True,
        audit=AuditedPartition(0, records, ((0, 0, in_log),)),
        seen=[part.spans for _, part in readers],
    )


def counts(records, *readers, members_missing=False, **settings):
    named = [(f"c{number}", part) for number, part in enumerate(readers)]
    return count_group(named, log_of(records, named, **settings), members_missing=members_missing)


def test_a_partition_that_moved_counts_once_in_all():
    found = counts(100, reading((0, 0, 40)), reading((40, 40, 60), start=40))
    assert [(found[name].expected, found[name].distinct, found[name].losses.lost) for name in ("c0", "c1")] == [
        (40, 40, 0),
        (60, 60, 0),
    ]


def test_what_a_second_member_reads_again_is_a_duplicate_and_hides_no_loss():
    found = counts(100, reading((0, 0, 40)), reading((30, 30, 60), start=30, position=90))
    assert (found["c1"].distinct, found["c1"].duplicates) == (50, 10)
    assert found["c1"].losses.unread == 10
    assert sum(counted.expected for counted in found.values()) == 100


def test_what_the_group_passed_over_is_a_loss_of_the_one_that_read_last():
    found = counts(100, reading((0, 0, 40)), reading((45, 45, 55), start=45))
    assert (found["c0"].losses.lost, found["c1"].losses.skipped) == (0, 5)
    assert found["c1"].expected == 60


def test_a_member_that_takes_a_partition_back_answers_for_the_end_only():
    back = reading((0, 0, 40), (70, 70, 30), handed_over=[(40, 70)])
    found = counts(100, reading((40, 40, 30), start=40), back)
    assert [counted.losses.lost for counted in found.values()] == [0, 0]
    assert sum(counted.distinct for counted in found.values()) == 100


def test_what_a_missing_member_may_have_read_is_nobodys_loss():
    before_it, after_it = reading((0, 0, 20)), reading((50, 50, 40), start=50, position=90)
    found = counts(100, before_it, after_it, members_missing=True)
    assert (found["c1"].losses.skipped, found["c1"].losses.unread) == (0, 10)
    found = counts(100, before_it, after_it)
    assert (found["c1"].losses.skipped, found["c1"].losses.unread) == (30, 10)


def test_what_a_member_took_back_from_a_missing_one_is_nobodys_loss():
    back = reading((0, 0, 40), (70, 70, 30), handed_over=[(40, 70)])
    assert counts(100, back, members_missing=True)["c0"].losses.lost == 0
    assert counts(100, back)["c0"].losses.skipped == 30


def test_a_member_that_passed_over_records_is_not_excused_by_a_missing_one():
    found = counts(100, reading((0, 0, 40), (60, 60, 40)), members_missing=True)
    assert found["c0"].losses.skipped == 20


def test_a_partition_that_nobody_read_is_unread():
    assert counts(100, reading())["c0"].losses.unread == 100


def test_what_the_broker_lost_is_told_once():
    found = counts(100, reading((0, 0, 40)), reading((40, 40, 50), start=40, position=100), log_records=90)
    assert [counted.losses.broker_lost for counted in found.values()] == [0, 10]


def test_one_member_is_judged_as_one_that_reads_alone():
    part = reading((0, 0, 30), (35, 35, 20), jumps=[(30, 35)], position=60)
    log = log_of(100, [("c0", part)])
    assert count_group([("c0", part)], log, members_missing=False) == {"c0": count_alone("c0", part, log)}
