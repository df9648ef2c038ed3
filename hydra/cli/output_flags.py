"""The flags that say what is written beside the terminal, the same for every command that measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

from hydra.files.atomic_write import check_output

F = TypeVar("F", bound=Callable[..., object])

FLAGS = {
    "report": "write a page with the plots to this file (HTML, on its own)",
    "csv": "write a row for each run to this file (CSV)",
    "junit": "write a test case for each point to this file (JUnit XML)",
    "live": "write the figures of the running test to this file, a line each time (JSON Lines)",
}


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None: not at all."""

    report: str | None = None
    csv: str | None = None
    junit: str | None = None
    live: str | None = None

    def check(self) -> None:
        """See, before anything is started, that everything will have a place.

        Raises:
            OutputError: names the flag and the path.
        """
        for flag in FLAGS:
            path = getattr(self, flag)
            if path is not None:
                check_output(path, flag)


def output_flags(command: F) -> F:
    """A decorator that gives a command the flags of ``Outputs``. ``--output`` is no such flag, but an option."""
    for name, text in reversed(FLAGS.items()):
        command = click.option(f"--{name}", metavar="FILE", help=text)(command)
    return command


def taken_outputs(flags: dict[str, str | None]) -> Outputs:
    """The output flags, taken out of a command's flags."""
    return Outputs(**{name: flags.pop(name, None) for name in FLAGS})
