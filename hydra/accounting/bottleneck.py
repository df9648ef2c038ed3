"""Who was the limit: named from evidence, and only where something gave way.

A broker can be judged by a run only as far as the harness was not the limit itself. So first comes the question whether
anything gave way at all (deliveries late, the plan not kept, records unread, a threshold broken), then whether the
harness shows signs of being at its own limit, and only then the broker is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from hydra.accounting.broker_parts import broker_part, inside_facts
from hydra.accounting.connections import not_let_in
from hydra.accounting.evidence import Evidence
from hydra.accounting.hosts import THROTTLED_RATIO, host_signs, hosts_are_known
from hydra.accounting.own_limits import buffer_signs, error_signs, hold_ms, linger_wait_ms, refusals, waiting_signs
from hydra.accounting.stats import PublisherStats, SubscriberStats
from hydra.accounting.timeline import TimelinePoint, longest_pause_s
from hydra.accounting.totals import Latencies, ThresholdOutcome, Totals
from hydra.options.order import RunOrder

LATE_MS = 1000.0
"""An end-to-end p99 above this counts as delayed, whatever was asked for."""

LAG_MS = 100.0
LAG_MAX_MS = 500.0
"""A publisher did not keep its plan when its p99 is further behind than the one, and its worst moment than the other: a
hiccup of a tenth of a second in a run of ten is no limit of anything."""

NEAR_FULL_CORE_PERCENT = 85.0
NEAR_FULL_MACHINE_PERCENT = 92.0
FREE_CPUS = 0.5
"""With less of a CPU free, a task that had work to do waited for its turn."""

PAUSE_S = 2.0
"""A task that stood still for longer was stopped, or starved."""

KEPT_PLAN_RATIO = 0.95
"""Below this share of the asked rate the send plan was not kept: such a run, or trial of a search, is no pass."""

QUOTA_S = 0.1
"""A client that a quota held back for less was not late because of it."""

Limit = Literal["none", "unknown", "broker", "network", "quota", "refusal", "harness"]
"""``unknown``: who was the limit was not measured, since a publisher or all clients did not report, or there
were no acks. ``quota``, ``refusal``: brokers held clients back, or refused something, on purpose."""


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
    part: str = ""
    """What gave way inside of the broker, where it was the limit, such as ``its request handlers``; empty: unknown."""

    @property
    def name(self) -> str:
        """The limit with the part, such as ``broker: its request handlers``."""
        return f"{self.limit}: {self.part}" if self.part else self.limit

    @property
    def tells_of_broker(self) -> bool:
        """Whether what the run met is what the broker carries: only then can it break a threshold."""
        return self.limit in {"none", "broker"}


def find_bottleneck(
    order: RunOrder,
    evidence: Evidence,
    totals: Totals,
    latency: Latencies,
    *,
    points: Sequence[TimelinePoint],
    thresholds: Sequence[ThresholdOutcome],
) -> Bottleneck:
    """Name the limit; ``points`` are those of the time in which the publisher sent."""
    astray = records_astray(order, evidence, totals)
    symptoms = _symptoms(order, totals, latency, thresholds, astray)
    if unmeasured := _unmeasured(evidence, totals):
        return Bottleneck("unknown", harness_limited=False, symptoms=symptoms, evidence=unmeasured)
    if not symptoms:
        return Bottleneck("none", harness_limited=False)
    signs = [
        *_publisher_signs(order, evidence, totals, latency, points),
        *_subscriber_signs(order, evidence, points),
        *_machine_signs(order, evidence, totals),
        *error_signs(evidence),
        *buffer_signs(order, evidence),
        *waiting_signs(order, totals, thresholds, symptoms=len(symptoms)),
    ]
    kept_out = not_let_in(evidence)
    found: tuple[tuple[Limit, Sequence[tuple[str, str]]], ...] = (
        ("quota", _without_advice(_quotas(evidence, THROTTLED_RATIO))),
        # No want of CPU makes a broker that has a limit on connections close them at once.
        kept_out if kept_out[0] == "refusal" else ("refusal", ()),
        ("harness", signs),
        ("quota", _without_advice(_quotas(evidence, 0.0))),
        ("refusal", _without_advice(refusals(evidence, totals))),
        ("network", _without_advice(_full_links(evidence))),
        ("unknown", [("with acks=0 nobody is told why", "")] if astray and len(symptoms) == 1 else ()),
        kept_out,
        ("broker", _without_advice(_broker(order, evidence, totals))),
    )
    limit, told = next((limit, told) for limit, told in found if told)
    part = broker_part(evidence.inside) if limit == "broker" else None
    if limit == "broker":
        told = (*told, *_without_advice(inside_facts(evidence.inside) if part is None else part.evidence))
    return Bottleneck(
        limit=limit,
        harness_limited=limit == "harness",
        symptoms=symptoms,
        evidence=tuple(text for text, _ in told),
        advice="; ".join(dict.fromkeys(advice for _, advice in told if advice)),
        part=part.name if part is not None else "",
    )


def _without_advice(evidence: Sequence[str]) -> list[tuple[str, str]]:
    return [(text, "") for text in evidence]


def _symptoms(
    order: RunOrder, totals: Totals, latency: Latencies, thresholds: Sequence[ThresholdOutcome], astray: int
) -> tuple[str, ...]:
    """What gave way."""
    symptoms = []
    if latency.e2e.p99_ms > LATE_MS + linger_wait_ms(order) + order.pace_ms + hold_ms(order):
        symptoms.append(f"deliveries were late: end-to-end p99 {latency.e2e.p99_ms:,.0f} ms")
    if _fell_behind(latency):
        symptoms.append(f"records were sent late: p99 {latency.publisher_lag.p99_ms:,.0f} ms behind the plan")
    if text := plan_not_kept(order, totals):
        symptoms.append(text)
    if totals.records_failed:
        symptoms.append(f"{totals.records_failed:,} records were refused")
    if totals.records_unknown and order.has_acks:
        symptoms.append(f"{totals.records_unknown:,} records were never acknowledged")
    if astray:
        symptoms.append(f"{astray:,} records were sent and never reached the log")
    if totals.records_unread:
        symptoms.append(f"{totals.records_unread} deliveries were unread when the drain ended")
    if totals.records_expired:
        symptoms.append(f"{totals.records_expired} deliveries expired before they were read")
    symptoms += [f"{item.threshold} was broken: {item.shown}" for item in thresholds if item.broken]
    return tuple(symptoms)


def records_astray(order: RunOrder, evidence: Evidence, totals: Totals) -> int:
    """Records that were sent without acks and are not in the log: nobody told the publisher what became of them."""
    if order.has_acks or evidence.publisher is None:
        return 0
    # By what the log holds of the run, and not by how much it grew: others write too, and markers take offsets.
    return max(0, totals.records_unknown - totals.records_counted)


def plan_not_kept(order: RunOrder, totals: Totals) -> str:
    """How far the publisher came with its plan; empty where it kept it, or did not report."""
    attempted, planned, asked = totals.records_attempted, totals.records_planned, order.options.msg_rate
    if attempted < planned:
        return f"{attempted:,} of {planned:,} planned records were sent"
    if not totals.records_counted or not attempted:
        return ""
    # Records that were sent and refused have been sent in time all the same.
    sent_rate_per_s = totals.tx_rate_per_s * attempted / totals.records_counted
    if sent_rate_per_s >= KEPT_PLAN_RATIO * asked:
        return ""
    digits = 0 if asked >= 100 else 1
    return f"{sent_rate_per_s:,.{digits}f} of {asked:,.{digits}f} records/s were sent"


def _unmeasured(evidence: Evidence, totals: Totals) -> tuple[str, ...]:
    """Without these nobody can say what was the limit: no data is not zero."""
    missing = []
    if evidence.publisher is None:
        missing.append("the publisher did not report what it sent")
    if not totals.clients_reporting:
        missing.append("no client reported what it received")
    return tuple(missing)


def _quotas(evidence: Evidence, least_ratio: float) -> tuple[str, ...]:
    """Whom brokers held back for more than this share of the run, and said so: that is a quota, however fast they are.

    The time is summed over their replies, of which several may be under way at once.
    """
    publisher = evidence.publisher
    if publisher is None:
        return ()
    least_s = max(QUOTA_S, least_ratio * publisher.send_window_s)
    held = []
    if publisher.throttled_s >= least_s:
        held.append(f"a quota of the brokers held the publisher back for {publisher.throttled_s:,.1f} s in all")
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    throttled = [client for client in clients if client.throttled_s >= least_s]
    if throttled:
        worst = max(throttled, key=lambda client: client.throttled_s)
        who = f"{len(throttled)} of {len(clients)} clients back, {worst.name} for {worst.throttled_s:,.1f} s in all"
        held.append(f"a quota of the brokers held {who}")
    return tuple(held)


def _fell_behind(latency: Latencies) -> bool:
    return latency.publisher_lag.p99_ms > LAG_MS and latency.publisher_lag.max_ms > LAG_MAX_MS


def _full_links(evidence: Evidence) -> tuple[str, ...]:
    """Each network interface of a task's host that was full; tasks of one host see the same one, and it is told once.

    A broker's own interfaces are seen only where tasks run beside it. Every client's copy leaves by them, so they are
    full first where clients run on several hosts.
    """
    tasks: list[PublisherStats | SubscriberStats] = [
        *([evidence.publisher] if evidence.publisher is not None else []),
        *evidence.subscribers,
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


def _publisher_signs(
    order: RunOrder, evidence: Evidence, totals: Totals, latency: Latencies, points: Sequence[TimelinePoint]
) -> list[tuple[str, str]]:
    """(evidence, what to change) for a publisher at its limit."""
    publisher, lag = evidence.publisher, latency.publisher_lag
    if publisher is None:
        return []
    cpu_percent = fmean([point.publisher_cpu_percent for point in points]) if points else 0.0
    if cpu_percent >= NEAR_FULL_CORE_PERCENT:
        return [(f"the publisher used {cpu_percent:.0f} % of a core", "ask for a lower rate, or larger batches")]
    # The last sample follows the flush, which waits for the brokers.
    pause_s = longest_pause_s(publisher.samples[:-1], order.sample_every_s)
    if pause_s > PAUSE_S:
        return [(f"the publisher stood still for {pause_s:.1f} s", "see what stopped or starved it")]
    text = ""
    if _fell_behind(latency):
        text = f"the publisher fell behind its plan by up to {lag.max_ms:,.0f} ms, with room in its queue"
    elif not publisher.error and plan_not_kept(order, totals):
        text = "nothing but the publisher itself held it back: there was always room in its queue"
    if publisher.queue_full or not text:
        return []
    return [(text, "give the publisher a core of its own, or ask for a lower rate")]


def _subscriber_signs(order: RunOrder, evidence: Evidence, points: Sequence[TimelinePoint]) -> list[tuple[str, str]]:
    """The same for subscribers."""
    found = []
    busy = [point.subscriber_cpu_percent_max for point in points]
    if busy and sorted(busy)[len(busy) // 2] >= NEAR_FULL_CORE_PERCENT:
        found.append(
            (
                f"the busiest subscriber used {max(busy):.0f} % of a core",
                "use more apps with fewer clients each, --sub_driver=wire, or another machine",
            )
        )
    paused = [
        (longest_pause_s(stats.samples, order.sample_every_s), stats.task_id)
        for stats in evidence.subscribers
        if stats.samples
    ]
    pause_s, task_id = max(paused, default=(0.0, ""))
    if pause_s > PAUSE_S:
        found.append((f"{task_id} stood still for {pause_s:.1f} s", "see what stopped or starved it"))
    return found


def _machine_signs(order: RunOrder, evidence: Evidence, totals: Totals) -> list[tuple[str, str]]:
    """What all of Hydra's processes share: a CPU quota that ran out, and CPUs of which less than half of one was free.

    A broker among them is named all the same if it had a whole CPU, and more than everything else: nobody kept that
    from it. Tasks that may run elsewhere say themselves how their hosts were: the controller's machine tells nothing
    of them.
    """
    if order.tasks_elsewhere:
        return host_signs(evidence)
    if signs := _throttled(evidence):
        return signs
    cores, machine_percent, broker_percent = evidence.cores, totals.machine_cpu_percent, totals.broker_cpu_percent
    if machine_percent is None:
        return []
    free_cpus = cores * (1 - machine_percent / 100)
    ours = totals.subscriber_cpu_percent_sum + totals.publisher_cpu_percent
    others = max(0.0, cores * machine_percent - ours - (broker_percent or 0.0))
    broker_had_its_own = broker_percent is not None and broker_percent >= max(100.0, ours + others)
    if free_cpus >= FREE_CPUS or broker_had_its_own:
        return []
    # Where Hydra does not run the broker, it may be among the others.
    who_else = "other programs" if broker_percent is not None else "others"
    shares = ((ours, "the harness"), (others, who_else), (broker_percent or 0.0, "the broker"))
    told = ", ".join(f"{who} {share / (cores or 1):.0f} %" for share, who in shares if share)
    advice = "end what else runs there" if others > ours else "put the broker and the tasks on different machines"
    cpus = "the one CPU that Hydra may use was" if cores == 1 else f"the {cores:.3g} CPUs that Hydra may use were"
    used = f"{cpus} {machine_percent:.0f} % busy ({told})"
    return [(f"{used}: {max(0.0, free_cpus):.2g} of a CPU was free", f"{advice}, or allow Hydra more CPUs")]


def _throttled(evidence: Evidence) -> list[tuple[str, str]]:
    """A CPU quota of Hydra's processes that ran out again and again."""
    samples = [sample for sample in evidence.machine if sample.throttled_s is not None]
    if len(samples) < 2:
        return []
    window_s = samples[-1].at_s - samples[0].at_s
    throttled_s = (samples[-1].throttled_s or 0.0) - (samples[0].throttled_s or 0.0)
    if window_s <= 0 or throttled_s <= THROTTLED_RATIO * window_s:
        return []
    text = f"the CPU quota of {evidence.cores:.3g} CPUs ran out in {100 * throttled_s / window_s:.0f} % of the run"
    return [(text, "raise the CPU quota of Hydra's cgroup (a container's CPU limit), or ask for less load")]


def _broker(order: RunOrder, evidence: Evidence, totals: Totals) -> tuple[str, ...]:
    facts = list(evidence.brokers_lost)
    if totals.publisher_queue_full:
        facts.append("acks came so late that the publisher's queue was full")
    if totals.broker_cpu_percent is not None:
        facts.append(f"the broker used {totals.broker_cpu_percent:.0f} % of a core of {evidence.cores:.3g}")
    if evidence.publisher is not None and evidence.publisher.error:
        facts.append(f"the publisher's last error: {evidence.publisher.error}")
    failing = [client for stats in evidence.subscribers for client in stats.clients if client.error]
    if failing:
        facts.append(f"{len(failing)} clients had errors, {failing[-1].name}: {failing[-1].error}")
    facts.append(
        f"the harness had room: publisher {totals.publisher_cpu_percent:.0f} %, busiest subscriber"
        f" {totals.subscriber_cpu_percent_max:.0f} % of a core"
    )
    if order.tasks_elsewhere and not hosts_are_known(evidence):
        facts.append("how busy the CPUs of the tasks' hosts were is not known")
    return tuple(facts)
