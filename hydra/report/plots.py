"""Plotly figures as plain dicts: the original's three plots, the frontier, and what all figures have in common.

Every text in a figure may come from a user. Plotly reads a little HTML in texts, so each is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from hydra.report import palette
from hydra.report.report_data import ReportData, ReportPoint
from hydra.sweep.record import FoundAnswer

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
"""What all figures have in common; the page's script puts a figure's own layout over it. Colours of text and grid are
the style sheet's."""


def figure(traces: Iterable[Trace], *, title: str, x: Trace, y: Trace, **layout: object) -> Figure:
    """A figure.

    Args:
        traces: its traces.
        title: its title.
        x: of the x axis: its ``title``, and what else is its own.
        y: the same for the y axis.
        layout: what else is its own.
    """
    return {
        "data": list(traces),
        "layout": {
            "title": {"text": text(title), "x": 0.01, "xref": "container", "xanchor": "left", "font": {"size": 16}},
            "xaxis": _axis(x),
            "yaxis": _axis(y),
            **layout,
        },
    }


def _axis(axis: Trace) -> Trace:
    return {**axis, "title": {"text": text(axis["title"]), "font": {"size": 13}}}


def whole_layout(own: Mapping[str, object]) -> dict[str, object]:
    """The layout that the page's script makes of a figure's own one."""
    layout = {**COMMON_LAYOUT, **own}
    for axis in ("xaxis", "yaxis"):
        common, given = COMMON_LAYOUT[axis], own.get(axis, {})
        assert isinstance(common, dict)
        assert isinstance(given, dict)
        layout[axis] = {**common, **given}
    return layout


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


def seed_figure(measured: ReportData, key: str) -> Figure:
    """One of the original's plots: a trace for each number of clients, a point for each point of the sweep.

    A point's x and y are read from the same object, and a point without a result is left out whole: the two cannot
    drift apart.
    """
    title, y, form = SEED_PLOTS[key]
    traces = [
        _seed_trace(index, clients, [point for point in measured.points if point.clients == clients], key, form)
        for index, clients in enumerate(measured.clients)
    ]
    return figure(traces, title=title, x={"title": TX_AXIS}, y={"title": y})


def _seed_trace(index: int, clients: int, points: Sequence[ReportPoint], key: str, form: str) -> Trace:
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


def latency_figure(measured: ReportData) -> Figure | None:
    """The 99th percentile of the latency from the plan against the rate that was sent; None where nothing was."""
    traces: list[Trace] = []
    for index, clients in enumerate(measured.clients):
        points = sorted(
            (point for point in measured.points if point.clients == clients and point.metric("e2e_p99")),
            key=lambda point: point.asked_rate_per_s,
        )
        if points:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": f"client_count = {clients}",
                    "x": [point.mean("average_tx_rate") for point in points],
                    "y": [significant(point.metric("e2e_p99") or 0.0) for point in points],
                    "customdata": [text(f"{point.label}: {point.verdict}") for point in points],
                    "hovertemplate": "%{customdata}<br>p99 %{y:,.4~g} ms<extra></extra>",
                    **looks(index, hollow=[point.verdict != "pass" for point in points]),
                }
            )
    if not traces:
        return None
    return figure(
        traces,
        title="Latency, 99th percentile",
        x={"title": TX_AXIS},
        y=log_axis("End to end p99 [ms]", traces),
    )


def log_axis(title: str, traces: Iterable[Trace]) -> Trace:
    """A logarithmic y axis for these traces, with ticks that do not crowd."""
    values = [value for trace in traces for value in _values(trace["y"]) if value > 0]
    wide = bool(values) and max(values) >= 5 * min(values)
    axis: Trace = {"title": title, "type": "log", "rangemode": "normal", "tickformat": ",~g"}
    # 1, 2, 5, 10, 20, ...; a narrow range has room for more, and might hold none of these.
    return {**axis, "dtick": "D2"} if wide else axis


def _values(axis: object) -> list[float]:
    assert isinstance(axis, list)
    return [value for value in axis if isinstance(value, (int, float))]


def significant(value: float) -> float:
    """Four significant digits: nobody sees more of them, and a page of many points is half the size."""
    return float(f"{value:.4g}")


LOSS_CLASSES: Mapping[str, str] = {
    "records_broker_lost": "not in the broker's log",
    "records_expired": "expired before they were read",
    "records_skipped": "passed over",
    "records_unread": "unread at the end: no proof of loss",
    "records_duplicated": "received twice",
    "records_reordered": "out of order",
    "records_ghost": "received although refused",
    "records_corrupt": "corrupt batches",
}
"""What may be wrong with deliveries, by the field of Totals."""


def loss_figure(measured: ReportData) -> Figure | None:
    """Deliveries that were lost, or otherwise not as they should be, by class and point; None where there are none."""
    points = [(number, point) for number, point in enumerate(measured.points, 1) if _troubled(point)]
    labels = [f"{number}: {point.clients:,} x {point.asked_rate_per_s:,.6g}" for number, point in points]
    traces: list[Trace] = []
    for index, (field, name) in enumerate(LOSS_CLASSES.items()):
        counts = [sum(getattr(result.totals, field) for result in point.results) for _, point in points]
        if any(counts):
            traces.append(
                {
                    "type": "bar",
                    "name": name,
                    "y": [text(label) for label in labels],
                    "x": counts,
                    "orientation": "h",
                    "marker": {
                        "color": palette.colour(index),
                        "pattern": {
                            "shape": PATTERNS[index % len(PATTERNS)],
                            "fillmode": "overlay",
                            "solidity": 0.2,
                            "size": 6,
                        },
                    },
                    "hovertemplate": "%{y}<br>%{x:,} deliveries<extra>%{fullData.name}</extra>",
                }
            )
    if not traces:
        return None
    return figure(
        traces,
        title="Loss classes",
        x={"title": "Deliveries"},
        y={"title": "Point: clients x records/s", "autorange": "reversed", "type": "category"},
        barmode="stack",
    )


def _troubled(point: ReportPoint) -> bool:
    return any(getattr(result.totals, field) for result in point.results for field in LOSS_CLASSES)


PATTERNS = ("", "/", "x", ".", "\\", "-", "|", "+")


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
        "customdata": [_limit(at_least=answer.at_least, confirmed=answer.confirmed) for _, answer in found],
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
    return figure([good, bad], title="Frontier", x={"title": "Clients"}, y={"title": "Rate [records/s]"})


def _limit(*, at_least: bool, confirmed: bool) -> str:
    limit = "at least: the broker was not the limit" if at_least else "the broker's limit"
    return limit if confirmed else f"{limit}; not confirmed"
