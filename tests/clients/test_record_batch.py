"""Record batches that are counted: what the proof takes, what it does not, and what is no batch at all."""

from __future__ import annotations

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from hydra.accounting.tally import ClientTally
from hydra.clients.compression import decompress
from hydra.clients.record_batch import HEADER_BYTES, BatchCounter, RecordShape
from hydra.clients.wire_protocol import read_varint, varint
from hydra.errors import BrokerError
from hydra.records.identity import IDENTITY, identity_prefix, run_tag
from tests.examples import examples
from tests.facts import duplicates, sequences

RUN_ID = "run-1"
TAG = run_tag(RUN_ID)
PREFIX = identity_prefix(RUN_ID)


class SpiedCounter(BatchCounter):
    """Counts how often it had to decode every record."""

    walked = 0

    def _walk(self, *arguments):
        self.walked += 1
        return super()._walk(*arguments)


class Reader:
    """A counter, and one client of one partition."""

    def __init__(self, start_offset=0):
        self.counter = SpiedCounter(PREFIX)
        self.client = ClientTally("c0", PREFIX, [(0, start_offset)])
        self.part = self.client.partitions[0]

    @property
    def walked(self):
        return self.counter.walked

    def read(self, *batches):
        buffer = bytearray(b"".join(batches))
        return self.counter.count(buffer, 0, len(buffer), self.part, self.client)

    @property
    def sequences(self):
        return sequences(self.part)


@pytest.fixture
def reader():
    return Reader()


def library_batch(values, *, compression=0, timestamps=None):
    """A batch from kafka-python's own builder: another hand that wrote the format."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 10_000_000)
    for at, value in enumerate(values):
        assert builder.append(at, timestamps[at] if timestamps else 1000, None, value, [])
    return bytes(builder.build())


def identities(numbers, incarnation=1, padding=0):
    return [IDENTITY.pack(TAG, incarnation, sequence) + bytes(padding) for sequence in numbers]


@given(st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=examples(100))
def test_varints_come_back(number):
    encoded = varint(number)
    assert read_varint(b"x" + encoded + b"\xff", 1) == (number, 1 + len(encoded))


def test_a_varint_without_end_is_refused():
    with pytest.raises(ValueError, match="64 bits"):
        read_varint(b"\xff" * 11, 0)
    with pytest.raises(IndexError):
        read_varint(b"\xff", 0)


def test_consecutive_sequences_are_proven_after_the_first_batch(reader, run_batch):
    assert reader.read(run_batch(range(100)), run_batch(range(100, 300), 100), run_batch([300], 300)) == ""
    assert reader.sequences == [(0, 301)]
    assert (reader.part.stats().spans, reader.part.next_offset) == (((0, 0, 301),), 301)
    assert reader.walked == 1  # the first one teaches the shape


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=8),
    padding=st.sampled_from([0, 1, 49, 50, 86, 1000, 20_000]),
    gaps=st.lists(st.integers(0, 100_000), min_size=400, max_size=400),
)
@settings(max_examples=examples(60))
def test_batches_of_the_library_are_proven_whatever_their_timestamps(sizes, padding, gaps):
    reader = Reader()
    sequence = 0
    for size in sizes:
        values = identities(range(sequence, sequence + size), padding=padding)
        timestamps = [1000 + sum(gaps[:at]) for at in range(size)]
        data = bytearray(library_batch(values, timestamps=timestamps))
        data[:8] = sequence.to_bytes(8, "big")
        assert reader.read(bytes(data)) == ""
        sequence += size
    assert reader.sequences == [(0, sequence)]
    assert reader.part.next_offset == sequence
    assert reader.walked == 1


@given(
    numbers=st.lists(st.integers(0, 150), min_size=1, max_size=120, unique=True),
    two_at=st.none() | st.integers(0, 120),
    padding=st.sampled_from([0, 100]),
)
@settings(max_examples=examples(100))
def test_what_one_producer_writes_is_counted_as_one_by_one(numbers, two_at, padding):
    values = identities(sorted(numbers), padding=padding)
    if two_at is not None:
        values[two_at:] = identities(sorted(numbers)[two_at:], incarnation=2, padding=padding)
    reader, expected = Reader(), ClientTally("c0", PREFIX, [(0, 0)])
    for base, rows in ((0, identities([1000], padding=padding)), (1, values)):
        data = bytearray(library_batch(rows))
        data[:8] = base.to_bytes(8, "big")
        assert reader.read(bytes(data)) == ""
        for offset, each in enumerate(rows, start=base):
            expected.record(0, offset, each)
    assert reader.part.stats().spans == expected.partitions[0].stats().spans
    assert reader.client.foreign == expected.foreign
    assert reader.part.received == expected.partitions[0].received
    assert reader.part.next_offset == len(values) + 1


@pytest.mark.parametrize(
    ("numbers", "intervals", "double"),
    [
        ([0, 1, 3, 4], [(0, 2), (3, 5)], 0),
        ([0, 1, 1, 2, 9], [(0, 3), (9, 10)], 1),
        ([5, 4, 3], [(3, 6)], 0),
        ([0, 0, 0], [(0, 1)], 2),
    ],
)
def test_what_is_not_one_interval_is_decoded(reader, run_batch, numbers, intervals, double):
    reader.read(run_batch([100], 0))
    assert reader.read(run_batch(numbers, 1)) == ""
    assert reader.sequences == [*intervals, (100, 101)]
    assert duplicates(reader.part) == double
    assert reader.walked == 2


def test_foreign_records_are_counted_as_such(reader, batch, record, value):
    mixed = [record(0, value(0)), record(1, b"short"), record(2, value(1, run_id="other")), record(3, value(1))]
    assert reader.read(batch(mixed)) == ""
    assert (reader.client.foreign, reader.sequences, reader.part.next_offset) == (2, [(0, 2)], 4)


@pytest.mark.parametrize("which", ["first", "last"])
def test_another_incarnation_at_one_end_is_decoded_and_foreign(reader, batch, record, value, which):
    reader.read(batch([record(0, value(50))]))
    ends = {"first": 0, "last": 2}
    values = [value(seq, incarnation=2 if seq == ends[which] else 1) for seq in range(3)]
    assert reader.read(batch([record(at, each) for at, each in enumerate(values)], 1)) == ""
    assert reader.walked == 2
    assert reader.sequences == [(1, 3) if which == "first" else (0, 2), (50, 51)]
    assert reader.client.foreign == 1


def test_keys_and_headers_are_decoded(reader, batch, record, value):
    reader.read(batch([record(0, value(9))]))
    rows = [record(0, value(0), key=b"k"), record(1, value(1), headers=[(b"h", b"v")]), record(2, value(2))]
    assert reader.read(batch(rows, 1)) == ""
    assert reader.sequences == [(0, 3), (9, 10)]
    assert reader.client.foreign == 0


def test_a_value_that_looks_like_a_last_record_does_not_prove(reader, batch, record, value):
    """The last record's value ends in the bytes of a fitting record, but that one does not begin where one should."""
    reader.read(batch([record(0, value(500))]))
    decoy = record(2, value(2))[1:]  # all but its length
    assert reader.read(batch([record(0, value(0)), record(1, value(1)), record(2, b"zzz" + decoy[:-1])], 1)) == ""
    assert reader.sequences == [(0, 2), (500, 501)]
    assert reader.client.foreign == 1


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_batches_that_the_library_compressed(reader, codec):
    values = identities(range(200))
    data = library_batch(values, compression=codec)
    assert data[22] & 7 == codec, "the library found nothing to compress"
    assert reader.read(library_batch(values[:1]), data) == ""
    assert reader.sequences == [(0, 200)]


def test_snappy_without_framing_as_librdkafka_writes_it(reader, batch, run_batch):
    plain = run_batch(range(50))[HEADER_BYTES:]
    packed = bytes(cramjam.snappy.compress_raw(plain))
    assert reader.read(batch(packed, attributes=2, count=50)) == ""
    assert reader.sequences == [(0, 50)]


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5])
def test_what_cannot_be_decompressed_is_corrupt_and_passed_over(reader, batch, run_batch, codec):
    broken = batch(b"\x82SNAPPY\x00" + b"\x7f" * 40, attributes=codec, count=3)
    error = reader.read(broken, run_batch([7], 3))
    assert "codec" in error or "snappy" in error
    assert (reader.client.corrupt, reader.sequences, reader.part.next_offset) == (1, [(7, 8)], 4)


def test_decompress_names_an_unknown_codec():
    with pytest.raises(ValueError, match="codec 6"):
        decompress(6, b"x")


def test_control_batches_are_skipped(reader, batch, record, run_batch):
    assert (
        reader.read(run_batch([0]), batch([record(0, b"\x00\x00\x00\x01")], 1, attributes=0x30), run_batch([1], 2))
        == ""
    )
    assert (reader.sequences, reader.client.foreign, reader.part.next_offset) == ([(0, 2)], 0, 3)


@given(cut=st.integers(1, 400))
@settings(max_examples=examples(50))
def test_a_batch_that_is_cut_off_is_left_for_later(cut):
    values = identities(range(10))
    whole = library_batch(values)
    second = bytearray(library_batch(identities(range(10, 20))))
    second[:8] = (10).to_bytes(8, "big")
    reader = Reader()
    data = whole + bytes(second[: -min(cut, len(second))])
    buffer = bytearray(data) + b"\xaa" * 500  # a scratch buffer goes on behind the answer
    assert reader.counter.count(buffer, 0, len(data), reader.part, reader.client) == ""
    assert (reader.sequences, reader.part.next_offset) == ([(0, 10)], 10)


def test_a_wrong_crc_is_counted_and_passed_over(reader, run_batch):
    error = reader.read(run_batch(range(5)), run_batch(range(5, 10), 5, spoil=True), run_batch(range(10, 15), 10))
    assert "offset 5 " in error
    assert "CRC" in error
    assert (reader.client.corrupt, reader.sequences, reader.part.next_offset) == (1, [(0, 5), (10, 15)], 15)


@given(at=st.integers(HEADER_BYTES - 40, 300), bit=st.integers(0, 7))
@settings(max_examples=examples(60))
def test_any_flipped_bit_is_seen(at, bit):
    data = bytearray(library_batch(identities(range(12))))
    at = min(at, len(data) - 1)
    data[at] ^= 1 << bit
    reader = Reader()
    assert reader.read(bytes(data))
    assert (reader.client.corrupt, reader.part.received) == (1, 0)
    assert reader.part.next_offset > 0


@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_sets_are_refused_in_words(reader, batch, record, value, magic):
    with pytest.raises(BrokerError, match=f"magic {magic}.*kafka-python"):
        reader.read(batch([record(0, value(0))], magic=magic))
    assert reader.part.received == 0


def test_garbage_is_refused_in_words(reader, run_batch):
    with pytest.raises(BrokerError, match="magic 72"):
        reader.read(b"H" * 100)
    short = bytearray(run_batch(range(3)))
    short[8:12] = (10).to_bytes(4, "big")
    with pytest.raises(BrokerError, match="10 bytes"):
        reader.read(bytes(short))


@pytest.mark.parametrize("codec", [0, 1])
def test_an_offset_inside_a_batch_counts_from_there_only(codec):
    reader = Reader(start_offset=4)
    assert reader.read(library_batch(identities(range(100)), compression=codec)) == ""
    assert (reader.sequences, reader.part.next_offset, reader.part.received) == ([(4, 100)], 100, 96)


def test_a_compacted_batch_is_decoded(reader, batch, record, value):
    reader.read(batch([record(0, value(50))]))
    rows = [record(0, value(0)), record(3, value(3))]
    assert reader.read(batch(rows, 1, last_delta=4, count=2)) == ""
    assert (reader.sequences, reader.part.next_offset) == ([(0, 1), (3, 4), (50, 51)], 6)


def test_records_that_cannot_be_decoded_are_corrupt(reader, batch, record, value):
    error = reader.read(batch([record(0, value(0)), b"\x7e\x00"], count=2))
    assert "cannot be decoded" in error
    assert (reader.client.corrupt, reader.sequences, reader.part.next_offset) == (1, [(0, 1)], 2)
    short = reader.read(batch([record(0, value(2))], 2, count=5))
    assert "cannot be decoded" in short


def test_the_shape_fits_its_own_records(record, value):
    shape = RecordShape(14)
    for delta, stamp in [(0, 0), (63, 63), (64, 64), (8191, -5), (8192, 10**12)]:
        data = b"\x55\x55\x55" + record(delta, value(1), stamp)
        assert shape.start_of_last(data, len(data), delta) == 3
        assert shape.start_of_last(data, len(data), delta + 1) == -1


def test_the_builder_of_this_file_writes_what_the_library_reads(run_batch):
    read = DefaultRecordBatch(run_batch(range(70)))
    assert read.validate_crc()
    assert [each.value for each in read] == identities(range(70))
