"""Plots of one run: its latencies, its course over time, and its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from hydra.accounting.result import Result
from hydra.accounting.timeline import TimelinePoint
from hydra.report import palette
from hydra.report.heatmap import latency_heatmap
from hydra.report.plots import Figure, Trace, figure, log_axis, significant, trace_style
from hydra.run.record import RunRecord

SECONDS: Trace = {"title": "Time since the first record was due [s]"}
PERCENTILES: Mapping[str, str] = {
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "p99.99": "p9999_ms",
    "max": "max_ms",
}
CLIENT_STEPS = 100
"""Most steps of a curve over all clients."""


def run_figures(run: RunRecord, *, columns: int) -> dict[str, Figure]:
    """The figures of one run, by name; empty ones are left out.

    Args:
        run: the run.
        columns: most points in time that a figure shows.
    """
    result = run.result
    if result is None:
        return {}
    groups = list(_groups(result.points, columns))
    found = {
        "percentiles": _percentiles(result),
        "percentiles_over_time": _percentiles_over_time(groups),
        "heatmap": _heatmap(run, columns),
        "rates": _rates(result, groups),
        "backlog": _backlog(groups),
        "cpu": _cpu(groups),
        "memory": _memory(groups),
        "client_rates": _clients(result, "Rate of each client", "Records/s", lambda client: client.rate_per_s),
        "client_latency": _clients(
            result, "p99 of each client", "End to end p99 [ms]", lambda client: client.e2e.p99_ms
        ),
    }
    return {name: made for name, made in found.items() if made is not None}


def _percentiles(result: Result) -> Figure | None:
    latency = result.latency
    summaries = {
        "end to end, from the intended send time": latency.e2e,
        "service, from the actual send time": latency.service,
        "publisher behind its plan": latency.publisher_lag,
    }
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": list(PERCENTILES),
            # A log scale has no zero, and nothing below a microsecond is measured.
            "y": [max(0.001, significant(getattr(summary, field))) for field in PERCENTILES.values()],
            "hovertemplate": "%{x}: %{y:,.4~g} ms<extra></extra>",
            **trace_style(index),
        }
        for index, (name, summary) in enumerate(summaries.items())
        if summary.deliveries
    ]
    if not traces:
        return None
    return figure(
        traces,
        title="Latency percentiles",
        x={"title": "Percentile", "type": "category"},
        y=log_axis("ms", traces),
    )


def _heatmap(run: RunRecord, columns: int) -> Figure | None:
    found = latency_heatmap(run.evidence.subscribers, columns)
    if found is None:
        return None
    trace: Trace = {
        "type": "heatmap",
        "x": list(found.edges_s),
        "y": list(found.edges_ms),
        "z": [[count or None for count in row] for row in found.counts],
        "colorscale": palette.HEATMAP,
        "colorbar": {"title": {"text": "deliveries"}, "thickness": 12, "outlinewidth": 0},
        "hovertemplate": "%{x:.0f} s, about %{y:,.3~g} ms: %{z:,} deliveries<extra></extra>",
    }
    return figure(
        [trace],
        title="Latency over time",
        x=SECONDS,
        y=log_axis("End to end [ms]", [trace]),
        showlegend=False,
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


def _line(index: int, name: str, groups: Groups, values: Sequence[float | None]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(groups) <= 40 else "lines",
        "name": name,
        "x": [significant(group[-1].at_s) for _, group in groups],
        "y": [None if value is None else significant(value) for value in values],
        "hovertemplate": "%{x:.4~g} s: %{y:,.4~g}<extra>%{fullData.name}</extra>",
        **trace_style(index, size=6),
    }


def _over_time(groups: Groups, lines: Mapping[str, Sequence[float | None]], *, title: str, y: Trace) -> Figure | None:
    traces = [
        _line(index, name, groups, values)
        for index, (name, values) in enumerate(lines.items())
        if any(value is not None for value in values)
    ]
    return figure(traces, title=title, x=SECONDS, y=y) if traces else None


def _percentiles_over_time(groups: Groups) -> Figure | None:
    def highest(of: Callable[[TimelinePoint], float]) -> list[float | None]:
        found = [max(of(point) for point in group) for _, group in groups]
        return [value or None for value in found]

    lines = {
        "p50": highest(lambda point: point.e2e_p50_ms),
        "p99": highest(lambda point: point.e2e_p99_ms),
        "max": highest(lambda point: point.e2e_max_ms),
    }
    axis = log_axis("End to end [ms]", [{"y": values} for values in lines.values()])
    return _over_time(groups, lines, title="Latency percentiles over time", y=axis)


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
    return _over_time(groups, lines, title="Rates over time", y={"title": "Records/s"})


def _backlog(groups: Groups) -> Figure | None:
    lines = {"backlog": [float(max(point.backlog for point in group)) for _, group in groups]}
    return _over_time(groups, lines, title="Backlog", y={"title": "Deliveries still to come"})


def _cpu(groups: Groups) -> Figure | None:
    lines = {
        "broker": _means(groups, lambda point: point.broker_cpu_percent),
        "publisher": _means(groups, lambda point: point.publisher_cpu_percent),
        "all subscribers": _means(groups, lambda point: point.subscriber_cpu_percent_sum),
        "busiest subscriber": _means(groups, lambda point: point.subscriber_cpu_percent_max),
        "machine (of all cores)": _means(groups, lambda point: point.machine_cpu_percent),
    }
    return _over_time(groups, lines, title="CPU", y={"title": "Percent of one core"})


def _memory(groups: Groups) -> Figure | None:
    mib = 1024.0 * 1024.0
    lines = {
        "broker": _means(
            groups, lambda point: None if point.broker_rss_bytes is None else point.broker_rss_bytes / mib
        ),
        "publisher": _means(groups, lambda point: point.publisher_rss_bytes / mib),
        "all subscribers": _means(groups, lambda point: point.subscriber_rss_bytes_sum / mib),
    }
    return _over_time(groups, lines, title="Memory", y={"title": "Resident [MiB]"})


def _means(groups: Groups, of: Callable[[TimelinePoint], float | None]) -> list[float | None]:
    means: list[float | None] = []
    for _, group in groups:
        values = [value for value in map(of, group) if value is not None]
        means.append(sum(values) / len(values) if values else None)
    return means


def _clients(result: Result, title: str, y: str, of: Callable[..., float]) -> Figure | None:
    """All clients in the order of a value, to show their spread."""
    values = sorted(of(client) for client in result.clients if client.state in {"ok", "failing"})
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
