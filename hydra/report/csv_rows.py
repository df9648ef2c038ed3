"""A row for each run, as CSV."""

from __future__ import annotations

import csv
import io

from hydra.core.metrics import METRICS
from hydra.core.sweep_plan import CLIENTS, shown
from hydra.report.measured import Measured, MeasuredPoint
from hydra.report.text import MEANINGS

OWN_METRICS = {name: metric for name, metric in METRICS.items() if name not in MEANINGS}
FIXED = ("source", "point", "run", "clients", "msg_rate")


def csv_text(measured: Measured) -> str:
    """The rows, under a header: options, verdict, the original's keys, the metrics (core/metrics.py), the limit.

    A run without a result has empty cells. Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    changed = sorted({name for point in measured.points for name in point.changes} - {CLIENTS, "msg_rate"})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *changed, "verdict", "exit_code", *MEANINGS, *OWN_METRICS, "limit", "reason"])
    for number, point in enumerate(measured.points, 1):
        for index in range(len(point.runs)):
            writer.writerow([plain_cell(value) for value in _row(point, number, index, changed)])
    return text.getvalue()


def _row(point: MeasuredPoint, number: int, index: int, changed: list[str]) -> list[object]:
    run = point.runs[index]
    result = run.result
    figures: list[object] = [""] * (len(MEANINGS) + len(OWN_METRICS) + 1)
    if result is not None:
        keys = result.seed_keys()
        metrics = [metric.of(result.figures, result.latency) for metric in OWN_METRICS.values()]
        figures = [*(keys[key] for key in MEANINGS), *metrics, result.bottleneck.limit]
    reason = run.error if result is None else "; ".join(result.reasons)
    options = [shown(point.options.get(name)) for name in changed]
    head = [point.source, number, index + 1, point.clients, shown(point.asked_rate_per_s)]
    return [*head, *options, "error" if result is None else result.verdict, run.exit_code, *figures, reason]


def plain_cell(value: object) -> object:
    """A cell's value; text that would be a formula becomes plain text."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value
