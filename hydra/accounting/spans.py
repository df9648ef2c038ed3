"""Spans: how a partition's log, or what was read of it, is written down in memory that grows with its breaks only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hydra.accounting.intervals import IntervalSet

Span = tuple[int, int, int]
"""(first offset, first sequence, records): records at consecutive offsets that carry consecutive sequences."""

NO_OFFSET = -1


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
        """Map key, key + 1, ... to value, value + 1, ...; where something else is known that stays.

        Returns:
            At how many keys something else is known.
        """
        keys, counts = self._keys, self._counts
        at, stop, shift, differing = key, key + count, value - key, 0
        place = self._place(key)
        gaps: list[tuple[int, int]] = []
        while at < stop:
            if place < len(keys) and keys[place] <= at:
                end = min(stop, keys[place] + counts[place])
                if self._values[place] - keys[place] != shift:
                    differing += end - at
                place += 1
            else:
                end = min(stop, keys[place]) if place < len(keys) else stop
                gaps.append((at, end))
            at = end
        for start, end in gaps:
            self._insert(start, start + shift, end - start)
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
