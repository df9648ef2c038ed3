"""What a broker exports of itself as Prometheus text, mostly by the JMX exporter, under the names that people give it.

Names are compared without case and underscores, so that the exporter's own example for Kafka, Strimzi's rules and an
exporter without rules (attribute in the name, bean in the label ``name``) all fit:
https://github.com/prometheus/jmx_exporter/tree/main/examples, https://kafka.apache.org/documentation/#monitoring.
What is not there, or is no number in its range, is None: unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hydra.accounting.broker_inside import BrokerExport, RequestTimes

HANDLERS, NETWORK = "requesthandleravgidle", "networkprocessoravgidle"
_OTHERS = ("controller", "controlplane")
"""Pools of which we say nothing."""

_TIMES: Mapping[str, str] = {
    "requestqueuetimems": "queue_ms", "localtimems": "local_ms", "remotetimems": "remote_ms",
    "responsequeuetimems": "response_queue_ms", "responsesendtimems": "send_ms",
}  # fmt: skip
_REQUESTS = ("Produce", "FetchConsumer")
_STARTED = "processstarttimeseconds"

Kind = Literal["now", "mean", "count"]
"""What an idle share is: of the last minute or half, the mean since the broker's start, or nanoseconds in all."""

LEAST_S = 30.0
"""A share of the last minute, or half minute, is of the run only if the run was as long."""

RISEN = 0.05
"""A share of the last minute that rises by more while a run goes on is one of the time before it."""

_IN_RANGE = 1.05
_PREFERRED: Sequence[Kind] = ("count", "now", "mean")


@dataclass(frozen=True)
class Scrape:
    """What one answer of a broker said."""

    at_s: float
    """Unix time."""
    idle: Mapping[tuple[str, Kind], float] = field(default_factory=dict)
    times: tuple[RequestTimes, ...] = ()
    started_s: float | None = None
    """Unix time at which the broker's process began."""


def read_scrape(text: str, at_s: float) -> Scrape:
    """Read the text of an exporter.

    Raises:
        ValueError: it is no Prometheus text.
    """
    from prometheus_client.parser import text_string_to_metric_families  # with it come 0.2 s of imports

    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    idle: dict[tuple[str, Kind], float] = {}
    times: dict[tuple[str, str], tuple[int, float]] = {}
    broker_pool: set[tuple[str, Kind]] = set()
    started_s = None
    for sample in samples:
        labels = {name.lower(): value for name, value in sample.labels.items()}
        name = sample.name.lower().replace("_", "") + labels.get("name", "").lower()
        if not math.isfinite(sample.value) or any(other in name for other in _OTHERS):
            continue
        if name == _STARTED:
            started_s = sample.value
        elif (of := next((of for of in (HANDLERS, NETWORK) if of in name), None)) is not None:
            if (kind := _kind(of, name, sample.name.lower())) is not None:
                # A broker that is its own controller has a pool for each, and one figure over both.
                own = "brokerrequesthandler" in name
                if own or (of, kind) not in broker_pool:
                    idle[of, kind] = sample.value
                    broker_pool |= {(of, kind)} if own else set()
        elif (key := _time_key(name, labels)) is not None:
            rank = _rank(name, labels)
            if rank and rank >= times.get(key, (0, 0.0))[0]:
                times[key] = rank, sample.value
    return Scrape(at_s, idle, tuple(_request_times(times)), started_s)


def _kind(of: str, name: str, written: str) -> Kind | None:
    if any(other in name for other in ("fiveminute", "fifteenminute", "5minute", "15minute")):
        return None
    if "oneminute" in name or "1minute" in name:
        return "now"
    if "meanrate" in name:
        return "mean"
    if name.endswith(("count", "total")) or "poolcount" in name:
        return "count"
    # The example of the JMX exporter calls the mean of the meter so; the share of network threads is no meter.
    return "mean" if of == HANDLERS and written.endswith("avgidle_percent") else "now"


def _time_key(name: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
    request = next((known for known in _REQUESTS if labels.get("request", "").lower() == known.lower()), None)
    found = next((field_name for text, field_name in _TIMES.items() if text in name), None)
    return None if request is None or found is None else (request, found)


def _rank(name: str, labels: Mapping[str, str]) -> int:
    """The 99th percentile goes before the mean; everything else is neither."""
    if labels.get("quantile") == "0.99" or ("99thpercentile" in name and "999" not in name):
        return 2
    return 1 if name.endswith("mean") or "requestmetricsmean" in name else 0


def _request_times(times: Mapping[tuple[str, str], tuple[int, float]]) -> Iterable[RequestTimes]:
    for request in _REQUESTS:
        known = {name: value for (of, name), (_, value) in times.items() if of == request}
        if known:
            yield RequestTimes(request, **known)


def export_of(url: str, scrapes: Sequence[Scrape], error: str) -> BrokerExport:
    """What a broker exported, from the scrapes of the time in which the publisher sent."""
    if not scrapes:
        return BrokerExport(url, 0, error=error)
    first, last = scrapes[0], scrapes[-1]
    return BrokerExport(
        url,
        len(scrapes),
        handlers_idle_ratio=_idle(HANDLERS, first, last),
        network_idle_ratio=_idle(NETWORK, first, last),
        times=last.times,
        error=error,
    )


def _idle(of: str, first: Scrape, last: Scrape) -> float | None:
    """The idle share between two scrapes, by the best that there is."""
    for kind in _PREFERRED:
        before, now = first.idle.get((of, kind)), last.idle.get((of, kind))
        if before is None or now is None:
            continue
        found = _between(kind, before, now, first, last)
        if found is not None and -0.05 <= found <= _IN_RANGE:
            return min(1.0, max(0.0, found))
    return None


def _between(kind: Kind, before: float, now: float, first: Scrape, last: Scrape) -> float | None:
    window_s = last.at_s - first.at_s
    if kind == "now":
        return now if now <= before + RISEN and window_s >= LEAST_S else None
    if window_s <= 0:
        return None
    if kind == "count":
        return (now - before) / 1e9 / window_s
    if last.started_s is None or last.started_s != first.started_s:
        return None
    return (now * (last.at_s - last.started_s) - before * (first.at_s - last.started_s)) / window_s
