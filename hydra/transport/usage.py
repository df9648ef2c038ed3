"""What this process and this host used between two moments."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

from hydra.core.stats import HostTraffic, ProcessUsage


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    at_s: float
    cpu_s: float
    sent_bytes: int
    received_bytes: int


def read(*, traffic: bool = False) -> Reading:
    """Read the counters of this process and, where asked for, of the host's network."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    sent_bytes = received_bytes = 0
    if traffic:
        import psutil

        counters = psutil.net_io_counters(nowrap=True)
        sent_bytes, received_bytes = counters.bytes_sent, counters.bytes_recv
    return Reading(time.monotonic(), times.ru_utime + times.ru_stime, sent_bytes, received_bytes)


def usage(begin: Reading, end: Reading) -> ProcessUsage:
    """CPU between two readings, and the memory held now."""
    import psutil

    window_s = end.at_s - begin.at_s
    cpu_percent = 100 * (end.cpu_s - begin.cpu_s) / window_s if window_s > 0 else 0.0
    return ProcessUsage(cpu_percent=cpu_percent, rss_bytes=psutil.Process().memory_info().rss, window_s=window_s)


def traffic(begin: Reading, end: Reading) -> HostTraffic:
    """Bytes a second over the host's interfaces between two readings that were asked for them."""
    window_s = end.at_s - begin.at_s
    if window_s <= 0:
        return HostTraffic(0.0, 0.0)
    return HostTraffic(
        tx_bytes_per_s=(end.sent_bytes - begin.sent_bytes) / window_s,
        rx_bytes_per_s=(end.received_bytes - begin.received_bytes) / window_s,
    )
