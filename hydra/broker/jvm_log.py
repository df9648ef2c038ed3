"""The end of what a JVM has logged, read with a bound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_STACK_FRAME = ("\t", "    ")


def last_lines(log: Path, count: int) -> tuple[str, ...]:
    """The last lines of a log, oldest first; none without a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-count:]) if count > 0 else ()


def quoted(lines: Iterable[str], count: int) -> str:
    """The last of these that are neither empty nor stack frames, as a part of a sentence; ``none`` without any."""
    told = [line for line in lines if line.strip() and not line.startswith(_STACK_FRAME)]
    return " | ".join(told[-count:]) or "none"
