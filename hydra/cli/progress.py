"""What is seen of a run while it goes on, on stderr: one line that changes on a terminal, plain lines anywhere else.

With ``--live`` it is written to a file as JSON Lines, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

from hydra.cli.terminal import printable
from hydra.files.write_in_place import open_lines
from hydra.run.protocols import LiveCounts, Progress

PLAIN_EVERY_S = 2.0
SPINNER_COLUMNS = 4
"""The spinner, and the blanks around it and the phase."""


def _counts_text(live: LiveCounts) -> str:
    missing = f", {live.clients_missing:,} clients missing" if live.clients_missing else ""
    return (
        f"{live.elapsed_s:4.1f} s: sent {live.sent:,} of {live.planned:,}, acked {live.acked:,},"
        f" delivered {live.delivered:,}, backlog {live.backlog:,} deliveries{missing}"
    )


class Display(Progress, Protocol):
    """Progress that is shown somewhere."""

    def hide(self) -> None:
        """Make room for what is printed now; the next phase shows it again."""


def fitting(text: str, columns: int) -> str:
    """As many of the text's parts, which have commas between them, as fit: a number is shown whole or not at all."""
    parts = text.split(", ")
    while parts and len(", ".join(parts)) > columns:
        parts.pop()
    return ", ".join(parts)


class PlainProgress:
    """Lines for a log: one for each phase, and counts now and then."""

    def __init__(self) -> None:
        self._phase = ""
        self._counted_s = 0.0
        self._detailed_s = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        now_s = time.monotonic()
        if name == self._phase and (not detail or now_s - self._detailed_s < PLAIN_EVERY_S):
            return
        self._phase, self._detailed_s = name, now_s
        self.note(f"{name}{detail and f': {detail}'}")

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        now_s = time.monotonic()
        if now_s - self._counted_s >= PLAIN_EVERY_S:
            self._counted_s = now_s
            self.note(_counts_text(live))

    def note(self, text: str) -> None:
        """A line of its own."""
        sys.stderr.write(f"hydra: {printable(text)}\n")
        sys.stderr.flush()

    def hide(self) -> None:
        """Nothing is in the way."""


class TerminalProgress:
    """One line that changes, while ``live`` is entered; notes stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", "starting")
        # What is written to stdout meanwhile is a file (``--output=-``), and no line above this one.
        self.live = Live(self._spinner, console=console, transient=True, refresh_per_second=8, redirect_stdout=False)
        self._phase = ""
        self._detail = ""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        if name != self._phase:
            self._phase, self._detail = name, ""
        self._detail = detail or self._detail
        self.live.start()
        self._show()

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        self._detail = _counts_text(live)
        self._show()

    def note(self, text: str) -> None:
        """A line above the one that changes."""
        self._console.print(escape(printable(text)))

    def hide(self) -> None:
        """Take the line away."""
        self.live.stop()

    def _show(self) -> None:
        phase = printable(self._phase)
        room = self._console.width - len(phase) - SPINNER_COLUMNS
        self._spinner.update(text=f"[bold]{escape(phase)}[/] {escape(fitting(printable(self._detail), room))}")


class JsonlProgress:
    """Passes everything on to a display, and adds a line of JSON for it to a file.

    A file or a pipe that takes no more, or not at once, ends the lines and not the run.

    Args:
        display: where everything is passed on to.
        path: the file, which is added to; ``-`` is stdout.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, display: Display, path: str) -> None:
        self._display = display
        self._phase = ""
        self._lines = open_lines(Path(path), origin=f"--live={path}")

    def phase(self, name: str, detail: str = "") -> None:
        """A line when the phase is another one."""
        if name != self._phase:
            self._phase = name
            self._line({"event": "phase", "phase": name, "detail": detail})
        self._display.phase(name, detail)

    def counts(self, live: LiveCounts) -> None:
        """A line with all counts."""
        self._line({"event": "counts", **dataclasses.asdict(live)})
        self._display.counts(live)

    def note(self, text: str) -> None:
        """A line with the text."""
        self._line({"event": "note", "text": text})
        self._display.note(text)

    def hide(self) -> None:
        """Lines are in nobody's way."""
        self._display.hide()

    def close(self) -> None:
        """No more lines; harmless the second time."""
        self._lines.close()

    def _line(self, fields: dict[str, object]) -> None:
        self._lines.write(json.dumps({"unix_time_s": round(time.time(), 3), **fields}).encode() + b"\n")


@contextlib.contextmanager
def shown_progress(path: str | None = None) -> Iterator[Display]:
    """Progress as it fits the place that stderr goes to, and as JSON Lines where a path is given."""
    console = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as stack:
        display: Display = PlainProgress()
        if sys.stderr.isatty() and not console.is_dumb_terminal:
            display = terminal = TerminalProgress(console)
            stack.enter_context(terminal.live)
        if path is not None:
            display = stack.enter_context(contextlib.closing(JsonlProgress(display, path)))
        yield display
