"""Plots of a comparison and of a trend: differences with their intervals, series with their changes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from hydra.report.comparison_text import change_text, compared_cells
from hydra.report.plots import COLOURS, Figure, Trace, figure, significant, text
from hydra.sweep.comparison import Comparison
from hydra.sweep.counted_runs import LOSSES
from hydra.sweep.metric_change import MetricChange
from hydra.sweep.trend import Series

MAX_FIGURE_ROWS = 60
"""Points in one plot: those whose difference is shown first, then those that changed most."""

GREY = COLOURS[6]
STATE_LOOKS: Mapping[str, tuple[str, str]] = {
    "worse": (COLOURS[1], "triangle-left"),
    "better": (COLOURS[2], "diamond"),
    "no difference shown": (GREY, "circle"),
    "not judged": (GREY, "circle-open"),
    "not comparable": (GREY, "x-thin-open"),
}
"""(colour, symbol) by state."""

_CLIENTS_AND_RATE = re.compile("^clients=([0-9]+) msg_rate=([0-9.]+)")
_Y_TITLE = "Point: clients x records/s"
"""A point's name is as long as a narrow screen is wide."""

AXIS = "Change of the median, B against A [%]"


def comparison_figures(found: Comparison, *, tolerance_percent: float, prefix: str) -> dict[str, Figure]:
    """By name: one of all metrics where there is one point, else one for each metric with a row for each point."""
    drawn = [item for item in found.differences if _can_be_drawn(item)]
    points = {item.point for item in drawn if item.metric != "answer"}
    groups: dict[str, list[tuple[str, MetricChange]]] = {}
    for item in drawn:
        together = len(points) == 1 and item.metric != "answer"
        label = item.metric if together else _CLIENTS_AND_RATE.sub(r"\1 x \2", item.point)
        groups.setdefault("figures" if together else item.metric, []).append((label, item))
    return {
        f"{prefix}_{name}": _differences(name, rows, tolerance_percent=tolerance_percent)
        for name, rows in groups.items()
    }


def _can_be_drawn(item: MetricChange) -> bool:
    """Whether there is a share to draw; where nothing was lost on both sides there is nothing to see."""
    percent = item.change_percent
    return percent is not None and math.isfinite(percent) and not (item.metric in LOSSES and not item.before)


def _differences(name: str, rows: Sequence[tuple[str, MetricChange]], *, tolerance_percent: float) -> Figure:
    kept = _most_changed(rows)
    title = f"{name} [{kept[0][1].unit}]" if name != "figures" else "All figures"
    title = "Answers" if name == "answer" else title
    if len(kept) < len(rows):
        title += f", {len(kept)} of {len(rows)} points"
    lines = [_vertical(0.0, dash="solid"), *(_vertical(sign * tolerance_percent) for sign in (-1, 1))]
    reach = 1.2 * tolerance_percent
    labels = [text(label) for label, _ in kept]
    return figure(
        [*_bands(kept), *_by_state(kept)],
        title=title,
        x={"title": AXIS, "autorangeoptions": {"include": [-reach, reach]}},
        y={
            "title": _Y_TITLE if any(" x " in label for label in labels) else "",
            "type": "category",
            "range": [len(kept) - 0.5, -0.5],  # the first one on top, and no blank rows around them
            "categoryorder": "array",
            "categoryarray": labels,
        },
        shapes=lines,
        meta={"rows": len(kept)},
    )


def _most_changed(rows: Sequence[tuple[str, MetricChange]]) -> list[tuple[str, MetricChange]]:
    def rank(index: int) -> tuple[bool, float]:
        item = rows[index][1]
        return item.state not in {"worse", "better"}, -abs(item.change_percent or 0.0)

    kept = sorted(sorted(range(len(rows)), key=rank)[:MAX_FIGURE_ROWS])
    return [rows[index] for index in kept]


def _vertical(at: float | str, *, dash: str = "dash") -> Trace:
    """A line over the whole height of a plot."""
    line = {"color": GREY, "width": 1, "dash": dash}
    return {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _bands(rows: Sequence[tuple[str, MetricChange]]) -> list[Trace]:
    """For each row without a difference the band of those that would not have been shown."""
    x: list[float | None] = []
    y: list[str | None] = []
    for label, item in rows:
        if item.state == "no difference shown" and item.smallest and item.before:
            share = significant(100 * item.smallest / abs(item.before))
            x += [-share, share, None]
            y += [text(label), text(label), None]
    name = "would not have been shown"
    line = {"color": GREY, "width": 11}
    made: Trace = {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, "opacity": 0.3}
    return [{**made, "hoverinfo": "skip"}] if x else []


def _by_state(rows: Sequence[tuple[str, MetricChange]]) -> Iterable[Trace]:
    for state, (colour, symbol) in STATE_LOOKS.items():
        found = [(label, item) for label, item in rows if item.state == state]
        if not found:
            continue
        changes = [item.change_percent or 0.0 for _, item in found]
        ends = [_percent_interval(item, change) for (_, item), change in zip(found, changes, strict=True)]
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": state,
            "x": [significant(change) for change in changes],
            "y": [text(label) for label, _ in found],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [significant(max(0.0, high - x)) for x, (_, high) in zip(changes, ends, strict=True)],
                "arrayminus": [significant(max(0.0, x - low)) for x, (low, _) in zip(changes, ends, strict=True)],
                "color": colour,
                "thickness": 2,
            },
            "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"color": colour, "width": 2}},
            "customdata": [text(_told(item)) for _, item in found],
            "hovertemplate": "%{customdata}<extra></extra>",
        }


def _percent_interval(item: MetricChange, change: float) -> tuple[float, float]:
    if item.interval is None or not item.before:
        return change, change
    low, high = (100 * bound / abs(item.before) for bound in item.interval)
    return low, high


def _told(item: MetricChange) -> str:
    point, metric, was, now, change, interval, runs, unit, state, beside = compared_cells(item)
    within = f" (95 %: {interval} {unit})" if interval else ""
    told = f"{point}: {metric} {was} -> {now} {unit}, {change}{within}, runs {runs}: {state}"
    return f"{told}; {beside}" if beside else told


def series_figure(series: Series, *, with_point: bool) -> Figure:
    """A metric of a point over all results, with its changes; the title names the point where that is asked for."""
    times = [_time(at) for at in series.times]
    starts = [series.times.index(change.at) for change in series.changes]
    title = f"{series.metric} [{series.unit}]"
    marks = [
        {
            "x": times[start], "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
            "text": text(f"{change.state}, {change_text(change)}"), "font": {"size": 11},
        }
        for start, change in zip(starts, series.changes, strict=True)
    ]  # fmt: skip
    return figure(
        [_values(series, times), *_levels(series, times, starts)],
        title=f"{title}: {series.point}" if with_point else title,
        x={"title": "Started (UTC)", "type": "date"},
        y={"title": series.unit},
        shapes=[*(_vertical(times[start]) for start in starts), *_change_intervals(series, times, starts)],
        annotations=marks,
        margin={"l": 56, "r": 16, "t": 64, "b": 48},
    )


def _time(at: str) -> str:
    """A time as Plotly takes it: it knows no zones, and all of ours are UTC."""
    return at[:19]


def _values(series: Series, times: Sequence[str]) -> Trace:
    made: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "median of the runs",
        "x": list(times),
        "y": [significant(value) for value in series.values],
        "marker": {"color": COLOURS[0], "symbol": "circle", "size": 7},
        "hovertemplate": "%{x}: %{y:,.4~g}<extra></extra>",
    }
    if any(low != high for low, high in series.ranges):
        pairs = list(zip(series.values, series.ranges, strict=True))
        made["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [significant(high - value) for value, (_, high) in pairs],
            "arrayminus": [significant(value - low) for value, (low, _) in pairs],
            "color": COLOURS[0],
            "thickness": 1,
        }
    return made


def _parts(series: Series, starts: Sequence[int]) -> list[tuple[int, int, float]]:
    """(first, last, median) between changes; none where there is no change."""
    if not starts:
        return []
    ends = [*starts, len(series.values)]
    levels = [series.changes[0].before, *(change.after for change in series.changes)]
    return [(first, end - 1, level) for first, end, level in zip([0, *starts], ends, levels, strict=True)]


def _levels(series: Series, times: Sequence[str], starts: Sequence[int]) -> list[Trace]:
    x: list[str | None] = []
    y: list[float | None] = []
    for first, last, level in _parts(series, starts):
        x += [times[first], times[last], None]
        y += [significant(level), significant(level), None]
    line = {"color": COLOURS[1], "width": 2, "dash": "solid"}
    made: Trace = {"type": "scatter", "mode": "lines", "name": "median between changes", "x": x, "y": y, "line": line}
    return [{**made, "hovertemplate": "%{y:,.4~g}<extra></extra>"}] if x else []


def _change_intervals(series: Series, times: Sequence[str], starts: Sequence[int]) -> Iterable[Trace]:
    for (first, last, _), change in zip(_parts(series, starts)[1:], series.changes, strict=True):
        if change.interval is not None:
            low, high = (change.before + bound for bound in change.interval)
            yield {
                "type": "rect", "x0": times[first], "x1": times[last], "y0": low, "y1": high,
                "fillcolor": COLOURS[1], "opacity": 0.2, "line": {"width": 0}, "layer": "below",
            }  # fmt: skip
