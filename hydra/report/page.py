"""The report: one HTML page that loads nothing from elsewhere; Plotly's script is in it.

Text from a user or a broker never becomes an element: the template escapes every value, figures are JSON without a
``<``, and the page's Content-Security-Policy runs only Plotly's script and page.js, by their hashes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import pkgutil
from collections import Counter
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup

from hydra import __version__
from hydra.errors import InfrastructureError
from hydra.options.thresholds import METRICS
from hydra.report import plots
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.plots import Figure
from hydra.report.run_plots import run_figures
from hydra.report.text import headline, number
from hydra.run.record import RunRecord
from hydra.sweep.plan import format_value
from hydra.sweep.record import worst_verdict
from hydra.sweep.search import answer_sentence
from hydra.sweep.tuning import tuning_sentence

MAX_DETAILED_POINTS = 300
"""Points whose run can be chosen; further ones are in the table only."""

ALL_COLUMNS, MIN_COLUMNS, MAX_COLUMNS = 24_000, 60, 600
"""Points in time that the figures over time show: of all runs together, and of each run. They bound the page's size."""

SEED_COLUMNS = ("average_tx_rate", "average_rate", "average_packet_loss", "failing_clients", "failing_clients_rate")
METRIC_COLUMNS = ("e2e_p50", "e2e_p99", "e2e_p999", "e2e_max", "pub_cpu", "sub_cpu_max")
MAX_ROWS = 2000

VERDICT_WORDS = {
    "pass": "passed", "fail": "failed", "indeterminate": "gave no answer", "error": "could not be measured",
}  # fmt: skip
SHOWN_REASONS = 5


def page(contents: ReportContents) -> str:
    """The page as text.

    Raises:
        InfrastructureError: the package plotly does not contain its script.
    """
    detailed = contents.points[:MAX_DETAILED_POINTS]
    columns = max(MIN_COLUMNS, min(MAX_COLUMNS, ALL_COLUMNS // max(1, len(detailed))))
    of_runs = [run_figures(point.runs[-1], columns=columns) for point in detailed]
    plotly, script = _plotly(), _resource("page.js")
    single = contents.points[0] if len(contents.points) == 1 else None
    several_files = any(point.source for point in contents.points)
    texts = ["point", "verdict", *(["file"] if several_files else []), *contents.changed_options]
    metrics = [f"{name} [{METRICS[name].unit}]" for name in METRIC_COLUMNS]
    return _template().render(
        contents=contents,
        version=__version__,
        policy=_policy(plotly, script),
        style=Markup(_resource("page.css")),  # noqa: S704  # ours
        heading=[
            headline(single.options) if single is not None and single.results else "",
            contents.command,
            f"started {contents.started_at}",
        ],
        verdict=overall_verdict(contents),
        summary=summary_lines(contents),
        figures=_figures(contents),
        run_figures=of_runs,
        run_titles={name: _title(figure) for figures in of_runs for name, figure in figures.items()},
        several_runs=len(of_runs) > 1,
        first_run=next((index for index, figures in enumerate(of_runs) if figures), 0),
        repeated=any(len(point.runs) > 1 for point in contents.points),
        columns=[*texts, "clients", "records/s asked", *SEED_COLUMNS, *metrics],
        text_columns=len(texts),
        rows=[_row(point, contents.changed_options, file=several_files) for point in contents.points[:MAX_ROWS]],
        left_out_rows=max(0, len(contents.points) - MAX_ROWS),
        environment=_environment(contents.runs),
        common=plots.COMMON_LAYOUT,
        plotly=Markup(plotly),  # noqa: S704  # the package's
        script=Markup(script),  # noqa: S704  # ours
    )


def overall_verdict(contents: ReportContents) -> str:
    """``pass``, ``fail``, ``indeterminate`` or ``error``: of a search whether it has an answer, else the worst."""
    if contents.answers:
        found = all(each.answer.best is not None and not each.answer.at_least for each in contents.answers)
        return "pass" if found else "indeterminate"
    return worst_verdict(point.verdict for point in contents.points)


def summary_lines(contents: ReportContents) -> list[str]:
    """The verdict in a sentence, then the reasons for it."""
    if contents.answers:
        return [
            f"{each.question[:1].upper()}{each.question[1:]}: {answer_sentence(each.answer, unit=each.unit)}"
            for each in contents.answers
        ]
    if contents.tuned is not None:
        return [f"Lowest latency: {tuning_sentence(contents.tuned)}"]
    if not contents.points:
        return ["Nothing was measured."]
    if len(contents.points) == 1:
        point = contents.points[0]
        first, *others = point.reasons or ("",)
        return [f"{point.verdict.upper()}: {first}", *others, *_limit_lines(contents)]
    counts = Counter(point.verdict for point in contents.points)
    if counts["pass"] == len(contents.points):
        return [f"All {len(contents.points)} points passed."]
    verdicts = ", ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICT_WORDS.items() if counts[verdict])
    lines = [
        f"{point.label}: {point.reasons[0] if point.reasons else point.verdict}"
        for point in contents.points
        if point.verdict != "pass"
    ]
    more = [f"and {len(lines) - SHOWN_REASONS} more, see the table"] if len(lines) > SHOWN_REASONS else []
    return [f"Of {len(contents.points)} points {verdicts}.", *lines[:SHOWN_REASONS], *more]


def _limit_lines(contents: ReportContents) -> list[str]:
    """The limit, the thresholds, and the notes of a single run."""
    if not contents.points[0].results:
        return []
    result = contents.points[0].results[-1]
    lines, bottleneck = [], result.bottleneck
    if bottleneck.symptoms:
        lines.append(f"Limit: {bottleneck.limit}. {'; '.join((*bottleneck.symptoms, *bottleneck.evidence))}")
    if bottleneck.advice:
        lines.append(f"What to change: {bottleneck.advice}")
    lines += [f"{item.threshold}: {item.state}, it was {item.shown}" for item in result.thresholds]
    return [*lines, *(f"Note: {note}" for note in result.notes)]


def _figures(contents: ReportContents) -> dict[str, Figure]:
    """The figures over all points, in their order on the page."""
    found: dict[str, Figure | None] = {f"plot_{key}": plots.seed_figure(contents, key) for key in plots.SEED_PLOTS}
    found["plot_latency"] = plots.latency_figure(contents)
    frontier = [answer for answer in contents.answers if answer.clients is not None]
    found["plot_frontier"] = plots.frontier_figure(frontier) if frontier else None
    found["plot_loss_classes"] = plots.loss_figure(contents)
    return {name: figure for name, figure in found.items() if figure is not None}


def _title(figure: Figure) -> Markup:
    return Markup(figure["layout"]["title"]["text"])  # noqa: S704  # escaped for Plotly already


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


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": _json, "figure_title": _title}
    return environment.from_string(_resource("page.html.jinja"))


def _visible(value: object) -> object:
    """Text without characters that are invisible or change the direction of the text around them; None as nothing."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)


def _json(value: object) -> Markup:
    """JSON for a script element: without ``<``, ``>`` and ``&``."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704  # as said


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _plotly() -> str:
    script = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    if script is None:
        raise InfrastructureError("Plotly's script is missing", hint="install the package plotly again")
    return script.decode("utf-8")


def _resource(name: str) -> str:
    content = pkgutil.get_data("hydra.report", name)
    assert content is not None, name
    return content.decode("utf-8")
