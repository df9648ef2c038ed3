"""Arrivals of evenly spaced latencies, settled in buckets of ticks: two changes a doubling, however many records.

Buckets are laid out as those of ``accounting/latency.py``, which says what arrivals and ticks are. Within a doubling
all have one width, a power of two as the spacing is, so evenly spaced latencies lie in every n-th bucket: an arrival is
a change where it begins there and one behind where it ends, and the counts are the sums of changes, n buckets apart.
An arrival costs two changes for each doubling, and what is kept grows with the logarithm of the highest latency.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate

RECORDS_BITS = 24
"""An arrival's key is its lowest latency in ticks, and in so many lower bits its number of records."""

RECORDS_MASK = (1 << RECORDS_BITS) - 1


class TickTable:
    """How many latencies there are in each bucket of ticks, kept as changes: see the module.

    Each doubling has ``2 ** (bits - 1)`` buckets; the spacing is ``interval_ticks``, a power of two.
    """

    __slots__ = ("_bits", "_changes", "_spacing_bits")

    def __init__(self, bits: int, interval_ticks: int) -> None:
        self._bits = bits
        self._spacing_bits = interval_ticks.bit_length() - 1
        self._changes = array("q")

    def copy(self) -> TickTable:
        """Another one that holds the same."""
        other = TickTable(self._bits, 1 << self._spacing_bits)
        other._changes = self._changes[:]
        return other

    def add(self, arrivals: Iterable[tuple[int, int]], cut_to: int | None) -> None:
        """Count arrivals: (key, how often). Of the lowest latency so many bits were kept; None: all that count."""
        half, spacing_bits, changes = self._bits - 1, self._spacing_bits, self._changes
        for key, times in arrivals:
            low = key >> RECORDS_BITS
            if cut_to is not None:
                # In the middle of what the bits that were cut off may have been.
                low += 1 << max(0, low.bit_length() - cut_to) >> 1
            stop = low + ((key & RECORDS_MASK) << spacing_bits)
            while low < stop:  # one doubling after the other
                shift = max(0, low.bit_length() - self._bits)
                beyond = 2 << half + shift
                end = stop if stop <= beyond else low - (low - beyond >> spacing_bits << spacing_bits)
                limit = shift + 2 << half
                if limit > len(changes):
                    changes.frombytes(bytes((limit - len(changes)) * changes.itemsize))
                if shift <= spacing_bits:
                    first = (shift << half) + (low >> shift)
                    behind = first + (end - low >> shift)
                    changes[first] += times
                    if behind < limit:
                        changes[behind] -= times
                else:
                    self._add_close(low, end, shift, times)
                low = end

    def _add_close(self, low: int, end: int, shift: int, times: int) -> None:
        """Count latencies of one doubling of which each bucket holds several, from ``low`` on, below ``end``."""
        base, width = shift << self._bits - 1, 1 << shift
        first, last = base + (low >> shift), base + (end - (1 << self._spacing_bits) >> shift)
        records = end - low >> self._spacing_bits
        # The first bucket and the last one are filled in part.
        begun = min(records, -(low - (first - base + 1) * width >> self._spacing_bits))
        whole = width >> self._spacing_bits
        ended = records - begun - (last - first - 1) * whole
        counts = (begun, -begun) if first == last else (begun, whole - begun, ended - whole, -ended)
        places = (first, first + 1) if first == last else (first, first + 1, last, last + 1)
        for place, count in zip(places, counts, strict=True):
            if place < shift + 2 << self._bits - 1:
                self._changes[place] += count * times

    def counts(self) -> Iterator[tuple[int, int, int]]:
        """(lowest tick, ticks, latencies) of each bucket that has any, rising."""
        begin, shift = 0, 0
        while begin < len(self._changes):
            end = shift + 2 << self._bits - 1
            counts = list(self._changes[begin:end])
            stride = 1 << max(0, self._spacing_bits - shift)
            for first in range(min(stride, max(0, len(counts) - stride))):
                counts[first::stride] = accumulate(counts[first::stride])
            base = begin - (shift << self._bits - 1)
            for place, count in enumerate(counts, base):
                if count:
                    yield place << shift, 1 << shift, count
            begin, shift = end, shift + 1
