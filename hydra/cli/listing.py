"""Lists on stdout: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table

from hydra.cli.printable import printable

PLAIN_WIDTH = 200

F = TypeVar("F", bound=Callable[..., object])


def json_flag(command: F) -> F:
    """A decorator that gives a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="print JSON in place of a table")(command)


def show(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows.

    Args:
        rows: each with a value for every column, and more for JSON.
        columns: those of the table.
        as_json: print an array of all that is in the rows.
    """
    if as_json:
        show_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = bool(rows) and all(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell(row[column])) for column in columns))
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False).print(table)


def show_json(document: object) -> None:
    """Print a document as JSON."""
    click.echo(json.dumps(document, indent=2, default=str))


def cell(value: object) -> str:
    """A value as it stands in a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={cell(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
