"""A run second by second, put together from what each task, and the controller, noted about once a second.

Tasks note their counts as they pass each full second of the plan. One that stood still notes nothing meanwhile: then
the seconds that it missed repeat its last counts, and what came since stands in the second in which it went on.
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


class _Sample(Protocol):
    @property
    def at_s(self) -> float: ...


S = TypeVar("S", bound=_Sample)


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
    """Percentiles of a point are within 4 %, or half a millisecond."""
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
    """Of all cores."""


class _Track(Generic[S]):
    """The samples of one task by the number of the point that they stand for."""

    def __init__(self, samples: Sequence[S], every_s: float) -> None:
        self.last = 0
        self._by_point: dict[int, tuple[S, S]] = {}
        before = None
        for sample in samples:
            number = max(0, round(sample.at_s / every_s))
            if before is not None and number <= self.last:
                number = self.last + 1  # the one that was taken at the very end, between two full seconds
            self.last = number
            self._by_point[number] = (before or sample, sample)
            before = sample

    def at(self, number: int) -> tuple[S, S] | None:
        """(the sample before, the sample) of the point; None where there is none."""
        return self._by_point.get(number)


def points(order: RunOrder, evidence: Evidence) -> tuple[TimelinePoint, ...]:
    """The points of a run."""
    series = _Series(evidence, order.sample_every_s)
    found: list[TimelinePoint] = []
    before = _Totals()
    for number in range(1, series.last + 1):
        now = series.step(number)
        counted = now.acked if order.has_acks else now.sent
        found.append(
            TimelinePoint(
                at_s=number * order.sample_every_s,
                sent=now.sent - before.sent,
                acked=now.acked - before.acked,
                delivered=now.delivered - before.delivered,
                backlog=max(0, counted * order.readers - now.delivered),
                **series.publisher_fields(),
                **series.subscriber_fields(),
                **series.latency_fields(),
                **series.machine_fields(evidence.cores),
            )
        )
        before = now
    return tuple(found)


@dataclass(frozen=True)
class _Totals:
    """Counts since the start of the plan."""

    sent: int = 0
    acked: int = 0
    delivered: int = 0


class _Series:
    """Goes from point to point, and says of the one that it stands at what each task noted there."""

    def __init__(self, evidence: Evidence, every_s: float) -> None:
        self._publisher = _Track(evidence.publisher.samples if evidence.publisher else (), every_s)
        self._subscribers = [_Track(stats.samples, every_s) for stats in evidence.subscribers]
        self._machine = _Track(evidence.machine, every_s)
        self.last = max([self._publisher.last, *(track.last for track in self._subscribers)], default=0)
        # What was noted for this point, and how things stand: a task that noted nothing stands as it did.
        self._sent: tuple[PublisherSample, PublisherSample] | None = None
        self._sent_so_far: PublisherSample | None = None
        self._got: list[tuple[SubscriberSample, SubscriberSample]] = []
        self._got_so_far: dict[int, SubscriberSample] = {}
        self._used: tuple[MachineSample, MachineSample] | None = None

    def step(self, number: int) -> _Totals:
        """Go to a point, from the one before."""
        self._sent = self._publisher.at(number)
        self._sent_so_far = self._sent[1] if self._sent else self._sent_so_far
        noted = {index: pair for index, track in enumerate(self._subscribers) if (pair := track.at(number))}
        self._got = list(noted.values())
        self._got_so_far.update((index, now) for index, (_, now) in noted.items())
        self._used = self._machine.at(number)
        return _Totals(
            sent=self._sent_so_far.attempted if self._sent_so_far else 0,
            acked=self._sent_so_far.acked if self._sent_so_far else 0,
            delivered=sum(sample.received for sample in self._got_so_far.values()),
        )

    def publisher_fields(self) -> dict[str, Any]:
        """What a point says of the publisher."""
        return {
            "publisher_lag_max_ms": self._sent[1].lag_max_s * 1000 if self._sent else 0.0,
            "publisher_cpu_percent": _percent(self._sent, lambda sample: sample.cpu_s) if self._sent else 0.0,
            "publisher_rss_bytes": self._sent_so_far.rss_bytes if self._sent_so_far else 0,
        }

    def subscriber_fields(self) -> dict[str, Any]:
        """What a point says of all subscribers together."""
        cpus = [_percent(pair, lambda sample: sample.cpu_s) for pair in self._got]
        standing = self._got_so_far.values()
        return {
            "slowest_client_records": min((sample.slowest_received for sample in standing), default=0),
            "fetches": sum(now.fetches - before.fetches for before, now in self._got),
            "received_bytes": sum(now.received_bytes - before.received_bytes for before, now in self._got),
            "subscriber_cpu_percent_sum": sum(cpus),
            "subscriber_cpu_percent_max": max(cpus, default=0.0),
            "subscriber_rss_bytes_sum": sum(sample.rss_bytes for sample in standing),
        }

    def latency_fields(self) -> dict[str, Any]:
        """What a point says of how late its deliveries were."""
        latencies = LatencyHistogram(SAMPLE_BITS)
        for _, sample in self._got:
            latencies.merge(sample.e2e)
        p50_us, p99_us = latencies.percentiles_us((50, 99))
        return {"e2e_p50_ms": p50_us / 1000, "e2e_p99_ms": p99_us / 1000, "e2e_max_ms": latencies.max_us / 1000}

    def machine_fields(self, cores: int) -> dict[str, Any]:
        """What a point says of the controller's machine, and of the broker on it."""
        used = self._used
        return {
            "broker_cpu_percent": _broker_percent(used),
            "broker_rss_bytes": used[1].broker_rss_bytes if used else None,
            "machine_cpu_percent": _percent(used, lambda sample: sample.busy_cpu_s) / max(1, cores) if used else None,
        }


def _percent(pair: tuple[S, S], cpu_s: Callable[[S], float]) -> float:
    before, now = pair
    window_s = max(now.at_s - before.at_s, MIN_CPU_WINDOW_S)
    return max(0.0, 100 * (cpu_s(now) - cpu_s(before)) / window_s)


def _broker_percent(pair: tuple[MachineSample, MachineSample] | None) -> float | None:
    if pair is None or pair[0].broker_cpu_s is None or pair[1].broker_cpu_s is None:
        return None
    return _percent(pair, lambda sample: sample.broker_cpu_s or 0.0)


def longest_pause_s(samples: Sequence[_Sample], every_s: float) -> float:
    """The most that a task was late with a sample: how long it stood still."""
    times = [sample.at_s for sample in samples]
    return max((later - earlier - every_s for earlier, later in pairwise(times)), default=0.0)
