"""A run second by second, put together from what each task, and the controller, noted about once a second.

Tasks note their counts as they pass each full second of the plan. One that stood still notes nothing meanwhile: then
the seconds that it missed repeat its last counts, and what came since stands in the second in which it went on. What it
used of the CPUs is known of these seconds, too, on average: one that is too busy to note anything is not idle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import SAMPLE_BITS, LatencyHistogram
from hydra.accounting.stats import MachineSample, PublisherSample, SubscriberSample
from hydra.options.order import RunOrder

MIN_CPU_WINDOW_S = 0.5
"""CPU time is counted in ticks of up to 10 ms: over a shorter window, at a run's very end, it says nothing."""


_ROUNDING = 1e-6


class TimedSample(Protocol):
    """What was noted at one moment."""

    @property
    def at_s(self) -> float:
        """Since the start of the plan."""


S = TypeVar("S", bound=TimedSample)


@dataclass(frozen=True)
class TimelinePoint:
    """What happened up to a moment since the point before, and how things stood then."""

    at_s: float
    """Since the start of the plan."""
    sent: int
    acked: int
    delivered: int
    """Summed over clients, duplicates included."""
    slowest_client_records: int
    """What the client that is furthest behind has received since the start."""
    backlog: int
    """Deliveries that were still to come for what had been acked (with acks=0: sent)."""
    fetches: int
    received_bytes: int
    e2e_p50_ms: float
    """Percentiles of a point are within 4 %."""
    e2e_p99_ms: float
    e2e_max_ms: float
    publisher_lag_max_ms: float
    publisher_cpu_percent: float
    publisher_rss_bytes: int
    subscriber_cpu_percent_sum: float
    subscriber_cpu_percent_max: float
    subscriber_rss_bytes_sum: int
    broker_cpu_percent: float | None
    broker_rss_bytes: int | None
    machine_cpu_percent: float | None
    """Of what Hydra's processes may use of it."""


class _Track(Generic[S]):
    """The samples of one task by the number of the point that they stand for."""

    def __init__(self, samples: Sequence[S], every_s: float) -> None:
        self.last = 0
        self.latest: S | None = None
        """How things stand at the point: a task that noted nothing stands as it did."""
        self._by_point: dict[int, tuple[S, S]] = {}
        self._missed: dict[int, tuple[S, S]] = {}
        before = None
        for sample in samples:
            # A late sample stands for the last full second before it.
            number = max(0, int(sample.at_s / every_s + _ROUNDING))
            if before is not None and number <= self.last:
                number = self.last + 1  # the one that was taken at the very end, between two full seconds
            if before is not None:
                self._missed |= dict.fromkeys(range(self.last + 1, number), (before, sample))
            self.last = number
            self._by_point[number] = (before or sample, sample)
            before = sample

    def step(self, number: int) -> tuple[S, S] | None:
        """Go to a point: (the sample before, the sample) that was noted for it; None where there is none."""
        pair = self._by_point.get(number)
        if pair is not None:
            self.latest = pair[1]
        return pair

    def around(self, number: int) -> tuple[S, S] | None:
        """The same; of a point that was missed, the samples on both sides of it."""
        return self._by_point.get(number) or self._missed.get(number)


def points(order: RunOrder, evidence: Evidence) -> tuple[TimelinePoint, ...]:
    """The points of a run."""
    every_s = order.sample_every_s
    publisher = _Track(evidence.publisher.samples if evidence.publisher else (), every_s)
    subscribers = [_Track(stats.samples, every_s) for stats in evidence.subscribers]
    machine = _Track(evidence.machine, every_s)
    last = max([publisher.last, *(track.last for track in subscribers)], default=0)
    found: list[TimelinePoint] = []
    sent = acked = delivered = 0
    for number in range(1, last + 1):
        before = sent, acked, delivered
        sender, used = publisher.step(number), machine.step(number)
        receivers = [pair for track in subscribers if (pair := track.step(number))]
        shares = [_percent(pair, _cpu_s) for track in subscribers if (pair := track.around(number))]
        sending, using = publisher.around(number), machine.around(number)
        if publisher.latest is not None:
            sent, acked = publisher.latest.attempted, publisher.latest.acked
        delivered = sum(track.latest.received for track in subscribers if track.latest)
        found.append(
            TimelinePoint(
                at_s=number * every_s,
                sent=sent - before[0],
                acked=acked - before[1],
                delivered=delivered - before[2],
                backlog=max(0, (acked if order.has_acks else sent) * order.readers - delivered),
                publisher_lag_max_ms=sender[1].lag_max_s * 1000 if sender else 0.0,
                publisher_cpu_percent=_percent(sending, _cpu_s) if sending else 0.0,
                subscriber_cpu_percent_sum=sum(shares),
                subscriber_cpu_percent_max=max(shares, default=0.0),
                publisher_rss_bytes=publisher.latest.rss_bytes if publisher.latest else 0,
                **_subscriber_fields(receivers, [track.latest for track in subscribers if track.latest]),
                **_latency_fields([sample for _, sample in receivers]),
                broker_cpu_percent=_broker_percent(using),
                broker_rss_bytes=used[1].broker_rss_bytes if used else None,
                machine_cpu_percent=(
                    _percent(using, lambda sample: sample.busy_cpu_s) / (evidence.cores or 1) if using else None
                ),
            )
        )
    return tuple(found)


def _subscriber_fields(
    noted: Sequence[tuple[SubscriberSample, SubscriberSample]], latest: Sequence[SubscriberSample]
) -> dict[str, Any]:
    """What a point says of all subscribers together: of what they noted for it, and of how they stand."""
    return {
        "slowest_client_records": min((sample.slowest_received for sample in latest), default=0),
        "fetches": sum(now.fetches - before.fetches for before, now in noted),
        "received_bytes": sum(now.received_bytes - before.received_bytes for before, now in noted),
        "subscriber_rss_bytes_sum": sum(sample.rss_bytes for sample in latest),
    }


def _latency_fields(samples: Sequence[SubscriberSample]) -> dict[str, Any]:
    """What a point says of how late its deliveries were."""
    latencies = LatencyHistogram(SAMPLE_BITS)
    for sample in samples:
        latencies.merge(sample.e2e)
    p50_us, p99_us = latencies.percentiles_us((50, 99))
    return {"e2e_p50_ms": p50_us / 1000, "e2e_p99_ms": p99_us / 1000, "e2e_max_ms": latencies.max_us / 1000}


def _cpu_s(sample: PublisherSample | SubscriberSample) -> float:
    return sample.cpu_s


def _percent(pair: tuple[S, S], cpu_s: Callable[[S], float]) -> float:
    before, now = pair
    window_s = max(now.at_s - before.at_s, MIN_CPU_WINDOW_S)
    return max(0.0, 100 * (cpu_s(now) - cpu_s(before)) / window_s)


def _broker_percent(pair: tuple[MachineSample, MachineSample] | None) -> float | None:
    if pair is None or pair[0].broker_cpu_s is None or pair[1].broker_cpu_s is None:
        return None
    return _percent(pair, lambda sample: sample.broker_cpu_s or 0.0)


def longest_pause_s(samples: Sequence[TimedSample], every_s: float) -> float:
    """The most that a task was late with a sample: how long it stood still."""
    times = [sample.at_s for sample in samples]
    return max((later - earlier - every_s for earlier, later in pairwise(times)), default=0.0)
