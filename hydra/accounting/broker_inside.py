"""What is seen inside of brokers: the threads of those on this machine, and what others export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

COMPILER_THREADS = r"C[12] CompilerThre.*"
"""What HotSpot calls those of its two compilers, cut to the kernel's 15 characters; a pattern."""

ThreadKind = Literal["request handlers", "network threads", "replica fetchers", "garbage collector", "compiler"]


@dataclass(frozen=True)
class ThreadUse:
    """The threads of one kind in a broker, over the time in which the publisher sent. Ratios are of that time."""

    kind: ThreadKind
    threads: int
    cpus: float
    """CPU time a second of all of them."""
    busy_ratio: float
    """How long one of them ran, or waited for a CPU, on average."""
    busiest_ratio: float
    """The same of the busiest one."""
    busiest_cpu_ratio: float
    """How long that one ran."""
    disk_ratio: float | None = None
    """In how many of the looks at them any waited for the disk; None where that is not looked at."""


@dataclass(frozen=True)
class BrokerCpu:
    """CPU time of the brokers on a machine, up to one moment."""

    work_s: float
    """Without their JVMs' compilers."""
    compilers_s: float = 0.0
    compilers_waited_s: float = 0.0
    """How long the compilers' threads were ready to run, and others had the CPUs."""


@dataclass(frozen=True)
class GcPause:
    """All threads of a broker stood still for the garbage collector."""

    at_s: float
    """When it began, since the start of the plan."""
    ms: float


@dataclass(frozen=True)
class BrokerProcess:
    """A broker on the controller's machine, over the time in which the publisher sent. Ratios are of that time."""

    name: str
    window_s: float
    looks: int
    """How often its threads' states were looked at."""
    cpus_allowed: float
    """CPUs that it may use, by affinity and quota."""
    cpus_used: float
    """CPU time a second."""
    stopped_ratio: float
    """In how many of the looks it was stopped (SIGSTOP, a debugger)."""
    throttled_ratio: float | None = None
    """For how long a CPU quota of its own had run out; None without one."""
    gc_pauses: int | None = None
    """How often all threads stood still for the garbage collector; None where its log is not there."""
    gc_paused_ratio: float | None = None
    gc_longest_ms: float | None = None
    long_pauses: tuple[GcPause, ...] = ()
    """The longest ones of the whole run, in the order of time: also while the last acks came."""
    disk_busy_ratio: float | None = None
    """For how long the disk with its log was at work, also for others; None where that is not counted."""
    threads: tuple[ThreadUse, ...] = ()
    """By kind; only what could be told apart is there."""


@dataclass(frozen=True)
class RequestTimes:
    """How long the requests of one type took in a broker, each 99th percentile, or mean where it exports no other."""

    request: str
    """``Produce`` or ``FetchConsumer``."""
    queue_ms: float | None = None
    """Waiting for a request handler."""
    local_ms: float | None = None
    """In the request handler, the log's file included."""
    remote_ms: float | None = None
    """Waiting for followers, or for records to come."""
    response_queue_ms: float | None = None
    """Waiting for a network thread."""
    send_ms: float | None = None
    """In the network thread."""


@dataclass(frozen=True)
class BrokerExport:
    """What a broker exported of itself while the publisher sent. None is what it did not export."""

    url: str
    scrapes: int
    handlers_idle_ratio: float | None = None
    network_idle_ratio: float | None = None
    times: tuple[RequestTimes, ...] = ()
    error: str = ""
    """Why it was not read, the last time."""


@dataclass(frozen=True)
class BrokerInside:
    """All that was seen."""

    processes: tuple[BrokerProcess, ...] = ()
    exports: tuple[BrokerExport, ...] = ()

    def __add__(self, other: BrokerInside) -> BrokerInside:
        return BrokerInside((*self.processes, *other.processes), (*self.exports, *other.exports))
