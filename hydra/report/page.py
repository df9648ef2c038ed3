"""The report: one HTML page that loads nothing from elsewhere; Plotly's script is in it.

Text from a user or a broker never becomes an element: the template escapes every value, figures are JSON without a
``<``, and the page's Content-Security-Policy runs only Plotly's script and page.js, by their hashes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from hydra.accounting.totals import ThresholdOutcome
from hydra.options.thresholds import METRICS, parse_threshold
from hydra.report import plots
from hydra.report.comparison_page import ComparedPart, side_parts
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.page_parts import figure_title
from hydra.report.percentile_plots import point_curves
from hydra.report.plots import Figure
from hydra.report.plotted_page import plotted_page
from hydra.report.run_plots import run_figures
from hydra.report.summary import overall_verdict, summary_lines
from hydra.report.sweep_cards import cards
from hydra.report.text import LATENCY_COLUMNS, headline, key_rows, latency_lines, latency_rows, number
from hydra.report.time_marks import TimeMark, time_marks
from hydra.run.record import RunRecord
from hydra.sweep.plan import format_value

MAX_DETAILED_POINTS = 300
"""Points whose run can be chosen; further ones are in the table only."""

ALL_COLUMNS, MIN_COLUMNS, MAX_COLUMNS = 24_000, 60, 600
"""Points in time that the figures over time show: of all runs together, and of each run. They bound the page's size."""

SEED_COLUMNS = ("average_tx_rate", "average_rate", "average_packet_loss", "failing_clients", "failing_clients_rate")
METRIC_COLUMNS = ("e2e_p50", "e2e_p99", "e2e_p999", "e2e_max", "pub_cpu", "sub_cpu_max")
MAX_ROWS = 2000

OPEN_ROWS = 12
"""A table above the plots with more rows is closed at first."""

STATE_LOOKS = {"broken": "fail", "not judged": "indeterminate", "kept": "pass"}
"""The look of what became of a threshold, the worst first."""


def page(contents: ReportContents) -> str:
    """The page as text.

    Raises:
        InfrastructureError: the package plotly does not contain its script.
    """
    detailed = contents.points[:MAX_DETAILED_POINTS]
    columns = max(MIN_COLUMNS, min(MAX_COLUMNS, ALL_COLUMNS // max(1, len(detailed))))
    of_runs = [run_figures(point.shown_run, columns=columns) for point in detailed]
    single = contents.points[0] if len(contents.points) == 1 else None
    several_files = any(point.source for point in contents.points)
    texts = ["point", "verdict", *(["file"] if several_files else []), *contents.changed_options]
    metrics = [f"{name} [{METRICS[name].unit}]" for name in METRIC_COLUMNS]
    thresholds = _thresholds(contents)
    figures, compared, verdict = _figures(contents), _compared_sides(contents), overall_verdict(contents)
    return plotted_page(
        "page.html.jinja",
        contents=contents,
        title=contents.kind if single is not None else f"{contents.kind}, {len(contents.points):,} points",
        heading=[
            headline(single.options) if single is not None else "",
            contents.command,
            f"started {_moment(contents.started_at)}",
        ],
        cards=cards(contents, verdict),
        verdict=verdict,
        summary=summary_lines(contents),
        compared_sides=compared,
        thresholds=thresholds,
        threshold_counts=_threshold_counts(thresholds),
        open_rows=OPEN_ROWS,
        happened=_happened(contents),
        latencies=_latencies(single),
        latency_columns=list(LATENCY_COLUMNS),
        point_figures=figures,
        figures=figures | {name: made for part in compared for name, made in part.figures.items()},
        run_figures=of_runs,
        run_titles={name: figure_title(figure) for figures in of_runs for name, figure in figures.items()},
        several_points=single is None,
        several_runs=len(of_runs) > 1,
        first_run=next((index for index, figures in enumerate(of_runs) if figures), 0),
        repeated=any(len(point.runs) > 1 for point in contents.points),
        columns=[*texts, "clients", "records/s asked", *SEED_COLUMNS, *metrics],
        text_columns=len(texts),
        result_rows=_result_rows(single),
        rows=[]
        if single is not None and len(single.runs) == 1
        else [_row(point, contents.changed_options, file=several_files) for point in contents.points[:MAX_ROWS]],
        left_out_rows=max(0, len(contents.points) - MAX_ROWS),
        environment=_environment(contents.runs),
    )


def _figures(contents: ReportContents) -> dict[str, Figure]:
    """The figures over all points, in their order on the page."""
    found: dict[str, Figure | None] = {}
    if sum(bool(point.results) for point in contents.points) > 1:  # a plot of one point tells nothing
        found |= {f"plot_{key}": plots.seed_figure(contents, key) for key in plots.SEED_PLOTS}
        found["plot_latency"] = plots.latency_figure(contents)
        found["plot_curves"] = point_curves(contents)
    frontier = [answer for answer in contents.answers if answer.clients is not None]
    found["plot_frontier"] = plots.frontier_figure(frontier) if frontier else None
    found["plot_loss_classes"] = plots.loss_figure(contents)
    return {name: figure for name, figure in found.items() if figure is not None}


def _compared_sides(contents: ReportContents) -> list[ComparedPart]:
    if contents.sides is None:
        return []
    return side_parts(contents.sides, tolerance_percent=contents.tolerance_percent)


def _row(point: ReportPoint, changed: Sequence[str], *, file: bool) -> Mapping[str, object]:
    means = [*(point.mean(key) for key in SEED_COLUMNS), *(point.metric(name) for name in METRIC_COLUMNS)]
    return {
        "verdict": point.verdict,
        "cells": [
            *([point.source] if file else []),
            *map(point.option, changed),
            f"{point.clients:,}",
            f"{point.msg_rate:,.10g}",
            *("" if mean is None else number(mean) for mean in means),
        ],
        "why": "; ".join(point.reasons),
    }


def _thresholds(contents: ReportContents) -> list[Mapping[str, object]]:
    """A row for each threshold of each point, the broken ones first: its text, what it was, in how many runs kept."""
    found: dict[str, list[Mapping[str, object]]] = {state: [] for state in STATE_LOOKS}
    for point in contents.points:
        for index, text in enumerate(point.options.threshold):
            outcomes = [result.thresholds[index] for result in point.results if index < len(result.thresholds)]
            states = Counter(item.state for item in outcomes)
            worst = next((state for state in STATE_LOOKS if states[state]), "not judged")
            told = ", ".join(f"{state} in {runs:,} of {len(point.runs):,}" for state, runs in states.items())
            found[worst].append(
                {
                    "cells": [point.label, str(parse_threshold(text)), _range(outcomes)],
                    "state": (told if len(point.runs) > 1 else worst) if outcomes else "no result",
                    "look": STATE_LOOKS[worst],
                }
            )
    return [row for rows in found.values() for row in rows][:MAX_ROWS]


def _threshold_counts(rows: Sequence[Mapping[str, object]]) -> str:
    """How many rows are how, such as ``2 broken, 14 kept``."""
    counts = Counter(row["look"] for row in rows)
    return ", ".join(f"{counts[look]:,} {state}" for state, look in STATE_LOOKS.items() if counts[look])


def _range(outcomes: Sequence[ThresholdOutcome]) -> str:
    """What the metric was, from the lowest to the highest of the runs."""
    measured = sorted((item for item in outcomes if item.value is not None), key=lambda item: item.value or 0.0)
    shown = list(dict.fromkeys(item.shown for item in (measured[:1] + measured[-1:])))
    return " to ".join(shown) if shown else "not measured"


def _happened(contents: ReportContents) -> list[TimeMark]:
    """What happened while a single run went on: what its plots over time mark."""
    return time_marks(contents.points[0].shown_run.evidence)[:MAX_ROWS] if len(contents.points) == 1 else []


def _latencies(single: ReportPoint | None) -> Mapping[str, Sequence[object]]:
    """Rows and sentences on the latencies of a single point, as the printed result has them."""
    result = None if single is None else single.shown_run.result
    if result is None:
        return {"rows": [], "lines": []}
    return {"rows": latency_rows(result), "lines": latency_lines(result)}


def _result_rows(single: ReportPoint | None) -> Sequence[Sequence[str]]:
    """The keys of a single run, as the printed result has them; a point with repeats has its row of means."""
    result = None if single is None or len(single.runs) > 1 else single.runs[0].result
    return [] if single is None or result is None else key_rows(result, single.options)


def _moment(text: str) -> str:
    """A time of ISO 8601 for reading, to the second."""
    day, _, time = text.partition("T")
    return f"{day} {time[:8]} UTC" if time.endswith("+00:00") else text


def _environment(runs: Sequence[RunRecord]) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Options, machine, cluster and versions, each with every value that it had in any run."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for run in runs:
        facts: Mapping[str, Mapping[str, object]] = {
            "Options": dataclasses.asdict(run.order.options),
            "Machine": run.machine,
            "Cluster": run.cluster,
            "Versions": run.versions,
        }
        for heading, values in facts.items():
            section = found.setdefault(heading, {})
            for name, value in values.items():
                section.setdefault(name, {})[format_value(value)] = None
    return {heading: {name: list(values) for name, values in section.items()} for heading, section in found.items()}
