"""What one task counted. These facts travel as JSON in the replies to ``teststatus`` and ``getstats``."""

from __future__ import annotations

from dataclasses import dataclass, field

from hydra.accounting.intervals import Interval, Span
from hydra.accounting.latency import LatencyCounts, LatencySummary
from hydra.kafka_errors import is_own_error


@dataclass(frozen=True)
class PartitionStats:
    """What one client received from one partition."""

    partition: int
    start_offset: int
    next_offset: int
    """The client's position: one past the last offset that it went through."""
    spans: tuple[Span, ...] = ()
    """The records of this run that it received, duplicates included, in the order in which they came."""
    jumps: tuple[tuple[int, int], ...] = ()
    """(from, to) of each time that the position was out of the log's range and moved to where the log is."""
    handed_over: tuple[tuple[int, int], ...] = ()
    """(from, to) of each time that its group was further than the client: another member has read what is between."""

    @property
    def received(self) -> int:
        """Records of this run, duplicates included."""
        return sum(records for _, _, records in self.spans)


@dataclass(frozen=True)
class OwnErrors:
    """What went wrong in a client itself, or its library: no lost connection, and nothing that a broker answered."""

    count: int = 0
    last: str = ""

    def with_noted(self, text: str) -> OwnErrors:
        """These and, where it is the client's own, one more."""
        return OwnErrors(self.count + 1, text) if is_own_error(text) else self

    def instead_of(self, error: str) -> str:
        """What to tell while a client has this error: the last one of its own, if there was any; empty without one."""
        return str(self) if error and self.count else error

    def __str__(self) -> str:
        return f"{self.last} ({self.count} times)" if self.count > 1 else self.last


@dataclass(frozen=True)
class ClientStats:
    """What one client received."""

    name: str
    partitions: tuple[PartitionStats, ...]
    positioned: bool
    fetches: int
    """Fetch responses (wire) or non-empty polls (the library drivers)."""
    received_bytes: int
    """Bytes of the record batches (wire) or of the record values (the library drivers)."""
    receive_window_s: float
    """From the first arrival of records to the last one."""
    first_arrival_records: int
    """Records of the first arrival: the window begins with them, so that a rate is of the ones after them."""
    foreign: int
    """Records without this run's identity."""
    corrupt: int
    """Record batches whose CRC-32C was wrong, and records that could not be decoded."""
    error: str
    """The last error, in words; empty when there is none."""
    e2e: LatencySummary = field(default_factory=LatencySummary)
    """Latencies of all its deliveries from the intended send time; percentiles within 1 %."""
    rebalances: int = 0
    """How often its consumer group took its partitions away after the start."""
    throttled_s: float = 0.0
    """For how long the broker said that a quota held this client back, summed over its replies."""
    own_errors: OwnErrors = field(default_factory=OwnErrors)
    turned_away: int = 0
    """How often a broker closed a connection before it had answered anything on it."""
    followers: tuple[int, ...] = ()
    """Node ids of the brokers that it read from while others led the partition."""

    @property
    def received(self) -> int:
        """Records of this run, duplicates included."""
        return sum(part.received for part in self.partitions)


@dataclass(frozen=True)
class ProcessUsage:
    """What a task's process used over its window."""

    cpu_percent: float
    """Percent of one core, user and system."""
    rss_bytes: int
    window_s: float


@dataclass(frozen=True)
class LinkTraffic:
    """One network interface of a known speed."""

    name: str
    tx_bytes_per_s: float
    rx_bytes_per_s: float
    speed_bytes_per_s: float
    """Of each direction."""

    @property
    def percent(self) -> float:
        """How full its busier direction is."""
        return 100 * max(self.tx_bytes_per_s, self.rx_bytes_per_s) / self.speed_bytes_per_s


@dataclass(frozen=True)
class HostTraffic:
    """Bytes per second over all network interfaces of a task's host, loopback included, over the task's window."""

    tx_bytes_per_s: float
    rx_bytes_per_s: float
    links: tuple[LinkTraffic, ...] = ()
    """Those whose speed is known: neither loopback nor most virtual ones."""


@dataclass(frozen=True)
class HostCpu:
    """What has been used, up to a moment, of the CPUs that a task may use where it runs (affinity, quota)."""

    cpus: float
    busy_s: float
    """CPU time that was not idle, of whoever used it; differences count."""
    throttled_s: float | None = None
    """Length of the scheduler's periods in which a CPU quota ran out; differences count. None without a quota."""


@dataclass(frozen=True)
class SubscriberSample:
    """A subscriber at one moment, about once a second; counts are since the start."""

    at_s: float
    """Since the start of the plan."""
    received: int
    """Summed over clients, duplicates included."""
    slowest_received: int
    """Of the client that has received least."""
    fetches: int
    received_bytes: int
    cpu_s: float
    """CPU time of the process since it began, user and system."""
    rss_bytes: int
    e2e: LatencyCounts
    """Latencies of what arrived since the sample before."""
    rebalances: int = 0
    """Summed over clients: how often their group took their partitions away."""
    host_cpu: HostCpu | None = None
    """None for a task on the controller's machine, which is looked at as a whole."""


@dataclass(frozen=True)
class SubscriberStats:
    """What one subscriber task counted."""

    run_id: str
    task_id: str
    clients: tuple[ClientStats, ...]
    usage: ProcessUsage
    e2e: LatencyCounts = field(default_factory=LatencyCounts)
    """Every delivery's latency from the intended send time."""
    service: LatencyCounts = field(default_factory=LatencyCounts)
    """Every delivery's latency from the actual send time."""
    samples: tuple[SubscriberSample, ...] = ()
    traffic: HostTraffic = HostTraffic(0.0, 0.0)
    unpaced: LatencyCounts = field(default_factory=LatencyCounts)
    """``e2e`` of those clients alone that keep no pace of fetch rounds."""


@dataclass(frozen=True)
class PartitionOutcomes:
    """What became of the records that were handed over for one partition; half-open intervals of sequences."""

    partition: int
    attempted: int
    """Sequences 0 .. attempted - 1 were handed to the client library."""
    acked: tuple[Interval, ...] = ()
    failed: tuple[Interval, ...] = ()
    """Proven not to be in the log. What is neither acked nor failed is unknown."""


@dataclass(frozen=True)
class Refusal:
    """Why records were not acked: the last error that each of them met."""

    error: str
    """Kafka's name of the error, or what the client library calls it."""
    records: int
    code: int = 0
    """Kafka's code of the error; 0 where it is not one of Kafka's."""


@dataclass(frozen=True)
class PublisherSample:
    """The publisher at one moment, about once a second; counts are since the start."""

    at_s: float
    """Since the start of the plan."""
    attempted: int
    acked: int
    cpu_s: float
    """CPU time of the process since it began, user and system."""
    rss_bytes: int
    lag_max_s: float
    """The most that a record was behind its intended time when it was handed over, since the sample before."""
    host_cpu: HostCpu | None = None
    """None for a task on the controller's machine, which is looked at as a whole."""
    ack: LatencyCounts = field(default_factory=LatencyCounts)
    """How long the records waited for their acks that were acked since the sample before; see ``PublisherStats``."""
    lag: LatencyCounts = field(default_factory=LatencyCounts)
    """How far behind its intended time each record was that was handed over since the sample before. Counted in the
    result; empty while the run goes on."""


@dataclass(frozen=True)
class PublisherStats:
    """What the publisher task counted: ``attempted = acked + failed + unknown``."""

    run_id: str
    task_id: str
    planned: int
    attempted: int
    acked: int
    failed: int
    unknown: int
    queue_full: int
    """How often the client library's queue had no room: the plan was then late, no record was lost by it."""
    send_window_s: float
    """From the first record handed over to the last one."""
    ack_window_s: float
    """From the first record handed over to the last ack."""
    lag_max_s: float
    """The most that a record was handed over after its intended time."""
    lag: LatencyCounts
    """How far behind its intended time each record was handed over."""
    partitions: tuple[PartitionOutcomes, ...]
    usage: ProcessUsage
    traffic: HostTraffic
    samples: tuple[PublisherSample, ...] = ()
    error: str = ""
    """The last error, in the words of the client library; empty when there is none."""
    refusals: tuple[Refusal, ...] = ()
    """Why records were not acked, the most frequent reason first."""
    throttled_s: float = 0.0
    """For how long the broker said that a quota held the publisher back, summed over its replies."""
    own_errors: OwnErrors = field(default_factory=OwnErrors)
    turned_away: int = 0
    """How often a broker closed a connection before it had answered anything on it."""
    ack: LatencyCounts = field(default_factory=LatencyCounts)
    """How long each acked record waited for its ack, from when it was handed to the client library. Empty where the
    driver does not time acks, and without acks."""


@dataclass(frozen=True)
class PublisherStatus:
    """How far the publisher is."""

    phase: str
    """idle, connecting, ready, sending, flushing, done or failed."""
    attempted: int = 0
    acked: int = 0
    error: str = ""
    sample: PublisherSample | None = None
    """The last one that it noted; only where that was asked for."""


@dataclass(frozen=True)
class SubscriberStatus:
    """How far a subscriber is."""

    phase: str
    """idle, connecting, receiving, drained (teststop named the end offsets and all are reached) or failed."""
    clients: int = 0
    positioned: int = 0
    received: int = 0
    drained: int = 0
    """Clients that have read up to the end offsets."""
    waiting: tuple[str, ...] = field(default=())
    """Clients that are not positioned yet or, after teststop, not drained; twenty names at most."""
    error: str = ""
    fetches: int = 0
    """Of all clients together, since the start."""
    cpu_s: float = 0.0
    """CPU time that this task has used since its process began."""
    sample: SubscriberSample | None = None
    """The last one that it noted; only where that was asked for, and its latencies only where they were, too."""


@dataclass(frozen=True)
class MachineSample:
    """The controller's machine at one moment, and the broker where Hydra runs it."""

    at_s: float
    """Since the start of the plan."""
    busy_cpu_s: float
    """CPU time that was not idle, of what Hydra's processes may use there (affinity, quota); differences count."""
    memory_available_bytes: int
    """Of what Hydra's processes may have."""
    broker_cpu_s: float | None = None
    """CPU time of the broker's process since it began; None where Hydra does not run it."""
    broker_rss_bytes: int | None = None
    throttled_s: float | None = None
    """Length of the scheduler's periods in which a CPU quota ran out; differences count. None without a quota."""
