"""The report: one HTML page that needs nothing from elsewhere, with Plotly in it once.

Nothing that a user or a broker named becomes an element of it: text is escaped, figures travel as JSON without a ``<``,
and the page's policy lets run the three scripts that were written here, known by their hashes, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence

from hydra import __version__
from hydra.errors import InfrastructureError
from hydra.options.thresholds import METRICS
from hydra.report.plots import (
    COMMON_LAYOUT,
    SEED_PLOTS,
    Figure,
    frontier_figure,
    latency_figure,
    loss_figure,
    seed_figure,
)
from hydra.report.report_data import ReportData, ReportPoint
from hydra.report.run_plots import detail_figures
from hydra.report.summary import verdict_sentences, whole_verdict
from hydra.report.text import headline, number
from hydra.run.record import RunRecord
from hydra.sweep.plan import CLIENTS, format_value

DETAILED_POINTS = 300
"""Of so many points the page holds the figures from close by."""

ALL_COLUMNS, FEWEST_COLUMNS, MOST_COLUMNS = 24_000, 60, 600
"""Moments that all points together, and each of them, are shown at: the page stays small enough to be opened."""

DETAILS = (
    "percentiles",
    "lateness",
    "heat",
    "rates",
    "backlog",
    "cpu",
    "memory",
    "client_rates",
    "client_latency",
)
SEED_COLUMNS = ("average_tx_rate", "average_rate", "average_packet_loss", "failing_clients", "failing_clients_rate")
METRIC_COLUMNS = ("e2e_p50", "e2e_p99", "e2e_p999", "e2e_max", "pub_cpu", "sub_cpu_max")
TABLE_LIMIT = 2000
LONG_LEGEND = 9


def page(measured: ReportData) -> str:
    """The page as text.

    Raises:
        InfrastructureError: Plotly's script is not where its package has it.
    """
    figures = _figures(measured)
    details = _details(measured.points)
    plotly, own = _plotly(), _resource("page.js")
    body = "\n".join(
        [
            _heading(measured),
            _verdict(measured),
            _plots("Plots", [name for name in figures if name.startswith("plot_")], figures),
            _close_by(measured, details),
            _table(measured),
            _circumstances(measured),
            f'<p class="soft">Hydra {_safe(__version__)}. Everything on this page is in this file.</p>',
        ]
    )
    title = _safe(f"Hydra: {measured.kind}, {len(measured.points)} points")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, own)}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{_resource("page.css")}</style>
</head>
<body>
{body}
<noscript><p>The plots need JavaScript; the tables do not.</p></noscript>
<script type="application/json" id="common">{_json(COMMON_LAYOUT)}</script>
<script type="application/json" id="figures">{_json(figures)}</script>
{_stored_points(details)}
<script>{plotly}</script>
<script>{own}</script>
</body>
</html>
"""


def _stored_points(details: Sequence[Mapping[str, Figure]]) -> str:
    """The figures of each point in an element of its own: only those of the chosen one are ever parsed."""
    return "\n".join(
        f'<script type="application/json" id="point-{index}">{_json(figures)}</script>'
        for index, figures in enumerate(details)
    )


def _figures(measured: ReportData) -> dict[str, Figure]:
    """The figures over all points, in their order on the page."""
    found: dict[str, Figure | None] = {f"plot_{key}": seed_figure(measured, key) for key in SEED_PLOTS}
    found["plot_latency"] = latency_figure(measured)
    frontier = [answer for answer in measured.answers if answer.clients is not None]
    found["plot_frontier"] = frontier_figure(frontier) if frontier else None
    found["plot_loss_classes"] = loss_figure(measured)
    return {name: figure for name, figure in found.items() if figure is not None}


def _details(points: Sequence[ReportPoint]) -> list[dict[str, Figure]]:
    chosen = points[:DETAILED_POINTS]
    columns = max(FEWEST_COLUMNS, min(MOST_COLUMNS, ALL_COLUMNS // max(1, len(chosen))))
    return [detail_figures(point.runs[-1], columns=columns) for point in chosen]


def _heading(measured: ReportData) -> str:
    asked = ""
    if len(measured.points) == 1 and measured.points[0].results:
        asked = headline(measured.points[0].order.options)
    lines = [asked, measured.command, f"begun {measured.started_at}"]
    told = "".join(f'<p class="soft">{_safe(line)}</p>' for line in lines if line)
    return f"<header><h1>Kafka scaling test</h1>{told}</header>"


def _verdict(measured: ReportData) -> str:
    told = "".join(f"<p>{_safe(line)}</p>" for line in verdict_sentences(measured))
    return f'<section class="verdict {whole_verdict(measured)}" id="verdict">{told}</section>'


def _plots(heading: str, names: Iterable[str], figures: Mapping[str, Figure]) -> str:
    told = "".join(_plot(name, str(_title(figures[name])), tall=_tall(figures[name])) for name in names)
    return (
        f'<section><h2>{heading}</h2><div class="plots">{told}</div>'
        '<p class="soft">Each number of clients has a colour and a symbol of its own. A hollow symbol: that point was'
        " no pass. A bar through a point: from the lowest to the highest of its repeats.</p></section>"
    )


def _title(figure: Figure) -> object:
    layout = figure["layout"]
    assert isinstance(layout, dict)
    return layout["title"]["text"]


def _tall(figure: Figure) -> bool:
    """Whether a legend takes so much of a plot that it needs more room."""
    traces = figure["data"]
    return isinstance(traces, list) and len(traces) > LONG_LEGEND


def _plot(name: str, title: str, *, detail: str = "", tall: bool = False) -> str:
    # The title is a figure's, and so it is escaped already.
    data = f' data-detail="{detail}"' if detail else ""
    shape = "plot tall" if tall else "plot"
    return (
        f'<figure><div class="{shape}" role="img" aria-label="{title}" id="{name}" data-figure="{name}"{data}></div>'
        "</figure>"
    )


def _close_by(measured: ReportData, details: Sequence[Mapping[str, Figure]]) -> str:
    """The figures of one point, and what chooses it."""
    present = [name for name in DETAILS if any(name in figures for figures in details)]
    if not present:
        return ""
    options = "".join(
        f'<option value="{index}">{_safe(f"{index + 1}: {point.label} ({point.verdict})")}</option>'
        for index, point in enumerate(measured.points[:DETAILED_POINTS])
    )
    first = next(index for index, figures in enumerate(details) if figures)
    hidden = "" if len(details) > 1 else " hidden"
    left_out = len(measured.points) - len(details)
    note = f'<p class="soft">{left_out:,} further points are in the table only.</p>' if left_out else ""
    told = "".join(
        _plot(f"detail_{name}", str(_title(next(f[name] for f in details if name in f))), detail=name)
        for name in present
    )
    repeated = any(len(point.runs) > 1 for point in measured.points)
    of_repeats = '<p class="soft">Of a point with repeats, its last run.</p>' if repeated else ""
    return (
        f'<section><h2>One point, close up</h2><p class="choice"{hidden}><label for="point">Point: </label>'
        f'<select id="point" data-first="{first}" autocomplete="off">{options}</select></p>{note}{of_repeats}'
        f'<p id="chosen" class="printed"{hidden}></p><div class="plots">{told}</div></section>'
    )


def _table(measured: ReportData) -> str:
    changed = sorted({name for point in measured.points for name in point.changes} - {CLIENTS, "msg_rate"})
    several = any(point.source for point in measured.points)
    words = ["point", "verdict", *(["file"] if several else []), *changed]
    numbers = [
        "clients",
        "records/s asked",
        *SEED_COLUMNS,
        *(f"{name} [{METRICS[name].unit}]" for name in METRIC_COLUMNS),
    ]
    head = "".join(f"<th>{_safe(name)}</th>" for name in words) + "".join(
        f'<th class="number">{_safe(name)}</th>' for name in numbers
    )
    rows = "".join(
        _row(index, point, changed, several=several) for index, point in enumerate(measured.points[:TABLE_LIMIT], 1)
    )
    left_out = len(measured.points) - TABLE_LIMIT
    caption = "Means over the runs of a point" + (f"; {left_out:,} points are left out" if left_out > 0 else "")
    return (
        f'<section><h2>Points</h2><div class="scroll" tabindex="0"><table id="table"><caption>{caption}</caption>'
        f"<thead><tr>{head}<th>why</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(index: int, point: ReportPoint, changed: Sequence[str], *, several: bool) -> str:
    words = [*([point.source] if several else []), *(format_value(point.options.get(name)) for name in changed)]
    means = [
        *(point.mean(key) for key in SEED_COLUMNS),
        *(point.metric(name) for name in METRIC_COLUMNS),
    ]
    numbers = [f"{point.clients:,}", f"{point.asked_rate_per_s:,.10g}"]
    numbers += ["" if value is None else number(value) for value in means]
    cells = f'<td>{index}</td><td class="{point.verdict}">{point.verdict}</td>'
    cells += "".join(f"<td>{_safe(text)}</td>" for text in words)
    cells += "".join(f'<td class="number">{_safe(text)}</td>' for text in numbers)
    why = _safe("; ".join(point.reasons))
    return f'<tr>{cells}<td class="long">{why}</td></tr>'


def _circumstances(measured: ReportData) -> str:
    """Options, versions, machine and cluster; each where it differs between runs with all its values."""
    parts = []
    facts: Mapping[str, Callable[[RunRecord], Mapping[str, object]]] = {
        "Options": lambda run: vars(run.order.options),
        "Machine": lambda run: run.machine,
        "Cluster": lambda run: run.cluster,
        "Versions": lambda run: run.versions,
    }
    for heading, of in facts.items():
        values: dict[str, list[str]] = {}
        for run in measured.runs:
            for key, value in of(run).items():
                told = format_value(value)
                known = values.setdefault(key, [])
                if told not in known:
                    known.append(told)
        rows = "".join(
            f'<tr><th scope="row">{_safe(key)}</th><td class="long">{_safe(_several(told))}</td></tr>'
            for key, told in values.items()
        )
        if rows:
            opened = " open" if heading == "Machine" else ""
            parts.append(
                f'<details{opened}><summary>{heading}</summary><div class="scroll" tabindex="0"><table>{rows}</table>'
                "</div></details>"
            )
    return f"<section><h2>How it was measured</h2>{''.join(parts)}</section>"


def _several(values: Sequence[str], most: int = 12) -> str:
    more = f", and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _safe(text: str) -> str:
    """Text as text: nothing in it is an element, an entity, or turns the direction of what stands around it."""
    visible = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return html.escape(visible, quote=True)


def _json(value: object) -> str:
    """JSON that can stand in an element: it holds no ``<``, ``>`` or ``&``."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
