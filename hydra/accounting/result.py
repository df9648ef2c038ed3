"""What a whole run means: the totals, the verdict, and the seed's eleven keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.latency import LatencySummary
from hydra.accounting.timeline import TimelinePoint
from hydra.accounting.totals import Latencies, ThresholdOutcome, Totals

Verdict = Literal["pass", "fail", "indeterminate"]
EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "indeterminate": 3}


@dataclass(frozen=True)
class ClientResult:
    """What one client made of the run; ``lost = broker_lost + expired + unread + skipped``."""

    name: str
    task_id: str
    state: Literal["ok", "failing", "missing", "never_started"]
    expected: int = 0
    """Records that it should have received: acked ones (without acks: appended ones) of the partitions it reads."""
    distinct: int = 0
    duplicates: int = 0
    reordered: int = 0
    lost: int = 0
    """Expected and not received; of these:"""
    broker_lost: int = 0
    """Absent from the log, and not because they expired."""
    expired: int = 0
    """The log's start had passed them before the client got there."""
    unread: int = 0
    """Beyond the client's position when the drain ended: no proof of loss."""
    skipped: int = 0
    """The client's position passed them while they were in the log."""
    ghost: int = 0
    """Received although the publisher says that they are not in the log."""
    contradicted: int = 0
    """Offsets at which it received another record than the other witnesses saw there."""
    foreign: int = 0
    corrupt: int = 0
    fetches: int = 0
    received_bytes: int = 0
    rate_per_s: float = 0.0
    """Distinct records a second over the client's own receive window."""
    e2e: LatencySummary = field(default_factory=LatencySummary)
    """Percentiles within 1 %, or half a millisecond."""
    rebalances: int = 0
    """How often its consumer group took its partitions away after the start."""
    error: str = ""
    """The client's last one, or why it did not report."""

    @property
    def loss_percent(self) -> float:
        """Lost of expected, in percent; 0 where nothing was expected."""
        return 100.0 * self.lost / self.expected if self.expected else 0.0


@dataclass(frozen=True)
class Result:
    """A run's meaning."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is what it is; sentences for people, the worst first."""
    notes: tuple[str, ...]
    """What a reader should know beside it."""
    totals: Totals
    latency: Latencies
    bottleneck: Bottleneck
    thresholds: tuple[ThresholdOutcome, ...]
    points: tuple[TimelinePoint, ...]
    """The run over time, about once a second."""
    clients: tuple[ClientResult, ...]

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 indeterminate."""
        return EXIT_CODES[self.verdict]

    def seed_keys(self) -> dict[str, int | float]:
        """The eleven keys of the original's result dict, in its order of names."""
        totals = self.totals
        return {
            "average_packet_loss": totals.mean_loss_percent,
            "average_packets": totals.mean_distinct_records,
            "average_rate": totals.mean_rx_rate_per_s,
            "average_tx_rate": totals.tx_rate_per_s,
            "client_count": totals.clients_asked,
            "failing_clients": totals.clients_failing + totals.clients_missing + totals.clients_never_started,
            "failing_clients_rate": totals.mean_failing_rx_rate_per_s,
            "packet_tx": totals.records_counted,
            "pub_cpu": totals.publisher_cpu_percent,
            "pub_net_rxrate": totals.publisher_host_rx_bytes_per_s,
            "pub_net_txrate": totals.publisher_host_tx_bytes_per_s,
        }
