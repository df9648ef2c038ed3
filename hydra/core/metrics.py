"""The figures of a run that have a name of their own: what thresholds are set on, and what sweeps compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hydra.core.figures import Figures, LatencyFigures
from hydra.core.latency import LatencySummary


@dataclass(frozen=True)
class Metric:
    """One figure of a run.

    Args:
        unit: ms, records/s, %, records, clients, deliveries, or fetches/s.
        of: how it is found in a run's figures.
        text: what it is, in a few words.
    """

    unit: str
    of: Callable[[Figures, LatencyFigures], float]
    text: str


def _latency(of: Callable[[LatencyFigures], LatencySummary], text: str, prefix: str) -> dict[str, Metric]:
    def metric(field: str, words: str) -> Metric:
        return Metric("ms", lambda _figures, latency: float(getattr(of(latency), field)), f"{text}, {words}")

    return {
        f"{prefix}_p50": metric("p50_ms", "median"),
        f"{prefix}_p90": metric("p90_ms", "90th percentile"),
        f"{prefix}_p99": metric("p99_ms", "99th percentile"),
        f"{prefix}_p999": metric("p999_ms", "99.9th percentile"),
        f"{prefix}_p9999": metric("p9999_ms", "99.99th percentile"),
        f"{prefix}_max": metric("max_ms", "highest"),
    }


METRICS: Mapping[str, Metric] = {
    "loss": Metric("deliveries", lambda figures, _: figures.records_lost - figures.records_unread, "proven losses"),
    "loss_percent": Metric("%", lambda figures, _: figures.mean_loss_percent, "lost of sent, mean over clients"),
    "expired": Metric("deliveries", lambda figures, _: figures.records_expired, "lost to the topic's retention"),
    "unread": Metric("deliveries", lambda figures, _: figures.records_unread, "still unread when the drain ended"),
    "duplicates": Metric("deliveries", lambda figures, _: figures.records_duplicated, "received again"),
    "reordered": Metric("deliveries", lambda figures, _: figures.records_reordered, "received out of order"),
    "failing_clients": Metric(
        "clients",
        lambda figures, _: figures.clients_failing + figures.clients_missing + figures.clients_never_started,
        "clients that lost a record or are missing",
    ),
    "tx_rate": Metric("records/s", lambda figures, _: figures.tx_rate_per_s, "sent, over the send window"),
    "rx_rate": Metric("records/s", lambda figures, _: figures.mean_rx_rate_per_s, "received, mean over clients"),
    **_latency(lambda latency: latency.e2e, "latency from the intended send time", "e2e"),
    **_latency(lambda latency: latency.service, "latency from the actual send time", "service"),
    "worst_client_p99": Metric("ms", lambda _, latency: latency.client_p99_max_ms, "e2e_p99 of the slowest client"),
    "pub_lag_p99": Metric("ms", lambda _, latency: latency.publisher_lag.p99_ms, "publisher behind its plan"),
    "pub_lag_max": Metric("ms", lambda _, latency: latency.publisher_lag.max_ms, "publisher behind its plan, highest"),
    "pub_cpu": Metric("%", lambda figures, _: figures.publisher_cpu_percent, "of one core, publisher process"),
    "sub_cpu_max": Metric("%", lambda figures, _: figures.subscriber_cpu_percent_max, "busiest subscriber process"),
    "fetch_rate": Metric(
        "fetches/s", lambda figures, _: figures.fetches_per_s, "answered fetches, over the send window"
    ),
}
"""By name, in the order in which they are listed to a user."""
