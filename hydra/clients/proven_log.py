"""What a task has proven of the log: the clients of a task read the same bytes, and equal bytes are proven once.

A client's own bytes are compared with those that another client had at the same offset, all of them. Where they are
equal, CRC, identity and sequences are what they were found to be then. Whatever is not known here, or not equal to it,
is looked at batch by batch as if this did not exist.

Memory is bounded: what was proven longest ago is forgotten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from hydra.accounting.delivery_latency import STEADY_MS
from hydra.accounting.tally import PartitionTally
from hydra.clients.wire_protocol import INT64

STRETCHES = 4
"""Of one partition. There is more than one where sequences have gaps, or where a client is far behind the others."""

STRETCH_BYTES = 512 * 1024
"""The longest stretch."""

TASK_BYTES = 4 * 1024 * 1024
"""All stretches of all partitions together hold no more."""

_UNEVEN = float("inf")

Sent = tuple[int, int, float, float]
"""A proven batch, or several that were sent evenly: first offset, records, timestamp (ms) of the first and the last."""

Batch = tuple[int, int, int, Sent]
"""A proven batch: where it begins and ends in a buffer, its first sequence, and what is known of it."""


class Stretch:
    """Proven batches that follow one another, with consecutive offsets and consecutive sequences."""

    __slots__ = ("_groups", "bounds", "data", "offsets", "phases", "sent", "shift", "used")

    def __init__(self, offset: int, shift: int) -> None:
        self.data = bytearray()
        self.bounds = [0]
        """Where in ``data`` each batch begins, and where the last one ends."""
        self.offsets = [offset]
        """The first offset of each batch, and the one after the last batch."""
        self.sent: list[Sent] = []
        """What is known of each batch."""
        self.phases: list[float] = []
        """Of each batch: when the record with offset 0 would have been sent; infinite where it was not sent evenly."""
        self._groups: list[int] = []
        """Of each batch: where the batches end that were sent as evenly as the plan says from its own first record on,
        as far as somebody has looked; below zero once that is where they end for good."""
        self.shift = shift
        """Sequence minus offset, of each record."""
        self.used = 0
        """The turn in which it was last of use."""

    def forget_front(self, keep_bytes: int) -> None:
        """Keep the last batches that are no larger together."""
        first = bisect_left(self.bounds, len(self.data) - keep_bytes)
        begin = self.bounds[first]
        del self.data[:begin]
        for each in (self.offsets, self.sent, self.phases):
            del each[:first]
        self._groups = [0] * len(self.sent)
        self.bounds = [bound - begin for bound in self.bounds[first:]]

    def append(self, batch: memoryview, sent: Sent, interval_ms: float) -> None:
        """Remember one more batch."""
        offset, records, first_ms, _ = sent
        self.data += batch
        self.bounds.append(len(self.data))
        self.offsets.append(offset + records)
        self.sent.append(sent)
        self.phases.append(first_ms - offset * interval_ms if _is_steady(sent, interval_ms) else _UNEVEN)
        self._groups.append(0)

    def groups(self, first: int, stop: int, interval_ms: float) -> list[Sent]:
        """What is known of these batches; those that were sent as evenly as the plan says, as one."""
        # Hot path: one turn for each group.
        found: list[Sent] = []
        offsets, sent, ends = self.offsets, self.sent, self._groups
        while first < stop:
            end = ends[first]
            end = min(stop, -end) if end < 0 else stop if end >= stop else self._group_end(first, stop)
            if end == first + 1:
                found.append(sent[first])
            else:
                offset, _, first_ms, _ = sent[first]
                records = offsets[end] - offset
                found.append((offset, records, first_ms, first_ms + (records - 1) * interval_ms))
            first = end
        return found

    def _group_end(self, first: int, stop: int) -> int:
        """Look on where the group ends that begins with this batch."""
        phase_ms, end = self.phases[first], max(first + 1, self._groups[first])
        while end < stop and -STEADY_MS < self.phases[end] - phase_ms < STEADY_MS:
            end += 1
        self._groups[first] = end if end == stop else -end
        return end


def _is_steady(sent: Sent, interval_ms: float) -> bool:
    """Whether the records of a batch were sent as evenly as the plan says, as far as its timestamps tell."""
    _, records, first_ms, last_ms = sent
    return interval_ms > 0 and -STEADY_MS < last_ms - first_ms - (records - 1) * interval_ms < STEADY_MS


class Cut:
    """Some batches of a stretch, in a row: what a client has received if its bytes are equal."""

    __slots__ = ("_first", "_stop", "_stretch", "size")

    def __init__(self, stretch: Stretch, first: int, stop: int) -> None:
        self._stretch, self._first, self._stop = stretch, first, stop
        self.size = stretch.bounds[stop] - stretch.bounds[first]
        """In bytes; 0 where nothing is equal."""

    def count_into(self, part: PartitionTally) -> int:
        """Count the records, and move the position behind them. Returns the position."""
        stretch = self._stretch
        offset, end = stretch.offsets[self._first], stretch.offsets[self._stop]
        part.add(offset, offset + stretch.shift, end - offset)
        part.next_offset = end
        return end

    def batches(self) -> Sequence[Sent]:
        """What is known of each batch."""
        return self._stretch.sent[self._first : self._stop]

    def groups(self, interval_ms: float) -> Sequence[Sent]:
        """The same, with those as one that were sent as evenly as the plan says."""
        return self._stretch.groups(self._first, self._stop, interval_ms)


class ProvenPartition:
    """What is proven of one partition, in stretches of at most ``stretch_bytes``."""

    __slots__ = ("_growing", "_stretch_bytes", "_stretches", "_turn", "end")

    def __init__(self, stretch_bytes: int) -> None:
        self._stretch_bytes = stretch_bytes
        self._stretches: list[Stretch] = []
        self._growing: Stretch | None = None
        self._turn = 0
        self.end = -1
        """No offset from here on is known."""

    def beginning(self, view: memoryview, position: int) -> Cut | None:
        """The known batches with which these bytes begin, if the first one is not before the position.

        None where nothing is known of its offset; a cut of size 0 where the bytes differ from what is known.
        """
        # Hot path: once for every answer with records.
        offset: int = INT64.unpack_from(view)[0]
        if not position <= offset < self.end:
            return None
        for stretch in self._stretches:
            offsets, bounds = stretch.offsets, stretch.bounds
            if offsets[0] <= offset < offsets[-1]:
                first = bisect_left(offsets, offset)
                begin, size = bounds[first], len(view)
                stop = bisect_right(bounds, begin + size) - 1
                if offsets[first] != offset or stop <= first:
                    continue
                # In place: a slice of either would be a copy, and memoryviews compare as slowly as Python's numbers.
                known = view if bounds[stop] - begin == size else view[: bounds[stop] - begin]
                if not stretch.data.startswith(known, begin):
                    return _NOTHING
                self._turn += 1
                stretch.used = self._turn
                return Cut(stretch, first, stop)
        return None

    def keep(self, buffer: memoryview, batches: Iterable[Batch], interval_ms: float) -> None:
        """Remember batches that were proven; ``interval_ms`` is the plan's: always the same, or 0 if not known yet."""
        for at, end, sequence, sent in batches:
            offset = sent[0]
            stretch = self._growing
            if stretch is None or stretch.offsets[-1] != offset or stretch.shift != sequence - offset:
                stretch = self._growing = self._stretch_for(offset, sequence - offset)
                if stretch is None:
                    continue
            stretch.append(buffer[at:end], sent, interval_ms)
            if len(stretch.data) > self._stretch_bytes:
                stretch.forget_front(self._stretch_bytes // 2)
        self.end = max((stretch.offsets[-1] for stretch in self._stretches), default=-1)

    def _stretch_for(self, offset: int, shift: int) -> Stretch | None:
        """The stretch that goes on at the offset, or a new one; None where other bytes are known at the offset."""
        self._turn += 1
        for stretch in self._stretches:
            if stretch.offsets[-1] == offset and stretch.shift == shift:
                stretch.used = self._turn
                return stretch
        if any(stretch.offsets[0] <= offset < stretch.offsets[-1] for stretch in self._stretches):
            return None
        if len(self._stretches) >= STRETCHES:
            self._stretches.remove(min(self._stretches, key=lambda stretch: stretch.used))
        stretch = Stretch(offset, shift)
        stretch.used = self._turn
        self._stretches.append(stretch)
        return stretch

    def clear(self) -> None:
        """Forget all."""
        self._stretches.clear()
        self._growing = None
        self.end = -1


class ProvenLog:
    """What the clients of a task have proven of a topic with so many partitions. It belongs to one thread."""

    __slots__ = ("_partitions", "_stretch_bytes")

    def __init__(self, partitions: int) -> None:
        self._stretch_bytes = min(STRETCH_BYTES, TASK_BYTES // (STRETCHES * max(1, partitions)))
        self._partitions: dict[int, ProvenPartition] = {}

    def of(self, partition: int) -> ProvenPartition:
        """What is proven of this partition."""
        found = self._partitions.get(partition)
        if found is None:
            found = self._partitions[partition] = ProvenPartition(self._stretch_bytes)
        return found

    def clear(self) -> None:
        """Forget all."""
        for partition in self._partitions.values():
            partition.clear()


_NOTHING = Cut(Stretch(0, 0), 0, 0)
