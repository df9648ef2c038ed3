"""Where a series of results changes: E-divisive means with a permutation test.

After Matteson and James, A nonparametric approach for multiple change point analysis of multivariate data (JASA 109,
2014), as Daly et al. use it for nightly results (ICPE 2020) and Apache Otava after them. The series is divided where
the two parts differ most by their energy distance, if chance divisions of the same values seldom differ as much; then
each part again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

ALPHA = 0.01
"""The share of shuffled series that may be divided as clearly: nightly jobs look at many figures."""

PERMUTATIONS = 499
SHORT, SHORT_PERMUTATIONS = 16, 4999
"""Of a part that is short the clearest division is only just rare enough: by fewer shuffles chance would decide."""

MIN_PART = 3
"""Results on each side of a change: with fewer, an outlier would be one."""

MIN_RESULTS = next(size for size in range(2 * MIN_PART, 100) if 2 / math.comb(size, size // 2) <= ALPHA)
"""With fewer, more than ALPHA of all shuffles are divided as clearly as is possible at all: nothing can be shown."""


def change_points(values: Sequence[float], *, seed: int = 1) -> list[int]:
    """The indices at which something changed, in order: each is the first value of what came after.

    The same series has the same answer: the shuffles follow the seed.
    """
    found: list[int] = []
    parts = [(0, len(values))]
    while parts:
        start, end = parts.pop()
        part = values[start:end]
        if len(part) < MIN_RESULTS:
            continue
        split, distance = best_split(part)
        if not distance or permutation_p(part, distance, seed=seed + start) > ALPHA:
            continue
        found.append(start + split)
        parts += [(start, start + split), (start + split, end)]
    return sorted(found)


def best_split(values: Sequence[float]) -> tuple[int, float]:
    """(index, distance) of the division into two parts that differ most; both have at least ``MIN_PART`` values.

    The distance is n*m/(n+m) * (2 E|X-Y| - E|X-X'| - E|Y-Y'|), in the unit of the values;
    X' is another value than X, or short parts would seem to differ more.
    """
    size = len(values)
    left = sum(abs(a - b) for i, a in enumerate(values[:MIN_PART]) for b in values[:i])
    right = sum(abs(a - b) for i, a in enumerate(values[MIN_PART:], MIN_PART) for b in values[MIN_PART:i])
    across = sum(abs(a - b) for a in values[:MIN_PART] for b in values[MIN_PART:])
    best = (MIN_PART, 0.0)
    for split in range(MIN_PART, size - MIN_PART + 1):
        before, after = split, size - split
        within = 2 * left / (before * (before - 1)) + 2 * right / (after * (after - 1))
        distance = before * after / size * (2 * across / (before * after) - within)
        best = max(best, (split, distance), key=lambda each: each[1])
        moved = values[split]
        to_left = sum(abs(moved - value) for value in values[:split])
        to_right = sum(abs(moved - value) for value in values[split:])
        left, right, across = left + to_left, right - to_right, across - to_left + to_right
    return best


def permutation_p(values: Sequence[float], distance: float, *, seed: int) -> float:
    """How often shuffled values are divided as clearly, the values as they are among them."""
    chance = random.Random(seed)  # noqa: S311  # the same shuffles each time
    shuffled = list(values)
    as_far = 1
    permutations = SHORT_PERMUTATIONS if len(values) <= SHORT else PERMUTATIONS
    for done in range(1, permutations + 1):
        chance.shuffle(shuffled)
        as_far += best_split(shuffled)[1] >= distance - 1e-12 * abs(distance)
        if as_far > ALPHA * (permutations + 1):
            return as_far / (done + 1)  # no further shuffle could make it small enough
    return as_far / (permutations + 1)


def beside(values: Sequence[float], at: int, changes: Sequence[int]) -> tuple[Sequence[float], Sequence[float]]:
    """(values before, values after) a change, each up to the change next to it."""
    before = max((each for each in changes if each < at), default=0)
    after = min((each for each in changes if each > at), default=len(values))
    return values[before:at], values[at:after]
