"""The machine that this process runs on: its clocks, and what it and the broker on it have used."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from hydra.accounting.stats import MachineSample
from hydra.signals.messages import ClockReading

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_IDLE = ("idle", "iowait")
_COUNTED_TWICE = ("guest", "guest_nice")
"""Linux counts them in ``user`` and ``nice`` too."""


@lru_cache(maxsize=1)
def _boot_id() -> str:
    """Names this host since it started; empty where the system does not tell (processes then time by the network)."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


def read_clock() -> ClockReading:
    """The clocks of this host, now."""
    return ClockReading(time.monotonic(), time.time(), _boot_id())


class LocalHost:
    """The controller's machine; a Host.

    Args:
        broker_pid: the process id of a broker on this machine; 0 where there is none that Hydra started.
    """

    def __init__(self, broker_pid: Callable[[], int]) -> None:
        self._broker_pid = broker_pid

    @property
    def cores(self) -> int:
        """How many the machine has."""
        import psutil

        return psutil.cpu_count() or 1

    def clock(self) -> ClockReading:
        """The clocks of this host, now."""
        return read_clock()

    def sample(self, at_s: float) -> MachineSample:
        """What the machine, and a broker on it, have used up to now."""
        import psutil

        times = psutil.cpu_times()._asdict()
        busy_s = sum(value for name, value in times.items() if name not in (*_IDLE, *_COUNTED_TWICE))
        broker_cpu_s, broker_rss_bytes = None, None
        if pid := self._broker_pid():
            with contextlib.suppress(psutil.Error):
                broker = psutil.Process(pid)
                used = broker.cpu_times()
                broker_cpu_s, broker_rss_bytes = used.user + used.system, broker.memory_info().rss
        return MachineSample(
            at_s=at_s,
            busy_cpu_s=busy_s,
            memory_available_bytes=psutil.virtual_memory().available,
            broker_cpu_s=broker_cpu_s,
            broker_rss_bytes=broker_rss_bytes,
        )
