"""The terminal: text that it takes as text, tables that never cut a number, JSON; and Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hydra.errors import InterruptedRunError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_COLUMNS = 240
"""Width of what is no terminal, such as a log: nothing is cut off in one."""


def printable(text: str) -> str:
    """The text with every control character (and so every escape sequence) written out as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


END_SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGALRM,
)  # fmt: skip
"""All that end a process unless it does something about it, and that come from outside. Batch systems send SIGUSR1,
SIGUSR2 or SIGXCPU some time before they kill."""

ASKED_BY_A_USER = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGQUIT})


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    heading: str
    numbers: bool = False
    """Right-aligned, and never broken over two lines."""
    dim: bool = False


def stdout_console() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False, markup=False)


def print_lines(lines: Sequence[str], *, indent: str = "", style: str | None = None) -> None:
    """Print lines; on a terminal a longer one goes on, indented, in the next line, and no word is broken."""
    console = stdout_console()
    for line in lines:
        text = indent + printable(line)
        if sys.stdout.isatty():
            text = textwrap.fill(
                text,
                max(console.width, 20),
                subsequent_indent=f"{indent}    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        console.print(text, style=style, soft_wrap=True)


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, title: str = "", styles: Sequence[str] = ()
) -> None:
    """Print a table as the terminal has room for it: whole, without its dim columns, or a line for each cell."""
    if title:
        print_lines([title], style="bold")
    console = stdout_console()
    for shown in (columns, [column for column in columns if not column.dim]):
        cells = [[cell for column, cell in zip(columns, row, strict=True) if column in shown] for row in rows]
        table = _table(shown, cells, styles)
        if _narrowest(console, table) <= console.width:
            console.print(table)
            return
    for row in rows:
        console.print()
        named = [(column.heading, cell) for column, cell in zip(columns, row, strict=True) if cell]
        print_lines([f"{heading}: {cell}" if heading else cell for heading, cell in named])


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.numbers else "left",
            no_wrap=column.numbers,
            overflow="fold",
            style="dim" if column.dim else None,
        )
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        table.add_row(*map(printable, row), style=style or None)
    return table


def _narrowest(console: Console, table: Table) -> int:
    """The fewest columns of a terminal in which no number and no word of the table is broken."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update_width(10_000), table).minimum


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print a table with these columns of the rows, or, as JSON, an array of all that is in the rows."""
    if as_json:
        print_json(rows)
        return
    heads = [
        Column(name.replace("_", " "), numbers=bool(rows) and all(isinstance(row[name], (int, float)) for row in rows))
        for name in columns
    ]
    print_table(heads, [[_cell(row[name]) for name in columns] for row in rows])


def print_json(document: object) -> None:
    """Print a document as JSON."""
    click.echo(json.dumps(document, indent=2, default=str))


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within this block each of the signals in ``end_signals`` raises InterruptedRunError, once.

    At the second Ctrl-C, SIGTERM or SIGQUIT the process is gone there and then. What it started notices by its lease,
    and goes too. A second one of another kind changes nothing: a terminal that closes and a service that stops send
    SIGHUP beside others, and nobody has asked twice.
    """
    before = {number: signal.getsignal(number) for number in end_signals()}
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        if number in ASKED_BY_A_USER and any(earlier in ASKED_BY_A_USER for earlier in asked):
            os._exit(128 + number)
        asked.append(number)
        if len(asked) == 1:
            raise InterruptedRunError(number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_signals() -> list[signal.Signals]:
    """The signals that would end this process without a clean-up.

    Those that whoever started it had it ignore, such as SIGHUP below nohup, stay ignored; SIGINT and SIGTERM end it all
    the same.
    """
    return [
        number
        for number in END_SIGNALS
        if number in {signal.SIGINT, signal.SIGTERM} or signal.getsignal(number) is not signal.SIG_IGN
    ]
