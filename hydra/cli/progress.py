"""What is seen of a run while it goes on, on stderr: a few lines that change on a terminal, plain ones elsewhere.

With ``--live`` it is written to a file as JSON Lines, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from hydra.cli.live_lines import BARS, SPARK_MOMENTS, counts_text, live_lines
from hydra.cli.terminal import printable
from hydra.files.write_in_place import open_lines
from hydra.run.protocols import LiveCounts, Progress

if TYPE_CHECKING:
    from hydra.cli.watch import Watch
    from hydra.live.history import LiveHistory

PLAIN_EVERY_S = 2.0
SPINNER_COLUMNS = 4
"""The spinner, and the blanks around it and the phase."""

INDENT_COLUMNS = 2
REFRESHES_PER_S = 4
MIN_HEIGHT = 10
"""Lines of a terminal below which a run is one line."""

COUNTED_PHASES = frozenset({"sending", "flushing", "draining"})
"""Phases of which the counts are; those of a run before are no longer shown in others."""


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

    wants_figures = False

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
            self.note(counts_text(live))

    def note(self, text: str) -> None:
        """A line of its own."""
        sys.stderr.write(f"hydra: {printable(text)}\n")
        sys.stderr.flush()

    def hide(self) -> None:
        """Nothing is in the way."""


class TerminalProgress:
    """A few lines that change, while ``live`` is entered; notes stay above them. One line where there is no room."""

    wants_figures = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", "starting")
        # What is written to stdout meanwhile is a file (``--output=-``), and no line above these.
        self.live = Live(
            self._spinner, console=console, transient=True, refresh_per_second=REFRESHES_PER_S, redirect_stdout=False
        )
        self._phase = ""
        self._detail = ""
        self._moments: deque[LiveCounts] = deque(maxlen=SPARK_MOMENTS)

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        if name != self._phase:
            self._phase, self._detail = name, ""
            if name not in COUNTED_PHASES:
                self._moments.clear()
        self._detail = detail or self._detail
        self.live.start()
        self._show()

    def counts(self, live: LiveCounts) -> None:
        """New counts; where time went back, they are the first ones of another run."""
        if self._moments and live.elapsed_s < self._moments[-1].elapsed_s:
            self._moments.clear()
        self._moments.append(live)
        self._show()

    def note(self, text: str) -> None:
        """A line above those that change."""
        self._console.print(escape(printable(text)))

    def hide(self) -> None:
        """Take the lines away."""
        self.live.stop()

    def _show(self) -> None:
        phase = printable(self._phase)
        room = self._console.width - len(phase) - SPINNER_COLUMNS
        several = self._console.height >= MIN_HEIGHT
        bars = BARS if "utf" in self._console.encoding.lower() else ""
        lines = (
            live_lines(tuple(self._moments), bars=bars)
            if several
            else [counts_text(live) for live in self._moments][-1:]
        )
        head, *rest = lines or [printable(self._detail)]
        self._spinner.update(text=f"[bold]{escape(phase)}[/] {escape(fitting(head, room))}")
        indent = " " * INDENT_COLUMNS
        fitted = (fitting(line, self._console.width - INDENT_COLUMNS) for line in rest)
        below = [indent + line for line in fitted if line]
        self.live.update(Group(self._spinner, *map(Text, below)) if below else self._spinner)


class JsonlProgress:
    """Passes everything on to a display, and adds a line of JSON for it to a file.

    A file or a pipe that takes no more, or not at once, ends the lines and not the run.

    Args:
        display: where everything is passed on to.
        path: the file, which is added to; ``-`` is stdout.

    Raises:
        OutputError: it cannot be opened.
    """

    wants_figures = True

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


class WatchedProgress:
    """Passes everything on to a display, and to the history that a page and metrics are made from."""

    wants_figures = True

    def __init__(self, display: Display, history: LiveHistory) -> None:
        self._display = display
        self._history = history

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        self._history.phase(name, detail)
        self._display.phase(name, detail)

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        self._history.counts(live)
        self._display.counts(live)

    def note(self, text: str) -> None:
        """Something was told."""
        self._history.note(text)
        self._display.note(text)

    def hide(self) -> None:
        """A page is in nobody's way."""
        self._display.hide()


@contextlib.contextmanager
def shown_progress(path: str | None = None, watch: Watch | None = None) -> Iterator[Display]:
    """Progress as it fits the place that stderr goes to; as JSON Lines where a path is given; on ``watch``'s page.

    The link of the page is told on stderr alone: whoever reads the JSON Lines is not let in by them.
    """
    console = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as stack:
        display: Display = PlainProgress()
        if sys.stderr.isatty() and not console.is_dumb_terminal:
            display = terminal = TerminalProgress(console)
            stack.enter_context(terminal.live)
        if watch is not None and watch.history is not None:
            for line in watch.addresses:
                display.note(line)
            display = WatchedProgress(display, watch.history)
        if path is not None:
            display = stack.enter_context(contextlib.closing(JsonlProgress(display, path)))
        yield display
