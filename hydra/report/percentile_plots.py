"""Percentile curves as figures: the whole distribution of a latency, on the axis of HdrHistogram's plots.

The x axis is 1 / (1 - p), logarithmic: each decade is another nine. A line ends at the last percentile that ten
latencies are above of. The highest of all is a symbol of its own: what is between the two is not known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from hydra.accounting.latency import PERCENTS, LatencySummary
from hydra.accounting.percentile_curve import curve_steps
from hydra.accounting.result import Result
from hydra.accounting.totals import LATENCIES, ThresholdOutcome
from hydra.report.contents import ReportContents
from hydra.report.plots import (
    COLOURS,
    LOWEST_MS,
    Figure,
    Trace,
    colour,
    figure,
    log_axis,
    short_name,
    text,
    trace_style,
)

NAMED_STEPS = frozenset({2, *(10**nines for nines in range(1, 16))})
"""Steps that have a symbol: the median and the numbers of nines. A symbol at each would hide the line."""

MAX_CURVES = 16
"""Curves of points in one figure; of more points each has its own, in its detail."""

LEGEND_ROWS = 8
"""Rows of the figure of points beside those of its legend, which has long names."""

NAMES: Mapping[str, str] = {
    "e2e": "end to end",
    "service": "service",
    "unpaced": "unpaced readers",
    "publisher_lag": "publisher behind its plan",
    "ack": "ack latency",
}
"""Of the lines, by the field of Latencies: the words of the printed result."""

PREFIXES: Mapping[str, str] = {**{of: of for of in LATENCIES}, "ack": "ack", "pub_lag": "publisher_lag"}
"""The field of Latencies, by what a metric's name begins with."""


def run_curves(result: Result) -> Figure | None:
    """The curves of one run, a line for each latency that was measured; None where none was.

    Its thresholds are symbols at their percentile. How late the publisher was is some decades
    lower as a rule: shown at a click on its name, or where it has a threshold.
    """
    latency = result.latency
    summaries = {of: getattr(latency, of) for of in NAMES}
    kept = {of: (getattr(latency.curves, of), found) for of, found in summaries.items() if found.deliveries}
    limits = _limits(result.thresholds, summaries)
    asked = any(item.metric.startswith("pub_lag") for item in result.thresholds)
    hidden = {NAMES["publisher_lag"]} if len(kept) > 1 and not asked else set()
    found = {NAMES[of]: curve for of, curve in kept.items()}
    return _figure(found, limits, title="Latency percentiles", hidden=hidden)


def point_curves(contents: ReportContents) -> Figure | None:
    """The end-to-end curve of each point, by its last run; each a line of its own. None for one point, or very many."""
    found = {
        f"{number}: {point.label}": (result.latency.curves.e2e, result.latency.e2e)
        for number, point in enumerate(contents.points, 1)
        for result in point.results[-1:]
        if result.latency.e2e.deliveries
    }
    if not 1 < len(found) <= MAX_CURVES:
        return None
    made = _figure(found, [], title="End to end percentiles of each point")
    if made is not None:
        made["layout"]["meta"] = {"rows": LEGEND_ROWS + len(found)}
    return made


def _figure(
    found: Mapping[str, tuple[Sequence[float], LatencySummary]],
    limits: Sequence[Trace],
    *,
    title: str,
    hidden: Collection[str] = (),
) -> Figure | None:
    lines = [
        _line(index, name, curve, summary.deliveries) | ({"visible": "legendonly"} if name in hidden else {})
        for index, (name, (curve, summary)) in enumerate(found.items())
        if curve and summary.deliveries
    ]
    if not found:
        return None
    shown = [(index, name, summary) for index, (name, (_, summary)) in enumerate(found.items()) if name not in hidden]
    traces = [*lines, _highest(shown), *limits]
    return figure(
        traces,
        title=title,
        x=_percentile_axis(traces),
        y=log_axis("ms", [trace for trace in traces if "visible" not in trace]),
    )


def _line(index: int, name: str, curve: Sequence[float], latencies: int) -> Trace:
    places = list(zip(curve_steps(latencies), curve, strict=False))  # a file may say what it likes
    style = trace_style(index)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(short_name(name)),
        "x": [step for step, _ in places],
        "y": [max(LOWEST_MS, value) for _, value in places],
        "customdata": [percent_of(step) for step, _ in places],
        "hovertemplate": (
            "p%{customdata}: %{y:,.4~g} ms<br>one in %{x:,.4~g} takes longer<extra>%{fullData.name}</extra>"
        ),
        **style,
        "marker": {
            **style["marker"],
            "size": [8 if step in NAMED_STEPS else 0 for step, _ in places],
            "line": {"width": 0},
            "opacity": 1,
        },
    }


def _highest(lines: Sequence[tuple[int, str, LatencySummary]]) -> Trace:
    """The highest latency of each line: one in as many as there were."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "highest of all",
        "x": [summary.deliveries for _, _, summary in lines],
        "y": [max(LOWEST_MS, summary.max_ms) for _, _, summary in lines],
        "customdata": [text(short_name(name)) for _, name, _ in lines],
        "hovertemplate": "%{customdata}<br>highest of %{x:,}: %{y:,.4~g} ms<extra></extra>",
        "marker": {
            "color": [colour(index) for index, _, _ in lines],
            "symbol": "star-open",
            "size": 10,
        },
    }


def _limits(outcomes: Iterable[ThresholdOutcome], summaries: Mapping[str, LatencySummary]) -> list[Trace]:
    """A symbol for each threshold of a percentile: at that percentile, at the limit. No trace where there is none."""
    places = []
    for item in outcomes:
        prefix, _, name = item.metric.rpartition("_")
        of = PREFIXES.get(prefix)
        if of is None or name == "mean":  # a mean has no place among percentiles
            continue
        step = float(summaries[of].deliveries) if name == "max" else step_of(PERCENTS[f"{name}_ms"])
        if step:
            places.append(
                (step, max(LOWEST_MS, item.limit), text(f"{item.threshold} {item.state}: it was {item.shown}"))
            )
    if not places:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "threshold",
            "x": [step for step, _, _ in places],
            "y": [limit for _, limit, _ in places],
            "customdata": [told for _, _, told in places],
            "hovertemplate": "%{customdata}<extra></extra>",
            "marker": {"color": COLOURS[1], "symbol": "line-ew-open", "size": 22, "line": {"width": 3}},
        }
    ]


def _percentile_axis(traces: Iterable[Trace]) -> Trace:
    """The x axis, with a tick for the median and each number of nines."""
    last = max((step for trace in traces for step in trace["x"]), default=1.0)
    decades = math.ceil(math.log10(max(10.0, last)))
    ticks = [2, *(10**decade for decade in range(1, decades + 1))]
    return {
        "title": "Percentile",
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{percent_of(tick):.10g}" for tick in ticks],
    }


def percent_of(step: float) -> float:
    """The percentile of a step, with as many digits as tell it from its neighbours: 99.9 of 1,000."""
    return round(100 - 100 / step, 2 + int(math.log10(step)))


def step_of(percent: float) -> float:
    """The step of a percentile: 1,000 of 99.9."""
    return round(100 / (100 - percent), 6)
