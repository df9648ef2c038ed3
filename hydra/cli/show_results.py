"""Results on the terminal: of a run, of a sweep or search, and of a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hydra.cli.terminal import Column, print_lines, print_table, stdout_console
from hydra.report import text
from hydra.report.comparison_text import (
    COMPARED_COLUMNS,
    EFFECT_HEADING,
    MACHINE_HEADING,
    TREND_COLUMNS,
    changes_in_order,
    compared_cells,
    detail_lines,
    doubt_line,
    judgement,
    shortened,
    steady_lines,
    trend_cells,
    trend_judgement,
)
from hydra.report.contents import collect
from hydra.run.record import RunRecord
from hydra.sweep.comparison import Comparison, compare_sides
from hydra.sweep.record import SweepRecord
from hydra.sweep.search import answer_sentence
from hydra.sweep.trend import Series
from hydra.sweep.tuning import tuning_sentence

VERDICT_STYLES = {"pass": "green", "fail": "red", "indeterminate": "yellow", "error": "bold red"}
CHANGE_STYLES = {"worse": "red", "better": "green", "no difference shown": "dim"}
SWEEP_KEYS = {
    "average_tx_rate": "tx records/s",
    "average_rate": "rx records/s",
    "average_packet_loss": "loss %",
    "failing_clients": "failing",
}
"""Headings by the seed's key."""


def print_record(record: RunRecord) -> None:
    """Print the verdict, why, the tables and the RES line."""
    options, result = record.order.options, record.result
    if result is None:
        print_lines([text.failure_line(record)], style="bold red")
        print_lines([text.headline(options)], indent="  ")
        return
    publisher = record.evidence.publisher
    verdict = text.verdict_line(result, record.order, publisher.refusals if publisher is not None else ())
    print_lines([verdict], style=f"bold {VERDICT_STYLES[result.verdict]}")
    print_lines(text.reason_lines(result), indent="  ")
    stdout_console().print()
    print_table(
        [Column("key"), Column("value", numbers=True), Column("unit"), Column("meaning", dim=True)],
        text.key_rows(result, options),
        title=text.headline(options),
    )
    if rows := text.latency_rows(result):
        print_table([Column("latency [ms]"), *(Column(name, numbers=True) for name in text.LATENCY_COLUMNS)], rows)
        print_lines(text.latency_lines(result), indent="  ")
        stdout_console().print()
    stdout_console().print(text.res_line(record.seed_keys), soft_wrap=True)


def print_sweep(sweep: SweepRecord) -> None:
    """Print a row for each point of a sweep or a search, and the answers."""
    contents = collect([("", sweep)])
    points, others = contents.points, contents.changed_options
    headings = ("clients", "records/s", *others, *SWEEP_KEYS.values(), "p99 ms")
    rows = [
        (
            f"{point.clients:,}",
            f"{point.msg_rate:,.10g}",
            *(point.option(name) for name in others),
            *(_shown(point.mean(key)) for key in SWEEP_KEYS),
            _shown(point.metric("e2e_p99")),
            point.verdict,
        )
        for point in points
    ]
    columns = [*(Column(heading, numbers=True) for heading in headings), Column("verdict")]
    print_table(columns, rows, styles=[VERDICT_STYLES[point.verdict] for point in points])
    if unread := sum(any(result.totals.records_unread for result in point.results) for point in points):
        told = "deliveries were still unread at the end: that is in 'loss %' and 'failing', and proves no loss"
        print_lines([f"at {unread:,} of {len(points):,} points {told}"])
    if not sweep.answers and sweep.tuned is None:
        failed = [point for point in points if point.verdict != "pass"]
        print_lines([f"{point.label}: {point.verdict.upper()} - {' '.join(point.reasons[:1])}" for point in failed])
    print_lines([f"{found.question}: {answer_sentence(found.answer, unit=found.unit)}" for found in sweep.answers])
    if sweep.tuned is not None:
        print_lines([tuning_sentence(sweep.tuned)])
    if sweep.kind == "ab":
        _print_sides(sweep)
    if sweep.missing:
        print_lines([f"NOT COMPLETE: {sweep.missing}"], style="bold yellow")


def _print_sides(sweep: SweepRecord) -> None:
    """Print what the machine does to A, then what B is against A."""
    assert sweep.plan is not None
    found = compare_sides(sweep)
    for heading, compared in ((MACHINE_HEADING, found.machine), (EFFECT_HEADING, found.effect)):
        print_lines([heading], style="bold")
        print_comparison(compared, tolerance_percent=sweep.plan.tolerance_percent)
    if found.doubt:
        print_lines([doubt_line(found)], style="bold yellow")


def _shown(mean: float | None) -> str:
    return "" if mean is None else text.number(mean)


def print_comparison(found: Comparison, *, tolerance_percent: float) -> None:
    """Print what is different, and what of it is worse."""
    columns = [Column(heading, numbers=numbers) for heading, numbers in COMPARED_COLUMNS]
    print_table(
        [*columns[:-1], dataclasses.replace(columns[-1], dim=True)],
        [compared_cells(item) for item in found.differences],
        styles=[CHANGE_STYLES.get(item.state, "") for item in found.differences],
    )
    print_lines(detail_lines(found))
    verdict, lines = judgement(found, tolerance_percent=tolerance_percent)
    print_lines(lines, style=f"bold {VERDICT_STYLES[verdict]}")


def print_trend(found: Sequence[Series], unlike: Sequence[str]) -> None:
    """Print a row for each change, how much did not change, what else differs over time, and what it comes to."""
    if changed := changes_in_order(found):
        print_table(
            [Column(heading, numbers=numbers) for heading, numbers in TREND_COLUMNS],
            [trend_cells(series, change) for series, change in changed],
            styles=[CHANGE_STYLES[change.state] for _, change in changed],
        )
    print_lines([*shortened(unlike), *steady_lines(found)])
    verdict, lines = trend_judgement(found)
    print_lines(lines, style=f"bold {VERDICT_STYLES[verdict]}")
