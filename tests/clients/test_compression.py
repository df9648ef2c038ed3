"""Compressed batches: what another hand makes of ours, and that clients of a task unpack each of them once."""

from __future__ import annotations

import pytest
from kafka.record.default_records import DefaultRecordBatch

from hydra.accounting.tally import ClientTally
from hydra.clients import record_batch
from hydra.clients.compression import CODECS, compress, decompress
from hydra.clients.payload import Payload, payload_of, zeros
from hydra.clients.proven_log import ProvenLog
from hydra.clients.record_batch import HEADER_BYTES, BatchCounter
from hydra.clients.record_writer import RecordWriter
from hydra.records.identity import IDENTITY, IDENTITY_BYTES, identity_prefix, run_tag
from tests.facts import sequences

TAG = run_tag("run-1")
PREFIX = identity_prefix("run-1")
NAMES = [name for name in CODECS if name != "none"]
TEXT = b"".join(b"line %d of what a user's records look like\n" % number for number in range(5000))


def values_of(batch):
    """As kafka-python reads them, with the libraries that it decompresses with."""
    return [record.value for record in DefaultRecordBatch(bytes(batch))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"x", bytes(200_000), TEXT, TEXT[:32_768], TEXT[:65_536], TEXT[:65_537]])
def test_what_is_compressed_is_read_back(name, content):
    compressed = compress(CODECS[name], memoryview(content))
    assert decompress(CODECS[name], memoryview(compressed)) == content
    assert compress(CODECS[name], memoryview(content)) == compressed


@pytest.mark.parametrize("name", NAMES)
def test_another_reader_finds_every_record_of_a_compressed_batch(name):
    batch = RecordWriter(PREFIX, 100, compression=name).batch(70_000, [(500, 10), (2, 90)])
    assert batch[22] == CODECS[name]
    assert len(batch) < 502 * 60
    assert DefaultRecordBatch(bytes(batch)).validate_crc()
    assert values_of(batch) == [IDENTITY.pack(TAG, 1, 70_000 + at) + bytes(86) for at in range(502)]


@pytest.mark.parametrize("name", NAMES)
def test_what_compression_makes_no_smaller_is_left_as_it_is(name, sending):
    payload = payload_of(sending("h:1", "t", msg_size=5000, payload="random"))
    packed = RecordWriter(PREFIX, 5000, payload=payload, compression=name).batch(3, [(1, 10)])
    assert packed == RecordWriter(PREFIX, 5000, payload=payload).batch(3, [(1, 10)])
    assert packed[22] == 0


@pytest.mark.parametrize("name", NAMES)
def test_random_values_of_one_batch_cannot_be_compressed(name, sending):
    order = sending("h:1", "t", msg_size=1000, payload="random")
    writer = RecordWriter(PREFIX, 1000, payload=payload_of(order))
    writer.prepare(900_000)
    batch = writer.batch(0, [(800, 10)])
    values = values_of(batch)
    assert [IDENTITY.unpack_from(value)[2] for value in values] == list(range(800))
    assert len({value[IDENTITY_BYTES:] for value in values}) == 800
    body = memoryview(batch)[HEADER_BYTES:]
    assert len(compress(CODECS[name], body)) > 0.97 * len(body)


def test_a_file_goes_on_from_batch_to_batch(sending):
    payload = Payload(TEXT, 100)
    writer = RecordWriter(PREFIX, 114, payload=payload)
    writer.prepare(2_000)
    seen = set()
    for batch in range(40):
        values = values_of(writer.batch(batch * 16, [(16, 10)]))
        assert [IDENTITY.unpack_from(value)[2] for value in values] == [batch * 16 + at for at in range(16)]
        assert all(value[IDENTITY_BYTES:] in TEXT + TEXT for value in values)
        seen |= {value[IDENTITY_BYTES:] for value in values}
    assert len(seen) > 400
    assert writer.batch(320, [(16, 10)]) == writer.batch(320, [(16, 10)])  # a batch that is retried is the same


def test_shares_begin_again_at_the_end_and_a_small_file_fills_large_records():
    payload = Payload(b"abcde", 3)
    assert [payload.share(number) for number in range(3)] == [b"abc", b"dea", b"bcd"]
    assert Payload(b"ab", 5).share(1) == b"babab"
    assert zeros(20).share(7) == bytes(6)
    assert zeros(14).share(7) == b""


@pytest.mark.parametrize("name", NAMES)
def test_clients_of_a_task_unpack_a_batch_once(name, monkeypatch):
    unpacked = []

    def counted(codec, body):
        unpacked.append(codec)
        return decompress(codec, body)

    monkeypatch.setattr(record_batch, "decompress", counted)
    writer = RecordWriter(PREFIX, 50, compression=name)
    log = bytearray()
    for base in range(0, 500, 100):
        batch = writer.batch(base, [(100, 1000 + base)])
        batch[:8] = base.to_bytes(8, "big")
        log += batch
    counter = BatchCounter(PREFIX, ProvenLog(1))
    clients = [ClientTally(f"c{number}", PREFIX, [(0, 0)]) for number in range(20)]
    for client in clients:
        assert counter.count(log, 0, len(log), client.partitions[0], client) == ""
        assert sequences(client.partitions[0]) == [(0, 500)]
    # The first client's answer shows what the records look like, the second one's is kept as proven.
    assert len(unpacked) == 2 * 5
    log[-1] ^= 1
    late = ClientTally("late", PREFIX, [(0, 0)])
    assert "wrong CRC-32C" in counter.count(log, 0, len(log), late.partitions[0], late)
    assert (late.corrupt, sequences(late.partitions[0])) == (1, [(0, 400)])
