"""Batches that a publisher gathers, and the order in which those of one partition may be sent. Knows no clock.

The rules are those of Kafka's own producer. A batch takes records until the next one would not fit into ``batch.size``
(one record always fits), and is ready when it is full or when its linger is over; a ready one that cannot be sent yet
takes more. A batch that is sent again keeps its producer epoch and number and goes alone, with no other of its
partition in flight, so that batches that were numbered in order are appended in order.

**When the numbers break.** With idempotence a broker takes the batches of a partition in the order of their numbers
only. Once a numbered batch is given up, those behind it cannot be appended under their numbers any more, so the
partition goes on under the next epoch, with numbers from 0, as soon as nothing of it is in flight. A batch that may be
in the log already is never sent under another epoch, where the broker would not know it for a duplicate: it is given up
as unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.clients.record_batch import HEADER_BYTES
from hydra.clients.record_writer import ProducerNumbers, RecordWriter, Stretch

REMEMBERED_BATCHES = 5
"""How many of a producer's last batches in a partition a broker knows again; earlier ones it takes for out of order."""

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
    doubt: bool = False
    """An earlier try may have put it into the log."""
    not_before_s: float = 0.0
    epoch: int = -1
    number: int = -1
    """The producer's number of its first record, and the epoch that this counts in; -1: not numbered yet."""

    @property
    def stop(self) -> int:
        """The sequence behind its last record."""
        return self.first + self.count

    def add(self, writer: RecordWriter, records: int, at_ms: int, limit_bytes: int) -> int:
        """Put in what fits of so many records that were handed over at ``at_ms``. Returns how many that are."""
        stretches = self.stretches
        if stretches:
            # A clock that is set back must not make timestamps fall within a batch.
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

    def encode(self, writer: RecordWriter, producer_id: int) -> bytearray:
        """The record batch; each time the same bytes."""
        if self.number < 0:
            return writer.batch(self.first, self.stretches)
        numbers = ProducerNumbers(producer_id, self.epoch, self.number & _LAST_NUMBER)
        return writer.batch(self.first, self.stretches, numbers)

    def split(self, writer: RecordWriter) -> tuple[PendingBatch, PendingBatch]:
        """The same records under the same numbers, in two batches; for one that is too large for the broker."""
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
            self.queue, self.first + skipped, self.created_s, tries=self.tries, epoch=self.epoch, number=number
        )


class PartitionQueue:
    """The batches of one partition that have no outcome yet.

    Args:
        partition: its number.
        idempotent: whether batches are numbered.
    """

    __slots__ = ("_epoch", "_idempotent", "_next_number", "broken", "in_flight", "partition", "waiting")

    def __init__(self, partition: int, *, idempotent: bool) -> None:
        self.partition = partition
        self.waiting: deque[PendingBatch] = deque()
        """In the order of their sequences; the last one may still take records."""
        self.in_flight: list[PendingBatch] = []
        self.broken = False
        """A number was passed over: see the module's text."""
        self._idempotent = idempotent
        self._epoch = 0
        self._next_number = 0

    def open_batch(self, sequence: int) -> PendingBatch | None:
        """The batch that takes the record ``sequence``; None when a new one must be begun."""
        if not self.waiting:
            return None
        last = self.waiting[-1]
        if not last.closed and last.stop != sequence:
            last.closed = last.ready = True
        return None if last.closed else last

    def sendable(self, now_s: float) -> PendingBatch | None:
        """The batch that may be sent now."""
        if not self.waiting or self.broken:
            return None
        head = self.waiting[0]
        if not head.ready or head.not_before_s > now_s or (head.tries and self.in_flight):
            return None
        if len(self.in_flight) >= REMEMBERED_BATCHES:
            return None  # when the leader changes, those that the old one has not answered count, too
        return head

    def take(self) -> PendingBatch:
        """Take the one that ``sendable`` gave: it is in flight from now on, and has its number."""
        batch = self.waiting.popleft()
        batch.closed = True
        batch.tries += 1
        if self._idempotent and batch.epoch != self._epoch:
            batch.epoch, batch.number = self._epoch, self._next_number
            self._next_number += batch.count
        self.in_flight.append(batch)
        return batch

    def put_back(self, *batches: PendingBatch) -> None:
        """Have batches that are not in flight any more sent again, in their order."""
        for batch in batches:
            place = 0
            for other in self.waiting:
                if other.first > batch.first:
                    break
                place += 1
            self.waiting.insert(place, batch)

    def is_next(self, batch: PendingBatch) -> bool:
        """Whether all batches that were numbered before this one have their outcome."""
        waits = bool(self.waiting) and self.waiting[0].first < batch.first
        return not waits and all(other.first >= batch.first for other in self.in_flight)

    def gave_up(self, batch: PendingBatch) -> None:
        """A batch has no successful outcome and will not be sent again."""
        if batch.number >= 0 and batch.epoch == self._epoch:
            self.broken = True

    def mend(self) -> Sequence[PendingBatch]:
        """Once nothing is in flight: go on under the next epoch. Returns the batches that cannot come along."""
        if not self.broken or self.in_flight or self._epoch == _LAST_EPOCH:
            return ()
        self.broken = False
        self._epoch += 1
        self._next_number = 0
        lost = [batch for batch in self.waiting if batch.doubt]
        self.waiting = deque(batch for batch in self.waiting if not batch.doubt)
        return lost

    def drop_all(self) -> None:
        """Give up everything."""
        for batch in (*self.in_flight, *self.waiting):
            self.gave_up(batch)
        self.in_flight.clear()
        self.waiting.clear()
