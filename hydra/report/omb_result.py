"""A run in the keys of the OpenMessaging Benchmark's result file (its class ``TestResult``), for scripts that read it.

Latencies are in milliseconds, the publisher's delay in microseconds, as there. What was not measured has an empty list,
or no key: the latency of acks (``publishLatency...``) where they were not timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram, merged
from hydra.accounting.timeline import TimelinePoint
from hydra.report.text import headline
from hydra.run.record import RunRecord

INTERVAL_S = 10.0
"""What a value of a list stands for: OMB's charts have one each 10 s."""

PERCENTS: Mapping[str, float] = {
    "50": 50.0, "75": 75.0, "95": 95.0, "99": 99.0, "999": 99.9, "9999": 99.99, "99999": 99.999,
}  # fmt: skip
"""By the digits in a key."""

QUANTILES = (
    10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99,
    99.995, 99.999, 100.0,
)  # fmt: skip
"""Percents of the curves over all of a run."""


def omb_result(record: RunRecord, workload: str = "") -> dict[str, object]:
    """The run as OMB would write it; one without a result has its description and nothing measured.

    Args:
        record: the run.
        workload: the name of the workload; otherwise the run's own headline.
    """
    options = record.order.options
    found: dict[str, object] = {
        "workload": workload or headline(options),
        "driver": f"Hydra {options.pub_driver} -> {options.sub_driver}",
        "messageSize": options.msg_size,
        "topics": 1,
        "partitions": options.partitions,
        "producersPerTopic": 1,
        "consumersPerTopic": options.client_count,
        **_over_time(record),
    }
    e2e = merged(stats.e2e for stats in record.evidence.subscribers)
    found |= _aggregated("EndToEndLatency", e2e, unit_us=1000.0)
    publisher = record.evidence.publisher
    delay = merged([publisher.lag] if publisher is not None else [])
    found |= _aggregated("PublishDelayLatency", delay, unit_us=1.0)
    acks = merged([publisher.ack] if publisher is not None else [])
    found |= _aggregated("PublishLatency", acks, unit_us=1000.0)
    return found


def _over_time(record: RunRecord) -> dict[str, object]:
    """A value for each 10 s in which records were sent."""
    points = record.result.points if record.result is not None else ()
    spans = _spans(points, record.order.sample_every_s, _sent_until_s(record))
    lengths = [length_s for length_s, _ in spans]
    acked = record.order.has_acks
    publisher = record.evidence.publisher
    sent_s = sum(lengths)
    failed_per_s = publisher.failed / sent_s if publisher is not None and sent_s else 0.0
    found: dict[str, object] = {
        "publishRate": [
            sum(point.acked if acked else point.sent for point in span) / length_s for length_s, span in spans
        ],
        "publishErrorRate": [failed_per_s for _ in spans],  # of the whole run: when they failed is not noted
        "consumeRate": [sum(point.delivered for point in span) / length_s for length_s, span in spans],
        "backlog": [span[-1].backlog for _, span in spans],
    }
    received = [(each.at_s, each.e2e) for stats in record.evidence.subscribers for each in stats.samples]
    sent = publisher.samples if publisher is not None else ()
    acks = [(each.at_s, each.ack) for each in sent if each.ack.counts]
    delays = [(each.at_s, each.lag) for each in sent if each.lag.counts]
    found |= _curves("endToEndLatency", _latencies_over_time(received, len(spans)), unit_us=1000.0)
    # Nobody timed acks, which is not that they took no time.
    found |= _curves("publishLatency", _latencies_over_time(acks, len(spans)) if acks else [], unit_us=1000.0)
    found |= _curves("publishDelayLatency", _latencies_over_time(delays, len(spans)) if delays else [], unit_us=1.0)
    return found


def _curves(name: str, latencies: Sequence[LatencyHistogram], *, unit_us: float) -> dict[str, object]:
    """A value for each 10 s."""
    found: dict[str, object] = {f"{name}Avg": [(each.mean_us() or 0.0) / unit_us for each in latencies]}
    for digits, percent in PERCENTS.items():
        found[f"{name}{digits}pct"] = [_in_unit(each.percentiles_us([percent])[0], unit_us) for each in latencies]
    found[f"{name}Max"] = [_in_unit(each.max_us, unit_us) for each in latencies]
    return found


def _number(at_s: float) -> int:
    """Which 10 s a moment is the end of, or in."""
    return max(0, -int(-at_s // INTERVAL_S) - 1)


def _sent_until_s(record: RunRecord) -> float:
    """When the last record was due, or sent if that was later: seconds since the start of the plan."""
    publisher, planned_s = record.evidence.publisher, record.order.options.test_duration
    return planned_s if publisher is None else max(planned_s, publisher.send_window_s)


def _spans(points: Sequence[TimelinePoint], every_s: float, end_s: float) -> list[tuple[float, list[TimelinePoint]]]:
    """The points of each 10 s, and how many seconds they stand for: the last ones may be fewer.

    What comes after the last record, while clients read on, has no rate: a value of it would be near zero. Nor has a
    point of which only a bit lies before that.
    """
    found: list[tuple[float, list[TimelinePoint]]] = []
    before_s = 0.0
    begin_s = end_s - every_s / 4
    sent = [point for index, point in enumerate(points) if index == 0 or point.at_s - every_s < begin_s]
    for _, group in groupby(sent, lambda point: _number(point.at_s)):
        span = list(group)
        until_s = min(span[-1].at_s, end_s)
        found.append((until_s - before_s, span))
        before_s = until_s
    return found


def _latencies_over_time(samples: Iterable[tuple[float, LatencyCounts]], spans: int) -> list[LatencyHistogram]:
    """The latencies of each 10 s, by (when, counts) of samples; within 4 %."""
    found = [LatencyHistogram(SAMPLE_BITS) for _ in range(spans)]
    for at_s, counts in samples if spans else ():
        # A sample is taken as a second ends, or a little later.
        found[min(spans - 1, _number(at_s - 0.5))].merge(counts)
    return found


def _aggregated(name: str, histogram: LatencyHistogram, *, unit_us: float) -> dict[str, object]:
    """What a histogram over the whole run says; no figures where it is empty."""
    found: dict[str, object] = {f"aggregated{name}Quantiles": {}}
    if (mean_us := histogram.mean_us()) is None:
        return found
    values = histogram.percentiles_us(PERCENTS.values())
    for digits, value_us in zip(PERCENTS, values, strict=True):
        found[f"aggregated{name}{digits}pct"] = _in_unit(value_us, unit_us)
    found[f"aggregated{name}Avg"] = mean_us / unit_us
    found[f"aggregated{name}Max"] = _in_unit(histogram.max_us, unit_us)
    curve = histogram.percentiles_us(QUANTILES)
    found[f"aggregated{name}Quantiles"] = {
        str(percent): value_us / unit_us for percent, value_us in zip(QUANTILES, curve, strict=True)
    }
    return found


def _in_unit(value_us: int, unit_us: float) -> float:
    """The value in a unit of so many microseconds; microseconds are whole numbers, as there."""
    return value_us if unit_us == 1 else value_us / unit_us
