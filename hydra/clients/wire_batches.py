"""The wire publisher's batches, and the order in which those of one partition may be sent. Knows no clock.

The rules are those of Kafka's own producer. A batch takes records until the next one would not fit into ``batch.size``
(one record always fits). It is ready when it is full or its linger is over; while it cannot be sent yet it takes more.
A batch that is retried keeps its producer epoch and sequence number and goes alone, with no other batch of its
partition in flight, so that batches are appended in the order of their numbers.

**When a number is missing.** With idempotence a broker takes the batches of a partition only in the order of their
numbers. Once a numbered batch is given up, those behind it can no longer be appended under their numbers, so the
partition goes on in the next epoch, with numbers from 0, as soon as nothing of it is in flight. A batch that may be in
the log already is never sent in another epoch, where the broker would not recognise it as a duplicate: its outcome
stays unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.clients.ledger import queue_limit
from hydra.clients.payload import payload_of
from hydra.clients.record_batch import HEADER_BYTES
from hydra.clients.record_writer import ProducerNumbers, RecordWriter, Stretch
from hydra.options.order import RunOrder

REMEMBERED_BATCHES = 5
"""How many of a producer's last batches in a partition a broker recognises; an earlier one it calls out of order."""

PIPELINED_BATCHES = 32
"""How many may be in flight where the broker does not number them.

With small batches five of them are on their way for most of the time (694,000 records/s in batches of 1,400 bytes), and
librdkafka has no limit there. More than these keep a broker no busier.
"""

_QUEUE_BYTES, _BATCH_OBJECT_BYTES = 1 << 29, 512
_LAST_EPOCH = 0x7FFF
_LAST_NUMBER = 0x7FFFFFFF


@dataclass(eq=False)
class PendingBatch:
    """Consecutive records of one partition that have no outcome yet."""

    queue: PartitionQueue
    first: int
    """Sequence of its first record."""
    created_s: float
    count: int = 0
    size_bytes: int = HEADER_BYTES
    stretches: list[Stretch] = field(default_factory=list)
    ready: bool = False
    """It may be sent."""
    closed: bool = False
    """It takes no more records."""
    tries: int = 0
    maybe_appended: bool = False
    """An earlier try may have appended it to the log."""
    not_before_s: float = 0.0
    error: int | str = "no ack in time"
    """Why its last try failed: Kafka's error code, or words."""
    epoch: int = -1
    number: int = -1
    """The producer's sequence number of its first record, in this epoch; -1: not numbered yet."""

    @property
    def stop(self) -> int:
        """The sequence behind its last record."""
        return self.first + self.count

    def add(self, writer: RecordWriter, records: int, at_ms: int, limit_bytes: int) -> int:
        """Add what fits of ``records`` records with the timestamp ``at_ms``. Returns how many were added."""
        stretches = self.stretches
        if stretches:
            # Timestamps must not fall within a batch, even when the clock is set back.
            at_ms = max(at_ms, stretches[-1][1])
            delta_ms = at_ms - stretches[0][1]
        else:
            delta_ms = 0
        taken, size = writer.fit(limit_bytes - self.size_bytes, records, self.count, delta_ms)
        if not self.count and not taken:
            taken, size = writer.fit(1 << 31, 1, 0, 0)
        if taken:
            if stretches and stretches[-1][1] == at_ms:
                stretches[-1] = (stretches[-1][0] + taken, at_ms)
            else:
                stretches.append((taken, at_ms))
            self.count += taken
            self.size_bytes += size
        if taken < records or not writer.fit(limit_bytes - self.size_bytes, 1, self.count, delta_ms)[0]:
            self.closed = self.ready = True
        return taken

    def waits(self, now_s: float) -> list[tuple[float, int]]:
        """(seconds, records) since records were added, within a millisecond: one for each stretch of a timestamp."""
        age_s, first_ms = now_s - self.created_s, self.stretches[0][1]
        return [(age_s - (at_ms - first_ms) / 1000, records) for records, at_ms in self.stretches]

    def encode(self, writer: RecordWriter, producer_id: int) -> bytearray:
        """The record batch; the same bytes each time."""
        if self.number < 0:
            return writer.batch(self.first, self.stretches)
        numbers = ProducerNumbers(producer_id, self.epoch, self.number & _LAST_NUMBER)
        return writer.batch(self.first, self.stretches, numbers)

    def split(self, writer: RecordWriter) -> tuple[PendingBatch, PendingBatch]:
        """The same records under the same numbers in two batches, for a batch that is too large for the broker."""
        left = self.count // 2
        parts = (self._part(0), self._part(left))
        for records, at_ms in self.stretches:
            some = min(records, left)
            left -= some
            for part, share in zip(parts, (some, records - some), strict=True):
                if share:
                    part.add(writer, share, at_ms, 1 << 31)
        for part in parts:
            part.closed = part.ready = True
        return parts

    def _part(self, skipped: int) -> PendingBatch:
        number = self.number + skipped if self.number >= 0 else -1
        return PendingBatch(
            self.queue, self.first + skipped, self.created_s,
            tries=self.tries, error=self.error, epoch=self.epoch, number=number,
        )  # fmt: skip


class PartitionQueue:
    """The batches of one partition that have no outcome yet; they are numbered if it is ``idempotent``."""

    __slots__ = (
        "_epoch", "_idempotent", "_most_in_flight", "_next_number", "broken", "in_flight", "partition", "waiting",
    )  # fmt: skip

    def __init__(self, partition: int, *, idempotent: bool) -> None:
        self.partition = partition
        self.waiting: deque[PendingBatch] = deque()
        """In the order of their records; the last one may still take more."""
        self.in_flight: list[PendingBatch] = []
        self.broken = False
        """A numbered batch was given up: nothing is sent until the next epoch."""
        self._idempotent = idempotent
        self._most_in_flight = most_in_flight(idempotent=idempotent)
        self._epoch = 0
        self._next_number = 0

    def _open_batch(self, sequence: int) -> PendingBatch | None:
        """The batch that takes the record ``sequence``; None when it needs a new one."""
        if not self.waiting:
            return None
        last = self.waiting[-1]
        if not last.closed and last.stop != sequence:
            last.closed = last.ready = True
        return None if last.closed else last

    def add(
        self, writer: RecordWriter, limit_bytes: int, first_sequence: int, records: int, *, now_s: float, at_ms: int
    ) -> Sequence[PendingBatch]:
        """Put records with the timestamp ``at_ms`` into batches of at most ``limit_bytes``. Returns those it began."""
        begun = []
        sequence, stop = first_sequence, first_sequence + records
        while sequence < stop:
            batch = self._open_batch(sequence)
            if batch is None:
                batch = PendingBatch(self, sequence, now_s)
                self.waiting.append(batch)
                begun.append(batch)
            sequence += batch.add(writer, stop - sequence, at_ms, limit_bytes)
        return begun

    def sendable(self, now_s: float) -> PendingBatch | None:
        """The batch that may be sent now."""
        if not self.waiting or self.broken:
            return None
        head = self.waiting[0]
        if not head.ready or head.not_before_s > now_s or (head.tries and self.in_flight):
            return None
        if len(self.in_flight) >= self._most_in_flight:
            return None  # after a change of leader, those at the old one count too
        return head

    def take(self) -> PendingBatch:
        """Take the batch that ``sendable`` returned: it gets its number, and is in flight from now on."""
        batch = self.waiting.popleft()
        batch.closed = True
        batch.tries += 1
        if self._idempotent and batch.epoch != self._epoch:
            batch.epoch, batch.number = self._epoch, self._next_number
            self._next_number += batch.count
        self.in_flight.append(batch)
        return batch

    def put_back(self, *batches: PendingBatch) -> None:
        """Queue batches that are not in flight any more, in their order."""
        for batch in batches:
            self.waiting.insert(sum(other.first < batch.first for other in self.waiting), batch)

    def is_next(self, batch: PendingBatch) -> bool:
        """Whether all earlier batches have their outcome."""
        earlier_waits = bool(self.waiting) and self.waiting[0].first < batch.first
        return not earlier_waits and all(other.first >= batch.first for other in self.in_flight)

    def gave_up(self, batch: PendingBatch) -> None:
        """A batch was not acked and will not be sent again."""
        if batch.number >= 0 and batch.epoch == self._epoch:
            self.broken = True

    def start_next_epoch(self) -> Sequence[PendingBatch]:
        """Once nothing is in flight, go on in the next epoch. Returns the batches that cannot be sent in it."""
        if not self.broken or self.in_flight or self._epoch == _LAST_EPOCH:
            return ()
        self.broken = False
        self._epoch += 1
        self._next_number = 0
        lost = [batch for batch in self.waiting if batch.maybe_appended]
        self.waiting = deque(batch for batch in self.waiting if not batch.maybe_appended)
        return lost

    def take_all(self) -> Sequence[PendingBatch]:
        """Take out everything, to be given up."""
        batches = (*self.in_flight, *self.waiting)
        self.in_flight.clear()
        self.waiting.clear()
        return batches


def most_in_flight(*, idempotent: bool) -> int:
    """How many batches of a partition, and requests to a broker, may be without an answer."""
    return REMEMBERED_BATCHES if idempotent else PIPELINED_BATCHES


def record_writer(order: RunOrder) -> RecordWriter:
    """What writes the batches of an order's publisher."""
    options = order.options
    payload = payload_of(order)
    return RecordWriter(order.identity_prefix, options.msg_size, payload=payload, compression=options.compression)


def queue_records(order: RunOrder, writer: RecordWriter) -> int:
    """How many records may wait for their outcome, within 512 MiB of batches."""
    records_a_batch = max(1, writer.fit(order.batch_bytes - HEADER_BYTES, 1 << 31, 0, 0)[0])
    return queue_limit(order.options.msg_rate, records_a_batch * _QUEUE_BYTES // _BATCH_OBJECT_BYTES)
