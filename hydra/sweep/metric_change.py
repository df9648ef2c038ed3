"""One metric of one point in two results: what differs, whether that is shown, and which runs said so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from hydra.options.thresholds import METRICS
from hydra.run.record import RunRecord
from hydra.sweep.counted_runs import (
    COMPARED_METRICS,
    FLOORS,
    LOSSES,
    at_best,
    counts,
    left_out_reason,
    metric_values,
)
from hydra.sweep.judgement import (
    ALPHA,
    MAX_ADVISED,
    MIN_RUNS,
    Pair,
    Tested,
    rank_p,
    runs_for_shift,
    shift_interval,
    shown_shift,
)

State = Literal["worse", "better", "no difference shown", "not comparable", "not judged"]

AT_BEST = "deliveries were left unread, or something else kept the load from the broker"


@dataclass(frozen=True)
class MetricChange:
    """One metric of one point in both results."""

    point: str
    metric: str
    unit: str
    before: float | None
    """The median of the runs before; None where no run measured it."""
    after: float | None
    runs: tuple[int, int]
    """How many runs were compared, before and after."""
    state: State
    why: str = ""
    """Why it is not comparable or not judged, or what more runs would show."""
    p: float | None = None
    """Of the rank test; None where it was not made."""
    interval: tuple[float, float] | None = None
    """Of 95 % of the difference, in the unit: over runs, by bootstrap (None below 6 runs a side); of two searches'
    answers, from the interval of each."""
    smallest: float | None = None
    """The smallest difference that would have been shown, in the unit; None where none would have been."""

    @property
    def change_percent(self) -> float | None:
        """Relative to ``before``; infinite where that is 0 and ``after`` is not; None where one is missing."""
        if self.before is None or self.after is None:
            return None
        if self.before == self.after:
            return 0.0
        return 100.0 * (self.after - self.before) / abs(self.before) if self.before else math.inf


def worse_text(item: MetricChange) -> str:
    """What is worse, in words."""
    was, now = ("none" if value is None else f"{value:,.5g}" for value in (item.before, item.after))
    return f"{item.point}: {item.metric} {was} -> {now} {item.unit}"


class MetricPair:
    """A metric of a point on both sides, before it is judged."""

    def __init__(self, point: str, metric: str, old: Sequence[RunRecord], new: Sequence[RunRecord]) -> None:
        self.point = point
        self.metric = metric
        self.unit = METRICS[metric].unit
        judged = [[run for run in runs if counts(run, metric)] for runs in (old, new)]
        first, second = (tuple(metric_values(runs, metric)) for runs in judged)
        self.values = Pair(first, second, FLOORS.get(self.unit, 0.0))
        self.all_values = (metric_values(old, metric), metric_values(new, metric))
        reasons = [reason for run in (*old, *new) if (reason := left_out_reason(run, metric))]
        runs = "1 run" if len(reasons) == 1 else f"{len(reasons)} runs"
        self._left_out = f"{runs} left out: {', '.join(dict.fromkeys(reasons))}" if reasons else ""
        self._at_best = [any(at_best(run, metric) for run in runs) for runs in judged]

    @property
    def measured(self) -> bool:
        """Whether any run has the metric."""
        return any(self.all_values)

    @property
    def new_loss(self) -> bool:
        """Whether records are lost now, and were not before."""
        old, new = self.values.first, self.values.second
        return self.metric in LOSSES and bool(old) and bool(new) and max(old) == 0 < max(new)

    @property
    def testable(self) -> bool:
        """Whether there are runs enough for the test."""
        return min(len(self.values.first), len(self.values.second)) >= MIN_RUNS

    def _told_by_half(self, state: State) -> str:
        """The side whose figures are at best what they say, so that they do not show this; empty where they do."""
        was_at_best, is_at_best = self._at_best
        if is_at_best and state != "worse":
            return "B"
        return "A" if was_at_best and state != "better" else ""

    def change(self, share: float, tested: Tested | None) -> MetricChange:
        """The judgement. ``tested`` is what the test said; None where it was not made."""
        old, new = self.values.first, self.values.second
        was, now = (
            median(values) if values else None for values in (old or self.all_values[0], new or self.all_values[1])
        )
        made = MetricChange(self.point, self.metric, self.unit, was, now, (len(old), len(new)), "not judged")
        if was is None or now is None:
            return dataclasses.replace(made, state="not comparable", why="only one side measured it")
        if self.new_loss:
            # The median may be 0 on both sides: what is told is the most that a run lost.
            return dataclasses.replace(made, after=max(new), state="worse", why=self._why("no run had any before"))
        if self.metric in LOSSES and old and new and max(old) == max(new) == 0:
            return dataclasses.replace(made, state="no difference shown", smallest=0.0, why=self._left_out)
        if not self.testable:
            few = f"{len(old)} and {len(new)} runs to judge by; {MIN_RUNS} a side are needed"
            return dataclasses.replace(made, why=self._why(few))
        return self._judged(made, share, tested, better=(now > was) == (COMPARED_METRICS[self.metric] == "high"))

    def _judged(self, made: MetricChange, share: float, tested: Tested | None, *, better: bool) -> MetricChange:
        """What the test shows."""
        old, new = self.values.first, self.values.second
        shown: State = "no difference shown" if tested is None or not tested.shown else "better" if better else "worse"
        told = dataclasses.replace(
            made, p=rank_p(old, new), interval=shift_interval(old, new), state=shown, why=self._left_out
        )
        if side := self._told_by_half(shown):
            why = self._why(f"the figures of {side} are at best what they say: {AT_BEST}")
            return dataclasses.replace(told, state="not judged", why=why)
        if shown != "no difference shown":
            return told
        least, level = self.values.least(share), tested.level if tested is not None else ALPHA
        shift = shown_shift(old, new, level)
        smallest = None if shift is None else max(shift, least)
        if smallest is None or smallest > least:
            hint = _more_runs(old, new, least, level, self.unit)
            told = dataclasses.replace(told, why=self._why(hint, last=True))
        return dataclasses.replace(told, smallest=smallest)

    def _why(self, text: str, *, last: bool = False) -> str:
        """The text, and how many runs were left out."""
        told = (self._left_out, text) if last else (text, self._left_out)
        return "; ".join(filter(None, told))


def _more_runs(old: Sequence[float], new: Sequence[float], shift: float, level: float, unit: str) -> str:
    """How many more runs would show the difference that matters."""
    if not shift:
        return ""
    needed = runs_for_shift(old, new, shift, level)
    more = needed - min(len(old), len(new))
    if more <= 0:
        return ""
    if needed >= MAX_ADVISED:
        return f"too unsteady to show a difference of {shift:.3g} {unit}"
    return f"{more} more repeats a side would show a difference of {shift:.3g} {unit}"
