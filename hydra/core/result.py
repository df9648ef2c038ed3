"""What a whole run means: the figures, the verdict, and the seed's eleven keys.

The format of the file is versioned; a reader refuses a version that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hydra.core.stats import PublisherStats, SubscriberStats

FORMAT = "hydra-result"
FORMAT_VERSION = 1

Verdict = Literal["pass", "fail", "indeterminate"]
EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "indeterminate": 3}


@dataclass(frozen=True)
class ClientResult:
    """What one client made of the run."""

    name: str
    task_id: str
    state: Literal["ok", "failing", "missing", "never_started"]
    expected: int = 0
    """Records that it should have received: acked ones (without acks: appended ones) of the partitions it reads."""
    distinct: int = 0
    duplicates: int = 0
    reordered: int = 0
    lost: int = 0
    """Expected and not received, ``unread`` included."""
    unread: int = 0
    """Of those, the ones that are no proof of loss: they stood beyond the client's position when the drain ended, or
    (without the publisher's word) may be duplicates in the log."""
    foreign: int = 0
    corrupt: int = 0
    fetches: int = 0
    received_bytes: int = 0
    rate_per_s: float = 0.0
    """Distinct records a second over the client's own receive window."""
    trouble: str = ""

    @property
    def loss_percent(self) -> float:
        """Lost of expected, in percent; 0 where nothing was expected."""
        return 100.0 * self.lost / self.expected if self.expected else 0.0


@dataclass(frozen=True)
class Figures:
    """The figures of a run. Means over clients are over ``clients_reporting``; loss over ``clients_expecting``."""

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
    records_counted: int
    """What loss is judged against: acked; without acks, or without the publisher's word, appended."""
    records_delivered: int
    """Distinct records, summed over clients."""
    records_duplicated: int
    records_reordered: int
    records_lost: int
    records_unread: int
    records_foreign: int
    records_corrupt: int
    tx_rate_per_s: float
    mean_distinct_records: float
    mean_rx_rate_per_s: float
    mean_loss_percent: float
    mean_failing_rx_rate_per_s: float
    publisher_lag_max_s: float
    publisher_cpu_percent: float
    publisher_host_tx_bytes_per_s: float
    publisher_host_rx_bytes_per_s: float
    subscriber_cpu_percent_max: float
    """The busiest subscriber process, percent of one core."""
    subscriber_cpu_percent_sum: float
    fetches: int


@dataclass(frozen=True)
class Result:
    """A run's meaning."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is what it is; sentences for people, the gravest first."""
    notes: tuple[str, ...]
    """What a reader should know beside it."""
    figures: Figures
    clients: tuple[ClientResult, ...]

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 indeterminate."""
        return EXIT_CODES[self.verdict]

    def seed_keys(self) -> dict[str, int | float]:
        """The eleven keys of the original's result dict, in its order of names."""
        figures = self.figures
        return {
            "average_packet_loss": figures.mean_loss_percent,
            "average_packets": figures.mean_distinct_records,
            "average_rate": figures.mean_rx_rate_per_s,
            "average_tx_rate": figures.tx_rate_per_s,
            "client_count": figures.clients_asked,
            "failing_clients": figures.clients_failing + figures.clients_missing + figures.clients_never_started,
            "failing_clients_rate": figures.mean_failing_rx_rate_per_s,
            "packet_tx": figures.records_counted,
            "pub_cpu": figures.publisher_cpu_percent,
            "pub_net_rxrate": figures.publisher_host_rx_bytes_per_s,
            "pub_net_txrate": figures.publisher_host_tx_bytes_per_s,
        }


@dataclass(frozen=True)
class RunRecord:
    """Everything that is known of a run: what the JSON file holds."""

    run_id: str
    status: Literal["complete", "failed", "interrupted"]
    started_at: str
    """ISO 8601, UTC."""
    options: Mapping[str, object]
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)
    cluster: Mapping[str, object] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    """How long each phase took."""
    error: str = ""
    exit_code: int = 0
    result: Result | None = None
    publisher: PublisherStats | None = None
    subscribers: tuple[SubscriberStats, ...] = ()
    format: str = FORMAT
    format_version: int = FORMAT_VERSION
