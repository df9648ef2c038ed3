"""Writes a run's records as Kafka's record batches (magic 2), without a loop over records.

All records of a batch whose timestamp deltas and offset deltas take equally many bytes are equally long, so they form a
table: one row for each record, and each column is either constant or follows from the record's place. Rows with
everything but timestamp and sequence are kept from batch to batch; where a payload has more in it than a batch holds
there are several tables, and batches take turns with them. A batch copies the rows that it needs, and a column
is written by one assignment to a slice with a step. Of the sequence's eight columns only the last two vary; prepared
bytes, 64 KiB for each, hold all their 65,536 values.

Every number is as short as it can be, so the bytes are those that Kafka's own producer would write. ``record_batch.py``
describes the layout.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from crc32c import crc32c

from hydra.clients.compression import CODECS, compress
from hydra.clients.payload import Payload, zeros
from hydra.clients.record_batch import CRC_END, HEADER, HEADER_BYTES, LENGTH_END, MAGIC
from hydra.clients.wire_protocol import varint

Stretch = tuple[int, int]
"""(records, their timestamp in ms): records of a batch that were handed over in the same millisecond."""

_PREPARED_RECORDS = 100_000
_MOST_TURNS = 64
_SEQUENCE_BYTES = 8
_COUNTED = 1 << 16
_LAST_COLUMN = bytes(range(256)) * 256
_LAST_BUT_ONE = b"".join(bytes((number,)) * 256 for number in range(256))
_CRC = struct.Struct(">I")
_CRC_AT = CRC_END - _CRC.size
_VARINT_STOPS = tuple(1 << (7 * size - 1) for size in range(1, 10))
"""From each of these on, a number takes one byte more as a zigzag varint."""


@dataclass(frozen=True)
class ProducerNumbers:
    """By which a broker recognises a batch that it gets twice; -1 each without idempotence."""

    producer_id: int = -1
    epoch: int = -1
    base_sequence: int = -1


NOT_NUMBERED = ProducerNumbers()


def _varint_bytes(number: int) -> int:
    return 1 if 0 <= number < 64 else len(varint(number))


class _Rows:
    """The rows of all records whose timestamp delta and offset delta take these numbers of bytes."""

    __slots__ = (
        "_first_share", "_head", "_known", "_payload", "_value_head", "_view", "first", "row_bytes", "sequence_at",
        "stop", "timestamp_at",
    )  # fmt: skip

    def __init__(
        self, timestamp_bytes: int, offset_bytes: int, value_head: bytes, payload: Payload, first_share: int
    ) -> None:
        rest_bytes = _SEQUENCE_BYTES + payload.share_bytes + 1
        body_bytes = 1 + timestamp_bytes + offset_bytes + len(value_head) + rest_bytes
        length = varint(body_bytes)
        self.first = _VARINT_STOPS[offset_bytes - 2] if offset_bytes > 1 else 0
        """The offset delta of the first row; that of the last one is before ``stop``."""
        self.stop = _VARINT_STOPS[offset_bytes - 1]
        self.row_bytes = len(length) + body_bytes
        self.timestamp_at = len(length) + 1
        self.sequence_at = self.row_bytes - rest_bytes
        self._head = length + bytes(1 + timestamp_bytes)
        self._value_head = value_head + bytes(_SEQUENCE_BYTES)
        self._payload = payload
        self._first_share = first_share
        self._known = 0
        self._view = memoryview(b"")

    def cut(self, offset_delta: int, records: int) -> memoryview:
        """The rows of so many records from an offset delta on; timestamp and sequence are 0 in them."""
        start = offset_delta - self.first
        stop = start + records
        if stop > self._known:
            self._learn(min(self.stop - self.first, max(stop, 2 * self._known)))
        return self._view[start * self.row_bytes : stop * self.row_bytes]

    def _learn(self, records: int) -> None:
        head, value_head, share, first_share = self._head, self._value_head, self._payload.share, self._first_share
        numbers = range(self.first + self._known, self.first + records)
        more = (head + varint(at) + value_head + share(first_share + at) + b"\x00" for at in numbers)
        self._view = memoryview(b"".join((self._view, *more)))
        self._known = records


class RecordWriter:
    """Writes the record batches of one publisher.

    Each value begins with ``prefix`` (``records/identity.py``); the sequence follows, then the payload. ``compression``
    is the name of a codec; what it makes no smaller is left as it is, as librdkafka does it.
    """

    __slots__ = ("_codec", "_payload", "_rows", "_turn_records", "_turns", "_value_head")

    def __init__(
        self, prefix: bytes, value_bytes: int, *, payload: Payload | None = None, compression: str = "none"
    ) -> None:
        self._value_head = b"\x01" + varint(value_bytes) + prefix
        self._payload = payload or zeros(value_bytes)
        self._codec = CODECS[compression]
        self._turns = self._turn_records = 1
        self._rows: dict[tuple[int, int, int], _Rows] = {}

    def fit(self, room_bytes: int, records: int, offset_delta: int, timestamp_delta: int) -> tuple[int, int]:
        """(records, bytes): how many of some records fit in a batch that has ``room_bytes`` left, and what they take.

        The batch has ``offset_delta`` records already; the first of them is ``timestamp_delta`` ms older than these.
        """
        timestamp_bytes = _varint_bytes(timestamp_delta)
        taken = used = 0
        while taken < records:
            rows = self._rows_of(timestamp_bytes, offset_delta + taken, 0)
            some = min(records - taken, rows.stop - offset_delta - taken, (room_bytes - used) // rows.row_bytes)
            if some <= 0:
                break
            taken += some
            used += some * rows.row_bytes
        return taken, used

    def prepare(self, batch_bytes: int) -> None:
        """Make the rows that batches of this size need, so that none is late. Called once at most, before any batch."""
        records = min(_PREPARED_RECORDS, self.fit(batch_bytes, 1 << 31, 0, 0)[0] + 1)
        self._turn_records = records
        self._turns = max(1, min(_MOST_TURNS, self._payload.shares // records, _PREPARED_RECORDS // records))
        for turn in range(self._turns):
            self.batch(turn * records, [(records, 0)])

    def batch(self, first: int, stretches: Sequence[Stretch], numbers: ProducerNumbers = NOT_NUMBERED) -> bytearray:
        """One whole record batch, of at least one record; the timestamps of its stretches never fall.

        The first record has the sequence ``first``, each one behind it the next.
        """
        first_ms, last_ms = stretches[0][1], stretches[-1][1]
        turn = first // self._turn_records % self._turns
        out = bytearray(HEADER_BYTES)
        count = 0
        for records, at_ms in stretches:
            timestamp = varint(at_ms - first_ms)
            stop = count + records
            while count < stop:
                rows = self._rows_of(len(timestamp), count, turn)
                counted = _COUNTED - ((first + count) & (_COUNTED - 1))
                some = min(stop, rows.stop, count + counted) - count
                _append(out, rows.cut(count, some), rows, timestamp, first + count)
                count += some
        codec = self._codec
        if codec:
            compressed = compress(codec, memoryview(out)[HEADER_BYTES:])
            if len(compressed) < len(out) - HEADER_BYTES:
                out = bytearray().join((bytes(HEADER_BYTES), compressed))
            else:
                codec = 0
        HEADER.pack_into(
            out, 0, 0, len(out) - LENGTH_END, -1, MAGIC, 0, codec, count - 1, first_ms, last_ms,
            numbers.producer_id, numbers.epoch, numbers.base_sequence, count,
        )  # fmt: skip
        _CRC.pack_into(out, _CRC_AT, crc32c(memoryview(out)[CRC_END:]))
        return out

    def _rows_of(self, timestamp_bytes: int, offset_delta: int, turn: int) -> _Rows:
        key = (timestamp_bytes, _varint_bytes(offset_delta), turn)
        rows = self._rows.get(key)
        if rows is None:
            first_share = turn * self._turn_records
            rows = self._rows[key] = _Rows(*key[:2], self._value_head, self._payload, first_share)
        return rows


def _append(out: bytearray, cut: memoryview, rows: _Rows, timestamp: bytes, first: int) -> None:
    """Append rows with one timestamp and the sequences from ``first`` on, of which only the last two bytes differ."""
    start, step = len(out), rows.row_bytes
    out += cut
    records = len(cut) // step
    at = start + rows.timestamp_at
    for byte in timestamp:
        if byte:
            out[at::step] = bytes((byte,)) * records
        at += 1
    low = first & (_COUNTED - 1)
    at = start + rows.sequence_at
    for byte in (first >> 16).to_bytes(_SEQUENCE_BYTES - 2, "big"):
        if byte:
            out[at::step] = bytes((byte,)) * records
        at += 1
    out[at::step] = _LAST_BUT_ONE[low : low + records]
    out[at + 1 :: step] = _LAST_COLUMN[low : low + records]
