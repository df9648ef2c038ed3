"""A row for each run, as CSV."""

from __future__ import annotations

import csv
import io

from hydra.accounting.metrics import metric_value
from hydra.options.thresholds import METRICS
from hydra.report.report_data import ReportData, ReportPoint
from hydra.report.text import MEANINGS
from hydra.sweep.plan import CLIENTS, format_value

OWN_METRICS = tuple(name for name in METRICS if name not in MEANINGS)
FIXED = ("source", "point", "run", "clients", "msg_rate")


def csv_text(measured: ReportData) -> str:
    """The rows, under a header: options, verdict, the original's keys, the metrics (accounting/metrics.py), the limit.

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


def _row(point: ReportPoint, number: int, index: int, changed: list[str]) -> list[object]:
    run = point.runs[index]
    result = run.result
    figures: list[object] = [""] * (len(MEANINGS) + len(OWN_METRICS) + 1)
    if result is not None:
        keys = result.seed_keys()
        metrics = [metric_value(name, result.totals, result.latency) for name in OWN_METRICS]
        figures = [*(keys[key] for key in MEANINGS), *metrics, result.bottleneck.limit]
    reason = run.error if result is None else "; ".join(result.reasons)
    options = [format_value(point.options.get(name)) for name in changed]
    head = [point.source, number, index + 1, point.clients, format_value(point.asked_rate_per_s)]
    return [*head, *options, "error" if result is None else result.verdict, run.exit_code, *figures, reason]


def plain_cell(value: object) -> object:
    """A cell's value; text that would be a formula becomes plain text."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")  # the csv module of Python 3.10 neither writes nor reads a NUL
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
