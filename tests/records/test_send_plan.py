"""When each record is due."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.records.send_plan import Partitioner, SendPlan

RATES = st.one_of(st.integers(1, 1_000_000).map(float), st.floats(0.1, 10_000_000))
PLANS = st.builds(SendPlan, msg_rate=RATES, test_duration=st.floats(0.1, 3600))


@pytest.mark.parametrize(
    ("rate", "duration", "records"),
    [(1000, 10, 10_000), (0.1, 0.1, 1), (3, 0.5, 2), (1.4, 1, 1), (2000, 0.1, 200), (33.3, 10, 333)],
)
def test_a_plan_has_rate_times_duration_records_and_at_least_one(rate, duration, records):
    assert SendPlan(rate, duration).records == records


@given(PLANS, st.floats(-10, 4000), st.floats(-10, 4000))
def test_what_is_due_never_becomes_less(plan, one_s, other_s):
    earlier_s, later_s = sorted((one_s, other_s))
    assert 0 <= plan.due(earlier_s) <= plan.due(later_s) <= plan.records


@given(PLANS, st.data())
def test_a_record_is_due_at_its_intended_time(plan, data):
    """However the division and the multiplication round."""
    index = data.draw(st.integers(0, plan.records - 1))
    assert plan.due(plan.intended_s(index)) >= index + 1


@given(PLANS, st.data())
def test_a_record_is_not_due_before_its_intended_time(plan, data):
    index = data.draw(st.integers(1, max(1, plan.records - 1)))
    before_s = plan.intended_s(index) - 0.01 / plan.msg_rate
    assert plan.due(before_s) <= index


@given(PLANS)
def test_nothing_is_due_before_the_start_and_everything_at_the_end(plan):
    assert plan.due(-0.001) == 0
    assert plan.due(0) == 1
    assert plan.due(plan.test_duration + 2 / plan.msg_rate + 1) == plan.records


@pytest.mark.parametrize("rate", [49.0, 98.0, 103.0, 1000.0, 3333.0])
def test_every_record_of_a_second_is_due_in_time(rate):
    plan = SendPlan(rate, 1.0)
    late = [index for index in range(plan.records) if plan.due(plan.intended_s(index)) < index + 1]
    assert late == []


STRIPINGS = st.builds(Partitioner, partitions=st.integers(1, 9), block_records=st.integers(1, 20))


@given(STRIPINGS, st.integers(0, 10**15))
def test_index_undoes_locate(partitioner, index):
    partition, sequence = partitioner.locate(index)
    assert 0 <= partition < partitioner.partitions
    assert partitioner.index(partition, sequence) == index


@given(STRIPINGS, st.data())
def test_locate_undoes_index(partitioner, data):
    partition = data.draw(st.integers(0, partitioner.partitions - 1))
    sequence = data.draw(st.integers(0, 10**12))
    assert partitioner.locate(partitioner.index(partition, sequence)) == (partition, sequence)


@given(STRIPINGS, st.integers(0, 10**9), st.integers(0, 500))
def test_runs_cover_exactly_what_was_asked_in_the_plans_order(partitioner, first, count):
    found = [
        (partition, sequence)
        for partition, start, records in partitioner.runs(first, count)
        for sequence in range(start, start + records)
    ]
    assert found == [partitioner.locate(index) for index in range(first, first + count)]


@given(STRIPINGS, st.integers(0, 10**9), st.integers(1, 500))
def test_no_run_crosses_a_block_unless_there_is_one_partition(partitioner, first, count):
    runs = list(partitioner.runs(first, count))
    assert all(records > 0 for _, _, records in runs)
    if partitioner.partitions == 1:
        assert runs == [(0, first, count)]
    else:
        assert all(
            start // partitioner.block_records == (start + records - 1) // partitioner.block_records
            for _, start, records in runs
        )


@given(STRIPINGS, st.integers(1, 600))
def test_each_partition_counts_from_zero_without_a_gap(partitioner, count):
    sequences = {}
    for index in range(count):
        partition, sequence = partitioner.locate(index)
        sequences.setdefault(partition, []).append(sequence)
    assert all(found == list(range(len(found))) for found in sequences.values())


@given(STRIPINGS, st.lists(st.integers(1, 40), max_size=20))
def test_runs_in_pieces_are_the_runs_of_the_whole(partitioner, pieces):
    def records(runs):
        return [(partition, sequence + i) for partition, sequence, count in runs for i in range(count)]

    firsts = itertools.accumulate(pieces, initial=0)
    in_pieces = [
        item for first, count in zip(firsts, pieces, strict=False) for item in records(partitioner.runs(first, count))
    ]
    assert in_pieces == records(partitioner.runs(0, sum(pieces)))


def test_blocks_go_round_the_partitions():
    partitioner = Partitioner(partitions=3, block_records=2)
    assert [partitioner.locate(index) for index in range(8)] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (0, 2), (0, 3),
    ]  # fmt: skip


@given(partitions=st.integers(1, 7), block=st.integers(1, 5), records=st.integers(0, 200))
def test_shares_add_up_to_the_plan(partitions, block, records):
    partitioner = Partitioner(partitions, block)
    found = Counter(partitioner.locate(index)[0] for index in range(records))
    assert [partitioner.share(partition, records) for partition in range(partitions)] == [
        found[partition] for partition in range(partitions)
    ]
