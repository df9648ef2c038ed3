"""Where a series of results changes: E-divisive means with a permutation test.

After Matteson and James, A nonparametric approach for multiple change point analysis of multivariate data (JASA 109,
2014), as Daly et al. use it for nightly results (ICPE 2020) and Apache Otava after them. The series is divided where
the two parts differ most by their energy distance, if chance divisions of the same values seldom differ as much; then
each part again.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence

ALPHA = 0.05
"""The chance of any false change among all series that are looked at together."""

LEVEL = 0.01
"""The share of shuffled series that may be divided as clearly, where few are looked at: they are looked at each day."""

SHUFFLES, SHORT_SHUFFLES = 5, 50
"""So many shuffles, by chance, are as far where that share is just reached."""

SHORT = 16
"""Of a part that is short the clearest division is only just rare enough: by fewer shuffles chance would decide."""

MIN_PART = 3
"""Results on each side of a change: with fewer, an outlier would be one."""


def level_of(series: int) -> float:
    """The share of shuffles for each of so many series (Bonferroni): with it ``ALPHA`` holds for all together."""
    return min(LEVEL, ALPHA / max(1, series))


@functools.lru_cache
def min_results(level: float = LEVEL) -> int:
    """Results of which the clearest division there is would be rare enough: with fewer nothing can be shown."""
    return next(size for size in range(2 * MIN_PART, 100) if 2 / math.comb(size, size // 2) <= level)


def change_points(values: Sequence[float], *, level: float = LEVEL, seed: int = 1) -> list[int]:
    """The indices at which something changed, in order: each is the first value of what came after.

    The same series has the same answer: the shuffles follow the seed.
    """
    found: list[int] = []
    parts = [(0, len(values))]
    while parts:
        start, end = parts.pop()
        if end - start < min_results(level):
            continue
        part = _Part(values[start:end])
        split, distance = part.best_split(range(end - start))
        if not distance or not part.is_rare(distance, level, seed=seed + start):
            continue
        found.append(start + split)
        parts += [(start, start + split), (start + split, end)]
    return sorted(found)


def best_split(values: Sequence[float]) -> tuple[int, float]:
    """(index, distance) of the division into two parts that differ most; both have at least ``MIN_PART`` values.

    The distance is n*m/(n+m) * (2 E|X-Y| - E|X-X'| - E|Y-Y'|), in the unit of the values;
    X' is another value than X, or short parts would seem to differ more.
    """
    return _Part(values).best_split(range(len(values)))


class _Part:
    """A part of a series: how far each two of its values are apart, once for all orders of them."""

    def __init__(self, values: Sequence[float]) -> None:
        self._apart = [[abs(a - b) for b in values] for a in values]
        self._from_all = [sum(row) for row in self._apart]
        self._whole = sum(self._from_all) / 2

    def best_split(self, order: Sequence[int]) -> tuple[int, float]:
        """``best_split`` of the values in this order."""
        size = len(order)
        left = from_all = 0.0
        best = (MIN_PART, 0.0)
        for place in range(size - MIN_PART):
            moved = order[place]
            left += sum(map(self._apart[moved].__getitem__, order[:place]))
            from_all += self._from_all[moved]
            before, after = place + 1, size - place - 1
            if before < MIN_PART:
                continue
            across = from_all - 2 * left
            right = self._whole - left - across
            within = 2 * left / (before * (before - 1)) + 2 * right / (after * (after - 1))
            distance = before * after / size * (2 * across / (before * after) - within)
            if distance > best[1]:
                best = (before, distance)
        return best

    def is_rare(self, distance: float, level: float, *, seed: int) -> bool:
        """Whether so few shuffles of the values are divided as clearly, the values as they are among them."""
        chance = random.Random(seed)  # noqa: S311  # the same shuffles each time
        order = list(range(len(self._apart)))
        most = SHORT_SHUFFLES if len(order) <= SHORT else SHUFFLES
        as_far = 1
        for _ in range(math.ceil(most / level) - 1):
            chance.shuffle(order)
            # What is as far by the values need not be to the last bit of a sum in another order.
            as_far += self.best_split(order)[1] >= distance * (1 - 1e-9)
            if as_far > most:
                return False
        return True


def beside(values: Sequence[float], at: int, changes: Sequence[int]) -> tuple[Sequence[float], Sequence[float]]:
    """(values before, values after) a change, each up to the change next to it."""
    before = max((each for each in changes if each < at), default=0)
    after = min((each for each in changes if each > at), default=len(values))
    return values[before:at], values[at:after]
