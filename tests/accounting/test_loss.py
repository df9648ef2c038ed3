"""What became of records that were not received: cases made by hand, of one partition.

Spans are (first offset, first sequence, records); ``planted anomalies`` has those that come up in random histories.
"""

from bisect import bisect_right

import pytest

from hydra.accounting.evidence import AuditedPartition, OffsetRange
from hydra.accounting.intervals import IntervalSet, SpanIndex, received
from hydra.accounting.loss import Losses, PartitionLog
from hydra.accounting.stats import PartitionOutcomes, PartitionStats


def make_log(*, start=0, end=10, begin=0, attempted=10, acked=None, failed=(), has_acks=True, audit=None, seen=()):
    """The log of a partition; by default ten records were sent and acked."""
    outcomes = None
    if attempted is not None:
        acked = ((0, attempted),) if acked is None else acked
        outcomes = PartitionOutcomes(0, attempted, tuple(acked), tuple(failed))
    return PartitionLog(
        OffsetRange(start, end), begin_offset=begin, outcomes=outcomes, has_acks=has_acks, audit=audit, seen=seen
    )


def make_part(spans, position=10, jumps=(), start=0):
    return PartitionStats(0, start, position, tuple(spans), tuple(jumps))


def losses(log, spans, position=10, jumps=()):
    got = received(spans)
    return log.losses(make_part(spans, position, jumps), got.sequences, got.duplicates)


def audit(*spans, start=0, end=10, jumps=()):
    return AuditedPartition(start, end, tuple(spans), tuple(jumps))


WHOLE = (0, 0, 10)


def test_nothing_is_lost_where_all_was_received():
    log = make_log(audit=audit(WHOLE), seen=[[WHOLE]])
    assert losses(log, [WHOLE]) == Losses()
    assert (log.expected_records, log.appended, log.duplicated, len(log.unnamed)) == (10, 10, 0, 0)


def test_losses_add_up():
    total = Losses(1, 2, 3, 4) + Losses(10, 20, 30, 40)
    assert total == Losses(11, 22, 33, 44)
    assert (total.lost, total.proven) == (110, 77)


def test_a_record_that_one_client_saw_and_the_auditor_did_not_has_vanished_and_the_broker_lost_it():
    """The log was cut: offsets 8 and 9 were read by one client, and hold nothing, or another record, afterwards."""
    seen = [[WHOLE], [(0, 0, 8)]]
    log = make_log(end=10, audit=audit((0, 0, 8)), seen=seen)
    assert losses(log, [WHOLE]) == Losses()
    assert losses(log, [(0, 0, 8)]) == Losses(broker_lost=2)
    assert log.contradictions([WHOLE]) == 2
    assert log.contradictions([(0, 0, 8)]) == 0


def test_an_offset_that_holds_another_record_afterwards_is_a_contradiction_to_who_saw_the_first_one():
    log = make_log(attempted=11, acked=((0, 8), (10, 11)), audit=audit((0, 0, 8), (8, 10, 1), end=9), end=9, seen=[])
    log_seen = make_log(
        attempted=11, acked=((0, 9),), end=9, audit=audit((0, 0, 8), (8, 10, 1), end=9), seen=[[(0, 0, 9)]]
    )
    assert losses(log, [(0, 0, 8), (8, 10, 1)], position=9) == Losses()
    assert log_seen.contradictions([(0, 0, 9)]) == 1
    assert log_seen.contradictions([(0, 0, 8), (8, 10, 1)]) == 0
    assert losses(log_seen, [(0, 0, 8), (8, 10, 1)], position=9) == Losses(broker_lost=1)


def test_what_nobody_saw_and_was_not_audited_stands_where_the_gap_is():
    """Offsets 3 .. 5 were seen by nobody: they hold the sequences 3 .. 5, which nobody saw either."""
    spans = [(0, 0, 3), (6, 6, 4)]
    log = make_log(seen=[spans])
    assert losses(log, spans) == Losses(skipped=3)
    assert len(log.unnamed) == 0


def test_what_nobody_saw_stands_next_to_what_is_known_and_not_elsewhere():
    """Sequence 4 never was in the log: the gap before the known sequence 8 is one offset short."""
    spans = [(0, 0, 2), (4, 5, 2)]
    log = make_log(end=8, attempted=9, seen=[spans])
    # Offsets 2 and 3 hold 2 and 3; offsets 6 and 7 hold 7 and 8; sequence 4 has no place.
    assert losses(log, spans, position=8) == Losses(broker_lost=1, skipped=4)


def test_a_sequence_that_the_publisher_saw_refused_takes_no_place():
    spans = [(0, 0, 2), (4, 5, 5)]
    log = make_log(end=9, failed=((2, 3),), acked=((0, 2), (3, 10)), seen=[spans])
    assert losses(log, spans, position=9) == Losses(skipped=2)


def test_several_gaps_take_their_own_sequences():
    spans = [(0, 0, 1), (3, 4, 1), (5, 6, 1), (8, 9, 1)]
    log = make_log(end=9, seen=[spans])
    # Between 0 and 4 there are two offsets for three sequences; one for 5; two for 7 and 8.
    assert losses(log, spans, position=9) == Losses(broker_lost=1, skipped=5)


def test_the_auditors_word_stands_where_it_was_and_the_rest_is_inferred():
    """The log's start passed offset 5 before the auditor came: 0 .. 4 is inferred, and 7 is absent for certain."""
    log = make_log(start=5, end=9, audit=audit((5, 5, 2), (7, 8, 2), start=5, end=9), seen=[])
    assert losses(log, [], position=0) == Losses(broker_lost=1, expired=5, unread=4)
    assert losses(log, [], position=9, jumps=[(0, 5)]) == Losses(broker_lost=1, expired=5, skipped=4)


def test_what_left_the_log_while_the_auditor_read_is_not_lost_by_the_broker():
    log = make_log(start=6, audit=audit((0, 0, 2), (6, 6, 4), jumps=[(2, 6)]), seen=[])
    assert losses(log, [WHOLE]) == Losses()
    assert losses(log, [(0, 0, 2), (6, 6, 4)], jumps=[(2, 6)]) == Losses(expired=4)


def test_each_of_several_jumps_counts():
    spans = [(0, 0, 1), (3, 3, 2), (7, 7, 1), (9, 9, 1)]
    log = make_log(start=7, seen=[[WHOLE]])
    found = losses(log, spans, jumps=[(1, 3), (5, 7)])
    assert found == Losses(expired=4, skipped=1)


def test_a_jump_back_passes_nothing():
    """The log became shorter than the position, and the client went back."""
    spans = [(0, 0, 8)]
    log = make_log(end=8, attempted=8, audit=audit((0, 0, 8), end=8), seen=[spans])
    assert losses(log, spans, position=8, jumps=[(12, 8)]) == Losses()
    assert losses(log, [(0, 0, 6)], position=8, jumps=[(12, 6)]) == Losses(skipped=2)


@pytest.mark.parametrize(
    ("position", "start", "expected"),
    [
        (0, 0, Losses(unread=10)),
        (4, 0, Losses(skipped=4, unread=6)),
        (10, 0, Losses(skipped=10)),
        (99, 0, Losses(skipped=10)),
        (4, 4, Losses(skipped=4, unread=6)),
        (4, 6, Losses(skipped=4, expired=2, unread=4)),
        (0, 10, Losses(expired=10)),
        (4, 99, Losses(skipped=4, expired=6)),
    ],
)
def test_a_client_that_received_nothing(position, start, expected):
    log = make_log(start=start, end=max(10, start), attempted=10, seen=[[WHOLE]])
    assert losses(log, [], position=position) == expected


def test_without_acks_offsets_that_nobody_can_name_still_count():
    """No publisher's word: what is behind the last known record holds something, and nobody knows what."""
    spans = [(0, 0, 4)]
    log = make_log(attempted=None, seen=[spans])
    assert (log.expected_records, list(log.unnamed), list(log.expected)) == (10, [(4, 10)], [(0, 4)])
    assert losses(log, spans, position=10) == Losses(skipped=6)
    assert losses(log, spans, position=4) == Losses(unread=6)
    assert losses(log, spans, position=4) + Losses(skipped=4) == losses(log, [], position=4)


def test_an_offset_that_nobody_can_name_may_hold_a_copy_of_what_came_twice():
    log = make_log(attempted=None, end=6, seen=[[(0, 0, 4), (3, 3, 1)]])
    assert losses(log, [(0, 0, 4), (3, 3, 1)], position=6) == Losses(unread=1, skipped=1)


def test_without_acks_what_the_publisher_handed_over_names_the_offsets():
    log = make_log(attempted=12, acked=(), has_acks=False, seen=[[(0, 0, 4)]])
    assert (log.expected_records, len(log.unnamed)) == (10, 0)
    assert log.expected == IntervalSet(((0, 10),))
    assert losses(log, [(0, 0, 4)], position=10) == Losses(skipped=6)


def test_with_acks_an_offset_without_a_name_is_nobodys_loss():
    """A retry wrote more than was acked; what the acked ones hold is named."""
    log = make_log(end=12, seen=[[(0, 0, 10)]])
    assert (log.expected_records, len(log.unnamed)) == (10, 0)
    assert losses(log, [WHOLE], position=10) == Losses()


def test_of_two_copies_the_one_that_is_still_to_come_counts():
    """The log holds 0 .. 9 and then 3 and 4 again: whoever skipped the first copies may still read the second ones."""
    whole = [WHOLE, (10, 3, 2)]
    log = make_log(end=12, audit=audit(*whole, end=12), seen=[whole])
    assert log.duplicated == 2
    skipped = [(0, 0, 3), (5, 5, 5)]
    assert losses(log, skipped, position=10) == Losses(unread=2)
    assert losses(log, skipped, position=12) == Losses(skipped=2)
    assert losses(log, [*skipped, (10, 3, 2)], position=12) == Losses()
    assert losses(log, whole, position=12) == Losses()


def test_a_topic_that_held_something_before_the_run():
    spans = [(100, 0, 10)]
    log = make_log(start=50, begin=100, end=110, audit=audit(*spans, start=100, end=110), seen=[spans])
    assert log.appended == 10
    assert losses(log, [(100, 0, 6)], position=106) == Losses(unread=4)


def test_without_an_audit_what_is_acked_and_has_no_room_in_the_log_was_lost_by_the_broker():
    log = make_log(end=8, seen=[[(0, 0, 8)]])
    assert losses(log, [(0, 0, 8)], position=8) == Losses(broker_lost=2)


def test_acked_into_an_empty_log():
    log = make_log(end=0)
    assert losses(log, [], position=0) == Losses(broker_lost=10)


def test_ghosts_are_what_was_refused_or_never_handed_over():
    log = make_log(failed=((2, 4),), acked=((0, 2), (4, 10)))
    assert log.ghosts(IntervalSet(((0, 10),))) == 2
    assert log.ghosts(IntervalSet(((0, 2), (8, 13)))) == 3
    assert log.ghosts(IntervalSet()) == 0
    assert make_log(attempted=None).ghosts(IntervalSet(((0, 99),))) == 0


def test_a_log_in_which_others_wrote_between_all_batches_is_gone_through_once():
    """20,000 stretches and as many holes that nobody can name: looked at each with each, that would take minutes."""
    stretches = 20_000
    seen = [(3 * number, number, 1) for number in range(stretches)]
    log = make_log(end=3 * stretches, attempted=stretches + 5, acked=((0, stretches),), seen=[seen], has_acks=False)
    assert log.expected_records == 3 * stretches
    assert losses(log, seen, position=3 * stretches).broker_lost == 0


def steps_of(monkeypatch, log_of_parts):
    """How many intervals are put into sets, and stretches in between others, to put a log of 100 and of 1,000 together.

    A stretch that is not put behind all others moves those behind it.
    """
    counted = []
    add, insert = IntervalSet.add, SpanIndex._insert

    def counting_add(self, start, stop):
        counted[-1] += 1
        return add(self, start, stop)

    def counting_insert(self, key, value, count):
        counted[-1] += len(self._keys) - bisect_right(self._keys, key)
        return insert(self, key, value, count)

    monkeypatch.setattr(IntervalSet, "add", counting_add)
    monkeypatch.setattr(SpanIndex, "_insert", counting_insert)
    for parts in (100, 1000):
        counted.append(0)
        log_of_parts(parts)
    return counted


def test_a_log_between_others_records_is_put_together_from_its_beginning_to_its_end(monkeypatch):
    def between_others(parts):
        spans = [(2 * number, number, 1) for number in range(parts)]
        log = make_log(end=2 * parts, attempted=parts, audit=audit(*spans, end=2 * parts), seen=[spans])
        assert log.expected_records == parts

    few, many = steps_of(monkeypatch, between_others)
    assert many < 12 * few


def test_what_nobody_saw_is_placed_from_the_logs_beginning_to_its_end(monkeypatch):
    def with_holes(parts):
        spans = [(2 * number, 2 * number, 1) for number in range(parts)]
        log = make_log(end=2 * parts, attempted=2 * parts, seen=[spans])
        assert losses(log, spans, position=2 * parts) == Losses(skipped=parts)

    few, many = steps_of(monkeypatch, with_holes)
    assert many < 12 * few
