"""The value of each metric in a run, and what became of the thresholds that are set on them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hydra.accounting.totals import Latencies, Totals
from hydra.options.options import Options
from hydra.options.thresholds import METRICS, PERCENTILES, parse_threshold

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

Value = Callable[[Totals, Latencies], float]


def _percentile(of: str, name: str) -> Value:
    return lambda _totals, latency: float(getattr(getattr(latency, of), f"{name}_ms"))


_VALUES: Mapping[str, Value] = {
    "loss": lambda totals, _: totals.records_lost - totals.records_unread,
    "loss_percent": lambda totals, _: totals.mean_loss_percent,
    "expired": lambda totals, _: totals.records_expired,
    "unread": lambda totals, _: totals.records_unread,
    "duplicates": lambda totals, _: totals.records_duplicated,
    "reordered": lambda totals, _: totals.records_reordered,
    "failing_clients": lambda totals, _: totals.clients_failing + totals.clients_missing + totals.clients_never_started,
    "tx_rate": lambda totals, _: totals.tx_rate_per_s,
    "rx_rate": lambda totals, _: totals.mean_rx_rate_per_s,
    **{f"{of}_{name}": _percentile(of, name) for of in ("e2e", "service") for name in PERCENTILES},
    "worst_client_p99": lambda _, latency: latency.client_p99_max_ms,
    "pub_lag_p99": lambda _, latency: latency.publisher_lag.p99_ms,
    "pub_lag_max": lambda _, latency: latency.publisher_lag.max_ms,
    "pub_cpu": lambda totals, _: totals.publisher_cpu_percent,
    "sub_cpu_max": lambda totals, _: totals.subscriber_cpu_percent_max,
    "fetch_rate": lambda totals, _: totals.fetches_per_s,
}


def metric_value(name: str, totals: Totals, latency: Latencies) -> float:
    """A run's figure of that name (options/thresholds.py), in its unit."""
    return _VALUES[name](totals, latency)


@dataclass(frozen=True)
class ThresholdOutcome:
    """What became of a threshold in a run."""

    threshold: str
    metric: str
    value: float
    limit: float
    """Both in ``unit``."""
    unit: str
    kept: bool


def judge_thresholds(options: Options, totals: Totals, latency: Latencies) -> tuple[ThresholdOutcome, ...]:
    """What became of each threshold."""
    outcomes = []
    for text in options.threshold:
        threshold = parse_threshold(text)
        metric = METRICS[threshold.metric]
        value = metric_value(threshold.metric, totals, latency)
        limit = threshold.limit * options.msg_rate if threshold.of_asked else threshold.limit
        kept = _COMPARE[threshold.compare](value, limit)
        outcomes.append(ThresholdOutcome(str(threshold), threshold.metric, value, limit, metric.unit, kept))
    return tuple(outcomes)
