"""Whole numbers kept as intervals, and logs kept as spans: memory grows with the gaps, not with the records."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Span = tuple[int, int, int]
"""(first offset, first sequence, records): records at consecutive offsets that carry consecutive sequences."""

NO_OFFSET = -1

Interval = tuple[int, int]
"""Half open: (start, stop) holds start, start + 1, ... stop - 1."""


class IntervalSet:
    """A set of whole numbers, as sorted intervals that neither overlap nor touch; made of any intervals."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> int:
        """Put start .. stop - 1 in. Returns how many of them were new.

        In an undisturbed run each call continues the last interval, so that case comes first and costs two
        comparisons.
        """
        if stop <= start:
            return 0
        stops = self._stops
        if stops and stops[-1] == start:
            stops[-1] = stop
            return stop - start
        starts = self._starts
        if not stops or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return stop - start
        return self._merge(start, stop)

    def _merge(self, start: int, stop: int) -> int:
        """Join all intervals that touch start .. stop into one."""
        low = bisect_left(self._stops, start)
        high = bisect_right(self._starts, stop)
        merged_start, merged_stop, known = start, stop, 0
        if low < high:
            merged_start = min(start, self._starts[low])
            merged_stop = max(stop, self._stops[high - 1])
            known = sum(self._stops[i] - self._starts[i] for i in range(low, high))
        self._starts[low:high] = [merged_start]
        self._stops[low:high] = [merged_stop]
        return merged_stop - merged_start - known

    def __iter__(self) -> Iterator[Interval]:
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        """How many numbers are in the set (not how many intervals)."""
        return sum(self._stops) - sum(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"

    def overlap(self, start: int, stop: int) -> int:
        """How many of start .. stop - 1 are in the set."""
        return sum(end - first for first, end in self.within(start, stop)) if start < stop else 0

    def within(self, start: int, stop: int) -> Iterator[Interval]:
        """The numbers start .. stop - 1 that are in the set, as intervals."""
        for place in range(bisect_right(self._stops, start), len(self._starts)):
            if self._starts[place] >= stop:
                break
            yield max(start, self._starts[place]), min(stop, self._stops[place])

    def minus(self, other: IntervalSet) -> IntervalSet:
        """The numbers that are in this set and not in ``other``."""
        left = IntervalSet()
        for start, stop in self:
            at = start
            place = bisect_right(other._stops, start)
            while at < stop and place < len(other._starts) and other._starts[place] < stop:
                left.add(at, other._starts[place])
                at = max(at, other._stops[place])
                place += 1
            left.add(at, stop)
        return left


@dataclass(frozen=True)
class Received:
    """What spans come to, in the order in which they arrived."""

    sequences: IntervalSet
    duplicates: int
    """Records whose sequence had come before."""
    reordered: int
    """Records that were new and had a lower sequence than one that had come before."""


def received(spans: Iterable[Span]) -> Received:
    """Count what came: distinct sequences, duplicates, and what came out of order."""
    sequences = IntervalSet()
    duplicates = reordered = 0
    highest = -1
    for _, first, records in spans:
        fresh = sequences.add(first, first + records)
        last = first + records - 1
        if first > highest:
            highest = last
            continue
        duplicates += records - fresh
        beyond = max(0, last - highest)
        reordered += fresh - beyond
        highest += beyond
    return Received(sequences, duplicates, reordered)


class SpanIndex:
    """A function from whole numbers to whole numbers, made of stretches along which both rise together.

    Of an offset to its sequence, or of a sequence to its offset. What is put in first stays.
    """

    __slots__ = ("_counts", "_keys", "_values")

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._values: list[int] = []
        self._counts: list[int] = []

    def put(self, key: int, value: int, count: int) -> int:
        """Map key, key + 1, ... to value, value + 1, ...; where something else is known that stays, and is counted."""
        shift, differing = value - key, 0
        for at, known, records in list(self.pieces(key, key + count)):
            if known == NO_OFFSET:
                self._insert(at, at + shift, records)
            elif known != at + shift:
                differing += records
        return differing

    def _place(self, key: int) -> int:
        """The first stretch that ends behind the key."""
        place = bisect_right(self._keys, key) - 1
        return place if place >= 0 and key < self._keys[place] + self._counts[place] else place + 1

    def _insert(self, key: int, value: int, count: int) -> None:
        """Put a stretch in where nothing is known; stretches that go on where it ends, or begins, become one."""
        keys, values, counts = self._keys, self._values, self._counts
        place = bisect_right(keys, key)
        shift = value - key
        if place and keys[place - 1] + counts[place - 1] == key and values[place - 1] - keys[place - 1] == shift:
            place -= 1
            counts[place] += count
        else:
            keys.insert(place, key)
            values.insert(place, value)
            counts.insert(place, count)
        after = place + 1
        if after < len(keys) and keys[place] + counts[place] == keys[after] and values[after] - keys[after] == shift:
            counts[place] += counts[after]
            del keys[after], values[after], counts[after]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(first key, its value, count) of every stretch, by rising keys."""
        return zip(self._keys, self._values, self._counts, strict=True)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(key, value, count) over all keys start .. stop - 1; ``NO_OFFSET`` is the value of the unknown."""
        keys, values, counts = self._keys, self._values, self._counts
        at, place = start, self._place(start)
        while at < stop:
            if place < len(keys) and keys[place] <= at:
                end = min(stop, keys[place] + counts[place])
                yield at, values[place] + at - keys[place], end - at
                place += 1
            else:
                end = min(stop, keys[place]) if place < len(keys) else stop
                yield at, NO_OFFSET, end - at
            at = end

    def keys(self) -> IntervalSet:
        """All keys that are mapped."""
        return IntervalSet((key, key + count) for key, _, count in self)

    def values(self) -> IntervalSet:
        """All values that something is mapped to."""
        return IntervalSet((value, value + count) for _, value, count in self)
