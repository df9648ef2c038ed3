"""Which process something belongs to: a pid alone is not enough, since the system reuses pids."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of this machine, told apart from all others that had or will have its pid."""

    pid: int
    started_s: float
    """Its start time, in seconds since the epoch."""

    def alive(self) -> bool:
        """Whether this very process still runs."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started_s) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    import psutil

    return ProcessIdentity(os.getpid(), psutil.Process().create_time())
