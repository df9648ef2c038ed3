"""Live figures as JSON Lines, for whoever wants to watch by machine; the display goes on beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

from hydra.errors import OutputError
from hydra.run.progress import LiveCounts, Progress


class LiveLines:
    """Passes everything on to a display, and writes a line for it.

    A reader that goes away (of a pipe) ends the lines and not the run.

    Args:
        display: what a person sees.
        path: the file; lines are added to what it holds.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, display: Progress, path: str) -> None:
        self._display = display
        self._phase = ""
        try:
            self._file = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115  # closed by close
        except OSError as error:
            raise OutputError(f"--live={path} cannot be written ({error.strerror or error})") from error

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

    def close(self) -> None:
        """No more lines; harmless the second time."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()

    def _line(self, fields: dict[str, object]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps({"unix_time_s": round(time.time(), 3), **fields}) + "\n")


@contextlib.contextmanager
def with_lines(display: Progress, path: str | None) -> Iterator[Progress]:
    """The display, or one that writes lines as well where a path is given."""
    if path is None:
        yield display
        return
    lines = LiveLines(display, path)
    try:
        yield lines
    finally:
        lines.close()
