"""Record batches that are written: byte for byte those of another hand, and read back by our own reader."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from hydra.accounting.tally import ClientTally
from hydra.clients.record_batch import HEADER_BYTES, BatchCounter
from hydra.clients.record_writer import ProducerNumbers, RecordWriter
from hydra.clients.wire_batches import PartitionQueue
from hydra.records.identity import IDENTITY, identity_prefix, run_tag
from tests.examples import examples
from tests.facts import sequences

TAG = run_tag("run-1")
PREFIX = identity_prefix("run-1")
LEADER_EPOCH = slice(12, 16)


def library_batch(first, stretches, padding, numbers=None):
    """The same batch from kafka-python's own builder."""
    numbers = numbers or ProducerNumbers()
    builder = DefaultRecordBatchBuilder(
        2, 0, 0, numbers.producer_id, numbers.epoch, numbers.base_sequence, 1_000_000_000
    )
    at = 0
    for records, at_ms in stretches:
        for _ in range(records):
            value = IDENTITY.pack(TAG, 1, first + at) + bytes(padding)
            assert builder.append(at, at_ms, None, value, [])
            at += 1
    batch = bytearray(builder.build())
    batch[LEADER_EPOCH] = b"\xff\xff\xff\xff"  # -1, as Kafka's own producer has it; the CRC does not cover it
    return bytes(batch)


def timed(begin_ms, parts):
    """Stretches out of (records, ms since the one before)."""
    stretches = []
    for records, gap_ms in parts:
        begin_ms += gap_ms
        stretches.append((records, begin_ms))
    return stretches


GAPS = st.sampled_from([0, 1, 63, 64, 100, 8191, 8192, 1_048_576])


@given(
    first=st.one_of(st.integers(0, 200_000), st.integers(0, 2**63), st.integers(65_000, 66_000)),
    parts=st.lists(st.tuples(st.integers(1, 300), GAPS), min_size=1, max_size=5),
    padding=st.sampled_from([0, 1, 49, 50, 5000]),
)
@example(first=65_535, parts=[(1, 0), (1, 63), (1, 1)], padding=0)
@example(first=2**40 - 3, parts=[(64, 0), (1, 64), (9000, 8128)], padding=0)
@example(first=2**63 - 10, parts=[(70_000, 0)], padding=0)
@settings(max_examples=examples(60))
def test_the_bytes_are_those_of_another_hand(first, parts, padding):
    stretches = timed(1_700_000_000_000, parts)
    numbers = ProducerNumbers(2**40, 3, 2**31 - 1)
    writer = RecordWriter(PREFIX, 14 + padding)
    assert bytes(writer.batch(first, stretches)) == library_batch(first, stretches, padding)
    assert bytes(writer.batch(first, stretches, numbers)) == library_batch(first, stretches, padding, numbers)


def test_a_writer_keeps_nothing_of_the_batch_before():
    writer = RecordWriter(PREFIX, 14)
    writer.batch(2**62 + 123_456, [(70, 5), (70, 105), (9000, 20_000)])
    assert bytes(writer.batch(0, [(200, 7)])) == library_batch(0, [(200, 7)], 0)


def test_the_library_reads_every_field():
    batch = DefaultRecordBatch(
        bytes(RecordWriter(PREFIX, 20).batch(1000, [(2, 50), (1, 180)], ProducerNumbers(7, 2, 9)))
    )
    assert batch.validate_crc()
    assert (batch.base_offset, batch.magic, batch.attributes, batch.compression_type) == (0, 2, 0, 0)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 2, 9)
    read = [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in batch]
    assert read == [
        (at, ms, None, IDENTITY.pack(TAG, 1, 1000 + at) + bytes(6), []) for at, ms in enumerate((50, 50, 180))
    ]


@pytest.mark.parametrize("records", [1, 64, 65, 8192, 8193, 70_000])
def test_our_own_reader_proves_them(records):
    writer, counter = RecordWriter(PREFIX, 14), BatchCounter(PREFIX)
    client = ClientTally("c0", PREFIX, [(0, 0)])
    first = 65_000
    for base in (0, records):
        data = writer.batch(first + base, [(records, 1000)])
        data[:8] = base.to_bytes(8, "big")
        assert counter.count(data, 0, len(data), client.partitions[0], client) == ""
    assert sequences(client.partitions[0]) == [(first, first + 2 * records)]
    assert (client.corrupt, client.foreign) == (0, 0)


def gathered(limit_bytes, handed_over, padding=0):
    """Batches of one partition out of (records, at_ms)."""
    writer, queue = RecordWriter(PREFIX, 14 + padding), PartitionQueue(0, idempotent=False)
    sequence = 0
    for records, at_ms in handed_over:
        queue.add(writer, limit_bytes, sequence, records, now_s=0.0, at_ms=at_ms)
        sequence += records
    return writer, list(queue.waiting)


@given(
    limit_bytes=st.sampled_from([0, 14, 61, 82, 140, 1400, 5000, 140_000]),
    parts=st.lists(st.tuples(st.integers(1, 700), st.sampled_from([0, 1, 70, 9000])), min_size=1, max_size=6),
    padding=st.sampled_from([0, 300]),
)
@settings(max_examples=examples(60))
def test_a_batch_is_full_exactly_when_the_next_record_would_not_fit(limit_bytes, parts, padding):
    handed_over = timed(1000, parts)
    writer, batches = gathered(limit_bytes, handed_over, padding)
    stamps = [at_ms for records, at_ms in handed_over for _ in range(records)]
    at = 0
    for number, batch in enumerate(batches):
        data = batch.encode(writer, -1)
        assert len(data) == batch.size_bytes
        assert batch.size_bytes <= limit_bytes or batch.count == 1
        assert batch.first == at
        written = [record.timestamp for record in DefaultRecordBatch(bytes(data))]
        assert written == stamps[at : at + batch.count]
        at += batch.count
        if number < len(batches) - 1:
            assert batch.closed
            assert batch.ready
            longer = writer.batch(batch.first, [*batch.stretches, (1, max(stamps[at], batch.stretches[-1][1]))])
            assert len(longer) > limit_bytes
    assert at == len(stamps)


def test_a_clock_that_is_set_back_does_not_turn_timestamps_round():
    writer, (batch,) = gathered(1400, [(3, 5000), (2, 4000), (1, 5001)])
    assert batch.stretches == [(5, 5000), (1, 5001)]
    assert len(batch.encode(writer, -1)) == batch.size_bytes > HEADER_BYTES


@given(parts=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 200)), min_size=1, max_size=5))
@settings(max_examples=examples(100))
def test_halves_hold_the_same_records_under_the_same_numbers(parts):
    writer, (batch,) = gathered(1 << 20, timed(1000, [(1, 0), *parts]))
    batch.epoch, batch.number, batch.tries = 2, 40, 1
    left, right = batch.split(writer)
    assert (left.first, left.stop, right.stop) == (batch.first, right.first, batch.stop)
    assert (left.number, right.number, left.epoch, right.epoch) == (40, 40 + left.count, 2, 2)
    stamps = [at_ms for records, at_ms in batch.stretches for _ in range(records)]
    halved = [at_ms for half in (left, right) for records, at_ms in half.stretches for _ in range(records)]
    assert halved == stamps
    assert all(half.size_bytes == len(half.encode(writer, 1)) for half in (left, right))
