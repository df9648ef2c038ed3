"""The files that a command writes beside what it prints; the same flags for every command that measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from hydra.cli.help_page import METAVARS
from hydra.errors import OutputError
from hydra.files.atomic_write import check_output

if TYPE_CHECKING:
    from hydra.report.contents import ReportContents
    from hydra.sweep.record import SavedRecord

F = TypeVar("F", bound=Callable[..., object])

FILES = {
    "report": "write a page with the plots to this file (HTML, on its own)",
    "csv": "write a row for each run to this file (CSV)",
    "junit": "write a test case for each point to this file (JUnit XML)",
    "live": "write the counts of the running test to this file, a line each time (JSON Lines)",
}


def output_flags(command: F) -> F:
    """A decorator that gives a command the flags of ``Outputs``; ``--output`` is among the options."""
    for name, text in reversed(FILES.items()):
        command = click.option(f"--{name}", metavar=METAVARS[name], help=text)(command)
    return command


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None: not at all."""

    output: str | None = None
    report: str | None = None
    csv: str | None = None
    junit: str | None = None
    live: str | None = None

    def check(self) -> None:
        """See, before anything is started, that each file can be written.

        Raises:
            OutputError: names the flag and the path.
        """
        for flag, path in vars(self).items():
            if path is not None:
                check_output(path, flag)

    def write(self, saved: Sequence[tuple[str, SavedRecord]]) -> None:
        """Write the report, the CSV and the JUnit XML of these results, each with its name.

        Raises:
            OutputError: one could not be written; the others are.
        """
        from hydra.files.atomic_write import atomic_write
        from hydra.report.contents import collect

        if not (self.report or self.csv or self.junit):
            return
        data = collect(saved)
        unwritten: OutputError | None = None
        for flag in ("report", "csv", "junit"):
            path = getattr(self, flag)
            if path is None:
                continue
            try:
                atomic_write(Path(path), _content(flag, data), origin=f"--{flag}={path}")
            except OutputError as error:
                unwritten = error
        if unwritten is not None:
            raise unwritten


def parse_outputs(ctx: click.Context) -> Outputs:
    """What the flags of a command say; the files can be written.

    Raises:
        OutputError: names the flag and the path.
    """
    outputs = Outputs(**{name: ctx.params.get(name) for name in Outputs.__dataclass_fields__})
    outputs.check()
    return outputs


def _content(flag: str, data: ReportContents) -> bytes:
    from hydra.report.csv_rows import csv_text
    from hydra.report.junit import junit_xml
    from hydra.report.page import page

    if flag == "junit":
        return junit_xml(data)
    return (csv_text if flag == "csv" else page)(data).encode("utf-8", errors="backslashreplace")
