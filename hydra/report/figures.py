"""Plotly figures as plain dicts: the original's three plots, the frontier, and what all figures have in common.

Every text in a figure may come from a user. Plotly reads a little HTML in texts, so each is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from hydra.core.sweep_record import FoundAnswer
from hydra.report import palette
from hydra.report.measured import Measured, MeasuredPoint

Figure = dict[str, object]
Trace = dict[str, object]

TX_AXIS = "Average Tx Rate [pps]"

SEED_PLOTS: Mapping[str, tuple[str, str, str]] = {
    "average_rate": ("Average Client Rate", "Average Rx Rate [pps]", ",.1f"),
    "average_packet_loss": ("Average Packet Loss", "Average Packet Loss [%]", ",.4~g"),
    "failing_clients_rate": ("Failing Clients Rate", "Average Failing Clients Rate [pps]", ",.1f"),
}
"""(title, name of the y axis, how a value is written) by the seed's key: the original's three plots."""


def text(value: object) -> str:
    """A text that Plotly shows as it is."""
    return html.escape(str(value), quote=True)


def figure(
    traces: Iterable[Trace], *, title: str, x: str, y: str, x_axis: Trace | None = None, y_axis: Trace | None = None
) -> Figure:
    """A figure with the looks that all have in common. Colours of text and grid are the page's (its style sheet)."""
    return {
        "data": list(traces),
        "layout": {
            "title": {"text": text(title), "x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
            "xaxis": {"title": {"text": text(x)}, "automargin": True, "zeroline": False, **(x_axis or {})},
            "yaxis": {"title": {"text": text(y)}, "automargin": True, "rangemode": "tozero", **(y_axis or {})},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.22, "yanchor": "top"},
            "margin": {"l": 56, "r": 16, "t": 48, "b": 48},
            "font": {"family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "closest",
            "showlegend": True,
        },
    }


def looks(index: int, *, hollow: Sequence[bool] = ()) -> Trace:
    """The looks of a line with points.

    Args:
        index: of the trace.
        hollow: for each point, whether it is drawn as an outline.
    """
    symbols = [f"{palette.symbol(index)}-open" if empty else palette.symbol(index) for empty in hollow]
    return {
        "line": {"color": palette.colour(index), "dash": palette.dash(index), "width": 2},
        "marker": {"color": palette.colour(index), "symbol": symbols or palette.symbol(index), "size": 9},
    }


def seed_figure(measured: Measured, key: str) -> Figure:
    """One of the original's plots: a trace for each number of clients, a point for each point of the sweep.

    A point's x and y are read from the same object, and a point without a result is left out whole: the two cannot
    drift apart.
    """
    title, y, form = SEED_PLOTS[key]
    traces = [
        _seed_trace(index, clients, [point for point in measured.points if point.clients == clients], key, form)
        for index, clients in enumerate(measured.clients)
    ]
    return figure(traces, title=title, x=TX_AXIS, y=y)


def _seed_trace(index: int, clients: int, points: Sequence[MeasuredPoint], key: str, form: str) -> Trace:
    drawn = sorted(
        ((point.mean("average_tx_rate"), point.mean(key), point) for point in points if point.results),
        key=lambda item: item[2].asked_rate_per_s,
    )
    trace: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"client_count = {clients}",
        "x": [x for x, _, _ in drawn],
        "y": [y for _, y, _ in drawn],
        "customdata": [text(f"{point.label}: {point.verdict}") for _, _, point in drawn],
        "hovertemplate": f"%{{customdata}}<br>Tx %{{x:,.1f}}<br>%{{y:{form}}}<extra></extra>",
        **looks(index, hollow=[point.verdict != "pass" for _, _, point in drawn]),
    }
    line = trace["line"]
    assert isinstance(line, dict)
    # As in the original, but stiff enough not to swing below zero between two points.
    line.update(shape="spline", smoothing=0.4)
    if any(len(point.results) > 1 for _, _, point in drawn):
        spans = [(min(point.values(key)), y or 0.0, max(point.values(key))) for _, y, point in drawn]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - mean for _, mean, high in spans],
            "arrayminus": [mean - low for low, mean, _ in spans],
            "color": palette.colour(index),
            "thickness": 1,
        }
    return trace


def frontier_figure(answers: Sequence[FoundAnswer]) -> Figure:
    """The highest good rate against the clients. A triangle: at least that; a filled circle: the broker's limit."""
    found = sorted(
        ((answer.clients, answer.answer) for answer in answers if answer.clients is not None and answer.answer.best),
        key=lambda item: item[0] or 0,
    )
    good: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "highest good rate",
        "x": [clients for clients, _ in found],
        "y": [answer.best for _, answer in found],
        "customdata": [_limit(answer.at_least, confirmed=answer.confirmed) for _, answer in found],
        "hovertemplate": "%{x:,} clients: %{y:,.4~g} records/s<br>%{customdata}<extra></extra>",
        **looks(0),
    }
    marker = good["marker"]
    assert isinstance(marker, dict)
    marker["symbol"] = ["triangle-up-open" if answer.at_least else "circle" for _, answer in found]
    marker["size"] = 11
    above = [(clients, answer.above) for clients, answer in found if answer.above is not None]
    bad: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "lowest that is no good",
        "x": [clients for clients, _ in above],
        "y": [value for _, value in above],
        "hovertemplate": "%{x:,} clients: %{y:,.4~g} records/s is no good<extra></extra>",
        "marker": {"color": palette.colour(1), "symbol": "x", "size": 8},
    }
    return figure([good, bad], title="Frontier", x="Clients", y="Rate [records/s]")


def _limit(at_least: bool, *, confirmed: bool) -> str:
    limit = "at least: the broker was not the limit" if at_least else "the broker's limit"
    return limit if confirmed else f"{limit}; not confirmed"
