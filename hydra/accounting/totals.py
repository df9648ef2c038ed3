"""The totals of a run, the value of each metric in them, and what became of the thresholds set on these."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hydra.accounting.latency import LatencySummary
from hydra.accounting.percentile_curve import LatencyCurves
from hydra.options.options import Options
from hydra.options.thresholds import LATENCY_FIGURES, METRICS, parse_threshold

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Totals:
    """The totals of a run. Means over clients are over ``clients_reporting``; loss over ``clients_expecting``."""

    clients_asked: int
    clients_ok: int
    clients_failing: int
    """Reported, and lost something."""
    clients_missing: int
    """Started, and did not report."""
    clients_never_started: int
    clients_reporting: int
    clients_expecting: int
    """Reported, and had a partition with records to read (in a shared group some have none)."""
    records_planned: int
    records_attempted: int
    records_acked: int
    records_failed: int
    records_unknown: int
    records_appended: int
    """What the log grew by: its end offsets after the run less those before it."""
    records_duplicated_in_log: int
    """Offsets that hold a record which another offset holds already, as far as witnesses saw them."""
    records_counted: int
    """What loss is judged against: acked; without acks, or without a report of the publisher, appended."""
    records_delivered: int
    """Distinct records, summed over clients."""
    records_duplicated: int
    records_reordered: int
    records_lost: int
    """Expected and not received: the sum of the four classes."""
    records_broker_lost: int
    records_expired: int
    records_unread: int
    records_skipped: int
    records_ghost: int
    """Received although the publisher says that they are not in the log."""
    records_foreign: int
    records_corrupt: int
    """Record batches that a client received with a wrong CRC-32C, and records that it could not decode."""
    offsets_contradicted: int
    """Offsets at which a client received another record than the other witnesses saw there, summed over clients."""
    tx_rate_per_s: float
    mean_distinct_records: float
    mean_rx_rate_per_s: float | None
    """Of those clients that have a rate; None where none has one."""
    mean_loss_percent: float
    mean_failing_rx_rate_per_s: float
    """Of those failing clients that have a rate."""
    fetches: int
    fetches_per_s: float
    """Over the send window."""
    records_per_fetch: float
    """From the start of the plan on."""
    publisher_queue_full: int
    """How often the client library's queue had no room."""
    publisher_cpu_percent: float
    """Of one core, as all percents of CPU here but the machine's."""
    publisher_host_tx_bytes_per_s: float
    publisher_host_rx_bytes_per_s: float
    subscriber_cpu_percent_max: float
    """The busiest subscriber process."""
    subscriber_cpu_percent_sum: float
    subscriber_cpu_us_per_delivery: float
    """CPU time of all subscriber processes by deliveries."""
    subscriber_rss_bytes_sum: int
    broker_cpu_percent: float | None
    """Mean over the send window; None where Hydra does not run the broker."""
    broker_rss_bytes_max: int | None
    machine_cpu_percent: float | None
    """Of what Hydra's processes may use of the controller's machine, mean over the send window."""
    records_unknown_in_log: int = 0
    """Of the unknown ones, those that are in the log."""
    records_unknown_absent: int = 0
    """Of the unknown ones, those that are not in the log: all of it was seen."""
    publisher_throttled_s: float = 0.0
    """For how long the broker said that a quota held the publisher back, summed over its replies."""
    clients_throttled_s: float = 0.0
    """The same of the clients, summed over all of them."""
    clients_without_rate: int = 0
    """Of those that reported, those whose records all came at once: in no time there is no rate."""


@dataclass(frozen=True)
class Latencies:
    """How late deliveries were, and what is known of how exact that is."""

    e2e: LatencySummary
    """From the intended send time to the moment when the client had the record."""
    service: LatencySummary
    """From the actual send time: the record's timestamp, a whole millisecond rounded down."""
    publisher_lag: LatencySummary
    """How far behind its intended time each record was handed to the client library."""
    client_p99_min_ms: float
    """End-to-end p99 of the fastest client, of the median one, and of the slowest one."""
    client_p99_median_ms: float
    client_p99_max_ms: float
    slowest_client: str
    clock_error_ms: float
    """How far the clocks of hosts may be apart after correction; 0 where all tasks ran on one host."""
    unpaced: LatencySummary = field(default_factory=LatencySummary)
    """``e2e`` of those clients alone that keep no pace of fetch rounds: without what the pace adds."""
    ack: LatencySummary = field(default_factory=LatencySummary)
    """How long each acked record waited for its ack, from when it was handed to the publisher's client library."""
    curves: LatencyCurves = field(default_factory=LatencyCurves)
    """The whole distribution of each of them, to be drawn."""


LATENCIES = ("e2e", "service", "unpaced")
"""Those fields of ``Latencies`` that are of deliveries."""

Value = Callable[[Totals, Latencies], float]


def _latency(of: str, name: str) -> Value:
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
    "rx_rate": lambda totals, _: totals.mean_rx_rate_per_s or 0.0,
    **{f"{of}_{name}": _latency(of, name) for of in (*LATENCIES, "ack") for name in LATENCY_FIGURES},
    "worst_client_p99": lambda _, latency: latency.client_p99_max_ms,
    "pub_lag_p99": lambda _, latency: latency.publisher_lag.p99_ms,
    "pub_lag_max": lambda _, latency: latency.publisher_lag.max_ms,
    "pub_cpu": lambda totals, _: totals.publisher_cpu_percent,
    "sub_cpu_max": lambda totals, _: totals.subscriber_cpu_percent_max,
    "fetch_rate": lambda totals, _: totals.fetches_per_s,
}


Measured = Callable[[Totals, Latencies], bool]


def _counted(of: str, name: str = "") -> Measured:
    def measured(_totals: Totals, latency: Latencies) -> bool:
        summary = getattr(latency, of)
        return summary.deliveries > 0 and (name != "mean" or summary.mean_ms is not None)

    return measured


def _by_expecting(totals: Totals, _: Latencies) -> bool:
    return totals.clients_expecting > 0


def _by_clients(totals: Totals, _: Latencies) -> bool:
    return totals.clients_reporting > 0


def _by_publisher(totals: Totals, _: Latencies) -> bool:
    return totals.records_planned > 0  # a publisher that reports has at least one


_MEASURED: Mapping[str, Measured] = {
    **dict.fromkeys(("loss", "loss_percent", "expired", "unread"), _by_expecting),
    **dict.fromkeys(("duplicates", "reordered", "sub_cpu_max", "fetch_rate"), _by_clients),
    "rx_rate": lambda totals, _: totals.clients_reporting > 0 and totals.mean_rx_rate_per_s is not None,
    **dict.fromkeys(("tx_rate", "pub_cpu"), _by_publisher),
    **{f"{of}_{name}": _counted(of, name) for of in (*LATENCIES, "ack") for name in LATENCY_FIGURES},
    "worst_client_p99": _counted("e2e"),
    **dict.fromkeys(("pub_lag_p99", "pub_lag_max"), _counted("publisher_lag")),
    "failing_clients": lambda _totals, _latency: True,
}
"""Whether anybody measured a metric: where nobody did, the zeros of totals and latencies are no figures."""


def metric_value(name: str, totals: Totals, latency: Latencies) -> float | None:
    """A run's figure of that name (options/thresholds.py), in its unit; None where nobody measured it."""
    return _VALUES[name](totals, latency) if _MEASURED[name](totals, latency) else None


@dataclass(frozen=True)
class ThresholdOutcome:
    """What became of a threshold in a run."""

    threshold: str
    metric: str
    value: float | None
    """In ``unit``; None where nobody measured it."""
    limit: float
    unit: str
    kept: bool | None
    """None where nobody measured the value."""

    @property
    def broken(self) -> bool:
        """Whether the value was measured and is not within the limit."""
        return self.kept is False

    @property
    def state(self) -> str:
        """What became of it, in words."""
        return "not judged" if self.kept is None else "kept" if self.kept else "broken"

    @property
    def shown(self) -> str:
        """The value in words."""
        return "not measured" if self.value is None else f"{self.value:,.5g} {self.unit}"


def judge_thresholds(options: Options, totals: Totals, latency: Latencies) -> tuple[ThresholdOutcome, ...]:
    """What became of each threshold."""
    outcomes = []
    for text in options.threshold:
        threshold = parse_threshold(text)
        metric = METRICS[threshold.metric]
        value = metric_value(threshold.metric, totals, latency)
        limit = threshold.limit * options.msg_rate if threshold.of_asked else threshold.limit
        kept = None if value is None else _COMPARE[threshold.compare](value, limit)
        outcomes.append(ThresholdOutcome(str(threshold), threshold.metric, value, limit, metric.unit, kept))
    return tuple(outcomes)
