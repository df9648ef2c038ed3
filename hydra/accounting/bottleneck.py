"""Who was the limit: named from evidence, and only where something gave way.

A broker can be judged by a run only as far as the harness was not the limit itself. So first comes the question whether
anything gave way at all (deliveries late, the plan not kept, records unread, a threshold broken), then whether the
harness shows signs of being at its own limit, and only then the broker is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.accounting.metrics import ThresholdOutcome
from hydra.accounting.stats import PublisherStats, SubscriberStats
from hydra.accounting.timeline import Point, longest_pause_s, mean
from hydra.accounting.totals import Latencies, Totals

LATE_MS = 1000.0
"""An end-to-end p99 above this counts as delayed, whatever was asked for."""

LAG_MS = 100.0
LAG_MAX_MS = 500.0
"""A publisher did not keep its plan when its p99 is further behind than the one, and its worst moment than the other: a
hiccup of a tenth of a second in a run of ten is no limit of anything."""

NEAR_FULL_CORE_PERCENT = 85.0
NEAR_FULL_MACHINE_PERCENT = 92.0
PAUSE_S = 2.0
"""A task that stood still for longer was stopped, or starved."""

KEPT_RATE_RATIO = 0.95

Limit = Literal["none", "broker", "network", "harness"]


@dataclass(frozen=True)
class Bottleneck:
    """What gave way first."""

    limit: Limit
    harness_limited: bool
    """Whether the harness was the limit: the run then says nothing about where the broker's is."""
    symptoms: tuple[str, ...] = ()
    """What gave way; empty where nothing did."""
    evidence: tuple[str, ...] = ()
    """What the limit was named from."""
    advice: str = ""
    """What to change, where the harness was the limit."""


@dataclass(frozen=True)
class Circumstances:
    """What the limit is named from."""

    totals: Totals
    latency: Latencies
    points: Sequence[Point]
    """Of the time in which the publisher sent."""
    publisher: PublisherStats | None
    subscribers: Sequence[SubscriberStats]
    broken: Sequence[ThresholdOutcome]
    asked_rate_per_s: float
    sample_every_s: float
    cores: int


def find_bottleneck(seen: Circumstances) -> Bottleneck:
    """Name the limit."""
    symptoms = _symptoms(seen)
    if not symptoms:
        return Bottleneck("none", harness_limited=False)
    if at_fault := _harness(seen):
        evidence = tuple(text for text, _ in at_fault)
        return Bottleneck(
            limit="harness",
            harness_limited=True,
            symptoms=symptoms,
            evidence=evidence,
            advice="; ".join(dict.fromkeys(way for _, way in at_fault)),
        )
    if full := _network(seen):
        return Bottleneck(limit="network", harness_limited=False, symptoms=symptoms, evidence=full)
    return Bottleneck(limit="broker", harness_limited=False, symptoms=symptoms, evidence=_broker(seen))


def _symptoms(seen: Circumstances) -> tuple[str, ...]:
    totals, latency = seen.totals, seen.latency
    symptoms = []
    late_ms = LATE_MS + latency.linger_ms + latency.fetch_pace_ms
    if latency.e2e.p99_ms > late_ms:
        symptoms.append(f"deliveries were late: end-to-end p99 {latency.e2e.p99_ms:,.0f} ms")
    if _fell_behind(latency):
        symptoms.append(f"records were sent late: p99 {latency.publisher_lag.p99_ms:,.0f} ms behind the plan")
    if totals.records_counted and totals.tx_rate_per_s < KEPT_RATE_RATIO * seen.asked_rate_per_s:
        symptoms.append(f"{totals.tx_rate_per_s:,.0f} of {seen.asked_rate_per_s:,.0f} records/s were sent")
    if totals.records_unread:
        symptoms.append(f"{totals.records_unread} deliveries were unread when the drain ended")
    if totals.records_expired:
        symptoms.append(f"{totals.records_expired} deliveries expired before they were read")
    symptoms += [f"{item.threshold} was broken: {item.value:,.5g} {item.unit}" for item in seen.broken]
    return tuple(symptoms)


def _fell_behind(latency: Latencies) -> bool:
    return latency.publisher_lag.p99_ms > LAG_MS and latency.publisher_lag.max_ms > LAG_MAX_MS


def _harness(seen: Circumstances) -> list[tuple[str, str]]:
    """(evidence, what to change) for each sign that the harness was at its own limit."""
    return [*_publisher(seen), *_subscribers(seen), *_machine(seen)]


def _network(seen: Circumstances) -> tuple[str, ...]:
    """What tells that an interface of a task's host was full; tasks of one host see the same one, and it is told once.

    A broker's own interfaces are seen only where tasks run beside it. As every client's copy leaves by them, they are
    full first where clients have several hosts.
    """
    tasks: list[PublisherStats | SubscriberStats] = [
        *([seen.publisher] if seen.publisher is not None else []),
        *seen.subscribers,
    ]
    full = {
        (link.name, link.speed_bytes_per_s, round(link.percent)): f"{task.task_id}: {link.name} was"
        f" {link.percent:.0f} % full (sent {link.tx_bytes_per_s / 1e6:,.1f} MB/s, received"
        f" {link.rx_bytes_per_s / 1e6:,.1f} MB/s, of {link.speed_bytes_per_s / 1e6:,.0f} MB/s each)"
        for task in reversed(tasks)
        for link in task.traffic.links
        if link.percent >= NEAR_FULL_MACHINE_PERCENT
    }
    return tuple(reversed(full.values()))[:3]


def _publisher(seen: Circumstances) -> list[tuple[str, str]]:
    publisher, lag = seen.publisher, seen.latency.publisher_lag
    if publisher is None:
        return []
    cpu_percent = mean([point.publisher_cpu_percent for point in seen.points]) or 0.0
    if cpu_percent >= NEAR_FULL_CORE_PERCENT:
        return [(f"the publisher used {cpu_percent:.0f} % of a core", "ask for a lower rate, or larger batches")]
    pause_s = longest_pause_s(publisher.samples, seen.sample_every_s)
    if pause_s > PAUSE_S:
        return [(f"the publisher stood still for {pause_s:.1f} s", "see what stopped or starved it")]
    if _fell_behind(seen.latency) and not publisher.queue_full:
        text = f"the publisher fell behind its plan by up to {lag.max_ms:,.0f} ms, with room in its queue"
        return [(text, "give the publisher a core of its own, or ask for a lower rate")]
    return []


def _subscribers(seen: Circumstances) -> list[tuple[str, str]]:
    found = []
    busy = [point.subscriber_cpu_percent_max for point in seen.points]
    if busy and sorted(busy)[len(busy) // 2] >= NEAR_FULL_CORE_PERCENT:
        found.append(
            (
                f"the busiest subscriber used {max(busy):.0f} % of a core",
                "use more apps with fewer clients each, --sub_driver=wire, or another machine",
            )
        )
    paused = [
        (longest_pause_s(stats.samples, seen.sample_every_s), stats.task_id)
        for stats in seen.subscribers
        if stats.samples
    ]
    pause_s, task_id = max(paused, default=(0.0, ""))
    if pause_s > PAUSE_S:
        found.append((f"{task_id} stood still for {pause_s:.1f} s", "see what stopped or starved it"))
    return found


def _machine(seen: Circumstances) -> list[tuple[str, str]]:
    """A machine without a free core, of which the broker had less than the rest together."""
    machine_percent, broker_percent = seen.totals.machine_cpu_percent, seen.totals.broker_cpu_percent
    if machine_percent is None or machine_percent < NEAR_FULL_MACHINE_PERCENT:
        return []
    ours = seen.totals.subscriber_cpu_percent_sum + seen.totals.publisher_cpu_percent
    if broker_percent is None:
        # Where the broker runs is not known here: only what is certainly not the broker counts.
        others = 0.0
        at_limit = ours >= seen.cores * 50
    else:
        others = max(0.0, seen.cores * machine_percent - ours - broker_percent)
        at_limit = ours + others > broker_percent
    if not at_limit:
        return []
    shares = ((ours, "the harness"), (others, "other programs"), (broker_percent or 0.0, "the broker"))
    told = ", ".join(f"{who} {share / max(1, seen.cores):.0f} %" for share, who in shares if share)
    advice = "end what else runs there" if others > ours else "put the broker and the tasks on different machines"
    return [(f"the machine was {machine_percent:.0f} % busy ({told})", advice)]


def _broker(seen: Circumstances) -> tuple[str, ...]:
    totals = seen.totals
    evidence = []
    if totals.publisher_queue_full:
        evidence.append("acks came so late that the publisher's queue was full")
    if totals.broker_cpu_percent is not None:
        evidence.append(f"the broker used {totals.broker_cpu_percent:.0f} % of a core of {seen.cores}")
    evidence.append(
        f"the harness had room: publisher {totals.publisher_cpu_percent:.0f} %, busiest subscriber"
        f" {totals.subscriber_cpu_percent_max:.0f} % of a core"
    )
    return tuple(evidence)
