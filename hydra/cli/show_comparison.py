"""A comparison on the terminal."""

from __future__ import annotations

import math
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from hydra.cli.printable import printable
from hydra.cli.show_sweep import WIDE
from hydra.report.text import number
from hydra.sweep.comparison import Comparison, MetricChange

STYLES = {"worse": "red", "better": "green", "noise": "dim", "same": "dim"}


def show_comparison(found: Comparison, *, tolerance_percent: float) -> None:
    """Print what is different and what of it is worse, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("point")
    table.add_column("metric")
    for heading in ("A", "B", "change", "noise"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("")
    for item in found.differences:
        table.add_row(*_cells(item), style=STYLES[item.state])
    console.print(table)
    lines = [f"unlike: {text}" for text in found.unlike]
    lines += [f"verdict: {name}: {was} -> {now}" for name, was, now in found.verdicts]
    lines += [f"only in A: {name}" for name in found.only_before] + [f"only in B: {name}" for name in found.only_after]
    if any(item.noise is None for item in found.differences):
        lines.append("noise is not known where a side has a single run: repeat with --repeats")
    for line in lines:
        console.print(printable(line), soft_wrap=True)
    if not found.regressions:
        console.print(f"nothing is worse by more than {tolerance_percent:g} %", style="bold green")
    for text in found.regressions:
        console.print(printable(f"WORSE {text}"), style="bold red", soft_wrap=True)


def _cells(item: MetricChange) -> list[str]:
    change = "new" if math.isinf(item.change_percent) else f"{item.change_percent:+.1f} %"
    noise = "" if item.noise is None else f"+-{number(item.noise / 2)}"
    figures = [number(item.before), number(item.after), change, noise]
    return [printable(item.point), item.metric, *figures, item.unit, item.state]
