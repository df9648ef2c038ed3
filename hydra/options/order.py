"""What ``updateconfig`` gives a task: all that it needs to know of a run."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.endpoints import Endpoint
from hydra.records.identity import FIRST_INCARNATION, identity_prefix, run_tag


@dataclass(frozen=True)
class RunIdentity:
    """What every task of a run is told alike."""

    run_id: str
    topic: str
    bootstrap_servers: str
    """host:port, comma separated."""


@dataclass(frozen=True)
class PartitionStart:
    """Where a client begins to read one partition."""

    partition: int
    offset: int


@dataclass(frozen=True)
class ClientAssignment:
    """One client: its name, its consumer group, and the partitions it reads, each from a known offset.

    No partitions are named to a member of a shared group: the group deals them out.
    """

    name: str
    group_id: str
    starts: tuple[PartitionStart, ...]


@dataclass(frozen=True)
class PartitionLeader:
    """The broker that leads a partition when the run starts."""

    partition: int
    node_id: int
    endpoint: Endpoint


@dataclass(frozen=True)
class SubscriberConfiguration:
    """What a subscriber task does in one run."""

    run_id: str
    topic: str
    bootstrap_servers: str
    """host:port, comma separated."""
    driver: str
    clients: tuple[ClientAssignment, ...]
    leaders: tuple[PartitionLeader, ...]
    """Spares every client of the wire driver the metadata request; looked up again when one moves."""
    fetch_min_bytes: int
    fetch_wait_max_ms: int
    max_buffer_bytes: int
    """The most that one fetch may bring (fetch.max.bytes and max.partition.fetch.bytes); 0: as much as there is."""
    fetch_pace_ms: float
    """The least time between two fetch rounds of the wire driver; 0: at once."""
    group_mode: str = "assign"
    """"assign": the partitions are as they stand here; "group": each client joins its consumer group, and commits."""
    publisher_incarnation: int = FIRST_INCARNATION
    """Records of another one are not this run's: its counts are never mixed with this one's."""

    @property
    def identity_prefix(self) -> bytes:
        """What the value of each record of this run begins with."""
        return identity_prefix(run_tag(self.run_id), self.publisher_incarnation)


@dataclass(frozen=True)
class PublisherConfiguration:
    """What the publisher task does in one run."""

    run_id: str
    topic: str
    bootstrap_servers: str
    driver: str
    incarnation: int
    partitions: int
    msg_rate_per_s: float
    test_duration_s: float
    msg_size_bytes: int
    msg_batch_records: int
    """Records per block of one partition; batch.size follows from it unless it is set."""
    batch_size_bytes: int
    linger_ms: int
    acks: str
    """"0", "1" or "all"."""
    delivery_timeout_s: float
    """How long a record may wait for its ack before its fate is unknown."""
