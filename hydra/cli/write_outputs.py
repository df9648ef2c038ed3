"""The files that a command was asked to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.cli.output_flags import Outputs

if TYPE_CHECKING:
    from hydra.report.contents import ReportContents
    from hydra.sweep.record import SavedRecord


def write_outputs(outputs: Outputs, saved: SavedRecord) -> None:
    """Write the report, the CSV and the JUnit XML that were asked for.

    Raises:
        OutputError: as ``write_named``.
    """
    write_named(outputs, [("", saved)])


def write_named(outputs: Outputs, saved: Sequence[tuple[str, SavedRecord]]) -> None:
    """The same for several results, by name.

    Raises:
        OutputError: one could not be written; the others are.
    """
    from hydra.errors import OutputError
    from hydra.files.atomic_write import atomic_write
    from hydra.report.contents import collect

    if not (outputs.report or outputs.csv or outputs.junit):
        return
    measured = collect(saved)
    unwritten: OutputError | None = None
    for flag, path in (("report", outputs.report), ("csv", outputs.csv), ("junit", outputs.junit)):
        if path is None:
            continue
        try:
            atomic_write(Path(path), _content(flag, measured), origin=f"--{flag}={path}")
        except OutputError as error:
            unwritten = error
    if unwritten is not None:
        raise unwritten


def _content(flag: str, measured: ReportContents) -> bytes:
    from hydra.report.csv_rows import csv_text
    from hydra.report.junit import junit_xml
    from hydra.report.page import page

    if flag == "csv":
        return csv_text(measured).encode("utf-8", errors="backslashreplace")
    if flag == "junit":
        return junit_xml(measured)
    return page(measured).encode("utf-8", errors="backslashreplace")
