"""What this process and this host used between two moments."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from hydra.accounting.stats import HostTraffic, LinkTraffic, ProcessUsage
from hydra.run.protocols import ProcessReading
from hydra.tasks.network import LinkReading, read_links

_STATM = Path("/proc/self/statm")
"""Linux: resident pages stand second. Read once a second in each of a hundred tasks: psutil's import costs more."""

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    at_s: float
    cpu_s: float
    links: tuple[LinkReading, ...] = ()
    """Empty where they were not asked for."""


def process() -> ProcessReading:
    """What this process has used up to now."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessReading(times.ru_utime + times.ru_stime, _rss_bytes())


def _rss_bytes() -> int:
    try:
        with _STATM.open("rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        import psutil

        return int(psutil.Process().memory_info().rss)


def read(*, traffic: bool = False) -> Reading:
    """Read the counters of this process and, where asked for, of the host's network."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(time.monotonic(), times.ru_utime + times.ru_stime, read_links() if traffic else ())


def usage(begin: Reading, end: Reading) -> ProcessUsage:
    """CPU between two readings, and the memory held now."""
    window_s = end.at_s - begin.at_s
    cpu_percent = 100 * (end.cpu_s - begin.cpu_s) / window_s if window_s > 0 else 0.0
    return ProcessUsage(cpu_percent=cpu_percent, rss_bytes=_rss_bytes(), window_s=window_s)


def traffic(begin: Reading, end: Reading) -> HostTraffic:
    """Bytes a second over the host's interfaces between two readings that were asked for them."""
    window_s = end.at_s - begin.at_s
    if window_s <= 0:
        return HostTraffic(0.0, 0.0)
    began = {link.name: link for link in begin.links}
    tx_bytes_per_s = rx_bytes_per_s = 0.0
    links = []
    for now in end.links:
        if (then := began.get(now.name)) is None:
            continue  # it came up meanwhile
        sent = (now.sent_bytes - then.sent_bytes) / window_s
        received = (now.received_bytes - then.received_bytes) / window_s
        tx_bytes_per_s += sent
        rx_bytes_per_s += received
        if now.speed_bytes_per_s is not None:
            links.append(LinkTraffic(now.name, sent, received, now.speed_bytes_per_s))
    return HostTraffic(tx_bytes_per_s, rx_bytes_per_s, tuple(links))
