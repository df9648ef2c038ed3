"""How long a JVM's threads stood still for its garbage collector, as its unified log says (JEP 158, 271)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.accounting.broker_inside import GcPause

LOG_FLAG = "-Xlog:gc:file=gc.log:uptime,timenanos:filecount=1,filesize=32M"
"""In the JVM's working folder: a path could have ':' in it. From this size on it begins again. ``timenanos`` is
System.nanoTime, which is the monotonic clock on Linux."""

_MAX_BYTES = 64 * 1024 * 1024
_PAUSE = re.compile(rb"^\[[0-9.,]+s\]\[([0-9]+)ns\] GC\(\d+\) Pause .* ([0-9]+[.,][0-9]+)ms\r?$", re.MULTILINE)
"""Such as ``[1.234s][5432100987654ns] GC(5) Pause Young (Normal) (G1 Evacuation Pause) 24M->3M(64M) 5.123ms``."""


class GcLog:
    """The log from a moment on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin: int | None = None

    def begin(self) -> None:
        """What is in the log so far does not count."""
        try:
            self._begin = self._path.stat().st_size
        except OSError:
            self._begin = None

    def pauses(self, start_s: float) -> Sequence[GcPause] | None:
        """Each pause since, timed from ``start_s`` of the monotonic clock; None where there is no log."""
        if self._begin is None:
            return None
        try:
            with self._path.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(self._begin if size >= self._begin else 0)
                text = log.read(_MAX_BYTES)
        except OSError:
            return None
        found = ((int(end_ns) / 1e9, float(ms.replace(b",", b"."))) for end_ns, ms in _PAUSE.findall(text))
        return [GcPause(round(end_s - ms / 1000 - start_s, 3), ms) for end_s, ms in found]
