"""What gave way inside of a broker that was the limit: named from evidence, and not at all where there is none.

The order is that of causes: a broker that does not run, or stands still for its garbage collector, has busy threads
because of that, and handlers that wait for the disk are few because of the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hydra.accounting.broker_inside import BrokerExport, BrokerInside, BrokerProcess, RequestTimes, ThreadUse

BUSY_RATIO = 0.85
"""A thread that runs, or waits for a CPU, for so much of the time has no room left."""

RAN_RATIO = 0.5
"""Of its busy time a thread ran at least for so much: otherwise the CPU was what it had too little of."""

FULL_CPU_RATIO = 0.9
STOPPED_RATIO = 0.2
THROTTLED_RATIO = 0.1
PAUSED_RATIO = 0.1
COLLECTING_RATIO = 0.3
"""Of the broker's CPU time, for collecting garbage."""

DISK_RATIO = 0.3
IDLE_RATIO = 0.15
"""Threads that are idle for less of the time, on average, have no room left: those of a broker are never all busy."""

_POOLS = ("request handlers", "network threads", "replica fetchers")

LEAST_LOOKS = 10
LEAST_SCRAPES = 1


@dataclass(frozen=True)
class Part:
    """A part of a broker that gave way."""

    name: str
    """Such as ``its request handlers``."""
    evidence: tuple[str, ...]


def broker_part(inside: BrokerInside) -> Part | None:
    """The part that gave way; None where nothing shows one. Where several brokers show one, the first one's."""
    several = len(inside.processes) > 1
    for process in inside.processes:
        if found := next(_of_process(process), None):
            name, told = found
            full_name = f"{process.name}, {name}" if several else name
            return Part(full_name, tuple(f"{process.name}: {text}" for text in told))
    for export in inside.exports:
        if found := _of_export(export):
            name, told = found
            return Part(name, tuple(f"{export.url}: {text}" for text in told))
    return None


def inside_facts(inside: BrokerInside) -> list[str]:
    """What was seen where no part can be named: a sentence for each broker."""
    told = []
    for process in inside.processes:
        uses = ", ".join(f"{use.kind} {100 * use.busy_ratio:.0f} %" for use in process.threads)
        paused = "" if process.gc_paused_ratio is None else f", paused {100 * process.gc_paused_ratio:.0f} %"
        told.append(f"inside of {process.name} no part is shown to have given way (busy: {uses}{paused})")
    for export in inside.exports:
        if export.error or not export.scrapes:
            told.append(f"{export.url} was not read: {export.error or 'the run was over before'}")
        elif export.handlers_idle_ratio is None and export.network_idle_ratio is None:
            told.append(f"{export.url} exports no idle share of request handlers or network threads")
        else:
            told.append(f"{export.url}: no part is shown to have given way ({_idle(export)})")
    return told


def _of_process(process: BrokerProcess) -> Iterator[tuple[str, list[str]]]:
    """(the part, evidence), the likeliest cause first."""
    if process.looks < LEAST_LOOKS or not process.window_s:
        return
    if process.stopped_ratio >= STOPPED_RATIO:
        yield "its CPU time", [f"it was stopped in {100 * process.stopped_ratio:.0f} % of {process.looks} looks"]
    if (throttled := process.throttled_ratio) is not None and throttled >= THROTTLED_RATIO:
        quota = f"its CPU quota of {process.cpus_allowed:.3g} CPUs ran out in {100 * throttled:.0f} % of the time"
        yield "its CPU time", [quota]
    uses = {use.kind: use for use in process.threads}
    if told := _collecting(process, uses.get("garbage collector")):
        yield "its garbage collector", told
    handlers = uses.get("request handlers")
    if handlers is not None and (handlers.disk_ratio or 0.0) >= DISK_RATIO:
        yield "its disk", _waiting_for_disk(process, handlers)
    full = [(_busy(use), use) for use in process.threads if use.kind in _POOLS and _busy(use) >= BUSY_RATIO]
    for busy, use in sorted(full, key=lambda each: -each[1].busiest_cpu_ratio):
        if use.busiest_cpu_ratio >= RAN_RATIO * use.busiest_ratio:
            yield f"its {use.kind}", [_thread_text(use, busy)]
    if process.cpus_used >= FULL_CPU_RATIO * process.cpus_allowed or full:
        waited = [_thread_text(use, busy) for busy, use in full]
        yield "its CPU time", [f"it used {process.cpus_used:.2f} of {process.cpus_allowed:.3g} CPUs", *waited]


def _busy(use: ThreadUse) -> float:
    """Handlers take requests from one queue, so all of them have to be busy; a connection stays with one thread."""
    return use.busy_ratio if use.kind == "request handlers" else use.busiest_ratio


def _collecting(process: BrokerProcess, collector: ThreadUse | None) -> list[str]:
    told = []
    paused, share = process.gc_paused_ratio or 0.0, 0.0
    if collector is not None and process.cpus_used:
        share = collector.cpus / process.cpus_used
    if paused < PAUSED_RATIO and share < COLLECTING_RATIO:
        return []
    if process.gc_paused_ratio is not None:
        longest = process.gc_longest_ms or 0.0
        told.append(f"all its threads stood still for {100 * paused:.0f} % of the time, {longest:,.0f} ms at most")
    if collector is not None:
        told.append(f"the collector's threads took {100 * share:.0f} % of its CPU time")
    return told


def _waiting_for_disk(process: BrokerProcess, handlers: ThreadUse) -> list[str]:
    share = 100 * (handlers.disk_ratio or 0.0)
    told = [f"a request handler waited for the disk in {share:.0f} % of {process.looks} looks"]
    if process.disk_busy_ratio is not None:
        told.append(f"that disk was at work for {100 * process.disk_busy_ratio:.0f} % of the time")
    return told


def _thread_text(use: ThreadUse, busy: float) -> str:
    ran = f"{100 * use.busiest_cpu_ratio:.0f} % on a CPU"
    who = f"its {use.threads} {use.kind} were" if use.threads > 1 else f"its only one of the {use.kind} was"
    if busy == use.busiest_ratio and use.threads > 1:
        who = f"the busiest of its {use.threads} {use.kind} was"
    return f"{who} busy for {100 * busy:.0f} % of the time ({ran})"


def _of_export(export: BrokerExport) -> tuple[str, list[str]] | None:
    if export.scrapes < LEAST_SCRAPES:
        return None
    idle = [
        (ratio, name)
        for ratio, name in (
            (export.handlers_idle_ratio, "its request handlers"),
            (export.network_idle_ratio, "its network threads"),
        )
        if ratio is not None and ratio <= IDLE_RATIO
    ]
    if not idle:
        return None
    return min(idle)[1], [_idle(export), *map(_times_text, export.times)]


def _idle(export: BrokerExport) -> str:
    known = (("request handlers", export.handlers_idle_ratio), ("network threads", export.network_idle_ratio))
    return ", ".join(
        f"{name} idle for {100 * ratio:.0f} %" if ratio is not None else f"{name} unknown" for name, ratio in known
    )


def _times_text(times: RequestTimes) -> str:
    known = (
        ("request queue", times.queue_ms), ("local", times.local_ms), ("remote", times.remote_ms),
        ("response queue", times.response_queue_ms), ("send", times.send_ms),
    )  # fmt: skip
    return f"{times.request}: " + ", ".join(
        f"{name} {ms:,.3g} ms" if ms is not None else f"{name} unknown" for name, ms in known
    )
