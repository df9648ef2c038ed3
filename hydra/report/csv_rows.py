"""CSV: a row for each run, or for each difference of a comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from hydra.accounting.metrics import metric_value
from hydra.options.thresholds import METRICS
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.text import MEANINGS
from hydra.sweep.comparison import Comparison
from hydra.sweep.plan import format_value

OWN_METRICS = tuple(name for name in METRICS if name not in MEANINGS)


def csv_text(contents: ReportContents) -> str:
    """A row for each run: options, verdict, the seed's keys, the metrics (accounting/metrics.py), and the limit.

    A run without a result has empty cells there.
    """
    changed = contents.changed_options
    head = ["source", "point", "run", "clients", "msg_rate", *changed, "verdict", "exit_code", *MEANINGS, *OWN_METRICS]
    rows = (
        _row(point, number, index, changed)
        for number, point in enumerate(contents.points, 1)
        for index in range(len(point.runs))
    )
    return _csv([*head, "limit", "reason"], rows)


def _row(point: ReportPoint, number: int, index: int, changed: list[str]) -> list[object]:
    run = point.runs[index]
    result = run.result
    values: list[object] = [""] * (len(MEANINGS) + len(OWN_METRICS) + 1)
    if result is not None:
        keys = result.seed_keys()
        metrics = [metric_value(name, result.totals, result.latency) for name in OWN_METRICS]
        values = [*(keys[key] for key in MEANINGS), *metrics, result.bottleneck.limit]
    reason = run.error if result is None else "; ".join(result.reasons)
    head = [point.source, number, index + 1, point.clients, format_value(point.msg_rate), *map(point.option, changed)]
    return [*head, "error" if result is None else result.verdict, run.exit_code, *values, reason]


def comparison_csv(found: Comparison) -> str:
    """A row for each difference; ``noise`` is empty if one side has a single run."""
    rows = (
        [item.point, item.metric, item.unit, item.before, item.after, item.change_percent, item.noise, item.state]
        for item in found.differences
    )
    return _csv(["point", "metric", "unit", "before", "after", "change_percent", "noise", "state"], rows)


def _csv(head: list[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue()


def _plain(value: object) -> object:
    """A cell's value; text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")  # the csv module of Python 3.10 neither writes nor reads a NUL
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
