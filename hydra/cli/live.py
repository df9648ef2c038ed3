"""What a user sees while a run goes on: one line that changes on a terminal, plain lines anywhere else. On stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

from hydra.cli.printable import printable
from hydra.run.progress import LiveCounts

PLAIN_EVERY_S = 2.0


def _counts_text(live: LiveCounts) -> str:
    missing = f", {live.clients_missing:,} clients missing" if live.clients_missing else ""
    return (
        f"{live.elapsed_s:4.1f} s: sent {live.sent:,} of {live.planned:,}, acked {live.acked:,},"
        f" delivered {live.delivered:,}, backlog {live.backlog:,}{missing}"
    )


class PlainProgress:
    """Lines for a log: one for each phase, and counts now and then."""

    def __init__(self) -> None:
        self._phase = ""
        self._counted_s = 0.0
        self._detailed_s = 0.0

    def __enter__(self) -> PlainProgress:  # noqa: PYI034  # typing has Self from 3.11 on
        return self

    def __exit__(self, *_exception: object) -> None:
        return

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        now_s = time.monotonic()
        if name == self._phase and (not detail or now_s - self._detailed_s < PLAIN_EVERY_S):
            return
        self._phase, self._detailed_s = name, now_s
        self._line(f"{name}{detail and f': {detail}'}")

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        now_s = time.monotonic()
        if now_s - self._counted_s >= PLAIN_EVERY_S:
            self._counted_s = now_s
            self._line(_counts_text(live))

    def note(self, text: str) -> None:
        """Something to be seen."""
        self._line(text)

    def _line(self, text: str) -> None:
        sys.stderr.write(f"hydra: {printable(text)}\n")
        sys.stderr.flush()


class TerminalProgress:
    """One line that changes; notes stay above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._spinner = Spinner("dots", "starting")
        self._live = Live(self._spinner, console=self._console, transient=True, refresh_per_second=8)
        self._phase = ""
        self._detail = ""

    def __enter__(self) -> TerminalProgress:  # noqa: PYI034  # typing has Self from 3.11 on
        self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        if name != self._phase:
            self._phase, self._detail = name, ""
        self._detail = detail or self._detail
        self._show()

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        self._detail = _counts_text(live)
        self._show()

    def note(self, text: str) -> None:
        """Something to be seen."""
        self._console.print(escape(printable(text)))

    def _show(self) -> None:
        self._spinner.update(text=f"[bold]{escape(printable(self._phase))}[/] {escape(printable(self._detail))}")


def progress_display() -> PlainProgress | TerminalProgress:
    """What fits the place that stderr goes to."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
