"""A sweep or a search on the terminal: a row for each point, and what was found."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from hydra.cli.printable import printable
from hydra.report.contents import collect
from hydra.report.text import number
from hydra.sweep.record import SweepRecord
from hydra.sweep.search import answer_sentence
from hydra.sweep.tuning import tuning_sentence

STYLES = {"pass": "green", "fail": "red", "indeterminate": "yellow", "error": "bold red"}
WIDE = 240
"""Columns of a log: nobody reads one that cuts names off."""

COLUMNS = {
    "average_tx_rate": "tx records/s",
    "average_rate": "rx records/s",
    "average_packet_loss": "loss %",
    "failing_clients": "failing",
}


def show_sweep(sweep: SweepRecord) -> None:
    """Print the table and the answers, on stdout."""
    measured = collect([("", sweep)])
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    others = measured.changed_options
    for heading in ("clients", "records/s", *others, *COLUMNS.values(), "p99 ms"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for point in measured.points:
        cells = [f"{point.clients:,}", f"{point.msg_rate:,.10g}"]
        cells += [printable(point.option(name)) for name in others]
        table.add_row(
            *cells,
            *(_shown(point.mean(key)) for key in COLUMNS),
            _shown(point.metric("e2e_p99")),
            point.verdict,
            style=STYLES[point.verdict],
        )
    console.print(table)
    for point in measured.points:
        if point.verdict != "pass" and not sweep.answers and sweep.tuned is None:
            reason = point.reasons[0] if point.reasons else ""
            console.print(printable(f"{point.label}: {point.verdict.upper()} - {reason}"), soft_wrap=True)
    for found in sweep.answers:
        console.print(printable(f"{found.question}: {answer_sentence(found.answer, unit=found.unit)}"), soft_wrap=True)
    if sweep.tuned is not None:
        console.print(printable(tuning_sentence(sweep.tuned)), soft_wrap=True)


def _shown(mean: float | None) -> str:
    return "" if mean is None else number(mean)
