"""Which points a plot over all points joins by lines: those that differ in one thing alone, the plot's x axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.report.contents import ReportPoint
from hydra.sweep.plan import CLIENTS, SIDE, changes_text, format_value

RATE = "msg_rate"
NOT_ON_LINES = frozenset({"output", "keep_running", "threshold", "start_timeout", "total_sub_apps", "clients_per_app"})
"""Options that change nothing of what is measured, and those that ``clients`` stands for."""


@dataclass(frozen=True)
class PlotLines:
    """The lines of a plot over all points."""

    varied: str
    """The option that differs along a line: the rate, or where all points have the same the only other one that has
    numbers."""
    lines: Mapping[str, Sequence[ReportPoint]]
    """The points of each line by its name, in the order of what varies."""


def plot_lines(trials: Sequence[ReportPoint]) -> PlotLines:
    """The lines through these points; points of unlike options, sides or files are never on one.

    Trials of a search that repeat a point are its repeats.
    """
    points = _with_repeats(trials)
    facts = [_facts(point) for point in points]
    differing = [name for name in dict.fromkeys(name for each in facts for name in each) if _differs(name, facts)]
    varied = _varied(differing, facts)
    names = [name for name in differing if name not in {varied, CLIENTS}]
    found: dict[tuple[object, ...], list[ReportPoint]] = {}
    order = sorted(range(len(points)), key=lambda index: (points[index].clients, _number(facts[index].get(varied))))
    for index in order:
        key = (facts[index][CLIENTS], *(format_value(facts[index].get(name)) for name in names))
        found.setdefault(key, []).append(points[index])
    return PlotLines(varied, {_line_name(key, names): line for key, line in found.items()})


def _with_repeats(trials: Sequence[ReportPoint]) -> list[ReportPoint]:
    """The points, each with all of its runs."""
    found: dict[tuple[object, ...], ReportPoint] = {}
    for point in trials:
        key = (point.source, changes_text(point.changes), point.options)
        before = found.get(key)
        found[key] = point if before is None else dataclasses.replace(before, runs=(*before.runs, *point.runs))
    return list(found.values())


def _facts(point: ReportPoint) -> dict[str, object]:
    options = {name: value for name, value in vars(point.options).items() if name not in NOT_ON_LINES}
    beside = {SIDE: point.changes[SIDE]} if SIDE in point.changes else {}
    return {CLIENTS: point.clients, **options, **beside, **({"file": point.source} if point.source else {})}


def _differs(name: str, facts: Sequence[Mapping[str, object]]) -> bool:
    return any(each.get(name) != facts[0].get(name) for each in facts)


def _varied(differing: Sequence[str], facts: Sequence[Mapping[str, object]]) -> str:
    """What the x axis is: the rate, or the only option that has numbers and differs, where the rate does not."""
    others = [
        name for name in differing if name not in {RATE, CLIENTS} and all(_is_number(each.get(name)) for each in facts)
    ]
    return others[0] if RATE not in differing and len(others) == 1 else RATE


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _line_name(key: Sequence[object], names: Sequence[str]) -> str:
    """As in the seed, and behind it in what else the line differs from others."""
    others = [f"{name} = {value}" for name, value in zip(names, key[1:], strict=True)]
    return ", ".join([f"client_count = {key[0]}", *others])
