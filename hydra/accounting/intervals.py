"""Sets of whole numbers kept as intervals: memory grows with the gaps, not with the numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Interval = tuple[int, int]
"""Half open: (start, stop) holds start, start + 1, ... stop - 1."""


class IntervalSet:
    """A set of whole numbers, as sorted intervals that neither overlap nor touch.

    Args:
        intervals: what is in it from the start, in any order, overlapping or not.
    """

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

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._stops[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)})"

    def overlap(self, start: int, stop: int) -> int:
        """How many of start .. stop - 1 are in the set."""
        if stop <= start:
            return 0
        first = bisect_right(self._stops, start)
        total = 0
        for place in range(first, len(self._starts)):
            if self._starts[place] >= stop:
                break
            total += min(stop, self._stops[place]) - max(start, self._starts[place])
        return total

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
