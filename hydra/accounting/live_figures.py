"""What a run costs and how late its deliveries are, while it goes on: from the last sample of every task. Pure.

The latencies are those of a few tasks, other ones each time: to count them costs a task half a millisecond, which a run
of a thousand tasks cannot spare. The result counts every delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hydra.accounting.latency import SAMPLE_BITS, LatencyHistogram
from hydra.accounting.stats import MachineSample, PublisherSample, SubscriberSample
from hydra.accounting.timeline import MIN_CPU_WINDOW_S, TimedSample

S = TypeVar("S", bound=TimedSample)


@dataclass(frozen=True)
class LiveFigures:
    """How things stand; None: not known (yet)."""

    e2e_p50_ms: float | None = None
    """Of what arrived at some of the tasks in their last second; within 4 %."""
    e2e_p99_ms: float | None = None
    e2e_max_ms: float | None = None
    so_far_p50_ms: float | None = None
    """The same of all that was looked at since the start."""
    so_far_p99_ms: float | None = None
    so_far_max_ms: float | None = None
    publisher_lag_max_ms: float | None = None
    """The most that a record was sent after its time, in the publisher's last second."""
    publisher_cpu_percent: float | None = None
    """Percent of one core, as all that follow, if nothing else is said."""
    subscriber_cpu_percent_sum: float | None = None
    subscriber_cpu_percent_max: float | None = None
    """Of the busiest subscriber process."""
    broker_cpu_percent: float | None = None
    machine_cpu_percent: float | None = None
    """Of all that Hydra's processes may use of the controller's machine."""


class LiveSamples:
    """Takes the last samples of all tasks, again and again, and says what they mean.

    Args:
        cores: how many CPUs of the controller's machine Hydra's processes may use.
    """

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._publisher: tuple[PublisherSample, ...] = ()
        """The last two that differ; the same below."""
        self._subscribers: dict[str, tuple[SubscriberSample, ...]] = {}
        self._recent = LatencyHistogram(SAMPLE_BITS)
        self._so_far = LatencyHistogram(SAMPLE_BITS)

    def take_publisher(self, sample: PublisherSample) -> None:
        """The publisher's last sample, also if it was taken before."""
        self._publisher = _newer(self._publisher, sample)

    def take_subscribers(self, samples: Sequence[tuple[str, SubscriberSample]]) -> None:
        """The last samples of subscribers by their task ids; what they say of latencies is that of this moment."""
        self._recent = LatencyHistogram(SAMPLE_BITS)
        for task_id, sample in samples:
            known = self._subscribers.get(task_id, ())
            self._subscribers[task_id] = newer = _newer(known, sample)
            if newer is not known:
                self._recent.merge(sample.e2e)
        self._so_far.merge(self._recent.fact())

    def figures(self, machine: Sequence[MachineSample]) -> LiveFigures:
        """How things stand, also by what the controller noted of its machine."""
        used = tuple(machine[-2:])
        shares = [share for pair in self._subscribers.values() if (share := _percent(pair, _cpu_s)) is not None]
        busy = _percent(used, lambda sample: sample.busy_cpu_s)
        p50_ms, p99_ms, max_ms = _latencies(self._recent)
        so_far_p50_ms, so_far_p99_ms, so_far_max_ms = _latencies(self._so_far)
        return LiveFigures(
            e2e_p50_ms=p50_ms,
            e2e_p99_ms=p99_ms,
            e2e_max_ms=max_ms,
            so_far_p50_ms=so_far_p50_ms,
            so_far_p99_ms=so_far_p99_ms,
            so_far_max_ms=so_far_max_ms,
            publisher_lag_max_ms=self._publisher[-1].lag_max_s * 1000 if self._publisher else None,
            publisher_cpu_percent=_percent(self._publisher, lambda sample: sample.cpu_s),
            subscriber_cpu_percent_sum=sum(shares) if shares else None,
            subscriber_cpu_percent_max=max(shares, default=None),
            broker_cpu_percent=_percent(used, lambda sample: sample.broker_cpu_s),
            machine_cpu_percent=None if busy is None else busy / (self._cores or 1),
        )


def _newer(known: tuple[S, ...], sample: S) -> tuple[S, ...]:
    """The last two samples; the same ones where this one is known already."""
    return known if known and known[-1].at_s == sample.at_s else (*known[-1:], sample)


def _cpu_s(sample: SubscriberSample) -> float:
    return sample.cpu_s


def _percent(samples: Sequence[S], cpu_s: Callable[[S], float | None]) -> float | None:
    """CPU time between the last two samples, of one core; None where there are none, or they do not say."""
    if len(samples) < 2:
        return None
    before, now = samples
    used_before_s, used_s = cpu_s(before), cpu_s(now)
    if used_before_s is None or used_s is None:
        return None
    return max(0.0, 100 * (used_s - used_before_s) / max(now.at_s - before.at_s, MIN_CPU_WINDOW_S))


def _latencies(histogram: LatencyHistogram) -> tuple[float | None, float | None, float | None]:
    """Median, 99th percentile and maximum in milliseconds."""
    if not len(histogram):
        return None, None, None
    p50_us, p99_us = histogram.percentiles_us((50, 99))
    return p50_us / 1000, p99_us / 1000, histogram.max_us / 1000
