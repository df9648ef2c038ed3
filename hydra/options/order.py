"""The order of a run: made once by the controller, and given as it is to the tasks, the accounting and the result file.

Each option stands in ``order.options`` and nowhere else; what follows from options is a property.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hydra.endpoints import Endpoint
from hydra.options.fetch_pace import fetch_pace_ms, unpaced_readers
from hydra.options.options import Options, embedded_max_message_bytes
from hydra.records.identity import identity_prefix, one_record_batch_bytes
from hydra.records.send_plan import Partitioner, SendPlan

MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of max.message.bytes."""

NO_TIMESTAMPS = "NoTimestampType"
"""What Kafka calls the timestamp type of messages of format 0, which brokers before 0.10 write: they have none."""

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""For larger batches no topic is made: a client library with its defaults could not fetch them."""

MAX_SAMPLES = 1000
"""A run of more seconds than this is sampled less often than once a second."""


@dataclass(frozen=True)
class PartitionStart:
    """Where a client begins to read one partition."""

    partition: int
    offset: int


@dataclass(frozen=True)
class ClientAssignment:
    """One client: its name, its consumer group, and the partitions that it reads, each from a known offset.

    A member of a shared group is assigned no partition here: the group assigns them.
    """

    name: str
    group_id: str
    starts: tuple[PartitionStart, ...]
    task_id: str = ""
    """The subscriber task that hosts it."""
    paced: bool = True
    """Whether it keeps the pace of fetch rounds; the others fetch as a plain consumer does."""


@dataclass(frozen=True)
class PartitionLeader:
    """The broker that leads a partition when the run starts."""

    partition: int
    node_id: int
    endpoint: Endpoint


@dataclass(frozen=True)
class TopicIdentity:
    """What tells a topic from another one that is made under its name later."""

    topic_id: str = ""
    """Empty on brokers before 2.8, which give topics no id."""
    leader_epochs: tuple[int, ...] = ()
    """Of each partition: they rise with each change of leader, and begin anew in a new topic."""

    def is_same(self, now: TopicIdentity) -> bool:
        """Whether this may be the topic that is ``now`` there."""
        if self.topic_id and now.topic_id:
            return self.topic_id == now.topic_id
        return all(epoch >= before for before, epoch in zip(self.leader_epochs, now.leader_epochs, strict=False))


@dataclass(frozen=True)
class TopicFacts:
    """What the cluster says of the run's topic before the run; None or empty where it does not tell this user."""

    identity: TopicIdentity = TopicIdentity()
    max_message_bytes: int | None = None
    """The largest record batch that the brokers take."""
    timestamp_type: str = ""
    """Whether a record's timestamp is the publisher's (CreateTime) or the broker's (LogAppendTime), or not there."""
    min_insync_replicas: int | None = None
    """How many replicas have to be in sync for acks=all."""
    in_sync_replicas: int | None = None
    """Of the partition that has fewest."""
    replicas: int | None = None
    """Of the partition that has most, in sync or not."""
    cleanup_policy: str | None = None
    """Whether old records are deleted, or compacted by their keys."""
    retention_ms: int | None = None
    """How long records are kept at least; -1: for ever."""
    retention_bytes: int | None = None
    """How many bytes of a partition are kept at least; -1: all."""
    compression_type: str = ""
    """What brokers compress batches with; ``producer``: they leave them as they are."""

    @property
    def hides_send_time(self) -> bool:
        """Whether a record that was read does not tell when it was sent: brokers overwrite that, or do not keep it."""
        return self.timestamp_type in {"LogAppendTime", NO_TIMESTAMPS}

    @property
    def lacks_replicas(self) -> bool:
        """Whether fewer replicas are in sync than acks=all needs."""
        wanted, there = self.min_insync_replicas, self.in_sync_replicas
        return wanted is not None and there is not None and there < wanted


@dataclass(frozen=True)
class TopicThere:
    """A topic of somebody else's that a run is to be made in."""

    leaders: tuple[PartitionLeader, ...]
    """Of every partition."""
    facts: TopicFacts


@dataclass(frozen=True)
class RunOrder:
    """One run: what is measured, on which brokers, with which clients."""

    run_id: str
    options: Options
    bootstrap_servers: str = ""
    """Where the tasks reach Kafka: host:port, comma separated."""
    clients: tuple[ClientAssignment, ...] = ()
    """All clients of the run; in the order that a subscriber task gets, its own."""
    leaders: tuple[PartitionLeader, ...] = ()
    """Spares every client of the wire driver a metadata request; looked up again when a leader moves."""
    topic_facts: TopicFacts = TopicFacts()
    """Of the topic as it was when the run began."""
    pace_ms: float = 0.0
    """The least time between two fetch rounds of a client (see ``fetch_pace_ms``); 0: at once."""

    begin_offsets: dict[int, int] = field(default_factory=dict)
    """Where each partition ended before the run; empty for a topic of the run's own, which begins empty."""
    payload: bytes = b""
    """What a file of the user's own gives to fill the records with; only in the order that the publisher gets."""

    @property
    def topic(self) -> str:
        """The one that the options name; otherwise each run has a topic of its own, named after it."""
        return self.options.topic or self.run_id

    def client_id(self, name: str) -> str:
        """Kafka's client.id of the run's client of that name."""
        return self.options.client_id_prefix + name

    @property
    def identity_prefix(self) -> bytes:
        """The first bytes of each record's value in this run."""
        return identity_prefix(self.run_id)

    @property
    def send_plan(self) -> SendPlan:
        """When each record is due."""
        return SendPlan(self.options.msg_rate, self.options.test_duration)

    @property
    def partitioner(self) -> Partitioner:
        """Which partition each record goes to."""
        return Partitioner(self.options.partitions, self.options.msg_batch)

    @property
    def sample_every_s(self) -> float:
        """How often tasks and controller note their counts: once a second, or less often in a very long run."""
        return float(max(1, -(-int(self.options.test_duration) // MAX_SAMPLES)))

    def next_sample_s(self, at_s: float) -> float:
        """When the counts are noted next after ``at_s``, both since the start of the plan: what was missed stays so."""
        return (int(at_s // self.sample_every_s) + 1) * self.sample_every_s

    @property
    def topic_configs(self) -> Mapping[str, str]:
        """The settings that the topic is made with; the brokers' defaults hold for all others."""
        options = self.options
        asked = {
            "retention.ms": options.retention_ms,
            # A segment expires by its newest record: without short segments nothing would expire within a run.
            "segment.ms": None if options.retention_ms is None else 1000,
            "max.message.bytes": self.topic_max_message_bytes,
            "min.insync.replicas": options.min_insync_replicas,
        }
        return {name: str(value) for name, value in asked.items() if value is not None}

    @property
    def topic_max_message_bytes(self) -> int | None:
        """What the topic's max.message.bytes is set to; None where the brokers' own holds.

        An embedded Kafka takes batches as large as the options allow them, unless it was told another limit. Brokers of
        the user's own have theirs: batches are cut to it. But a record that is larger than Kafka's default fits.
        """
        options = self.options
        if embedded_max_message_bytes(options) is not None:
            return None
        wanted = one_record_batch_bytes(options.msg_size)
        if options.bootstrap_servers is None:
            wanted = max(wanted, min(options.batch_size_bytes, MAX_BATCH_BYTES))
        return wanted if wanted > MAX_MESSAGE_BYTES else None

    @property
    def batch_bytes(self) -> int:
        """The size of the publisher's largest batch: batch.size, or what the topic takes; one record always fits."""
        limit = self.topic_facts.max_message_bytes or MAX_MESSAGE_BYTES
        least = one_record_batch_bytes(self.options.msg_size)
        return min(max(self.options.batch_size_bytes, least), max(limit, least))

    @property
    def has_acks(self) -> bool:
        """Whether the broker acknowledges records."""
        return self.options.acks != "0"

    @property
    def needs_audit(self) -> bool:
        """Whether nobody but an auditor can tell which records of the log are the run's."""
        return self.options.topic is not None and not self.has_acks

    @property
    def is_idempotent(self) -> bool:
        """Whether brokers recognise a batch that they get twice: unless told otherwise where acks=all allows it."""
        options = self.options
        possible = options.acks == "all" and not options.is_old_kafka
        return options.idempotence == "yes" or (options.idempotence == "auto" and possible)

    @property
    def group_assigns(self) -> bool:
        """Whether all clients are members of one group that assigns the partitions among them."""
        return self.options.group == "shared" and self.options.group_mode == "group"

    @property
    def group_settles(self) -> bool:
        """Whether its members get and give up partitions step by step: only its coordinator knows when that is over."""
        return self.group_assigns and self.options.group_protocol == "consumer"

    @property
    def tasks_elsewhere(self) -> bool:
        """Whether tasks may run on other machines than the controller's, or in other cgroups."""
        return self.options.tasks_elsewhere

    @property
    def readers(self) -> int:
        """How many clients read each partition."""
        return 1 if self.options.group == "shared" else self.options.client_count

    def for_task(self, task_id: str) -> RunOrder:
        """The same order with this task's clients only."""
        return replace(self, clients=self.clients_of(task_id))

    def clients_of(self, task_id: str) -> tuple[ClientAssignment, ...]:
        """The clients that a task hosts."""
        return tuple(client for client in self.clients if client.task_id == task_id)


def make_order(
    run_id: str,
    options: Options,
    *,
    bootstrap_servers: str,
    task_ids: Sequence[str],
    cores: float,
    machine_speed: float = 1.0,
    topic: TopicThere | None = None,
) -> RunOrder:
    """The order of one run; for the rest ``fetch_pace_ms``.

    ``cores``: the controller's. ``topic``: the one that the options name, whose partitions are the order's; what is
    known of a topic of the run's own is still to come.
    """
    if topic is not None:
        options = replace(options, partitions=len(topic.leaders))
    pace_ms = fetch_pace_ms(options, cores, machine_speed)
    clients = list(assign(run_id, options, task_ids))
    for number in unpaced_readers(options, pace_ms, len(clients)):
        clients[number] = replace(clients[number], paced=False)
    order = RunOrder(run_id, options, bootstrap_servers, tuple(clients), pace_ms=pace_ms)
    return order if topic is None else replace(order, leaders=topic.leaders, topic_facts=topic.facts)


def assign(run_id: str, options: Options, task_ids: Sequence[str]) -> tuple[ClientAssignment, ...]:
    """Every client of a run, with its task, its group and its partitions, each read from offset 0: the topic is fresh.

    Each client is a group of its own and reads every partition. With ``group=shared`` all clients are one group, and
    the partitions are assigned to them in turn (with more clients than partitions some read nothing); with
    ``group_mode=group`` beside it the group assigns them, and they stand here without a partition.
    """
    shared = options.group == "shared"
    client_count = len(task_ids) * options.clients_per_app
    every_partition = tuple(PartitionStart(partition, 0) for partition in range(options.partitions))
    clients = []
    for task_number, task_id in enumerate(task_ids):
        for client_number in range(options.clients_per_app):
            name = f"sub-{task_number}-client-{client_number}"
            starts = every_partition
            if shared:
                place = task_number * options.clients_per_app + client_number
                starts = () if options.group_mode == "group" else every_partition[place::client_count]
            group_id = options.group_prefix + (run_id if shared else f"{run_id}-{name}")
            clients.append(ClientAssignment(name, group_id, starts, task_id))
    return tuple(clients)
