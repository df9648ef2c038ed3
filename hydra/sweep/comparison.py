"""Two results side by side: what is different, what of that is more than noise, and what of that is worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from hydra.accounting.metrics import metric_value
from hydra.options.thresholds import METRICS
from hydra.run.record import RunRecord
from hydra.sweep.plan import format_value
from hydra.sweep.record import FoundAnswer

COMPARED: Mapping[str, Literal["high", "low"]] = {
    "tx_rate": "high",
    "rx_rate": "high",
    "loss": "low",
    "failing_clients": "low",
    "e2e_p50": "low",
    "e2e_p99": "low",
    "e2e_p999": "low",
}
"""Which way is good, by metric."""

FLOORS: Mapping[str, float] = {"ms": 1.0}
"""Differences that are never called worse, by unit: a millisecond is what the pace of fetches makes of chance."""

IGNORED_OPTIONS = ("output", "keep_running", "java", "start_timeout")
NOT_OF_A_MACHINE = ("release",)
GRAVER = {"pass": 0, "indeterminate": 1, "fail": 2, "error": 3}


@dataclass(frozen=True)
class Compared:
    """Runs of the same point, on one of the two sides."""

    runs: tuple[RunRecord, ...]

    @property
    def verdict(self) -> str:
        """The gravest one."""
        verdicts = [run.result.verdict if run.result is not None else "error" for run in self.runs]
        return max(verdicts, key=lambda verdict: GRAVER[verdict])

    def values(self, metric: str) -> list[float]:
        """A metric, of each run that has a result."""
        results = [run.result for run in self.runs if run.result is not None]
        return [metric_value(metric, result.totals, result.latency) for result in results]


@dataclass(frozen=True)
class Difference:
    """One metric of one point on both sides."""

    point: str
    metric: str
    unit: str
    before: float
    after: float
    noise: float | None
    """How far the repeats of both sides lie apart, added; None where a side has one run only."""
    state: Literal["same", "noise", "better", "worse"]
    """``noise``: beyond the tolerance, but the repeats lie further apart than the two sides."""

    @property
    def change_percent(self) -> float:
        """Of ``before``; infinite where that is 0 and ``after`` is not."""
        if self.before == self.after:
            return 0.0
        return 100.0 * (self.after - self.before) / abs(self.before) if self.before else math.inf


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    differences: tuple[Difference, ...]
    verdicts: tuple[tuple[str, str, str], ...]
    """(point, before, after) of the points whose verdict is another one."""
    unlike: tuple[str, ...]
    """Options, machines and versions that differ: sentences."""
    only_before: tuple[str, ...]
    """Points that one side has only."""
    only_after: tuple[str, ...]

    @property
    def regressions(self) -> tuple[str, ...]:
        """What is worse, in words."""
        found = [
            f"{item.point}: {item.metric} {item.before:,.5g} -> {item.after:,.5g} {item.unit}"
            for item in self.differences
            if item.state == "worse"
        ]
        return (
            *(f"{name}: {was} -> {now}" for name, was, now in self.verdicts if GRAVER[now] > GRAVER[was]),
            *found,
        )


Side = Mapping[str, Compared]
"""A side's points by their names."""


def compare(
    before: Side,
    after: Side,
    *,
    tolerance_percent: float,
    answers: tuple[Sequence[FoundAnswer], Sequence[FoundAnswer]] = ((), ()),
) -> Comparison:
    """Compare two sides.

    A difference counts when it is larger than the tolerance and than the floor of its unit, and when the repeats of the
    two sides do not overlap. Any loss where there was none counts.

    Args:
        before: the points of one side.
        after: those of the other side.
        tolerance_percent: up to this a difference is none.
        answers: of two searches; a lower one counts beyond the tolerance.
    """
    common = [name for name in before if name in after]
    differences = [
        _difference(name, metric, before[name], after[name], tolerance_percent)
        for name in common
        for metric in COMPARED
        if before[name].values(metric) and after[name].values(metric)
    ]
    return Comparison(
        differences=(*differences, *_answers(*answers, tolerance_percent)),
        verdicts=tuple(
            (name, before[name].verdict, after[name].verdict)
            for name in common
            if before[name].verdict != after[name].verdict
        ),
        unlike=tuple(_unlike(before, after, common)),
        only_before=tuple(name for name in before if name not in after),
        only_after=tuple(name for name in after if name not in before),
    )


def _difference(name: str, metric: str, before: Compared, after: Compared, tolerance_percent: float) -> Difference:
    old, new = before.values(metric), after.values(metric)
    unit = METRICS[metric].unit
    was, now = fmean(old), fmean(new)
    known = len(old) > 1 and len(new) > 1
    apart = max(old) < min(new) or max(new) < min(old)
    small = abs(now - was) <= max(abs(was) * tolerance_percent / 100, FLOORS.get(unit, 0.0))
    state: Literal["same", "noise", "better", "worse"]
    if small:
        state = "same"
    elif not apart:
        state = "noise"
    else:
        state = "better" if (now > was) == (COMPARED[metric] == "high") else "worse"
    noise = max(old) - min(old) + max(new) - min(new) if known else None
    return Difference(name, metric, unit, was, now, noise, state)


def _answers(before: Sequence[FoundAnswer], after: Sequence[FoundAnswer], tolerance_percent: float) -> list[Difference]:
    new = {found.question: found for found in after}
    found = []
    for old in before:
        now = new.get(old.question)
        if now is None:
            continue
        best, better = old.answer.best or 0.0, now.answer.best or 0.0
        # "At least" is no limit: a search that was stopped by the harness says nothing about the broker getting worse.
        state: Literal["same", "noise", "better", "worse"] = "same"
        if abs(better - best) > best * tolerance_percent / 100:
            state = "better" if better > best else "noise" if now.answer.at_least else "worse"
        found.append(Difference(old.question, "answer", old.unit, best, better, None, state))
    return found


def _unlike(before: Side, after: Side, common: Sequence[str]) -> list[str]:
    """What else is different between the two sides, once for all points."""
    lines: dict[str, None] = {}
    for name in common:
        old, new = before[name].runs[0], after[name].runs[0]
        for what, was, now, ignored in (
            ("option", vars(old.order.options), vars(new.order.options), IGNORED_OPTIONS),
            ("machine", old.machine, new.machine, NOT_OF_A_MACHINE),
            ("version of", old.versions, new.versions, ()),
        ):
            for key in sorted({*was, *now} - {*ignored}):
                if was.get(key) != now.get(key):
                    lines[f"{what} {key}: {format_value(was.get(key))} -> {format_value(now.get(key))}"] = None
    return list(lines)
