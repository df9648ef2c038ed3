"""Where the limit of a search lies, with its error: an interval of 95 % from all of its trials.

What a broker carries differs from run to run. So the limit is the value at which half of the runs are good, and each
trial is one draw: it is good with a chance that falls from 1 to 0 around the limit, over a width that nobody knows. The
interval is that of Bayes' rule over a grid of both, flat in their logarithms: it holds whatever made the search choose
its values, because the choice follows from the trials alone. (Kontsevich and Tyler, 1999, find thresholds of
perception so.) docs/decisions/0014-an-interval-from-all-trials.md says why.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Mapping, Sequence

LEVEL = 0.95
"""The chance that the interval holds the limit."""

NARROWEST, WIDEST = 0.002, 0.3
"""How far the limits of single runs may be spread around the limit of all: a standard deviation, as a share."""

SPREADS = 7
COARSE, FINE = 48, 80
"""Points of the grid over all that was tried, and over the part of it where the limit may be."""

GOOD_LUCK, BAD_LUCK = 0.01, 0.04
"""Runs that come out as they do whatever the value: a stall of the machine makes a run bad, little makes it good."""

_WIDE = 3 * WIDEST
"""How far beyond the trials the grid begins, in logarithms."""

_NEGLIGIBLE = 1e-5
"""Chance that is left out where the grid is laid a second time, finer."""

_FAR, _FINENESS = 6, 32
"""The normal distribution is looked up: so many deviations to each side, so many entries for each."""


def limit_interval(counts: Mapping[float, tuple[int, int]]) -> tuple[float, float] | None:
    """The interval of 95 % of the limit; None where it is not bounded by trials on both sides.

    Args:
        counts: by value, how many trials were good, and how many were too much.
    """
    seen = tuple(sorted((math.log(value), good, bad) for value, (good, bad) in counts.items() if good or bad))
    if not any(good for _, good, _ in seen) or not any(bad for _, _, bad in seen):
        return None
    low, high = _interval(seen)
    return math.exp(low), math.exp(high)


@functools.lru_cache(maxsize=64)
def _interval(seen: tuple[tuple[float, int, int], ...]) -> tuple[float, float]:
    """In logarithms."""
    low, high = _between(seen, seen[0][0] - _WIDE, seen[-1][0] + _WIDE, COARSE, _NEGLIGIBLE)
    return _between(seen, low, high, FINE, (1 - LEVEL) / 2)


def _between(
    seen: Sequence[tuple[float, int, int]], low: float, high: float, cells: int, tail: float
) -> tuple[float, float]:
    """The part of a range that leaves out no more chance than ``tail`` on each side; whole cells of the grid."""
    step = (high - low) / cells
    chances = _chances(seen, [low + (index + 0.5) * step for index in range(cells)])
    return low + step * _cells_within(chances, tail), high - step * _cells_within(chances[::-1], tail)


def _cells_within(chances: Sequence[float], tail: float) -> int:
    """How many cells from the first one on have no more chance than this together."""
    return bisect.bisect_right(list(itertools.accumulate(chances)), tail)


def _chances(seen: Sequence[tuple[float, int, int]], limits: Sequence[float]) -> list[float]:
    """The chance of each limit after these trials, over all widths; their sum is 1."""
    tables = [(value, _logarithms(good, bad)) for value, good, bad in seen]
    most = 2 * _FAR * _FINENESS
    middle = most // 2 + 0.5
    logs: list[list[float]] = []
    for index in range(SPREADS):
        scale = _FINENESS / (NARROWEST * (WIDEST / NARROWEST) ** (index / (SPREADS - 1)))
        row = [0.0] * len(limits)
        for value, told in tables:
            for place, limit in enumerate(limits):
                row[place] += told[min(most, max(0, int((value - limit) * scale + middle)))]
        logs.append(row)
    top = max(map(max, logs))
    sums = [sum(math.exp(row[place] - top) for row in logs) for place in range(len(limits))]
    total = sum(sums)
    return [value / total for value in sums]


@functools.lru_cache(maxsize=256)
def _logarithms(good: int, bad: int) -> list[float]:
    """The logarithm of the chance of so many good and bad runs, by how far their value is above the limit."""
    steps = range(-_FAR * _FINENESS, _FAR * _FINENESS + 1)
    share = 1 - GOOD_LUCK - BAD_LUCK
    chances = (GOOD_LUCK + share * 0.5 * math.erfc(step / _FINENESS / math.sqrt(2)) for step in steps)
    return [good * math.log(chance) + bad * math.log1p(-chance) for chance in chances]
