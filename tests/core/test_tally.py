"""What a client received, counted batch by batch, against counting record by record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.core.identity import IDENTITY, run_tag
from hydra.core.tally import ClientTally, PartitionTally

BATCHES = st.lists(st.tuples(st.integers(0, 80), st.integers(1, 15)), max_size=30)
TAG = run_tag("run-1")


class NaiveTally:
    """One record at a time."""

    def __init__(self):
        self.received = self.duplicates = self.reordered = 0
        self.seen = set()
        self.highest = -1

    def add(self, sequence):
        self.received += 1
        if sequence in self.seen:
            self.duplicates += 1
        elif sequence < self.highest:
            self.reordered += 1
        self.seen.add(sequence)
        self.highest = max(self.highest, sequence)


@given(BATCHES)
def test_a_partition_is_counted_as_if_record_by_record(batches):
    tally, naive = PartitionTally(0, 0), NaiveTally()
    for first, records in batches:
        tally.add(first, records)
        for sequence in range(first, first + records):
            naive.add(sequence)
        stats = tally.stats()
        assert (stats.received, stats.duplicates, stats.reordered) == (
            naive.received,
            naive.duplicates,
            naive.reordered,
        )
        assert stats.distinct == len(naive.seen)
        assert tally.highest == naive.highest
    found = {sequence for start, stop in tally.stats().sequences for sequence in range(start, stop)}
    assert found == naive.seen


@given(BATCHES)
def test_batches_and_their_single_records_count_alike(batches):
    whole, single = PartitionTally(0, 0), PartitionTally(0, 0)
    for first, records in batches:
        whole.add(first, records)
        for sequence in range(first, first + records):
            single.add(sequence, 1)
    assert whole.stats() == single.stats()


def test_an_unbroken_run_is_one_interval_without_trouble():
    tally = PartitionTally(3, 7)
    for first in range(0, 1000, 50):
        tally.add(first, 50)
    stats = tally.stats()
    assert (stats.partition, stats.start_offset, stats.sequences) == (3, 7, ((0, 1000),))
    assert (stats.received, stats.duplicates, stats.reordered, stats.distinct) == (1000, 0, 0, 1000)


def record(sequence, tag=TAG, size=14):
    return IDENTITY.pack(tag, 1, sequence).ljust(size, b"\0")


@pytest.mark.parametrize("size", [14, 15, 1000])
def test_a_record_counts_by_its_identity_whatever_its_size(size):
    tally = ClientTally("c", TAG, [(0, 0), (1, 0)])
    tally.record(1, record(5, size=size))
    tally.record(1, memoryview(record(6, size=size)))
    assert tally.received == 2
    assert [part.sequences for part in tally.stats().partitions] == [(), ((5, 7),)]
    assert tally.foreign == 0


@pytest.mark.parametrize("value", [b"", b"\0" * 13, record(0, tag=TAG ^ 1), b"x" * 14])
def test_what_does_not_carry_the_runs_tag_is_foreign(value):
    tally = ClientTally("c", TAG, [(0, 0)])
    tally.record(0, value)
    assert (tally.foreign, tally.received) == (1, 0)
    assert tally.stats().foreign == 1


def test_the_receive_window_is_from_the_first_arrival_to_the_last():
    tally = ClientTally("c", TAG, [(0, 0)])
    assert tally.stats().receive_window_s == 0
    for now_s, sequence in ((100.0, 0), (101.0, 1), (104.5, 2)):
        tally.record(0, record(sequence))
        tally.arrived(now_s, 14)
    stats = tally.stats()
    assert stats.receive_window_s == 4.5
    assert (stats.first_arrival_records, stats.received_bytes, stats.received) == (1, 42, 3)


def test_an_arrival_at_the_clocks_zero_is_the_first_one():
    tally = ClientTally("c", TAG, [(0, 0)])
    tally.record(0, record(0))
    tally.arrived(0.0, 14)
    tally.arrived(2.0, 14)
    assert tally.stats().receive_window_s == 2.0


@pytest.mark.parametrize(
    ("positions", "ends", "reached"),
    [
        ({0: 5}, {0: 5}, True),
        ({0: 4}, {0: 5}, False),
        ({0: 5, 1: 0}, {0: 5, 1: 1}, False),
        ({0: 5}, {0: 5, 1: 9}, True),  # it does not read partition 1
        ({0: 0}, {}, True),
        ({}, {0: 5}, True),
    ],
)
def test_a_client_has_reached_the_end_offsets_of_the_partitions_that_it_reads(positions, ends, reached):
    tally = ClientTally("c", TAG, [(partition, 0) for partition in positions])
    for partition, position in positions.items():
        tally.partitions[partition].next_offset = position
    assert tally.reached(ends) is reached


def test_a_client_without_partitions_is_positioned_at_once():
    assert ClientTally("c", TAG, []).positioned
    assert not ClientTally("c", TAG, [(0, 0)]).positioned
