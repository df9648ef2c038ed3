"""What a client received, counted batch by batch, against counting record by record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.intervals import received
from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.records.identity import IDENTITY, identity_prefix, run_tag
from hydra.records.send_plan import Partitioner, SendPlan

BATCHES = st.lists(st.tuples(st.integers(0, 80), st.integers(1, 15)), max_size=30)
TAG = run_tag("run-1")
PREFIX = identity_prefix("run-1")


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
    offset = 0
    for first, records in batches:
        tally.add(offset, first, records)
        offset += records
        for sequence in range(first, first + records):
            naive.add(sequence)
    found = received(tally.stats().spans)
    assert tally.received == naive.received
    assert (found.duplicates, found.reordered) == (naive.duplicates, naive.reordered)
    assert {sequence for start, stop in found.sequences for sequence in range(start, stop)} == naive.seen


@given(BATCHES)
def test_batches_and_their_single_records_count_alike(batches):
    whole, single = PartitionTally(0, 0), PartitionTally(0, 0)
    offset = 0
    for first, records in batches:
        whole.add(offset, first, records)
        for number in range(records):
            single.add(offset + number, first + number, 1)
        offset += records
    assert whole.stats() == single.stats()


@given(BATCHES, st.sets(st.integers(0, 29)))
def test_what_is_fresh_is_given_out_once_and_in_order(batches, looks):
    tally = PartitionTally(0, 0)
    offset, given_out = 0, []
    for number, (first, records) in enumerate(batches):
        tally.add(offset, first, records)
        offset += records
        if number in looks:
            given_out += tally.take_fresh()
    given_out += tally.take_fresh()
    assert tally.take_fresh() in ((), [])
    came = [sequence for first, records in batches for sequence in range(first, first + records)]
    assert [sequence for first, records in given_out for sequence in range(first, first + records)] == came


def test_an_unbroken_run_is_one_span():
    tally = PartitionTally(3, 7)
    for first in range(0, 1000, 50):
        tally.add(7 + first, first, 50)
    stats = tally.stats()
    assert (stats.partition, stats.start_offset, stats.spans, stats.received) == (3, 7, ((7, 0, 1000),), 1000)


def test_a_jump_is_noted_and_moves_the_position():
    tally = PartitionTally(0, 0)
    tally.next_offset = 5
    tally.jump(9)
    assert (tally.next_offset, tally.stats().jumps) == (9, ((5, 9),))


def record(sequence, tag=TAG, size=14, incarnation=1):
    return IDENTITY.pack(tag, incarnation, sequence).ljust(size, b"\0")


@pytest.mark.parametrize("size", [14, 15, 1000])
def test_a_record_counts_by_its_identity_whatever_its_size(size):
    tally = ClientTally("c", PREFIX, [(0, 0), (1, 0)])
    assert tally.record(1, 40, record(5, size=size))
    assert tally.record(1, 41, memoryview(record(6, size=size)))
    assert tally.received == 2
    assert [part.spans for part in tally.stats().partitions] == [(), ((40, 5, 2),)]
    assert tally.foreign == 0


@pytest.mark.parametrize("value", [b"", b"\0" * 13, record(0, tag=TAG ^ 1), record(0, incarnation=2), b"x" * 14])
def test_what_is_not_of_this_run_and_this_incarnation_is_foreign(value):
    tally = ClientTally("c", PREFIX, [(0, 0)])
    assert not tally.record(0, 0, value)
    assert (tally.foreign, tally.received) == (1, 0)
    assert tally.stats().foreign == 1


def test_the_receive_window_is_from_the_first_arrival_to_the_last():
    tally = ClientTally("c", PREFIX, [(0, 0)])
    assert tally.stats().receive_window_s == 0
    for now_s, sequence in ((100.0, 0), (101.0, 1), (104.5, 2)):
        tally.record(0, sequence, record(sequence))
        tally.arrived(now_s, 14)
    stats = tally.stats()
    assert stats.receive_window_s == 4.5
    assert (stats.first_arrival_records, stats.received_bytes, stats.received) == (1, 42, 3)


def test_records_of_somebody_else_open_and_extend_no_receive_window():
    tally = ClientTally("c", PREFIX, [(0, 0)])
    tally.time_by(DeliveryTiming(SendPlan(1000.0, 1.0), Partitioner(1, 100), start_s=0.0, start_wall_s=0.0))
    for now_s, sequence in ((1.0, None), (2.0, 0), (3.0, 1), (9.0, None)):
        tally.record(0, 0, b"somebody else's" if sequence is None else record(sequence))
        tally.arrived(now_s, 14)
    stats = tally.stats()
    assert (stats.receive_window_s, stats.first_arrival_records) == (1.0, 1)
    assert (stats.foreign, stats.received, stats.received_bytes) == (2, 2, 56)


def test_an_arrival_at_the_clocks_zero_is_the_first_one():
    tally = ClientTally("c", PREFIX, [(0, 0)])
    tally.record(0, 0, record(0))
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
    tally = ClientTally("c", PREFIX, [(partition, 0) for partition in positions])
    for partition, position in positions.items():
        tally.partitions[partition].next_offset = position
    assert tally.reached(ends) is reached


def test_a_client_without_partitions_is_positioned_at_once():
    assert ClientTally("c", PREFIX, []).positioned
    assert not ClientTally("c", PREFIX, [(0, 0)]).positioned


def test_what_a_group_gives_and_takes_away():
    tally = ClientTally("c0", b"", [])
    tally.release()
    assert (tally.positioned, tally.reached({}), tally.held) == (False, False, frozenset())
    parts = tally.hold({2: 0, 5: 40})
    assert [(part.partition, part.start_offset) for part in parts] == [(2, 0), (5, 40)]
    assert not tally.positioned
    tally.positioned = True
    parts[0].next_offset, parts[1].next_offset = 10, 50
    assert tally.reached({2: 10, 5: 50, 7: 99})
    assert not tally.reached({2: 11, 5: 50})
    tally.release()
    assert not tally.reached({})
    tally.hold({2: 30})
    tally.positioned = True
    assert tally.reached({2: 30, 5: 99})  # the other partition is another member's now
    assert tally.stats().partitions[0].handed_over == ((10, 30),)
    tally.hold({5: 45})
    assert (tally.partitions[5].next_offset, tally.partitions[5].handed_over) == (50, [])
    assert tally.rebalances == 0  # the start is not known


def test_a_member_without_partitions_is_positioned_and_has_read_all():
    tally = ClientTally("c0", b"", [])
    tally.release()
    tally.hold({})
    assert (tally.positioned, tally.reached({0: 10})) == (True, True)
