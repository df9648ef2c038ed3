"""A result on the terminal."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from hydra.accounting.result import Result
from hydra.cli.printable import printable
from hydra.report import text
from hydra.run.record import RunRecord

PLAIN_WIDTH = 120
STYLES = {"pass": "bold green", "fail": "bold red", "indeterminate": "bold yellow"}


def print_record(record: RunRecord) -> None:
    """Print the tables, who was the limit, the verdict and the RES line, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False)
    result = record.result
    if result is None:
        console.print(printable(text.headline(record.order.options)), style="bold")
        _print_lines(console, text.failure_lines(record), "bold red")
        return
    console.print(_key_table(record, result))
    if rows := text.latency_rows(record.order, result):
        console.print(_latency_table(rows))
    _print_lines(console, text.limit_lines(result), None)
    _print_lines(console, text.verdict_lines(result), STYLES[result.verdict])
    console.print(text.res_line(record.seed_keys), soft_wrap=True)


def _key_table(record: RunRecord, result: Result) -> Table:
    title = printable(text.headline(record.order.options))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("key")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("meaning", style="dim")
    for row in text.key_rows(result, acks=record.order.options.acks):
        table.add_row(*row)
    return table


def _latency_table(rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("latency [ms]")
    for name in text.LATENCY_COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("", style="dim")
    for row in rows:
        table.add_row(*row)
    return table


def _print_lines(console: Console, lines: list[str], style: str | None) -> None:
    for number, line in enumerate(lines):
        console.print(printable(line), style=style if number == 0 else None, soft_wrap=True)
