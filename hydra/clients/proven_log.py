"""What a task has proven of the log: the clients of a task read the same bytes, and equal bytes are proven once.

A client's own bytes are compared with those that another client had at the same offset, all of them. Where they are
equal, CRC, identity and sequences are what they were found to be then. Whatever is not known here, or not equal to it,
is looked at batch by batch as if this did not exist.

Memory is bounded: what was proven longest ago is forgotten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from hydra.accounting.delivery_latency import STEADY_MS, Sent, SentTimes, is_steady, sent_times
from hydra.accounting.tally import PartitionTally
from hydra.clients.wire_protocol import INT64

STRETCHES = 4
"""Of one partition. There is more than one where sequences have gaps, or where a client is far behind the others."""

STRETCH_BYTES = 512 * 1024
"""The longest stretch."""

TASK_BYTES = 4 * 1024 * 1024
"""All stretches of all partitions together hold no more."""

_UNEVEN = float("inf")

RECENT_CUTS = 256
"""So many are kept of a partition: clients that fetch in rounds receive the very same bytes, one after the other."""

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
        steady = interval_ms > 0 and is_steady(*sent[1:], interval_ms)
        self.phases.append(first_ms - offset * interval_ms if steady else _UNEVEN)
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


class Cut:
    """Some batches of a stretch, in a row: what a client has received if its bytes are equal.

    It is what it says until something is added to its partition.
    """

    __slots__ = (
        "_first", "_stop", "_times", "_times_interval_ms", "begin", "end", "offset", "sequence", "size", "stretch",
    )  # fmt: skip

    def __init__(self, stretch: Stretch, first: int, stop: int) -> None:
        self.stretch, self._first, self._stop = stretch, first, stop
        self.begin = stretch.bounds[first]
        """Where in the stretch's bytes."""
        self.size = stretch.bounds[stop] - self.begin
        """In bytes; 0 where nothing is equal."""
        self.offset, self.end = stretch.offsets[first], stretch.offsets[stop]
        """The first offset, and the one after the last."""
        self.sequence = self.offset + stretch.shift
        """The first one."""
        self._times: SentTimes | None = None
        self._times_interval_ms = 0.0

    def count_into(self, part: PartitionTally) -> int:
        """Count the records, and move the position behind them. Returns the position."""
        part.add(self.offset, self.sequence, self.end - self.offset)
        part.next_offset = self.end
        return self.end

    def batches(self) -> Sequence[Sent]:
        """What is known of each batch."""
        return self.stretch.sent[self._first : self._stop]

    def groups(self, interval_ms: float) -> Sequence[Sent]:
        """The same, with those as one that were sent as evenly as the plan says."""
        return self.stretch.groups(self._first, self._stop, interval_ms)

    def times(self, interval_ms: float) -> SentTimes:
        """When the records were sent."""
        times = self._times
        if times is None or self._times_interval_ms != interval_ms:
            times = self._times = sent_times(self.groups(interval_ms), interval_ms)
            self._times_interval_ms = interval_ms
        return times


class ProvenPartition:
    """What is proven of one partition, in stretches of at most ``stretch_bytes``."""

    __slots__ = ("_growing", "_recent", "_stretch_bytes", "_stretches", "_turn", "end")

    def __init__(self, stretch_bytes: int) -> None:
        self._stretch_bytes = stretch_bytes
        self._stretches: list[Stretch] = []
        self._growing: Stretch | None = None
        self._recent: dict[tuple[int, int], Cut] = {}
        """The last cuts, by the offset and the size of the bytes that began with them."""
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
        size = len(view)
        cut = self._recent.get((offset, size)) or self._find(offset, size)
        if cut is None:
            return None
        # In place: a slice of either would be a copy, and memoryviews compare as slowly as Python's numbers.
        if not cut.stretch.data.startswith(view if cut.size == size else view[: cut.size], cut.begin):
            return _NOTHING
        self._turn += 1
        cut.stretch.used = self._turn
        return cut

    def _find(self, offset: int, size: int) -> Cut | None:
        """The known batches from this offset on that are no larger together; None where there are none."""
        for stretch in self._stretches:
            offsets, bounds = stretch.offsets, stretch.bounds
            if offsets[0] <= offset < offsets[-1]:
                first = bisect_left(offsets, offset)
                stop = bisect_right(bounds, bounds[first] + size) - 1
                if offsets[first] != offset or stop <= first:
                    continue
                if len(self._recent) >= RECENT_CUTS:
                    self._recent.clear()
                cut = self._recent[offset, size] = Cut(stretch, first, stop)
                return cut
        return None

    def keep(self, buffer: memoryview, batches: Iterable[Batch], interval_ms: float) -> None:
        """Remember batches that were proven; ``interval_ms`` is the plan's: always the same, or 0 if not known yet."""
        self._recent.clear()
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
        self._recent.clear()
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
