"""Which process is meant: a pid alone is another one's later, and a start time moves when the clock is set."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START_TICKS = 0, 19
"""Linux: where they stand in /proc/PID/stat after the name, which may hold spaces and brackets (proc_pid_stat(5))."""

_ENDED = frozenset({b"Z", b"X"})


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names this machine since it started; empty where the system does not tell."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of this machine, told apart from all others that had or will have its pid."""

    pid: int
    started_s: float = field(compare=False)
    """Its start time, in seconds since 1970, by the clock as it was set when that was noted."""
    started: str = ""
    """What stays when the clock is set: the ticks from the boot to its start, and the boot; elsewhere its start time as
    the kernel noted it. Empty in what an earlier version has written."""

    def alive(self) -> bool:
        """Whether this very process still runs."""
        if self.started:
            return _started(self.pid) == self.started
        import psutil

        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started_s) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    import psutil

    found = identity_of(os.getpid(), psutil.Process().create_time())
    assert found is not None
    return found


def identity_of(pid: int, started_s: float) -> ProcessIdentity | None:
    """The identity of a process, whose start time is this by the clock; None if it runs no more."""
    started = _started(pid)
    return None if started is None else ProcessIdentity(pid, started_s, started)


def _started(pid: int) -> str | None:
    """When a process was started, in a way that stays when the clock is set; None if it runs no more."""
    if boot_id():
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[_STATE] in _ENDED else f"{int(fields[_START_TICKS])} ticks after boot {boot_id()}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.Error:
        return None
