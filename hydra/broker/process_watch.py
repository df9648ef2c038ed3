"""Looks into brokers that are processes of this machine, by what Linux says of their threads (proc(5)).

``/proc/PID/task/TID/schedstat`` has how long a thread ran and how long it waited for a CPU, ``stat`` its state: D is a
wait for the disk. A state is of a moment, so it is looked at several times a second; times once a second suffice.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.accounting.broker_inside import COMPILER_THREADS, BrokerInside, BrokerProcess, ThreadKind, ThreadUse
from hydra.broker.gc_log import GcLog
from hydra.broker.thread_names import thread_names
from hydra.run.cgroups import CpuQuota, ReadText, cpus_within, read_limits, read_text

KINDS: Mapping[ThreadKind, str] = {
    "request handlers": r"data-plane-kafka-request-handler-\d+",
    "network threads": r"data-plane-kafka-network-thread-\d+-(?!(ListenerName\()?CONTROLLER\b).*",
    "replica fetchers": r"ReplicaFetcherT.*",
    "garbage collector": r"(GC Thread#|G1 |ZWorker|ZDriver|Shenandoah|Concurrent Mark).*",
    "compiler": COMPILER_THREADS,
}
"""Full names, as Kafka 2 to 4 have them, without those of its controller's listener; those of the last three tell even
if they are cut to the kernel's 15 characters."""

FULL_EVERY_S = 1.0
MAX_PAUSES = 200
"""Pauses of the garbage collector that are told one by one: the longest."""

_NANOSECONDS = 1e9


@dataclass(frozen=True)
class _Thread:
    """A thread up to a moment."""

    ran_s: float
    waited_s: float


@dataclass(frozen=True)
class _Reading:
    """A broker up to a moment."""

    at_s: float
    used_s: float
    threads: Mapping[int, _Thread]
    quotas: tuple[CpuQuota, ...]
    disk_busy_s: float | None


@dataclass
class _Looks:
    """What was seen of one broker, from the first look on."""

    pid: int
    names: Mapping[int, str]
    gc_log: GcLog
    looks: int = 0
    stopped: int = 0
    on_disk: int = 0
    first: _Reading | None = None
    last: _Reading | None = None
    kinds: dict[int, ThreadKind] = field(default_factory=dict)


class ProcessWatch:
    """Looks into brokers by their processes; a BrokerWatch.

    Made once they serve, since it asks them for the names of their threads.

    Args:
        brokers: process id, working folder and name of each. The folder has the garbage collector's log; its disk is
            taken to be that of the broker's log.
        read: the text of a file of /proc, None where there is none.
        names: of the threads of a process.
    """

    def __init__(
        self,
        brokers: Sequence[tuple[int, Path, str]],
        *,
        read: ReadText = read_text,
        names: Callable[[int, Path], Mapping[int, str]] = thread_names,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._now_s = now_s
        self._brokers = [
            (folder, name, _Looks(pid, names(pid, folder), GcLog(folder / "gc.log"))) for pid, folder, name in brokers
        ]

    def look(self) -> None:
        """Look at the threads' states, and about once a second at their times; never raises."""
        now_s = self._now_s()
        for folder, _name, seen in self._brokers:
            with contextlib.suppress(OSError, ValueError, IndexError):
                if seen.last is None or now_s - seen.last.at_s >= FULL_EVERY_S:
                    self._read_times(folder, seen, now_s)
                self._read_states(seen)

    def seen(self, start_s: float) -> BrokerInside:
        """What was seen between the first and the last look, timed from ``start_s``."""
        found = (_fact(name, seen, start_s) for _folder, name, seen in self._brokers)
        return BrokerInside(tuple(process for process in found if process is not None))

    def _read_times(self, folder: Path, seen: _Looks, now_s: float) -> None:
        threads = {}
        for thread_id in (int(task.name) for task in Path(f"/proc/{seen.pid}/task").iterdir()):
            if (kind := self._kind(seen, thread_id)) is None:
                continue
            times = (self._read(f"/proc/{seen.pid}/task/{thread_id}/schedstat") or "").split()
            if len(times) >= 2:
                seen.kinds[thread_id] = kind
                threads[thread_id] = _Thread(int(times[0]) / _NANOSECONDS, int(times[1]) / _NANOSECONDS)
        columns = _stat_columns(self._read(f"/proc/{seen.pid}/stat"))
        used_s = (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")
        limits = read_limits(lambda path: self._read(path.replace("/proc/self", f"/proc/{seen.pid}", 1)))
        reading = _Reading(now_s, used_s, threads, limits.quotas, self._disk_busy_s(folder))
        if seen.first is None:
            seen.first = reading
            seen.gc_log.begin()
        seen.last = reading

    def _kind(self, seen: _Looks, thread_id: int) -> ThreadKind | None:
        if thread_id in seen.kinds:
            return seen.kinds[thread_id]
        name = seen.names.get(thread_id) or (self._read(f"/proc/{seen.pid}/task/{thread_id}/comm") or "").rstrip("\n")
        return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), None)

    def _read_states(self, seen: _Looks) -> None:
        state = _stat_columns(self._read(f"/proc/{seen.pid}/stat"))[0]
        seen.looks += 1
        seen.stopped += state in {"T", "t"}
        handlers = (thread_id for thread_id, kind in seen.kinds.items() if kind == "request handlers")
        texts = (self._read(f"/proc/{seen.pid}/task/{thread_id}/stat") for thread_id in handlers)
        seen.on_disk += any(_stat_columns(text)[0] == "D" for text in texts if text)

    def _disk_busy_s(self, folder: Path) -> float | None:
        """How long the disk of a folder has been at work (Documentation/admin-guide/iostats.rst, field 10)."""
        device = folder.stat().st_dev
        place = [str(os.major(device)), str(os.minor(device))]
        lines = (line.split() for line in (self._read("/proc/diskstats") or "").splitlines())
        return next((int(columns[12]) / 1000 for columns in lines if columns[:2] == place and len(columns) > 12), None)


def _stat_columns(text: str | None) -> list[str]:
    """The columns of a ``stat`` from the state on; the name before it may have spaces and brackets."""
    return (text or "").rpartition(")")[2].split()


def _fact(name: str, seen: _Looks, start_s: float) -> BrokerProcess | None:
    first, last = seen.first, seen.last
    if first is None or last is None or last.at_s <= first.at_s or not seen.looks:
        return None
    window_s = last.at_s - first.at_s
    pauses = seen.gc_log.pauses(start_s)
    paused_ms = [pause.ms for pause in pauses or () if first.at_s <= start_s + pause.at_s <= last.at_s]
    longest = sorted(pauses or (), key=lambda pause: -pause.ms)[:MAX_PAUSES]
    throttled = [
        (now.throttled_periods - before.throttled_periods) * now.period_s / window_s
        for before, now in zip(first.quotas, last.quotas, strict=False)
    ]
    disk = None
    if first.disk_busy_s is not None and last.disk_busy_s is not None:
        disk = min(1.0, (last.disk_busy_s - first.disk_busy_s) / window_s)
    return BrokerProcess(
        name=name,
        window_s=window_s,
        looks=seen.looks,
        cpus_allowed=cpus_within(_affinity(seen.pid), last.quotas),
        cpus_used=(last.used_s - first.used_s) / window_s,
        stopped_ratio=seen.stopped / seen.looks,
        throttled_ratio=max(throttled, default=None),
        gc_pauses=None if pauses is None else len(paused_ms),
        gc_paused_ratio=None if pauses is None else sum(paused_ms) / 1000 / window_s,
        gc_longest_ms=None if pauses is None else max(paused_ms, default=0.0),
        long_pauses=tuple(sorted(longest, key=lambda pause: pause.at_s)),
        disk_busy_ratio=disk,
        threads=tuple(_uses(seen, first, last)),
    )


def _affinity(pid: int) -> frozenset[int]:
    with contextlib.suppress(OSError):
        return frozenset(os.sched_getaffinity(pid))
    return frozenset(os.sched_getaffinity(0))


def _uses(seen: _Looks, first: _Reading, last: _Reading) -> Sequence[ThreadUse]:
    found = []
    window_s = last.at_s - first.at_s
    for kind in KINDS:
        by_name: dict[str, tuple[float, float]] = {}
        for thread_id, now in last.threads.items():
            if seen.kinds[thread_id] != kind:
                continue
            before = first.threads.get(thread_id, _Thread(0.0, 0.0))
            ran = (now.ran_s - before.ran_s) / window_s
            busy = ran + (now.waited_s - before.waited_s) / window_s
            # A broker that is its own controller has two pools of handlers, of the same names: the busier one counts.
            key = seen.names.get(thread_id, str(thread_id))
            by_name[key] = max(by_name.get(key, (0.0, 0.0)), (min(1.0, busy), ran))
        if not by_name:
            continue
        busiest = max(by_name.values())
        found.append(
            ThreadUse(
                kind=kind,
                threads=len(by_name),
                cpus=sum(ran for _, ran in by_name.values()),
                busy_ratio=sum(busy for busy, _ in by_name.values()) / len(by_name),
                busiest_ratio=busiest[0],
                busiest_cpu_ratio=busiest[1],
                disk_ratio=seen.on_disk / seen.looks if kind == "request handlers" else None,
            )
        )
    return found
