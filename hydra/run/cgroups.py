"""What the kernel lets this process tree use of its machine: CPUs, memory and processes, by affinity and cgroups.

`read_limits` is a pure function of the kernel's files, which it is given a reader of; everything else here asks it
about this process. Systems without these files have no limits but the machine's own.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ReadText = Callable[[str], "str | None"]
"""The text of a file; None where it cannot be read."""

_MICROSECONDS, _NANOSECONDS = 1_000_000, 1_000_000_000
"""In a second."""
_NO_MEMORY_LIMIT = 1 << 60
"""cgroup v1 writes "no limit" as the largest multiple of a page that fits."""

MOST_DESCRIPTORS = 1 << 20
"""More than any process here opens; some libraries make tables of this size."""

_IDLE_COLUMNS = (3, 4)
_BUSY_COLUMNS = 8
"""Of /proc/stat: user nice system idle iowait irq softirq steal; what follows is counted in user and nice, too."""


@dataclass(frozen=True)
class CpuQuota:
    """The CPU quota of one cgroup, and what it came to so far."""

    cpus: float
    """CPU time a second that all of its processes may use together."""
    period_s: float
    used_s: float | None = None
    """CPU time of all of its processes; None where it is not counted."""
    periods: int = 0
    """In which any of them wanted to run."""
    throttled_periods: int = 0
    """In which the quota ran out and all of them stood still for the rest."""


@dataclass(frozen=True)
class CgroupLimits:
    """What the cgroups of a process, and all of those around them, allow."""

    quotas: tuple[CpuQuota, ...] = ()
    """Of each cgroup that has one, the innermost first."""
    memory_bytes: int | None = None
    """The smallest limit; None without any."""
    memory_free_bytes: int | None = None
    """The least that is left of a limit; what the kernel can drop of its page cache counts as free."""
    processes: int | None = None
    """How many processes and threads the smallest limit allows; None without any."""
    processes_free: int | None = None
    """The least that is left of such a limit."""
    oom_kills: int = 0
    """Processes that were killed because a memory limit was reached, as far as that is counted."""


@dataclass(frozen=True)
class _Mount:
    """A mounted hierarchy of cgroups."""

    root: PurePosixPath
    """Which cgroup is seen at the mount point: not the outermost one in some containers."""
    point: PurePosixPath
    version: int
    controllers: frozenset[str]
    """Of version 1; version 2 has all of them in one hierarchy."""


def read_limits(read: ReadText) -> CgroupLimits:
    """The limits of the process whose ``/proc/self`` and ``/sys/fs/cgroup`` are read."""
    quotas: list[CpuQuota] = []
    memory: list[tuple[int, int]] = []
    processes: list[tuple[int, int]] = []
    oom_kills = 0
    for at in _all_levels(read):
        quotas += at.quota()
        memory += at.memory()
        processes += at.processes()
        oom_kills = max(oom_kills, at.oom_kills())
    return CgroupLimits(
        quotas=tuple(quotas),
        memory_bytes=min((limit for limit, _ in memory), default=None),
        memory_free_bytes=min((max(0, limit - used) for limit, used in memory), default=None),
        processes=min((limit for limit, _ in processes), default=None),
        processes_free=min((max(0, limit - used) for limit, used in processes), default=None),
        oom_kills=oom_kills,
    )


def quota_reader(read: ReadText) -> Callable[[], tuple[CpuQuota, ...]]:
    """Reads the quotas of those cgroups that have one now: for every second, where all limits would cost too much."""
    limited = [at for at in _all_levels(read) if at.quota()]
    return lambda: tuple(quota for at in limited for quota in at.quota())


def _all_levels(read: ReadText) -> Iterator[_Level]:
    """The cgroups of this process, and those around them."""
    mounts = _mounts(read("/proc/self/mountinfo") or "")
    for controllers, path in _memberships(read("/proc/self/cgroup") or ""):
        mount = _mount_of(mounts, controllers)
        if mount is not None:
            yield from (_Level(read, folder, mount.version, mounts) for folder in _levels(mount, path))


def _mounts(mountinfo: str) -> tuple[_Mount, ...]:
    """Every hierarchy of cgroups in /proc/self/mountinfo (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or not kind or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        controllers = frozenset(kind[2].split(",")) if len(kind) > 2 else frozenset()
        version = 2 if kind[0] == "cgroup2" else 1
        found.append(_Mount(PurePosixPath(place[3]), PurePosixPath(place[4]), version, controllers))
    return tuple(found)


def _memberships(text: str) -> Iterator[tuple[frozenset[str], PurePosixPath]]:
    """(controllers, cgroup) of each line of /proc/self/cgroup; version 2 names no controllers."""
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield frozenset(name for name in parts[1].split(",") if name), PurePosixPath(parts[2] or "/")


def _mount_of(mounts: Collection[_Mount], controllers: frozenset[str]) -> _Mount | None:
    for mount in mounts:
        if (mount.version == 2 and not controllers) or (mount.version == 1 and controllers & mount.controllers):
            return mount
    return None


def _levels(mount: _Mount, path: PurePosixPath) -> Iterator[PurePosixPath]:
    """The folders of the cgroup and of all around it that can be seen, the innermost first."""
    try:
        inner = path.relative_to(mount.root)
    except ValueError:
        inner = PurePosixPath()  # a container that sees the host's path: its own cgroup is at the mount point
    parts = () if ".." in inner.parts else inner.parts
    for depth in range(len(parts), -1, -1):
        yield mount.point.joinpath(*parts[:depth])


@dataclass(frozen=True)
class _Level:
    """One cgroup's files; a file of a controller that is not in this hierarchy is missing."""

    read: ReadText
    folder: PurePosixPath
    version: int
    mounts: Collection[_Mount]

    def quota(self) -> list[CpuQuota]:
        if self.version == 2:
            words = (self._text("cpu.max") or "").split()
            quota_us = _number(words[0]) if words else None
            period_us = (_number(words[1]) if len(words) > 1 else None) or 100_000
        else:
            quota_us, period_us = self._number("cpu.cfs_quota_us"), self._number("cpu.cfs_period_us") or 100_000
        if quota_us is None or quota_us <= 0:
            return []
        stat = _table(self._text("cpu.stat"))
        used_us = stat.get("usage_usec")
        used_s = used_us / _MICROSECONDS if used_us is not None else self._cpuacct_s()
        return [
            CpuQuota(
                cpus=quota_us / period_us,
                period_s=period_us / _MICROSECONDS,
                used_s=used_s,
                periods=stat.get("nr_periods", 0),
                throttled_periods=stat.get("nr_throttled", 0),
            )
        ]

    def memory(self) -> list[tuple[int, int]]:
        """(limit, used) where there is a limit."""
        v2 = self.version == 2
        limit = self._number("memory.max" if v2 else "memory.limit_in_bytes")
        if limit is None or limit >= _NO_MEMORY_LIMIT:
            return []
        used = self._number("memory.current" if v2 else "memory.usage_in_bytes") or 0
        droppable = _table(self._text("memory.stat")).get("inactive_file" if v2 else "total_inactive_file", 0)
        return [(limit, max(0, used - droppable))]

    def processes(self) -> list[tuple[int, int]]:
        """(limit, used) where there is a limit."""
        limit = self._number("pids.max")
        return [] if limit is None else [(limit, self._number("pids.current") or 0)]

    def oom_kills(self) -> int:
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        return _table(self._text(file)).get("oom_kill", 0)

    def _cpuacct_s(self) -> float | None:
        """Version 1: the same cgroup in the hierarchy that counts CPU time, which may be mounted elsewhere."""
        own = next((m for m in self.mounts if m.version == 1 and self.folder.is_relative_to(m.point)), None)
        counting = _mount_of([m for m in self.mounts if m.version == 1], frozenset({"cpuacct"}))
        if own is None or counting is None:
            return None
        used_ns = _number(self.read(str(counting.point / self.folder.relative_to(own.point) / "cpuacct.usage")))
        return None if used_ns is None else used_ns / _NANOSECONDS

    def _text(self, name: str) -> str | None:
        return self.read(str(self.folder / name))

    def _number(self, name: str) -> int | None:
        return _number(self._text(name))


def _number(text: str | None) -> int | None:
    """A whole number; None for "max", for what is no number, and without a text."""
    try:
        return int((text or "").strip())
    except ValueError:
        return None


def _table(text: str | None) -> dict[str, int]:
    """Lines of a name and a whole number."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        number = _number(value)
        if number is not None:
            found[name] = number
    return found


def busy_ticks(stat: str, cpus: Collection[int]) -> tuple[int, int]:
    """(ticks that these CPUs were not idle, how many of them are named) in a /proc/stat."""
    busy = named = 0
    for line in stat.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            counted = [int(value) for value in values[:_BUSY_COLUMNS]]
            busy += sum(counted) - sum(counted[column] for column in _IDLE_COLUMNS if column < len(counted))
            named += 1
    return busy, named


def read_text(path: str) -> str | None:
    """The text of one of the kernel's files; None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None


def limits() -> CgroupLimits:
    """Those of this process, now."""
    return read_limits(read_text)


def affinity() -> frozenset[int]:
    """The CPUs that this process may run on: by taskset, and by its cpuset."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cpus_within(cpus: Collection[int], quotas: Collection[CpuQuota]) -> float:
    """How many of these CPUs the quotas leave; it may be a part of one."""
    return min([float(len(cpus)), *(quota.cpus for quota in quotas)])


def usable_cpus() -> float:
    """How many CPUs this process tree may use, by affinity and quota; a quota may allow a part of one."""
    return cpus_within(affinity(), limits().quotas)


def usable_cores() -> int:
    """The same as a number of threads that can run at once, at least 1."""
    return max(1, math.ceil(usable_cpus()))


def raise_descriptor_limit() -> None:
    """Let this process open as many files as its hard limit allows: a shell's soft limit is for other programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def usable_memory_bytes(found: CgroupLimits | None = None) -> tuple[int, int]:
    """(memory that this process tree may have, how much of it is free now), within its limits as they are now."""
    import psutil

    memory, found = psutil.virtual_memory(), limits() if found is None else found
    return (
        min(memory.total, found.memory_bytes if found.memory_bytes is not None else memory.total),
        min(memory.available, found.memory_free_bytes if found.memory_free_bytes is not None else memory.available),
    )
