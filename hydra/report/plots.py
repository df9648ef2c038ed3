"""Plots over all points as Plotly figures (plain dicts): the seed's three, latency, loss classes, the frontier.

Every text in a figure may come from a user. Plotly interprets some HTML in texts, so each text is escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.options.thresholds import Threshold, parse_threshold
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.lines import RATE, PlotLines, plot_lines
from hydra.sweep.record import SearchResult
from hydra.sweep.search import SearchAnswer, interval_text

Figure = dict[str, Any]
Trace = dict[str, Any]

COLOURS = ("#1b7fc4", "#d55e00", "#0a9973", "#b9629a", "#a67c00", "#7a76d6", "#7d8794")
"""Of traces; neighbours differ in lightness and hue, for colour-blind readers (after Okabe and Ito, adjusted until each
has a contrast of 3 to 1 to a light and a dark background)."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Traces never differ in colour alone: each has its own symbol, and each round of colours its own dash."""

LOWEST_MS = 0.001
"""A log scale has no zero, and nothing below a microsecond is measured."""

MAX_NAME_PART = 36
"""Characters of a part of a line's name, such as ``linger_ms = 5``."""

MAX_FINE_DECADES = 3
"""Decades of a logarithmic axis that have room for three ticks each."""

CATEGORY_STANDOFF = 10
"""Pixels between the title of an axis and the names of its categories."""

TX_AXIS = "Average Tx Rate [pps]"

SEED_PLOTS: Mapping[str, tuple[str, str, str]] = {
    "average_rate": ("Average Client Rate", "Average Rx Rate [pps]", ",.1f"),
    "average_packet_loss": ("Average Packet Loss", "Average Packet Loss [%]", ",.4~g"),
    "failing_clients_rate": ("Failing Clients Rate", "Average Failing Clients Rate [pps]", ",.1f"),
}
"""(title, title of the y axis, number format) by the seed's key."""


def text(value: object) -> str:
    """The text, escaped for Plotly."""
    return html.escape(str(value), quote=True)


def short_name(name: str) -> str:
    """The name of a line, each of its long parts cut in the middle: a legend shows the beginning of a line alone."""
    parts = (
        part if len(part) <= MAX_NAME_PART else f"{part[:20]}\N{HORIZONTAL ELLIPSIS}{part[-15:]}"
        for part in name.split(", ")
    )
    return ", ".join(parts)


COMMON_LAYOUT: Mapping[str, object] = {
    "xaxis": {"automargin": True, "zeroline": False},
    "yaxis": {"automargin": True, "rangemode": "tozero"},
    "legend": {
        "orientation": "h",
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "maxheight": 0.6,
    },
    "margin": {"l": 56, "r": 16, "t": 44, "b": 48},
    "modebar": {"bgcolor": "rgba(0,0,0,0)"},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hovermode": "closest",
    "showlegend": True,
}
"""Common to all figures; page.js merges a figure's own layout over it, page.css sets the colours of text and grid."""


def figure(traces: Iterable[Trace], *, title: str, x: Trace, y: Trace, **layout: object) -> Figure:
    """A figure with a plain-text title; axes and layout have what is not common to all figures."""
    axes = (("xaxis", x), ("yaxis", y))
    return {
        "data": list(traces),
        "layout": {
            "title": {"text": text(title), "x": 0.01, "xref": "container", "xanchor": "left", "font": {"size": 16}},
            **{name: {**axis, "title": _axis_title(axis)} for name, axis in axes},
            **layout,
        },
    }


def _axis_title(axis: Trace) -> Trace:
    """The title of an axis; beside categories it keeps away from their names, which may be long."""
    made: Trace = {"text": text(axis["title"]), "font": {"size": 13}}
    return {**made, "standoff": CATEGORY_STANDOFF} if axis.get("type") == "category" else made


def colour(index: int) -> str:
    """The colour of a trace."""
    return COLOURS[index % len(COLOURS)]


def trace_style(index: int, *, hollow: Sequence[bool] = (), size: int = 9) -> Trace:
    """Line and marker of a trace; ``hollow`` says for each point whether it is drawn as an outline."""
    symbol = SYMBOLS[index % len(SYMBOLS)]
    symbols = [f"{symbol}-open" if empty else symbol for empty in hollow]
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return {
        "line": {"color": colour(index), "dash": dash, "width": 2},
        "marker": {"color": colour(index), "symbol": symbols or symbol, "size": size},
    }


def _line_trace(index: int, name: str, points: Sequence[ReportPoint], x: list[float], y: list[float]) -> Trace:
    """A line through some points."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(short_name(name)),
        "x": x,
        "y": y,
        "customdata": [text(f"{short_name(point.label)}: {point.verdict}") for point in points],
        **trace_style(index, hollow=[point.verdict != "pass" for point in points]),
    }


def _x_axis(found: PlotLines) -> Trace:
    """The rate that was sent, as in the seed, or the option that was varied."""
    return {"title": TX_AXIS if found.varied == RATE else found.varied}


def _x_of(point: ReportPoint, found: PlotLines) -> float | None:
    """Where the point stands on the x axis; None where nobody measured it."""
    return point.mean("average_tx_rate") if found.varied == RATE else float(getattr(point.options, found.varied))


def seed_figure(contents: ReportContents, key: str) -> Figure:
    """One of the seed's plots: a trace for each number of clients, with a marker for each point of the sweep.

    A point without a result, or where nobody measured it, is left out of x and y alike.
    """
    title, y_title, number_format = SEED_PLOTS[key]
    found, traces = plot_lines(contents.points), []
    for index, (name, points) in enumerate(found.lines.items()):
        places = [(point, _x_of(point, found), point.mean(key)) for point in points]
        known = [(point, x, mean) for point, x, mean in places if x is not None and mean is not None]
        measured, means = [point for point, _, _ in known], [mean for _, _, mean in known]
        trace = _line_trace(index, name, measured, [x for _, x, _ in known], means)
        trace["hovertemplate"] = f"%{{customdata}}<br>%{{x:,.1f}}<br>%{{y:{number_format}}}<extra></extra>"
        # A spline as in the seed, but stiff enough not to swing below zero between two points.
        trace["line"] = {**trace["line"], "shape": "spline", "smoothing": 0.4}
        if any(len(point.results) > 1 for point in measured):
            trace["error_y"] = {
                "type": "data",
                "symmetric": False,
                "array": [max(point.values(key)) - mean for point, mean in zip(measured, means, strict=True)],
                "arrayminus": [mean - min(point.values(key)) for point, mean in zip(measured, means, strict=True)],
                "color": colour(index),
                "thickness": 1,
            }
        traces.append(trace)
    return figure(traces, title=title, x=_x_axis(found), y={"title": y_title})


def latency_figure(contents: ReportContents) -> Figure | None:
    """The 99th percentile of the end-to-end latency against what was varied; None without deliveries.

    Thresholds of it that all points have are lines.
    """
    found, traces = plot_lines(contents.points), []
    for index, (name, points) in enumerate(found.lines.items()):
        places = [(point, _x_of(point, found), point.metric("e2e_p99")) for point in points]
        known = [(point, x, significant(p99_ms)) for point, x, p99_ms in places if x is not None and p99_ms]
        if known:
            x_values, values = [x for _, x, _ in known], [p99_ms for _, _, p99_ms in known]
            trace = _line_trace(index, name, [point for point, _, _ in known], x_values, values)
            traces.append({**trace, "hovertemplate": "%{customdata}<br>p99 %{y:,.4~g} ms<extra></extra>"})
    if not traces:
        return None
    limits = [(limit.limit, str(limit)) for limit in common_limits(contents) if limit.metric == "e2e_p99"]
    y = log_axis("End to end p99 [ms]", [*traces, {"y": [limit for limit, _ in limits]}])
    lines = threshold_lines(limits, log=True)
    return figure(traces, title="Latency, 99th percentile", x=_x_axis(found), y=y, **lines)


def common_limits(contents: ReportContents) -> list[Threshold]:
    """The thresholds that every point has."""
    of_points = [dict.fromkeys(point.options.threshold) for point in contents.points]
    return [parse_threshold(limit) for limit in of_points[0] if all(limit in each for each in of_points)]


def threshold_lines(limits: Sequence[tuple[float, str]], *, log: bool) -> dict[str, list[Trace]]:
    """What a figure's layout has for thresholds, (limit, text): a dashed line for each, with its text."""
    at = [math.log10(max(limit, LOWEST_MS)) if log else limit for limit, _ in limits]
    line = {"color": COLOURS[1], "width": 1.5, "dash": "dash"}
    shapes: list[Trace] = [
        {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": limit, "y1": limit, "line": line}
        for limit, _ in limits
    ]
    notes: list[Trace] = [
        {
            "x": 1, "xref": "paper", "xanchor": "right", "y": height, "yanchor": "bottom", "showarrow": False,
            "text": text(told), "font": {"size": 11},
        }
        for (_, told), height in zip(limits, at, strict=True)
    ]  # fmt: skip
    return {"shapes": shapes, "annotations": notes}


def log_axis(title: str, traces: Iterable[Trace]) -> Trace:
    """A logarithmic y axis for these traces."""
    values = [value for trace in traces for value in trace["y"] if value]
    # Around a single value Plotly shows two decades.
    wide = bool(values) and (max(values) >= 5 * min(values) or max(values) == min(values))
    axis: Trace = {"title": title, "type": "log", "rangemode": "normal", "tickformat": ",~g"}
    # Ticks at 1, 2, 5, 10, 20, ...: a narrow range might hold none of these, and has room for more.
    # Where they would lie on each other: at 1, 10, 100, ...
    ticks = "D2" if wide and max(values) <= 10**MAX_FINE_DECADES * min(values) else 1
    return {**axis, "dtick": ticks} if wide else axis


def significant(value: float) -> float:
    """The value with four significant digits: enough for a plot, and it halves the size of a page with many points."""
    return float(f"{value:.4g}")


LOSS_CLASSES: Mapping[str, tuple[str, str]] = {
    "records_broker_lost": ("not in the broker's log", ""),
    "records_expired": ("expired before they were read", "/"),
    "records_skipped": ("passed over", "x"),
    "records_unread": ("unread at the end: no proof of loss", "."),
    "records_duplicated": ("received twice", "\\"),
    "records_reordered": ("out of order", "-"),
    "records_ghost": ("received although refused", "|"),
    "records_corrupt": ("corrupt batches", "+"),
}
"""What can go wrong with deliveries, and the pattern of its bars, by the field of Totals."""

MAX_LOSS_POINTS = 40
"""Bars of points with a loss: those with the most."""

PATTERN_STYLE: Mapping[str, object] = {"fillmode": "overlay", "solidity": 0.2, "size": 6}


def loss_figure(contents: ReportContents) -> Figure | None:
    """Deliveries that were lost or otherwise wrong, by class and point; None if there are none."""
    counts = {
        f"{number}: {point.clients:,} x {point.msg_rate:,.6g}": [
            sum(getattr(result.totals, field) for result in point.results) for field in LOSS_CLASSES
        ]
        for number, point in enumerate(contents.points, 1)
    }
    counts = {label: classes for label, classes in counts.items() if any(classes)}
    if not counts:
        return None
    title = "Loss classes"
    if len(counts) > MAX_LOSS_POINTS:
        title = f"Loss classes, the {MAX_LOSS_POINTS} points of {len(counts):,} with the most"
        least = sorted(map(sum, counts.values()), reverse=True)[MAX_LOSS_POINTS - 1]
        most = [label for label, classes in counts.items() if sum(classes) >= least][:MAX_LOSS_POINTS]
        counts = {label: counts[label] for label in most}
    traces: list[Trace] = [
        {
            "type": "bar",
            "name": name,
            "y": [text(label) for label in counts],
            "x": [classes[index] for classes in counts.values()],
            "orientation": "h",
            "marker": {"color": colour(index), "pattern": {"shape": pattern, **PATTERN_STYLE}},
            "hovertemplate": "%{y}<br>%{x:,} deliveries<extra>%{fullData.name}</extra>",
        }
        for index, (name, pattern) in enumerate(LOSS_CLASSES.values())
        if any(classes[index] for classes in counts.values())
    ]
    return figure(
        traces,
        title=title,
        x={"title": "Deliveries"},
        y={"title": "Point: clients x records/s", "autorange": "reversed", "type": "category"},
        barmode="stack",
        meta={"rows": len(counts)},
    )


def frontier_figure(answers: Sequence[SearchResult]) -> Figure:
    """The highest good rate against the clients, and the interval of the limit.

    A hollow triangle: at least that; a circle: the broker's limit.
    """
    known = [(one.clients, one.answer.best, one.answer) for one in answers if one.clients and one.answer.best]
    found = sorted(known, key=lambda each: each[:2])  # two files may have the same clients and rate
    style = trace_style(0, size=11)
    symbols = ["triangle-up-open" if answer.at_least else "circle" for _, _, answer in found]
    good: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "highest good rate",
        "x": [clients for clients, _, _ in found],
        "y": [best for _, best, _ in found],
        "error_y": _interval_bars([(best, answer.interval) for _, best, answer in found]),
        "customdata": [_limit_text(answer) for _, _, answer in found],
        "hovertemplate": "%{x:,} clients: %{y:,.4~g} records/s<br>%{customdata}<extra></extra>",
        **style,
        "marker": {**style["marker"], "symbol": symbols},
    }
    above = [(clients, answer.above) for clients, _, answer in found if answer.above is not None]
    bad: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "lowest that is not good",
        "x": [clients for clients, _ in above],
        "y": [value for _, value in above],
        "hovertemplate": "%{x:,} clients: %{y:,.4~g} records/s is not good<extra></extra>",
        "marker": {"color": colour(1), "symbol": "x", "size": 8},
    }
    return figure([good, bad], title="Frontier", x={"title": "Clients"}, y={"title": "Rate [records/s]"})


def _interval_bars(found: Sequence[tuple[float, tuple[float, float] | None]]) -> Trace:
    """How far the interval of each answer reaches above and below it; nothing where it has none."""
    ends = [(best, best) if interval is None else interval for best, interval in found]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - best) for (best, _), (_, high) in zip(found, ends, strict=True)],
        "arrayminus": [max(0.0, best - low) for (best, _), (low, _) in zip(found, ends, strict=True)],
    }


def _limit_text(answer: SearchAnswer) -> str:
    limit = "at least: the broker's limit was not found" if answer.at_least else "the broker's limit"
    limit = limit if answer.confirmed else f"{limit}; not confirmed"
    return limit if answer.interval is None else f"{limit}; {interval_text(answer.interval)} in 95 %"
