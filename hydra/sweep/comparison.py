"""Compare two results: what differs, which differences are more than noise, and which of those are worse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from hydra.accounting.totals import metric_value
from hydra.options.thresholds import METRICS
from hydra.run.record import RunRecord
from hydra.sweep.plan import changes_text, format_value
from hydra.sweep.record import PointRecord, SavedRecord, SearchResult, SweepRecord, run_verdict, worst_verdict

COMPARED_METRICS: Mapping[str, Literal["high", "low"]] = {
    "tx_rate": "high", "rx_rate": "high", "loss": "low", "failing_clients": "low",
    "e2e_p50": "low", "e2e_p99": "low", "e2e_p999": "low",
}  # fmt: skip
"""Which way is better, by metric."""

NEVER_NOISE = frozenset({"loss", "failing_clients"})
"""Metrics that are worse as soon as one run has any where no run had before, however the repeats overlap."""

FLOORS: Mapping[str, float] = {"ms": 1.0}
"""Differences up to this are always "same", by unit: the pace of fetches alone moves latencies by a millisecond."""

IGNORED_OPTIONS = ("output", "keep_running", "java", "start_timeout")
IGNORED_MACHINE_FACTS = ("release",)

State = Literal["same", "noise", "better", "worse"]


@dataclass(frozen=True)
class MetricChange:
    """One metric of one point in both results."""

    point: str
    metric: str
    unit: str
    before: float
    after: float
    noise: float | None
    """The spread of the repeats before plus that after; None where one of them has a single run."""
    state: State
    """``noise``: beyond the tolerance, but the repeats overlap."""

    @property
    def change_percent(self) -> float:
        """Relative to ``before``; infinite where that is 0 and ``after`` is not."""
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

    @property
    def regressions(self) -> tuple[str, ...]:
        """What is worse, in words."""
        metrics = (
            f"{item.point}: {item.metric} {item.before:,.5g} -> {item.after:,.5g} {item.unit}"
            for item in self.differences
            if item.state == "worse"
        )
        verdicts = (f"{name}: {was} -> {now}" for name, was, now in self.verdicts if worst_verdict((was, now)) == now)
        return (*verdicts, *metrics)


def points_by_name(saved: SavedRecord) -> dict[str, tuple[RunRecord, ...]]:
    """The runs of each point of a result; trials of a search that repeat a point are its repeats."""
    if isinstance(saved, RunRecord):
        return {"run": (saved,)}
    found: dict[str, tuple[RunRecord, ...]] = {}
    for point in (saved,) if isinstance(saved, PointRecord) else saved.points:
        name = changes_text(point.changes) or "run"
        found[name] = (*found.get(name, ()), *point.runs)
    return {name: runs for name, runs in found.items() if runs}


def compare(before: SavedRecord, after: SavedRecord, *, tolerance_percent: float) -> Comparison:
    """Compare two results point by point, and the answers of two searches.

    A difference counts if it exceeds the tolerance and the floor of its unit, and if the repeats do not overlap. Loss
    counts wherever there was none before, even in a single repeat.
    """
    old, new = points_by_name(before), points_by_name(after)
    common = [name for name in old if name in new]
    verdicts = [(name, _verdict(old[name]), _verdict(new[name])) for name in common]
    changes = [
        _metric_change(name, metric, values_before, values_after, tolerance_percent)
        for name in common
        for metric in COMPARED_METRICS
        if (values_before := _values(old[name], metric)) and (values_after := _values(new[name], metric))
    ]
    return Comparison(
        differences=(*changes, *_answer_changes(_answers(before), _answers(after), tolerance_percent)),
        verdicts=tuple((name, was, now) for name, was, now in verdicts if was != now),
        unlike=tuple(dict.fromkeys(line for name in common for line in _unlike(old[name][0], new[name][0]))),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
    )


def _verdict(runs: Sequence[RunRecord]) -> str:
    return worst_verdict(map(run_verdict, runs))


def _values(runs: Sequence[RunRecord], metric: str) -> list[float]:
    """The metric in each run that measured it."""
    results = [run.result for run in runs if run.result is not None]
    found = (metric_value(metric, result.totals, result.latency) for result in results)
    return [value for value in found if value is not None]


def _answers(saved: SavedRecord) -> Sequence[SearchResult]:
    return saved.answers if isinstance(saved, SweepRecord) else ()


def _metric_change(
    name: str, metric: str, old: Sequence[float], new: Sequence[float], tolerance_percent: float
) -> MetricChange:
    unit = METRICS[metric].unit
    was, now = fmean(old), fmean(new)
    repeated = len(old) > 1 and len(new) > 1
    noise = max(old) - min(old) + max(new) - min(new) if repeated else None
    overlap = max(old) >= min(new) and max(new) >= min(old)
    state: State
    if metric in NEVER_NOISE and max(old) == 0 < max(new):
        state = "worse"
    elif abs(now - was) <= max(abs(was) * tolerance_percent / 100, FLOORS.get(unit, 0.0)):
        state = "same"
    elif overlap:
        state = "noise"
    else:
        state = "better" if (now > was) == (COMPARED_METRICS[metric] == "high") else "worse"
    return MetricChange(name, metric, unit, was, now, noise, state)


def _answer_changes(
    before: Sequence[SearchResult], after: Sequence[SearchResult], tolerance_percent: float
) -> Iterator[MetricChange]:
    new = {found.question: found for found in after}
    for old in before:
        now = new.get(old.question)
        if now is None:
            continue
        was_best, now_best = old.answer.best or 0.0, now.answer.best or 0.0
        state: State = "same"
        if abs(now_best - was_best) > was_best * tolerance_percent / 100:
            # A search that ended with "at least" does not show that the broker carries less than before.
            state = "better" if now_best > was_best else "noise" if now.answer.at_least else "worse"
        yield MetricChange(old.question, "answer", old.unit, was_best, now_best, None, state)


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
