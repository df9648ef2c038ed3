"""Counts the records of Kafka's record batches (magic 2), mostly without looking at each record.

Layout of a batch, big-endian, from Kafka's protocol guide::

    baseOffset 8, batchLength 4, partitionLeaderEpoch 4, magic 1, crc 4, attributes 2, lastOffsetDelta 4,
    baseTimestamp 8, maxTimestamp 8, producerId 8, producerEpoch 2, baseSequence 4, count 4, records

``crc`` is the CRC-32C of all that follows it. A record is: length, attributes 1, timestampDelta, offsetDelta, key
length, key, value length, value, number of headers; all numbers but the attributes are zigzag varints.

**The proof.** A batch counts as the interval ``first .. last`` of sequences when all of this holds:

1. The CRC is right: these are the bytes that the publisher's library wrote.
2. ``count == lastOffsetDelta + 1``: no record was removed since, as compaction does.
3. The record at the very start of the records has a null key, no headers, the value size of this run's records, and
   carries the run's tag, its publisher's incarnation and a sequence ``first``.
4. The bytes at the very end are one record: going back from the end by the sizes that all records of this run share,
   there is a length varint that gives exactly the bytes to the end, then attributes 0, one whole timestamp varint, an
   offset delta equal to ``lastOffsetDelta``, a null key, the same value size, no headers; and its value carries the
   same tag and the same incarnation, and a sequence ``last``.
5. ``last - first + 1 == count``.

One producer writes a batch, and 3 and 4 say that it is this run's. It hands over each sequence of a partition once, in
rising order, and client libraries keep that order within a batch. So the sequences in the batch rise strictly, and
``count`` whole numbers that rise strictly from ``first`` to ``first + count - 1`` are all of them. Bytes that only look
like a last record would have to repeat the run's tag and a fitting sequence, length and offset delta inside another
record's value, which does not happen by chance. If one of the five fails, every record is decoded.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from crc32c import crc32c

from hydra.accounting.delivery_latency import DeliveryTiming, Sent, SentTimes, sent_times
from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.clients.compression import decompress
from hydra.clients.proven_log import Batch, ProvenLog, ProvenPartition
from hydra.clients.wire_protocol import Buffer, read_varint, varint
from hydra.errors import BrokerError
from hydra.records.identity import SEQUENCE, SEQUENCE_OFFSET

HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size
LENGTH_END, MAGIC_AT, CRC_END = 12, 16, 21
MAGIC = 2

_CODEC_MASK = 0x07
"""Of a batch's attributes: what these bits hold is one of the codecs (``compression.py``), 0 for none."""

_CONTROL = 0x20
_NOT_PLAIN = _CODEC_MASK | _CONTROL
_TIMESTAMP_VARINT_BYTES = 10


class RecordShape:
    """How the records of a run look: null key, no headers, values of one size."""

    __slots__ = ("_ends", "_lengths", "_value_size", "first", "value_bytes")

    def __init__(self, value_bytes: int) -> None:
        self.value_bytes = value_bytes
        self._value_size = varint(value_bytes)
        head = b"\x00\x00\x00\x01" + self._value_size
        self.first = varint(len(head) + value_bytes + 1) + head
        """The bytes of a batch's first record before its value: both deltas are 0."""
        self._ends: dict[int, bytes] = {}
        self._lengths: dict[tuple[int, int], bytes] = {}

    def before_value(self, offset_delta: int) -> bytes:
        """Offset delta, null key and value size: the bytes right before the value."""
        end = self._ends.get(offset_delta)
        if end is None:
            if len(self._ends) > 10_000:
                self._ends.clear()
            end = self._ends[offset_delta] = varint(offset_delta) + b"\x01" + self._value_size
        return end

    def before_timestamp(self, timestamp_bytes: int, rest_bytes: int) -> bytes:
        """Length and attributes of a record with so many bytes of timestamp delta, and from there to its value."""
        key = (timestamp_bytes, rest_bytes)
        start = self._lengths.get(key)
        if start is None:
            length = 1 + timestamp_bytes + rest_bytes + self.value_bytes + 1
            start = self._lengths[key] = varint(length) + b"\x00"
        return start

    def start_of_last(self, buffer: Buffer, end: int, offset_delta: int) -> int:
        """Where the record that ends at ``end`` starts; -1 when there is no record of this shape."""
        value_at = end - 1 - self.value_bytes
        before = self.before_value(offset_delta)
        at = value_at - len(before)
        if at < 2 or buffer[end - 1] or buffer[at:value_at] != before or buffer[at - 1] > 0x7F:
            return -1
        for timestamp_bytes in range(1, _TIMESTAMP_VARINT_BYTES + 1):
            start = self.before_timestamp(timestamp_bytes, len(before))
            stop = at - timestamp_bytes
            if stop >= len(start) and buffer[stop - len(start) : stop] == start:
                return stop - len(start)
            if stop < 1 or buffer[stop - 1] <= 0x7F:
                return -1
        return -1


class BatchCounter:
    """Counts record batches into the tallies of a task's clients; each value of the run begins with ``prefix``.

    What is in the ``log`` (``proven_log.py``) is not proven again; it counts the same without one.
    """

    __slots__ = ("_log", "_prefix", "_shape")

    def __init__(self, prefix: bytes, log: ProvenLog | None = None) -> None:
        self._prefix = prefix
        self._log = log
        self._shape: RecordShape | None = None

    def count(  # noqa: PLR0917  # hot path: keywords cost
        self, buffer: Buffer, start: int, stop: int, part: PartitionTally, client: ClientTally, now_s: float = 0.0
    ) -> str:
        """Count the batches between ``start`` and ``stop`` that arrived at ``now_s``; move the position past them.

        A batch that is incomplete at the end is left for the next fetch. Records before the position are not counted:
        a broker sends whole batches, also when the position is within one. Returns what is wrong with a batch that was
        passed over; empty when nothing is.

        Raises:
            BrokerError: this is no record batch, but a message set of a broker before 0.11, or garbage.
        """
        # Hot path: almost always all that a client receives is known.
        known = self._log.of(part.partition) if self._log is not None else None
        if known is not None and part.next_offset < known.end and stop - start > MAGIC_AT:
            cut = known.beginning(memoryview(buffer)[start:stop], part.next_offset)
            if cut is not None and cut.size == stop - start:
                cut.count_into(part)
                timing = client.timing
                if timing is not None:
                    _time_sent(cut.times(timing.interval_ms), buffer, start, timing, now_s)
                return ""
        return self._count_batches((buffer, start, stop), known, part, client, now_s)

    def _count_batches(  # noqa: C901, PLR0912
        self,
        place: tuple[Buffer, int, int],
        known: ProvenPartition | None,
        part: PartitionTally,
        client: ClientTally,
        now_s: float,
    ) -> str:
        """Count batches of which some are not known."""
        # Hot path: one turn for all batches that are known, and for every other one; never one for a record.
        (buffer, start, stop), error, position, timing, shape = place, "", part.next_offset, client.timing, self._shape
        interval_ms = timing.interval_ms if timing is not None else 0.0
        proven: list[Sent] = []
        fresh: list[Batch] = []
        view, at, known_end = memoryview(buffer), start, known.end if known is not None else -1
        while stop - at > MAGIC_AT:
            if position < known_end and known is not None:
                cut = known.beginning(view[at:stop], position)
                if cut is not None and cut.size:
                    position = cut.count_into(part)
                    proven += cut.batches() if proven else cut.groups(interval_ms)
                    at += cut.size
                    continue
                known_end = known_end if cut is None else -1  # something differs: this answer is not looked up further
            if buffer[at + MAGIC_AT] != MAGIC:
                raise _not_a_batch(part, buffer[at + MAGIC_AT])
            if stop - at < HEADER_BYTES:
                break
            base, length, _, _, crc, flags, last_delta, first_ms, last_ms, *_, count = HEADER.unpack_from(buffer, at)
            if length < HEADER_BYTES - LENGTH_END:
                raise BrokerError(f"partition {part.partition} has a record batch of {length} bytes at offset {base}")
            end = at + LENGTH_END + length
            if end > stop:
                break
            whole = count == last_delta + 1
            if crc32c(view[at + CRC_END : end]) != crc:
                error = _corrupt(part, client, base)
                position = max(position + 1, base + (count if whole else 1))
            else:
                first = -1
                if whole and base >= position and not flags & _NOT_PLAIN:
                    first = self._prove(buffer, at + HEADER_BYTES, end, count)
                elif whole and base >= position and not flags & _CONTROL:
                    first = self._prove_compressed(view[at + HEADER_BYTES : end], flags & _CODEC_MASK, count)
                if first >= 0:
                    part.add(base, first, count)
                    proven.append((base, count, first_ms, last_ms))
                    fresh.append((at, end, first, proven[-1]))
                elif not flags & _CONTROL:
                    batch = BatchHead(base, count, first_ms, last_ms, now_s)
                    error = self._unpack(view[at + HEADER_BYTES : end], flags, batch, part, client) or error
                position = max(position, base + last_delta + 1)
            part.next_offset, at = position, end
        if fresh and known is not None and shape is self._shape:
            known.keep(view, fresh, interval_ms)
        if timing is not None and proven:
            _time_sent(sent_times(proven, interval_ms), buffer, start, timing, now_s)
        return error

    def _prove(self, buffer: Buffer, start: int, end: int, count: int) -> int:
        """The first of ``count`` consecutive sequences, proven as the module says; -1 when it cannot be proven."""
        shape = self._shape
        if shape is None:
            return -1
        value_at = start + len(shape.first)
        if buffer[start:value_at] != shape.first:
            return -1
        last_at = shape.start_of_last(buffer, end, count - 1)
        if last_at != start if count == 1 else last_at <= value_at + shape.value_bytes:
            return -1
        prefix, last_value_at = self._prefix, end - 1 - shape.value_bytes
        if (
            buffer[value_at : value_at + SEQUENCE_OFFSET] != prefix
            or buffer[last_value_at : last_value_at + SEQUENCE_OFFSET] != prefix
        ):
            return -1
        first: int = SEQUENCE.unpack_from(buffer, value_at + SEQUENCE_OFFSET)[0]
        last: int = SEQUENCE.unpack_from(buffer, last_value_at + SEQUENCE_OFFSET)[0]
        return first if last - first + 1 == count else -1

    def _prove_compressed(self, body: memoryview, codec: int, count: int) -> int:
        """The same for records that are compressed."""
        if self._shape is None:
            return -1
        try:
            records = decompress(codec, body)
        except ValueError:
            return -1  # who counts it by its records says why
        return self._prove(records, 0, len(records), count)

    def _unpack(
        self, body: memoryview, attributes: int, batch: BatchHead, part: PartitionTally, client: ClientTally
    ) -> str:
        """Count a batch by its records: one that is not proven, is compacted, or has the position within it."""
        codec = attributes & _CODEC_MASK
        try:
            records = decompress(codec, body) if codec else bytes(body)
        except ValueError as error:
            client.corrupt += 1
            return f"offset {batch.base} of partition {part.partition}: {error}"
        return self._walk(records, (0, len(records)), batch, part, client)

    def _walk(
        self, buffer: Buffer, span: tuple[int, int], batch: BatchHead, part: PartitionTally, client: ClientTally
    ) -> str:
        """Count each record from the position on by its own identity."""
        at, end = span
        timing = client.timing
        try:
            for _ in range(batch.records):
                record = _read_record(buffer, at, end)
                at = record.stop
                if batch.base + record.offset_delta < part.next_offset:
                    continue
                value = buffer[record.value_at : record.value_at + max(0, record.value_bytes)]
                if not client.record(part.partition, batch.base + record.offset_delta, bytes(value)):
                    continue
                if record.bare and (self._shape is None or self._shape.value_bytes != record.value_bytes):
                    self._shape = RecordShape(record.value_bytes)
                    if self._log is not None:
                        self._log.clear()  # it was proven by records of another shape
                if timing is not None:
                    timing.sent_at(batch.now_s, batch.first_ms + record.timestamp_delta, 1)
        except (IndexError, ValueError) as error:
            client.corrupt += 1
            return f"a record at offset {batch.base} of partition {part.partition} cannot be decoded: {error}"
        return ""


class BatchHead(NamedTuple):
    """What a batch's header says, and when it arrived."""

    base: int
    records: int
    first_ms: int
    last_ms: int
    now_s: float


class Record(NamedTuple):
    """Where the parts of a record are."""

    stop: int
    timestamp_delta: int
    offset_delta: int
    value_at: int
    value_bytes: int
    bare: bool
    """Whether key and headers are absent."""


def _time_sent(times: SentTimes, buffer: Buffer, start: int, timing: DeliveryTiming, now_s: float) -> None:
    """Count the service latencies of batches that arrived together, which are among those that begin at ``start``."""
    timing.sent(now_s, times)
    if times.unread:
        _time_records(buffer, start, list(times.unread), timing, now_s)


def _time_records(buffer: Buffer, at: int, offsets: list[int], timing: DeliveryTiming, now_s: float) -> None:
    """Find these batches among those that begin at ``at``, and count the service latency of each record."""
    # The first batch with an offset is the one that was counted: the position is behind it from then on.
    while offsets:
        header = HEADER.unpack_from(buffer, at)
        end = at + LENGTH_END + header[1]
        if header[0] == offsets[0]:
            del offsets[0]
            codec = header[5] & _CODEC_MASK
            records = decompress(codec, memoryview(buffer)[at + HEADER_BYTES : end]) if codec else buffer
            span = (0, len(records)) if codec else (at + HEADER_BYTES, end)
            _time_each(records, span, (header[7], header[12]), timing, now_s)
        at = end


def _time_each(
    buffer: Buffer, span: tuple[int, int], batch: tuple[int, int], timing: DeliveryTiming, now_s: float
) -> None:
    """Count the service latency of each record of a batch for which its two timestamps are not enough."""
    (at, end), (first_ms, count) = span, batch
    for _ in range(count):
        record = _read_record(buffer, at, end)
        timing.sent_at(now_s, first_ms + record.timestamp_delta, 1)
        at = record.stop


def _read_record(buffer: Buffer, at: int, end: int) -> Record:
    length, at = read_varint(buffer, at)
    stop = at + length
    if length < 0 or stop > end:
        raise ValueError(f"invalid record: {length} bytes, {end - at} are left")
    timestamp_delta, at = read_varint(buffer, at + 1)
    offset_delta, at = read_varint(buffer, at)
    key_bytes, at = read_varint(buffer, at)
    at += max(0, key_bytes)
    value_bytes, at = read_varint(buffer, at)
    if at + max(0, value_bytes) >= stop:
        raise ValueError(f"invalid value: {value_bytes} bytes, {stop - at} are left")
    headers, _ = read_varint(buffer, at + max(0, value_bytes))
    return Record(stop, timestamp_delta, offset_delta, at, value_bytes, key_bytes < 0 and not headers)


def _corrupt(part: PartitionTally, client: ClientTally, offset: int) -> str:
    # Each new fetch would bring the same bytes: the batch is passed over, and its records show as missing sequences.
    client.corrupt += 1
    return f"the record batch at offset {offset} of partition {part.partition} has a wrong CRC-32C"


def _not_a_batch(part: PartitionTally, magic: int) -> BrokerError:
    what = f"data that is no record batch (magic {magic})"
    if magic < MAGIC:
        what = f"message sets (magic {magic}) instead of record batches"
    return BrokerError(
        f"partition {part.partition} holds {what}",
        hint="the wire driver reads topics of Kafka 0.11 and later; --sub_driver=kafka-python reads older ones",
    )
