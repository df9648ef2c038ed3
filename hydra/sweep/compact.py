"""A run as a sweep keeps it: everything that was found out, without the evidence that it was found out from.

What each client received, span by span, and what each process noted of itself, is most of a result file. A sweep of 200
points keeps the result, and one histogram of latencies for each second over all subscribers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from hydra.accounting.latency import LatencyHistogram
from hydra.accounting.stats import ProcessUsage, SubscriberSample, SubscriberStats
from hydra.run.record import RunRecord

ALL = "all subscribers"


def condensed(run: RunRecord) -> RunRecord:
    """The record without clients, publisher, machine samples and audit, and with all subscribers as one."""
    together = _together(run.order.run_id, run.evidence.subscribers)
    evidence = dataclasses.replace(run.evidence, publisher=None, machine=(), audit=None, subscribers=together)
    return dataclasses.replace(run, order=dataclasses.replace(run.order, clients=()), evidence=evidence)


def _together(run_id: str, subscribers: Sequence[SubscriberStats]) -> tuple[SubscriberStats, ...]:
    """One that noted what all of them noted in the same second; none where nobody noted anything."""
    by_second: dict[int, list[SubscriberSample]] = {}
    for subscriber in subscribers:
        for sample in subscriber.samples:
            by_second.setdefault(math.ceil(sample.at_s - 0.5), []).append(sample)
    if not by_second:
        return ()
    usage = ProcessUsage(
        cpu_percent=sum(subscriber.usage.cpu_percent for subscriber in subscribers),
        rss_bytes=sum(subscriber.usage.rss_bytes for subscriber in subscribers),
        window_s=max(subscriber.usage.window_s for subscriber in subscribers),
    )
    samples = tuple(_sum(by_second[second]) for second in sorted(by_second))
    return (SubscriberStats(run_id, ALL, (), usage, samples=samples),)


def _sum(samples: Sequence[SubscriberSample]) -> SubscriberSample:
    histogram = LatencyHistogram(samples[0].e2e.bits)
    for sample in samples:
        if sample.e2e.counts:
            histogram.merge(sample.e2e)
    return SubscriberSample(
        at_s=max(sample.at_s for sample in samples),
        received=sum(sample.received for sample in samples),
        slowest_received=min(sample.slowest_received for sample in samples),
        fetches=sum(sample.fetches for sample in samples),
        received_bytes=sum(sample.received_bytes for sample in samples),
        cpu_s=sum(sample.cpu_s for sample in samples),
        rss_bytes=sum(sample.rss_bytes for sample in samples),
        e2e=histogram.fact(),
    )
