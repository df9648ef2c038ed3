"""The machine that this process runs on: its clocks, and what the process, the host and a broker on it have used."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.accounting.stats import HostCpu, HostTraffic, LinkTraffic, MachineSample, ProcessUsage
from hydra.files.kept_open import KeptOpen
from hydra.files.process_identity import boot_id
from hydra.options.order import RunOrder
from hydra.run.cgroups import (
    CpuQuota,
    ReadText,
    affinity,
    busy_ticks,
    cpus_within,
    quota_reader,
    read_limits,
    read_text,
    usable_memory_bytes,
)
from hydra.run.protocols import ProcessReading
from hydra.signals.messages import ClockReading

if TYPE_CHECKING:
    from hydra.accounting.broker_inside import BrokerCpu

COUNTERS = Path("/proc/net/dev")
"""Linux: a line for each interface, in which the bytes received stand first and the bytes sent ninth."""

INTERFACES = Path("/sys/class/net")
"""Linux: ``NAME/speed`` in Mbit/s; -1, or an error, where the driver does not know it (loopback, most virtual ones)."""

_RECEIVED, _SENT = 0, 8
_BYTES_PER_MBIT = 125_000

_STATM = "/proc/self/statm"
"""Linux: resident pages stand second. Read once a second in each of a hundred tasks: psutil's import costs more."""

_PAGE_BYTES = resource.getpagesize()

_STAT = "/proc/stat"
_IDLE = ("idle", "iowait")
_COUNTED_TWICE = ("guest", "guest_nice")
"""Linux counts them in ``user`` and ``nice`` too."""

_kept = KeptOpen()
"""What a task reads about itself and its host while strangers may hold all descriptors that it may have."""


def read_clock() -> ClockReading:
    """The clocks of this host, now."""
    return ClockReading(time.monotonic(), time.time(), boot_id())


@dataclass(frozen=True)
class _CpuReading:
    """What the CPUs that this process tree may use, and the cgroups that have a quota, have done up to now."""

    at_s: float
    busy_s: float
    quotas: tuple[CpuQuota, ...]


class CpuMeter:
    """What is used of the CPUs that this process tree may use, from the first reading on."""

    def __init__(self, read: ReadText = read_text) -> None:
        self._read = read
        self._cpus = affinity()
        self._busy_s = 0.0
        self._throttled_s: float | None = None
        self._last: _CpuReading | None = None

    def reading(self, quotas: tuple[CpuQuota, ...]) -> HostCpu:
        """What was used up to now, where these are the quotas now."""
        self._count(self._read_cpus(quotas))
        return HostCpu(cpus_within(self._cpus, quotas), self._busy_s, self._throttled_s)

    def _read_cpus(self, quotas: tuple[CpuQuota, ...]) -> _CpuReading:
        ticks, named = busy_ticks(self._read(_STAT) or "", self._cpus)
        busy_s = ticks / os.sysconf("SC_CLK_TCK")
        if named < len(self._cpus):
            import psutil

            times = psutil.cpu_times()._asdict()
            busy_s = sum(value for name, value in times.items() if name not in (*_IDLE, *_COUNTED_TWICE))
        return _CpuReading(time.monotonic(), busy_s, quotas)

    def _count(self, now: _CpuReading) -> None:
        """Add what was used since the last reading: of the CPUs, or of the quota that less was left of."""
        last, self._last = self._last, now
        if last is None:
            self._throttled_s = 0.0 if now.quotas else None
            return
        window_s = now.at_s - last.at_s
        if window_s <= 0:
            return
        shares = [(now.busy_s - last.busy_s) / (len(self._cpus) * window_s)]
        throttled_s = 0.0
        for quota, before in zip(now.quotas, last.quotas, strict=False):
            if quota.used_s is not None and before.used_s is not None:
                shares.append((quota.used_s - before.used_s) / (quota.cpus * window_s))
            throttled_s = max(throttled_s, (quota.throttled_periods - before.throttled_periods) * quota.period_s)
        self._busy_s += max(0.0, min(1.0, max(shares))) * cpus_within(self._cpus, now.quotas) * window_s
        if self._throttled_s is not None:
            self._throttled_s += min(throttled_s, window_s)


class LocalHost:
    """The controller's machine, as far as this process tree may use it; a Host.

    ``broker_pids`` tells the process ids of the brokers that Hydra started.
    """

    def __init__(self, broker_pids: Callable[[], Sequence[int]], read: ReadText = read_text) -> None:
        self._broker_pids = broker_pids
        self._broker_cpu_s: dict[int, float] = {}
        """What each broker has used, also one that has ended: their sum never falls."""
        self._compilers_s: dict[str, tuple[float, float]] = {}
        """How long each thread of a JVM's compilers ran, and waited for a CPU, by its folder in /proc."""
        self._read = read
        self._meter = CpuMeter(read)

    @property
    def cores(self) -> float:
        """How many CPUs this process tree may use; a quota may allow a part of one."""
        return cpus_within(affinity(), read_limits(self._read).quotas)

    def clock(self) -> ClockReading:
        """The clocks of this host, now."""
        return read_clock()

    def sample(self, at_s: float) -> MachineSample:
        """What was used up to now of what this process tree may use, and by the brokers that Hydra started."""
        limits = read_limits(self._read)
        used = self._meter.reading(limits.quotas)
        broker_cpu_s, broker_rss_bytes = self._read_brokers()
        return MachineSample(
            at_s=at_s,
            busy_cpu_s=used.busy_s,
            memory_available_bytes=usable_memory_bytes(limits)[1],
            broker_cpu_s=broker_cpu_s,
            broker_rss_bytes=broker_rss_bytes,
            throttled_s=used.throttled_s,
        )

    def broker_cpu(self) -> BrokerCpu | None:
        """CPU time of the brokers that Hydra started; None where none is there."""
        from hydra.accounting.broker_inside import COMPILER_THREADS, BrokerCpu

        broker_cpu_s, _rss_bytes = self._read_brokers()
        if broker_cpu_s is None:
            return None
        for pid in self._broker_pids():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    if re.match(COMPILER_THREADS, self._read(f"{task}/comm") or "") and (
                        times := (self._read(f"{task}/schedstat") or "").split()
                    ):
                        self._compilers_s[str(task)] = int(times[0]) / 1e9, int(times[1]) / 1e9
        ran_s, waited_s = (sum(times) for times in zip((0.0, 0.0), *self._compilers_s.values(), strict=True))
        return BrokerCpu(broker_cpu_s - ran_s, ran_s, waited_s)

    def _read_brokers(self) -> tuple[float | None, int | None]:
        """(CPU seconds, resident bytes) of all brokers together; None where none of them is there."""
        import psutil

        rss_bytes = 0
        for pid in self._broker_pids():
            with contextlib.suppress(psutil.Error):
                broker = psutil.Process(pid)
                used = broker.cpu_times()
                rss_bytes += broker.memory_info().rss
                self._broker_cpu_s[pid] = used.user + used.system
        return (sum(self._broker_cpu_s.values()), rss_bytes) if rss_bytes else (None, None)


@dataclass(frozen=True)
class LinkReading:
    """One interface at one moment."""

    name: str
    sent_bytes: int
    """Since the host started."""
    received_bytes: int
    speed_bytes_per_s: float | None
    """Of each direction; None where it is not known."""


def read_links(
    counters: Path = COUNTERS, interfaces: Path = INTERFACES, read: ReadText = read_text
) -> tuple[LinkReading, ...]:
    """All interfaces of this host, loopback included.

    Read in each of a hundred tasks: where the system's own files are, psutil is not imported.
    """
    if (text := read(str(counters))) is None:
        return _other_systems_links()
    links = []
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        counted = [int(number) for number in numbers.split()]
        links.append(
            LinkReading(name.strip(), counted[_SENT], counted[_RECEIVED], _speed(interfaces / name.strip() / "speed"))
        )
    return tuple(links)


def _speed(file: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        speed_mbit = int(file.read_text())
        return speed_mbit * _BYTES_PER_MBIT if speed_mbit > 0 else None
    return None


def _other_systems_links() -> tuple[LinkReading, ...]:
    import psutil

    known = psutil.net_if_stats()
    return tuple(
        LinkReading(
            name,
            counted.bytes_sent,
            counted.bytes_recv,
            known[name].speed * _BYTES_PER_MBIT if name in known and known[name].speed > 0 else None,
        )
        for name, counted in psutil.net_io_counters(pernic=True, nowrap=True).items()
    )


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    at_s: float
    cpu_s: float
    links: tuple[LinkReading, ...]


def hold_files() -> None:
    """Open what a task will read about itself, before others can connect to it."""
    read_process()
    read_usage()
    read_clock()


def read_process() -> ProcessReading:
    """What this process has used up to now."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessReading(times.ru_utime + times.ru_stime, _rss_bytes())


def process_reader(order: RunOrder) -> Callable[[], ProcessReading]:
    """Reads what this task has used and, where its controller does not see it, what its host has."""
    if not order.tasks_elsewhere:
        return read_process
    _kept(_STAT)
    meter, quotas = CpuMeter(_kept), quota_reader(_kept)
    return lambda: replace(read_process(), host_cpu=meter.reading(quotas()))


def _rss_bytes() -> int:
    if (statm := _kept(_STATM)) is not None:
        return int(statm.split()[1]) * _PAGE_BYTES
    import psutil

    return int(psutil.Process().memory_info().rss)


def read_usage() -> Reading:
    """Read the counters of this process and of the host's network."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return Reading(time.monotonic(), times.ru_utime + times.ru_stime, read_links(read=_kept))


def process_usage(begin: Reading, end: Reading) -> ProcessUsage:
    """CPU between two readings, and the memory held now."""
    window_s = end.at_s - begin.at_s
    cpu_percent = 100 * (end.cpu_s - begin.cpu_s) / window_s if window_s > 0 else 0.0
    return ProcessUsage(cpu_percent=cpu_percent, rss_bytes=_rss_bytes(), window_s=window_s)


def host_traffic(begin: Reading, end: Reading) -> HostTraffic:
    """Bytes a second over the host's interfaces between two readings."""
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
