"""Plots over all points as Plotly figures (plain dicts): the seed's three, latency, loss classes and the frontier.

Every text in a figure may come from a user. Plotly interprets some HTML in texts, so each text is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.report.contents import ReportContents, ReportPoint
from hydra.sweep.record import SearchResult
from hydra.sweep.search import SearchAnswer

Figure = dict[str, Any]
Trace = dict[str, Any]

COLOURS = ("#1b7fc4", "#d55e00", "#0a9973", "#b9629a", "#a67c00", "#7a76d6", "#7d8794")
"""Of traces; neighbours differ in lightness and hue, for colour-blind readers (after Okabe and Ito, adjusted until each
has a contrast of 3 to 1 to a light and a dark background)."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Traces never differ in colour alone: each has its own symbol, and each round of colours its own dash."""

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


COMMON_LAYOUT: Mapping[str, object] = {
    "xaxis": {"automargin": True, "zeroline": False},
    "yaxis": {"automargin": True, "rangemode": "tozero"},
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
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
            **{name: {**axis, "title": {"text": text(axis["title"]), "font": {"size": 13}}} for name, axis in axes},
            **layout,
        },
    }


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


def _clients_trace(index: int, clients: int, points: Sequence[ReportPoint], y: list[float], hover: str) -> Trace:
    """A line for a number of clients: a value of each point against the rate that was sent."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"client_count = {clients}",
        "x": [point.mean("average_tx_rate") for point in points],
        "y": y,
        "customdata": [text(f"{point.label}: {point.verdict}") for point in points],
        "hovertemplate": f"%{{customdata}}<br>{hover}<extra></extra>",
        **trace_style(index, hollow=[point.verdict != "pass" for point in points]),
    }


def seed_figure(contents: ReportContents, key: str) -> Figure:
    """One of the seed's plots: a trace for each number of clients, with a marker for each point of the sweep.

    A point without a result is left out of x and y alike.
    """
    title, y_title, number_format = SEED_PLOTS[key]
    traces = []
    for index, (clients, points) in enumerate(contents.points_by_clients.items()):
        measured = [point for point in points if point.results]
        means = [point.mean(key) or 0.0 for point in measured]
        trace = _clients_trace(index, clients, measured, means, f"Tx %{{x:,.1f}}<br>%{{y:{number_format}}}")
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
    return figure(traces, title=title, x={"title": TX_AXIS}, y={"title": y_title})


def latency_figure(contents: ReportContents) -> Figure | None:
    """The 99th percentile of the end-to-end latency against the rate that was sent; None without deliveries."""
    traces = []
    for index, (clients, points) in enumerate(contents.points_by_clients.items()):
        found = [(point, p99_ms) for point in points if (p99_ms := point.metric("e2e_p99"))]
        if found:
            values = [significant(p99_ms) for _, p99_ms in found]
            traces.append(_clients_trace(index, clients, [point for point, _ in found], values, "p99 %{y:,.4~g} ms"))
    if not traces:
        return None
    y = log_axis("End to end p99 [ms]", traces)
    return figure(traces, title="Latency, 99th percentile", x={"title": TX_AXIS}, y=y)


def log_axis(title: str, traces: Iterable[Trace]) -> Trace:
    """A logarithmic y axis for these traces."""
    values = [value for trace in traces for value in trace["y"] if value]
    wide = bool(values) and max(values) >= 5 * min(values)
    axis: Trace = {"title": title, "type": "log", "rangemode": "normal", "tickformat": ",~g"}
    # Ticks at 1, 2, 5, 10, 20, ...: a narrow range might hold none of these, and has room for more.
    return {**axis, "dtick": "D2"} if wide else axis


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
        title="Loss classes",
        x={"title": "Deliveries"},
        y={"title": "Point: clients x records/s", "autorange": "reversed", "type": "category"},
        barmode="stack",
    )


def frontier_figure(answers: Sequence[SearchResult]) -> Figure:
    """The highest good rate against the clients. A hollow triangle: at least that; a circle: the broker's limit."""
    found = sorted((one.clients, one.answer.best, one.answer) for one in answers if one.clients and one.answer.best)
    style = trace_style(0, size=11)
    symbols = ["triangle-up-open" if answer.at_least else "circle" for _, _, answer in found]
    good: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "highest good rate",
        "x": [clients for clients, _, _ in found],
        "y": [best for _, best, _ in found],
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


def _limit_text(answer: SearchAnswer) -> str:
    limit = "at least: the broker was not the limit" if answer.at_least else "the broker's limit"
    return limit if answer.confirmed else f"{limit}; not confirmed"
