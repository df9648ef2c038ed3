"""Compare two results: what differs, what of it is shown to differ, and what of that is worse.

Medians over runs are compared, by the test and the correction in ``judgement.py``. Only runs in which the broker was
the limit, or nothing was, say something about it. docs/decisions/0013-runs-are-compared-by-ranks.md says why.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from hydra.options.thresholds import METRICS
from hydra.run.record import RunRecord
from hydra.sweep.counted_runs import (
    COMPARED_METRICS,
    FLOORS,
    LOSSES,
    counts,
    metric_values,
    points_by_name,
    unjudged_reason,
)
from hydra.sweep.judgement import (
    ALPHA,
    MAX_ADVISED,
    MIN_RUNS,
    Pair,
    Tested,
    advised_runs,
    judge,
    rank_p,
    runs_for_shift,
    shift_interval,
    shown_shift,
)
from hydra.sweep.plan import SIDE, SIDES, format_value
from hydra.sweep.record import (
    EXIT_CODES_WORST_FIRST,
    SavedRecord,
    SearchResult,
    SweepRecord,
    run_verdict,
    worst_verdict,
)
from hydra.sweep.search import SearchAnswer

IGNORED_OPTIONS = ("output", "keep_running", "java", "start_timeout")
IGNORED_MACHINE_FACTS = ("release",)

State = Literal["worse", "better", "no difference shown", "not comparable", "not judged"]

PointState = Literal["worse", "not worse", "not judged", "no result in B", "only in A", "only in B"]


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


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    differences: tuple[MetricChange, ...]
    verdicts: tuple[tuple[str, str, str], ...]
    """(point, before, after) of the points whose verdict changed."""
    unlike: tuple[str, ...]
    """Options, machine facts and versions that differ, each as a sentence."""
    only_before: tuple[str, ...]
    """Points that are missing after."""
    only_after: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()
    """Points that were measured before and have no result after."""
    family: int = 0
    """How many comparisons were tested: the chance of a false difference is held to 5 % for all of them together."""
    common: tuple[str, ...] = ()
    """Points that both have, with or without a result."""

    @property
    def regressions(self) -> tuple[str, ...]:
        """What is worse, in words."""
        return tuple(worse_text(item) for item in self.differences if item.state == "worse")

    @property
    def points(self) -> Mapping[str, PointState]:
        """What the comparison came to at each point, and for each question of a search."""
        worse = {item.point for item in self.differences if item.state == "worse"}
        # That two runs lost nothing is good to know, and says nothing about how fast they were.
        figures = [item for item in self.differences if item.metric not in LOSSES]
        judged = {item.point for item in figures if item.state in {"better", "no difference shown"}}
        both = dict.fromkeys([*self.common, *(item.point for item in self.differences)])
        found: dict[str, PointState] = {name: "not worse" if name in judged else "not judged" for name in both}
        found |= dict.fromkeys(worse, "worse")
        found |= {name: "no result in B" for name in self.unmeasured if name not in worse}
        found |= dict.fromkeys(self.only_before, "only in A")
        return found | dict.fromkeys(self.only_after, "only in B")

    @property
    def exit_code(self) -> int:
        """1: something is worse; 3: nothing could be judged, or a point has no result any more; 0: nothing is worse."""
        states = set(self.points.values())
        if "worse" in states:
            return 1
        return 0 if "not worse" in states and "no result in B" not in states else 3

    @property
    def advised(self) -> int:
        """Repeats a side that are advised for as many points and metrics."""
        return advised_runs(max(1, self.family or len(self.differences)))


def worse_text(item: MetricChange) -> str:
    """What is worse, in words."""
    return f"{item.point}: {item.metric} {item.before or 0:,.5g} -> {item.after or 0:,.5g} {item.unit}"


def compare(before: SavedRecord, after: SavedRecord, *, tolerance_percent: float) -> Comparison:
    """Compare two results point by point, and the answers of two searches.

    A difference counts if the test shows it among all that were made, and if it exceeds the tolerance and the floor of
    its unit. Loss counts wherever there was none before, even in a single repeat.
    """
    old, new = points_by_name(before), points_by_name(after)
    found = compare_points(old, new, tolerance_percent=tolerance_percent)
    answers = tuple(_answer_changes(_answers(before), _answers(after), tolerance_percent))
    return dataclasses.replace(found, differences=(*found.differences, *answers))


def compare_points(
    old: Mapping[str, Sequence[RunRecord]], new: Mapping[str, Sequence[RunRecord]], *, tolerance_percent: float
) -> Comparison:
    """Compare the runs of two results by the names of their points."""
    common = [name for name in old if name in new]
    verdicts = [(name, _verdict(old[name]), _verdict(new[name])) for name in common]
    pairs = [_Pair(name, metric, old[name], new[name]) for name in common for metric in COMPARED_METRICS]
    share = tolerance_percent / 100
    tested = judge([pair.values for pair in pairs], share=share)
    return Comparison(
        differences=tuple(
            pair.change(share, found) for pair, found in zip(pairs, tested, strict=True) if pair.measured
        ),
        verdicts=tuple((name, was, now) for name, was, now in verdicts if was != now),
        unlike=tuple(dict.fromkeys(line for name in common for line in _unlike(old[name][0], new[name][0]))),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        unmeasured=tuple(name for name in common if _has_result(old[name]) and not _has_result(new[name])),
        family=sum(found is not None for found in tested),
        common=tuple(common),
    )


@dataclass(frozen=True)
class SidesCompared:
    """What ``hydra kafka ab`` found."""

    machine: Comparison
    """A again against A: what differs here is the machine's."""
    effect: Comparison
    """B against A."""

    @property
    def unsteady(self) -> tuple[str, ...]:
        """The metrics in which A differs from A: such a machine tells nothing of B."""
        return tuple(item.metric for item in self.machine.differences if item.state in {"worse", "better"})

    @property
    def exit_code(self) -> int:
        """1: B is worse; 3: nothing could be judged, or A differs from A; 0: B is not shown to be worse."""
        return 3 if self.unsteady else self.effect.exit_code


def compare_sides(sweep: SweepRecord) -> SidesCompared:
    """Compare the points of a comparison of two settings, as far as they were measured."""
    assert sweep.plan is not None
    runs = {str(point.changes[SIDE]): point.runs for point in sweep.points}
    first, second, again = (runs.get(side, ()) for side in SIDES)
    tolerance = sweep.plan.tolerance_percent

    def against(name: str, others: Sequence[RunRecord]) -> Comparison:
        if not (first and others):
            return Comparison((), (), (), (), ())
        return compare_points({name: first}, {name: others}, tolerance_percent=tolerance)

    return SidesCompared(against("A again / A", again), against("B / A", second))


def saved_exit_code(saved: SavedRecord) -> int:
    """The exit code of the command that made this: of a comparison of two settings that of its judgement.

    An interruption and an error are worse than any judgement.
    """
    if not isinstance(saved, SweepRecord) or saved.kind != "ab":
        return saved.exit_code
    broken = EXIT_CODES_WORST_FIRST[: EXIT_CODES_WORST_FIRST.index(1)]
    return saved.exit_code if saved.exit_code in broken else compare_sides(saved).exit_code


def _has_result(runs: Sequence[RunRecord]) -> bool:
    return any(run.result is not None for run in runs)


def _verdict(runs: Sequence[RunRecord]) -> str:
    return worst_verdict(map(run_verdict, runs))


class _Pair:
    """A metric of a point on both sides, before it is judged."""

    def __init__(self, point: str, metric: str, old: Sequence[RunRecord], new: Sequence[RunRecord]) -> None:
        self.point = point
        self.metric = metric
        self.unit = METRICS[metric].unit
        judged = [[run for run in runs if counts(run, metric)] for runs in (old, new)]
        first, second = (tuple(metric_values(runs, metric)) for runs in judged)
        self.values = Pair(first, second, FLOORS.get(self.unit, 0.0))
        self.all_values = (metric_values(old, metric), metric_values(new, metric))
        reasons = [reason for run in (*old, *new) if not counts(run, metric) and (reason := unjudged_reason(run))]
        self._left_out = f"{len(reasons)} runs left out: {', '.join(dict.fromkeys(reasons))}" if reasons else ""

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
            return dataclasses.replace(made, after=max(new), state="worse", why="no run had any before")
        if self.metric in LOSSES and old and new and max(old) == max(new) == 0:
            return dataclasses.replace(made, state="no difference shown", smallest=0.0)
        if not self.testable:
            few = f"{len(old)} and {len(new)} runs to judge by; {MIN_RUNS} a side are needed"
            return dataclasses.replace(made, why="; ".join(filter(None, (few, self._left_out))))
        least = self.values.least(share)
        level = tested.level if tested is not None else ALPHA
        better = (now > was) == (COMPARED_METRICS[self.metric] == "high")
        told = dataclasses.replace(
            made,
            p=rank_p(old, new),
            interval=shift_interval(old, new),
            state="no difference shown",
            why=self._left_out,
        )
        if tested is not None and tested.shown:
            return dataclasses.replace(told, state="better" if better else "worse")
        shift = shown_shift(old, new, level)
        smallest = None if shift is None else max(shift, least)
        if smallest is None or smallest > least:
            hint = _more_runs(old, new, least, level, self.unit)
            told = dataclasses.replace(told, why="; ".join(filter(None, (self._left_out, hint))))
        return dataclasses.replace(told, smallest=smallest)


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


def _answers(saved: SavedRecord) -> Sequence[SearchResult]:
    return saved.answers if isinstance(saved, SweepRecord) else ()


def _answer_changes(
    before: Sequence[SearchResult], after: Sequence[SearchResult], tolerance_percent: float
) -> Iterator[MetricChange]:
    """The answers to the same question. Where both have an interval, a difference is shown if these do not overlap.

    Two intervals of 95 % of like width lie apart by chance in less than 1 % of cases: that is room enough for the few
    answers of a search. Without intervals each answer is one value, and what is beyond the tolerance is told.
    """
    new = {found.question: found for found in after}
    for old in before:
        now = new.get(old.question)
        if now is None:
            continue
        found, again = old.answer, now.answer
        values = found.best or 0.0, again.best or 0.0
        made = MetricChange(old.question, "answer", old.unit, *values, (1, 1), "not judged")
        if found.interval is not None and again.interval is not None:
            yield _by_intervals(made, found.interval, again.interval)
        else:
            yield _by_tolerance(made, found, again, tolerance_percent)


def _by_intervals(made: MetricChange, before: tuple[float, float], after: tuple[float, float]) -> MetricChange:
    apart = after[0] - before[1], after[1] - before[0]
    state: State = "better" if apart[0] > 0 else "worse" if apart[1] < 0 else "no difference shown"
    smallest = (before[1] - before[0] + after[1] - after[0]) / 2
    return dataclasses.replace(made, state=state, interval=apart, smallest=smallest)


def _by_tolerance(
    made: MetricChange, before: SearchAnswer, after: SearchAnswer, tolerance_percent: float
) -> MetricChange:
    was_best, now_best = before.best or 0.0, after.best or 0.0
    if abs(now_best - was_best) <= was_best * tolerance_percent / 100:
        return dataclasses.replace(made, state="no difference shown")
    # A search that ended with "at least" does not show that the broker carries less than before.
    if after.at_least if now_best < was_best else before.at_least:
        return dataclasses.replace(made, state="not comparable", why="the lower answer is an 'at least'")
    return dataclasses.replace(made, state="better" if now_best > was_best else "worse")


def _unlike(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """Options, machine facts and versions that differ."""
    for what, was, now, ignored in (
        ("option", dataclasses.asdict(old.order.options), dataclasses.asdict(new.order.options), IGNORED_OPTIONS),
        ("machine", old.machine, new.machine, IGNORED_MACHINE_FACTS),
        ("version of", old.versions, new.versions, ()),
    ):
        for key in sorted({*was, *now} - {*ignored}):
            if was.get(key) != now.get(key):
                yield f"{what} {key}: {format_value(was.get(key))} -> {format_value(now.get(key))}"
