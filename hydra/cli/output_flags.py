"""The flags that say what is written beside the terminal, the same for every command that measures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from hydra.errors import OutputError

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


def check_output(path: str, flag: str) -> None:
    """See that a file can be written there.

    Raises:
        OutputError: names the flag and the path.
    """
    target = Path(path)
    if not path or "\0" in path:
        raise OutputError(f"--{flag}={path!r} is no path")
    if target.is_dir():
        raise OutputError(f"--{flag}={path} is a folder", hint="name a file in it")
    if not target.parent.is_dir():
        raise OutputError(f"--{flag}={path}: the folder {str(target.parent)!r} does not exist", hint="create it first")
    if not os.access(target.parent, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(f"--{flag}={path} cannot be written", hint="choose another place")


def output_flags(command: F) -> F:
    """A decorator that gives a command the flags of ``Outputs``. ``--output`` is no such flag, but an option."""
    for name, text in reversed(FLAGS.items()):
        command = click.option(f"--{name}", metavar="FILE", help=text)(command)
    return command


def taken_outputs(flags: dict[str, str | None]) -> Outputs:
    """The output flags, taken out of a command's flags."""
    return Outputs(**{name: flags.pop(name, None) for name in FLAGS})
