"""Plots of one run: its latencies, its course over time, and its clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from hydra.accounting.latency import bucket_end
from hydra.accounting.result import Result
from hydra.accounting.stats import SubscriberStats
from hydra.accounting.timeline import TimelinePoint
from hydra.accounting.totals import metric_value
from hydra.report.percentile_plots import run_curves
from hydra.report.plots import Figure, Trace, figure, log_axis, significant, trace_style
from hydra.report.time_marks import pause_trace, time_marks, with_limits, with_marks
from hydra.run.record import RunRecord

SECONDS: Trace = {"title": "Time since the first record was due [s]"}
CLIENT_STEPS = 100
"""Most steps of a curve over all clients."""

HEATMAP_COLOURS = "Cividis"
"""Plotly's colour scale with rising lightness, readable without telling red from green."""

OVER_TIME = frozenset({"percentiles_over_time", "heatmap", "rates", "backlog", "cpu", "memory"})
"""Figures whose x axis is time: what happened is marked in them."""

LIMITS: Mapping[str, Sequence[str]] = {
    "percentiles_over_time": ("e2e_p50", "e2e_p99", "e2e_max"),
    "heatmap": ("e2e_p50", "e2e_p90", "e2e_p99", "e2e_p999", "e2e_p9999", "e2e_max"),
    "rates": ("tx_rate", "rx_rate"),
    "cpu": ("pub_cpu", "sub_cpu_max"),
    "client_rates": ("rx_rate",),
    "client_latency": ("e2e_p99", "worst_client_p99"),
}
"""The metrics whose thresholds are lines, by figure."""

LOGARITHMIC = frozenset({"percentiles_over_time", "heatmap"})

ROWS_PER_DECADE = 6
LOWEST_US = 100
"""Lower latencies are counted in the lowest row of the heatmap."""


def run_figures(run: RunRecord, *, columns: int) -> dict[str, Figure]:
    """The figures of one run, by name; those over time show at most ``columns`` points. Empty ones are left out."""
    result = run.result
    if result is None:
        return {}
    groups = list(_groups(result.points, columns))
    found = {
        "percentiles": run_curves(result),
        "percentiles_over_time": _percentiles_over_time(run, groups),
        "heatmap": _heatmap(run, columns),
        "rates": _rates(result, groups),
        "backlog": _backlog(result, groups),
        "cpu": _cpu(result, groups),
        "memory": _memory(result, groups),
        "client_rates": _clients(result, "Rate of each client", "Records/s", lambda client: client.rate_per_s),
        "client_latency": _clients(
            result,
            "p99 of each client",
            "End to end p99 [ms]",
            lambda client: client.e2e.p99_ms if client.e2e.deliveries else None,
        ),
    }
    marks = time_marks(run.evidence)
    return {
        name: with_limits(
            with_marks(made, marks) if name in OVER_TIME else made,
            result.thresholds,
            LIMITS.get(name, ()),
            log=name in LOGARITHMIC,
        )
        for name, made in found.items()
        if made is not None
    }


def _heatmap(run: RunRecord, columns: int) -> Figure | None:
    found = latency_heatmap(run.evidence.subscribers, columns)
    if found is None:
        return None
    trace = {
        "type": "heatmap",
        "x": list(found.edges_s),
        "y": list(found.edges_ms),
        "z": [[count or None for count in row] for row in found.counts],
        "colorscale": HEATMAP_COLOURS,
        "colorbar": {"title": {"text": "deliveries"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "%{x:.0f} s, about %{y:,.3~g} ms: %{z:,} deliveries<extra></extra>",
    }
    y = log_axis("End to end [ms]", [trace])
    return figure([trace], title="Latency over time", x=SECONDS, y=y, showlegend=False)


@dataclass(frozen=True)
class Heatmap:
    """How many deliveries of each second had which latency."""

    edges_s: tuple[float, ...]
    """Of the columns; one more than there are columns."""
    edges_ms: tuple[float, ...]
    """Of the rows; one more than there are rows."""
    counts: tuple[tuple[int, ...], ...]
    """Rows of columns."""


def latency_heatmap(subscribers: Sequence[SubscriberStats], columns: int) -> Heatmap | None:
    """The heatmap of a run in at most so many columns, each of a second or several; None if nothing was delivered."""
    samples = [sample for subscriber in subscribers for sample in subscriber.samples if sample.e2e.counts]
    if not samples:
        return None
    end_s = max(sample.at_s for sample in samples)
    width_s = max(1, math.ceil(end_s / columns))
    cells: dict[tuple[int, int], int] = {}
    for sample in samples:
        # A sample is taken as a second ends, or a little later.
        column = max(0, math.ceil(sample.at_s - 0.5) - 1) // width_s
        for bucket, count in zip(sample.e2e.buckets, sample.e2e.counts, strict=True):
            end_us = max(LOWEST_US, bucket_end(bucket, sample.e2e.bits) - 1)
            row = math.floor(math.log10(end_us) * ROWS_PER_DECADE)
            cells[row, column] = cells.get((row, column), 0) + count
    rows = [row for row, _ in cells]
    first, last = min(rows), max(rows)
    count = max(column for _, column in cells) + 1
    return Heatmap(
        edges_s=tuple(float(index * width_s) for index in range(count + 1)),
        edges_ms=tuple(float(f"{10 ** (row / ROWS_PER_DECADE) / 1000:.4g}") for row in range(first, last + 2)),
        counts=tuple(tuple(cells.get((row, column), 0) for column in range(count)) for row in range(first, last + 1)),
    )


def _groups(points: Sequence[TimelinePoint], columns: int) -> Iterator[tuple[float, Sequence[TimelinePoint]]]:
    """Points grouped so that there are at most ``columns`` groups: (seconds that a group covers, its points)."""
    size = -(-len(points) // columns) or 1
    before_s = 0.0
    for start in range(0, len(points), size):
        group = points[start : start + size]
        if group[-1].at_s > before_s:
            yield group[-1].at_s - before_s, group
        before_s = group[-1].at_s


Groups = Sequence[tuple[float, Sequence[TimelinePoint]]]


def _over_time(groups: Groups, lines: Mapping[str, Sequence[float | None]], *, title: str, y: Trace) -> Figure | None:
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(groups) <= 40 else "lines",
            "name": name,
            "x": [significant(group[-1].at_s) for _, group in groups],
            "y": [None if value is None else significant(value) for value in values],
            "hovertemplate": "%{x:.4~g} s: %{y:,.4~g}<extra>%{fullData.name}</extra>",
            **trace_style(index, size=6),
        }
        for index, (name, values) in enumerate(lines.items())
        if any(value is not None for value in values)
    ]
    return figure(traces, title=title, x=SECONDS, y=y) if traces else None


def _percentiles_over_time(run: RunRecord, groups: Groups) -> Figure | None:
    def highest(of: Callable[[TimelinePoint], float]) -> list[float | None]:
        found = [max(of(point) for point in group) for _, group in groups]
        return [value or None for value in found]

    lines = {
        "p50": highest(lambda point: point.e2e_p50_ms),
        "p99": highest(lambda point: point.e2e_p99_ms),
        "max": highest(lambda point: point.e2e_max_ms),
    }
    pauses = pause_trace(run.evidence, len(lines))
    beside = [] if pauses is None else [pauses]
    axis = log_axis("End to end [ms]", [*({"y": values} for values in lines.values()), *beside])
    made = _over_time(groups, lines, title="Latency percentiles over time", y=axis)
    return made and {**made, "data": [*made["data"], *beside]}


def _reported(result: Result, lines: Mapping[str, Sequence[float | None]]) -> dict[str, Sequence[float | None]]:
    """The lines, with no value of who did not report: it would be drawn at zero."""
    silent: set[str] = set()
    if metric_value("tx_rate", result.totals, result.latency) is None:
        silent |= {"sent", "acked", "publisher", "backlog"}
    if not result.totals.clients_reporting:
        silent |= {"delivered, mean of clients", "slowest client", "all subscribers", "busiest subscriber", "backlog"}
    return {name: [None] * len(values) if name in silent else values for name, values in lines.items()}


def _rates(result: Result, groups: Groups) -> Figure | None:
    def rate(of: Callable[[TimelinePoint], int], clients: int = 1) -> list[float | None]:
        return [sum(of(point) for point in group) / seconds / clients for seconds, group in groups]

    slowest = [0, *(group[-1].slowest_client_records for _, group in groups)]
    seconds = [covered for covered, _ in groups]
    lines: dict[str, list[float | None]] = {
        "sent": rate(lambda point: point.sent),
        "acked": rate(lambda point: point.acked),
        "delivered, mean of clients": rate(lambda point: point.delivered, max(1, result.totals.clients_reporting)),
        "slowest client": [
            max(0, now - before) / covered for (before, now), covered in zip(pairwise(slowest), seconds, strict=True)
        ],
    }
    return _over_time(groups, _reported(result, lines), title="Rates over time", y={"title": "Records/s"})


def _backlog(result: Result, groups: Groups) -> Figure | None:
    lines = {"backlog": [float(max(point.backlog for point in group)) for _, group in groups]}
    return _over_time(groups, _reported(result, lines), title="Backlog", y={"title": "Deliveries still to come"})


def _cpu(result: Result, groups: Groups) -> Figure | None:
    lines = {
        "broker": _means(groups, lambda point: point.broker_cpu_percent),
        "publisher": _means(groups, lambda point: point.publisher_cpu_percent),
        "all subscribers": _means(groups, lambda point: point.subscriber_cpu_percent_sum),
        "busiest subscriber": _means(groups, lambda point: point.subscriber_cpu_percent_max),
        "machine (of all cores)": _means(groups, lambda point: point.machine_cpu_percent),
    }
    return _over_time(groups, _reported(result, lines), title="CPU", y={"title": "Percent of one core"})


def _memory(result: Result, groups: Groups) -> Figure | None:
    mib = 1024.0 * 1024.0
    lines = {
        "broker": _means(
            groups, lambda point: None if point.broker_rss_bytes is None else point.broker_rss_bytes / mib
        ),
        "publisher": _means(groups, lambda point: point.publisher_rss_bytes / mib),
        "all subscribers": _means(groups, lambda point: point.subscriber_rss_bytes_sum / mib),
    }
    return _over_time(groups, _reported(result, lines), title="Memory", y={"title": "Resident [MiB]"})


def _means(groups: Groups, of: Callable[[TimelinePoint], float | None]) -> list[float | None]:
    means: list[float | None] = []
    for _, group in groups:
        values = [value for value in map(of, group) if value is not None]
        means.append(fmean(values) if values else None)
    return means


def _clients(result: Result, title: str, y: str, of: Callable[..., float | None]) -> Figure | None:
    """All clients that have a value, in the order of it, to show their spread."""
    found = (of(client) for client in result.clients if client.state in {"ok", "failing"})
    values = sorted(value for value in found if value is not None)
    if not values:
        return None
    last = len(values) - 1
    ranks = sorted({round(step * last / CLIENT_STEPS) for step in range(CLIENT_STEPS + 1)})
    trace: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "clients",
        "x": [rank + 1 for rank in ranks],
        "y": [significant(values[rank]) for rank in ranks],
        "hovertemplate": "client %{x:,} of " + f"{len(values):,}" + ": %{y:,.4~g}<extra></extra>",
        **trace_style(0, size=4),
    }
    return figure([trace], title=title, x={"title": "Clients, lowest first"}, y={"title": y}, showlegend=False)
