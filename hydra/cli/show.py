"""A result on the terminal."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from hydra.cli.printable import printable
from hydra.core.options import Options
from hydra.core.result import Result
from hydra.report.text import headline, key_rows, res_line, verdict_lines

PLAIN_WIDTH = 120


def show_result(options: Options, result: Result) -> None:
    """Print the table, the verdict and the RES line, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False)
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=headline(options), title_justify="left", title_style="bold"
    )
    table.add_column("key")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("meaning", style="dim")
    for row in key_rows(result, acks=options.acks):
        table.add_row(*row)
    console.print(table)
    style = {"pass": "bold green", "fail": "bold red", "indeterminate": "bold yellow"}[result.verdict]
    first, *others = verdict_lines(result)
    console.print(printable(first), style=style, soft_wrap=True)
    for line in others:
        console.print(printable(line), soft_wrap=True)
    console.print(res_line(result.seed_keys()), soft_wrap=True)
