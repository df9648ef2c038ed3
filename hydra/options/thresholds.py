"""Thresholds: what a user says a run has to keep, such as ``e2e_p99<50ms``, ``loss==0`` or ``tx_rate>=0.95*asked``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Metric:
    """One figure of a run: its unit, and what it is in a few words."""

    unit: str
    text: str


def _latencies(prefix: str, text: str) -> dict[str, Metric]:
    return {f"{prefix}_{name}": Metric("ms", f"{text}, {words}") for name, words in LATENCY_FIGURES.items()}


PERCENTILES: Mapping[str, str] = {
    "p50": "median",
    "p90": "90th percentile",
    "p99": "99th percentile",
    "p999": "99.9th percentile",
    "p9999": "99.99th percentile",
    "max": "highest",
}
"""By name, the lowest first."""

LATENCY_FIGURES: Mapping[str, str] = {"mean": "mean", **PERCENTILES}
"""What is told of many latencies, by name."""

METRICS: Mapping[str, Metric] = {
    "loss": Metric("deliveries", "proven losses"),
    "loss_percent": Metric("%", "lost of sent, mean over clients"),
    "expired": Metric("deliveries", "lost to the topic's retention"),
    "unread": Metric("deliveries", "still unread when the drain ended"),
    "duplicates": Metric("deliveries", "received again"),
    "reordered": Metric("deliveries", "received out of order"),
    "failing_clients": Metric("clients", "clients that lost a record or are missing"),
    "tx_rate": Metric("records/s", "sent, over the send window"),
    "rx_rate": Metric("records/s", "received, mean over clients"),
    **_latencies("e2e", "latency from the intended send time"),
    **_latencies("service", "latency from the actual send time"),
    **_latencies("unpaced", "e2e of the clients that keep no pace"),
    **_latencies("ack", "from the hand-over of a record to its ack"),
    "worst_client_p99": Metric("ms", "e2e_p99 of the slowest client"),
    "pub_lag_p99": Metric("ms", "publisher behind its plan"),
    "pub_lag_max": Metric("ms", "publisher behind its plan, highest"),
    "pub_cpu": Metric("%", "of one core, publisher process"),
    "sub_cpu_max": Metric("%", "busiest subscriber process"),
    "fetch_rate": Metric("fetches/s", "answered fetches, over the send window"),
}
"""By name, in the order in which they are listed to a user (accounting/totals.py has their values)."""

_TIMES: Mapping[str, float] = {"us": 0.001, "ms": 1.0, "s": 1000.0}
MAX_LIMIT = 1e18
"""What is larger would not be read again as it was written."""

_OF_ASKED = ("tx_rate", "rx_rate")
_FORM = re.compile(
    r"\s*(?P<metric>[A-Za-z0-9_]+)\s*(?P<compare><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?|\.[0-9]+)\s*(?P<unit>\*\s*asked|us|ms|s|%)?\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class Threshold:
    """One condition on a metric."""

    metric: str
    compare: str
    limit: float
    """In the metric's unit; with ``of_asked`` a share of the asked rate."""
    of_asked: bool = False

    def __str__(self) -> str:
        unit = METRICS[self.metric].unit
        tail = "*asked" if self.of_asked else unit if unit in {"ms", "%"} else ""
        return f"{self.metric}{self.compare}{self.limit:.12g}{tail}"


def parse_threshold(text: str) -> Threshold:
    """One threshold; raises ValueError with the rest of the sentence 'TEXT ...': an unknown metric, or no such form."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("must be a metric, a comparison and a number, such as e2e_p99<50ms or tx_rate>=0.95*asked")
    metric, unit = match["metric"].lower(), (match["unit"] or "").replace(" ", "")
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METRICS)}"
        raise ValueError(f"names no metric: {hint}")
    limit, own = float(match["number"]), METRICS[metric].unit
    if unit == "*asked":
        if metric not in _OF_ASKED:
            raise ValueError(f"compares {metric} with a rate: only {' and '.join(_OF_ASKED)} can be of what was asked")
    elif own == "ms":
        if unit not in _TIMES:
            raise ValueError(f"needs a unit: {metric} is a time, in us, ms or s")
        limit *= _TIMES[unit]
    elif unit and unit != own:
        raise ValueError(f"has the wrong unit: {metric} is in {own}")
    if limit > MAX_LIMIT:
        raise ValueError(f"has a number above {MAX_LIMIT:g}")
    return Threshold(metric, match["compare"], limit, of_asked=unit == "*asked")
