"""Whether two sets of runs differ: a rank test with its exact p, the correction for many tests, intervals over runs.

The deliveries of a run are not independent of each other; runs are. So a run is one value here. The test is that of
Mann and Whitney (1947) over mid-ranks, with the p of all ways to divide the values in two; the correction that of Holm
(1979), which holds the chance of *any* false difference among all that was looked at to ``ALPHA``.
docs/decisions/0013-runs-are-compared-by-ranks.md says why.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median, pstdev

ALPHA = 0.05
"""The chance of any false difference in a whole comparison."""

MIN_RUNS = 4
"""Runs a side below which no difference can be shown: 3 against 3 reach a p of 0.1 at best."""

MIN_INTERVAL_RUNS = 6
"""Runs a side below which there is no interval of 95 %."""

POWER = 0.8
MAX_EXACT = 60
"""Values of both sides up to which p is exact; beyond, the normal approximation is good to three digits."""

MAX_ADVISED = 100


def rank_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p of the Mann-Whitney test: how often a chance division is as far from the middle, or farther."""
    ranks = _doubled_ranks(first, second)
    # The mean of all divisions is size * (N + 1), in doubled ranks.
    distance = abs(sum(ranks[: len(first)]) - len(first) * (len(ranks) + 1))
    return _p(tuple(sorted(ranks)), len(first), distance)


@functools.lru_cache(maxsize=4096)
def _p(ranks: tuple[int, ...], size: int, distance: int) -> float:
    """The share of all subsets of that size whose sum is so far from the mean, or farther."""
    if len(ranks) > MAX_EXACT:
        return _approximate_p(ranks, size, distance)
    middle = size * (len(ranks) + 1)
    far = sum(count for value, count in _sums(ranks, size).items() if abs(value - middle) >= distance)
    return far / math.comb(len(ranks), size)


def smallest_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The smallest p that these values could have, however they were divided: ties make it larger."""
    pooled = sorted([*first, *second])
    cut = len(first)
    if len({*pooled}) == len(pooled) <= MAX_EXACT:
        return 2 / math.comb(len(pooled), cut)  # the two ends, which are equally far
    low, high = (pooled[:cut], pooled[cut:]), (pooled[-cut:], pooled[:-cut])
    return min(rank_p(*low), rank_p(*high))


def _doubled_ranks(first: Sequence[float], second: Sequence[float]) -> list[int]:
    """Twice the mid-rank of each value, so that all are whole."""
    values = [*first, *second]
    ordered = sorted(values)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(ordered, 1):
        places.setdefault(value, [place, place])[1] = place
    return [sum(places[value]) for value in values]


@functools.lru_cache(maxsize=256)
def _sums(ranks: tuple[int, ...], size: int) -> dict[int, int]:
    """How many subsets of that size have which sum."""
    counts: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in ranks:
        for taken in range(size, 0, -1):
            for value, count in counts[taken - 1].items():
                counts[taken][value + rank] = counts[taken].get(value + rank, 0) + count
    return counts[size]


def _approximate_p(ranks: Sequence[int], size: int, distance: float) -> float:
    """The normal approximation, whose variance knows the ties."""
    total = len(ranks)
    mean = total + 1
    spread = sum((rank - mean) ** 2 for rank in ranks) / (total - 1)
    variance = spread * size * (total - size) / total
    return 1.0 if not variance else min(1.0, 2 * NormalDist().cdf(-max(0.0, distance - 1) / math.sqrt(variance)))


def holm_levels(ps: Sequence[float], *, alpha: float = ALPHA) -> list[tuple[float, bool]]:
    """(the level that it was held against, whether it is rejected) for each p of a family, after Holm (1979)."""
    found: list[tuple[float, bool]] = [(alpha, False)] * len(ps)
    going = True
    reached = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        if going:
            reached = alpha / (len(ps) - place)
            going = ps[index] <= reached
        found[index] = (reached, going)
    return found


def runs_needed(family: int, *, alpha: float = ALPHA) -> int:
    """The fewest runs a side with which one of so many comparisons can be shown: p is 2 / C(2n, n) at best."""
    return next(
        runs for runs in range(MIN_RUNS, MAX_ADVISED) if 2 / math.comb(2 * runs, runs) <= alpha / max(1, family)
    )


def advised_runs(family: int) -> int:
    """Runs a side that leave room for a run that the machine disturbed, and have an interval."""
    return max(MIN_INTERVAL_RUNS, math.ceil(1.5 * runs_needed(family)))


def shown_shift(first: Sequence[float], second: Sequence[float], level: float) -> float | None:
    """The smallest shift of the second side that the test would have shown at this level; None: none at all.

    The two are laid upon each other by their medians, then moved apart until p is small enough.
    """
    ours, theirs = (_centred(first), _centred(second))
    steps = sorted({max(0.0, a - b) for a in ours for b in theirs})
    lowest, highest = 0, len(steps)
    while lowest < highest:
        middle = (lowest + highest) // 2
        if rank_p(ours, [_beyond(value, steps[middle]) for value in theirs]) <= level:
            highest = middle
        else:
            lowest = middle + 1
    return steps[lowest] if lowest < len(steps) else None


def _centred(values: Sequence[float]) -> list[float]:
    middle = median(values)
    return [value - middle for value in values]


def _beyond(value: float, shift: float) -> float:
    """The value a little beyond the shift: what is level with another one is not above it."""
    return value + shift + 1e-9 * max(1.0, abs(shift))


def runs_for_shift(first: Sequence[float], second: Sequence[float], shift: float, level: float) -> int:
    """About how many runs a side show this shift with ``POWER``, by the spread of these runs (Noether, 1987)."""
    spread = max(pstdev(first), pstdev(second))
    if not spread:
        return len(first)
    normal = NormalDist()
    above = normal.cdf(shift / spread / math.sqrt(2)) - 0.5
    if not above:
        return MAX_ADVISED
    fewest = next((runs for runs in range(2, MAX_ADVISED) if 2 / math.comb(2 * runs, runs) <= level), MAX_ADVISED)
    z = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
    return max(fewest, math.ceil(z * z / (6 * above * above)))


def shift_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float] | None:
    """The bootstrap interval of 95 % of the difference of the medians, second less first; None with too few runs.

    Runs are what is drawn again. The distribution of a drawn median is known in closed form, so nothing is drawn by
    chance and the interval is the same each time.
    """
    if min(len(first), len(second)) < MIN_INTERVAL_RUNS:
        return None
    ours, theirs = median_atoms(first), median_atoms(second)
    atoms = sorted((b - a, p * q) for a, p in ours for b, q in theirs)
    return _quantile(atoms, 0.025), _quantile(atoms, 0.975)


def median_atoms(values: Sequence[float]) -> list[tuple[float, float]]:
    """(value, chance) of the median of as many values drawn from these with replacement (exact bootstrap)."""
    ordered, size = sorted(values), len(values)
    lower = (size + 1) // 2

    def at_most(index: int) -> float:
        """The chance that the lower median is one of the first ``index`` values."""
        share = index / size
        return sum(math.comb(size, k) * share**k * (1 - share) ** (size - k) for k in range(lower, size + 1))

    chances = [at_most(index) - at_most(index - 1) for index in range(1, size + 1)]
    if size % 2 or size > MAX_EXACT // 2:
        return list(zip(ordered, chances, strict=True))
    atoms = []
    for i in range(1, size + 1):
        same = chances[i - 1]
        below = (i / size) ** lower - ((i - 1) / size) ** lower
        for j in range(i + 1, size + 1):
            upper = ((size - j + 1) / size) ** lower - ((size - j) / size) ** lower
            both = math.comb(size, lower) * below * upper
            same -= both
            atoms.append(((ordered[i - 1] + ordered[j - 1]) / 2, both))
        atoms.append((ordered[i - 1], same))
    return atoms


def _quantile(atoms: Sequence[tuple[float, float]], share: float) -> float:
    reached = 0.0
    for value, chance in atoms:
        reached += chance
        if reached >= share:
            return value
    return atoms[-1][0]


@dataclass(frozen=True)
class Pair:
    """What was measured on two sides: a value of each run."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    floor: float
    """A difference up to this never counts, in the unit of the values."""

    def least(self, share: float) -> float:
        """The smallest difference that counts, for this share of the first side's median."""
        return max(self.floor, share * abs(median(self.first)))

    @property
    def difference(self) -> float:
        """Of the medians, second less first."""
        return median(self.second) - median(self.first)

    def could_count(self, share: float) -> bool:
        """Whether any division of these values in two could be shown to differ by more than the share and the floor.

        That is known before it is known which value belongs to which side. So what cannot count need not be among the
        comparisons that were looked at, and the chance of a false difference is held all the same.
        """
        if min(len(self.first), len(self.second)) < MIN_RUNS:
            return False
        values = [*self.first, *self.second]
        wide = max(values) - min(values) > max(self.floor, share * min(map(abs, values)))
        return wide and smallest_p(self.first, self.second) <= ALPHA


@dataclass(frozen=True)
class Tested:
    """What the test said of a pair."""

    p: float
    level: float
    """What p was held against."""
    shown: bool
    """Whether the two sides differ, by more than what counts."""


def judge(pairs: Sequence[Pair], *, share: float) -> list[Tested | None]:
    """Judge all pairs of a comparison together. None where it was known beforehand that nothing could be shown.

    Args:
        pairs: all that is looked at.
        share: of the first side's median, below which a difference does not count.
    """
    family = [index for index, pair in enumerate(pairs) if pair.could_count(share)]
    ps = [rank_p(pairs[index].first, pairs[index].second) for index in family]
    found: list[Tested | None] = [None] * len(pairs)
    for index, p, (level, rejected) in zip(family, ps, holm_levels(ps), strict=True):
        counts = abs(pairs[index].difference) > pairs[index].least(share)
        found[index] = Tested(p, level, rejected and counts)
    return found
