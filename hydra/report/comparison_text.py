"""A comparison and a trend in words and in the cells of tables: the same on terminals and pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hydra.report import text
from hydra.sweep.compared_answers import ANSWER
from hydra.sweep.comparison import Comparison, SidesCompared
from hydra.sweep.judgement import MIN_RUNS
from hydra.sweep.metric_change import MetricChange
from hydra.sweep.trend import Change, Series, trend_exit_code

COMPARED_COLUMNS = (
    ("point", False), ("metric", False), ("A", True), ("B", True), ("change", True), ("95 % interval", True),
    ("runs", True), ("unit", False), ("", False), ("", False),
)  # fmt: skip
"""(heading, whether it has numbers) of the cells of a comparison."""

STATE_COLUMN = len(COMPARED_COLUMNS) - 2

TREND_COLUMNS = (
    ("since", False), ("point", False), ("metric", False), ("before", True), ("after", True), ("change", True),
    ("95 % interval", True), ("unit", False), ("", False),
)  # fmt: skip
"""The same of the cells of a change over time."""

MACHINE_HEADING, EFFECT_HEADING = "A against A: the machine", "B against A"
"""Of the two comparisons of ``hydra kafka ab``."""

MAX_LINES = 12
"""Sentences of one kind."""

Judgement = Literal["pass", "fail", "indeterminate"]


def judgement(found: Comparison, *, tolerance_percent: float) -> tuple[Judgement, list[str]]:
    """What a comparison comes to: as a verdict, and in sentences."""
    if found.regressions:
        return "fail", [f"WORSE {told}" for told in found.regressions]
    if found.exit_code == 0:
        return "pass", [f"nothing is shown to be worse by more than {tolerance_percent:g} %"]
    lacking = f"B is not complete: {found.missing[1]}" if found.missing[1] else "not judged"
    return "indeterminate", [f"NO ANSWER: {lacking}"]


def doubt_line(found: SidesCompared) -> str:
    """Why a comparison of two settings tells nothing of B; empty where it does."""
    return f"NO ANSWER: {found.doubt}" if found.doubt else ""


def counted_line(found: Comparison) -> str:
    """How many comparisons came to what."""
    counts = Counter(item.state for item in found.differences)
    told = ", ".join(f"{number:,} {state}" for state, number in counts.most_common())
    return f"{len(found.differences):,} comparisons: {told}" if told else "nothing to compare"


def detail_lines(found: Comparison) -> list[str]:
    """What else differs, and what to do where runs are too few."""
    lines = [f"not complete: {side}: {told}" for side, told in zip("AB", found.missing, strict=True) if told]
    lines += [f"unlike: {told}" for told in found.unlike]
    lines += [f"verdict: {name}: {was} -> {now}" for name, was, now in found.verdicts]
    lines += [f"only in A: {name}" for name in found.only_before] + [f"only in B: {name}" for name in found.only_after]
    lines += [f"no result in B: {name}" for name in found.unmeasured]
    figures = (item for item in found.differences if item.state == "not judged" and item.metric != ANSWER)
    if any(min(item.runs) < MIN_RUNS for item in figures):
        lines.append(
            f"not judged: too few runs that say something about the broker; --repeats={found.advised} is advised"
        )
    return lines


def compared_cells(item: MetricChange) -> list[str]:
    """A comparison, by ``COMPARED_COLUMNS``."""
    percent = item.change_percent
    change = "" if percent is None else "new" if math.isinf(percent) else f"{percent:+.1f} %"
    runs = f"{item.runs[0]} | {item.runs[1]}"
    values = [_shown(item.before), _shown(item.after), change, interval_text(item.interval), runs]
    return [item.point, item.metric, *values, item.unit, item.state, _beside(item)]


def interval_text(interval: tuple[float, float] | None) -> str:
    """The interval of a difference; empty where there is none."""
    return "" if interval is None else " to ".join(f"{bound:+.3g}" for bound in interval)


def _shown(value: float | None) -> str:
    return "" if value is None else text.number(value)


def _beside(item: MetricChange) -> str:
    """What belongs to the state of a metric."""
    if item.state != "no difference shown" or item.p is None:
        return item.why
    if item.smallest is None:
        return item.why or "so few runs could not have shown one"
    least = f"{text.three_digits(item.smallest)} {item.unit} would have been" if item.smallest else ""
    return "; ".join(filter(None, (least, item.why)))


def changes_in_order(found: Sequence[Series]) -> list[tuple[Series, Change]]:
    """All changes, the earliest first."""
    changed = [(series, change) for series in found for change in series.changes]
    return sorted(changed, key=lambda each: each[1].at)


def change_text(change: Change) -> str:
    """How much changed."""
    return f"{100 * (change.after / change.before - 1):+.1f} %" if change.before else "new"


def trend_cells(series: Series, change: Change) -> list[str]:
    """A change over time, by ``TREND_COLUMNS``."""
    values = [text.number(change.before), text.number(change.after), change_text(change)]
    named = [change.at[:16], series.point, series.metric]
    return [*named, *values, interval_text(change.interval), series.unit, change.state]


def shortened(lines: Sequence[str]) -> list[str]:
    """The first of these lines, and how many more there are."""
    more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return [*lines[:MAX_LINES], *more]


def steady_lines(found: Sequence[Series]) -> list[str]:
    """How much did not change, and of how much nobody can say that."""
    shown = [series for series in found if not series.too_few]
    steady = sum(not series.changes for series in shown)
    longest = max((len(series.values) for series in found), default=0)
    lines = [f"{steady} of {len(shown)} series did not change; the longest has {longest} results"]
    if few := len(found) - len(shown):
        lines.append(f"{few} series have too few results to show a change: it takes {_needed(found)}")
    if ended := sum(not series.newest for series in found):
        lines.append(f"{ended} of {len(found)} series have no figure that counts in the newest result")
    return lines


def _needed(found: Sequence[Series]) -> int:
    return max(series.needed for series in found)


def trend_judgement(found: Sequence[Series]) -> tuple[Judgement, list[str]]:
    """What a trend comes to: as a verdict, and in sentences."""
    worse = sorted(((series, change) for series in found if (change := series.worsening)), key=lambda each: each[1].at)
    lines = [
        f"WORSE since {change.at[:10]}: {series.point}: {series.metric} {text.number(change.before)} ->"
        f" {text.number(change.after)} {series.unit} ({change_text(change)})"
        for series, change in worse
    ]
    if lines:
        return "fail", lines
    if trend_exit_code(found):
        known = any(series.newest for series in found if series.metric.startswith("e2e_"))
        few = f"too few results to show a change: it takes {_needed(found)} of a point"
        return "indeterminate", [f"NO ANSWER: {few if known else 'the newest result has no latency that counts'}"]
    mended = any(change.state == "worse" for series in found for change in series.changes)
    told = "nothing is worse now: what changed for the worse is as it was before" if mended else ""
    return "pass", [told or "nothing changed for the worse"]
