"""What a run needs from outside: the engine, Kafka's administration, an auditor, the machine, and who is told.

Each Protocol has a real implementation and one in memory for tests. None of them is thread-safe: they belong to the
controller's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hydra.accounting.broker_inside import BrokerCpu, BrokerInside
from hydra.accounting.evidence import Audit, OffsetRange
from hydra.accounting.live_figures import LiveFigures
from hydra.accounting.stats import HostCpu, MachineSample
from hydra.endpoints import Endpoint
from hydra.options.connection_limits import ConnectionLimit
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import PartitionLeader, RunOrder, TopicFacts, TopicIdentity
from hydra.run.clock import Clock
from hydra.signals.messages import ClockReading, Signals


@dataclass(frozen=True)
class AppSpec:
    """An app: what its tasks run and how many of them are wanted."""

    app_id: str
    """Absolute, as in ``/g1/kafka-sub``."""
    command: str
    """A command line for /bin/sh."""
    instances: int
    cpus: float = 0.01
    mem_mib: float = 32.0
    port_count: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    """Of whom it is: an app with this id that is somebody else's is not changed, and not removed."""
    constraints: tuple[tuple[str, ...], ...] = ()
    """Where its tasks may run, as (agent attribute, operator) or (agent attribute, operator, value)."""
    fetch: tuple[str, ...] = ()
    """URLs of files that lie in a task's folder before its command runs."""


@dataclass(frozen=True)
class WaitingReason:
    """Why some of an app's tasks are not there, in the engine's words."""

    text: str = ""
    """Empty when nothing is known."""
    unplaced: bool = False
    """Whether the engine has not started them, rather than that they ended: no waiting for the app will help."""


@dataclass(frozen=True)
class Task:
    """A running (or starting) instance of an app. A replaced task is another task: ids are never used twice."""

    task_id: str
    app_id: str
    running: bool
    endpoint: Endpoint | None
    """Host and first port; None while the engine has not given it any."""


@dataclass(frozen=True)
class LiveCounts:
    """A run at one moment."""

    elapsed_s: float
    """Since the first record was due."""
    planned: int
    sent: int
    acked: int
    delivered: int
    """Summed over clients."""
    backlog: int
    """Deliveries that are still to come for what has been acked (without acks: sent): acked x clients - delivered."""
    clients_missing: int
    copies: int = 1
    """How often each record is to be delivered."""
    figures: LiveFigures = field(default_factory=LiveFigures)
    left_s: float = 0.0
    """How long the send plan still lasts."""


class Progress(Protocol):
    """Shows a run as it goes. Not in the contract: that anything is shown at all; it never raises."""

    @property
    def wants_figures(self) -> bool:
        """Whether the counts should have ``figures``: to gather them costs the tasks a little."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed.

        Phases: starting, warming up, configuring, sending, flushing, draining, collecting, auditing, cleaning up.
        """

    def counts(self, live: LiveCounts) -> None:
        """New counts while the run sends and drains."""

    def note(self, text: str) -> None:
        """Something that a user should see and that is no phase: a download, a task that went missing."""


class SilentProgress:
    """Shows nothing."""

    wants_figures = False

    def phase(self, name: str, detail: str = "") -> None:
        """Nothing."""

    def counts(self, live: LiveCounts) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class WarmUpProgress(SilentProgress):
    """Shows a warm-up as one phase, and none of its counts."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def phase(self, name: str, detail: str = "") -> None:
        """What is done within the warm-up."""
        self._progress.phase("warming up", detail or name)

    def note(self, text: str) -> None:
        """Something that a user should see all the same."""
        self._progress.note(text)


class RememberedProgress:
    """Passes everything on, and adds each note with its time to what was ``told``."""

    def __init__(self, progress: Progress, clock: Clock, told: deque[tuple[float, str]]) -> None:
        self._progress = progress
        self._clock = clock
        self._told = told

    @property
    def wants_figures(self) -> bool:
        """As it is passed on to."""
        return self._progress.wants_figures

    def phase(self, name: str, detail: str = "") -> None:
        """Passed on."""
        self._progress.phase(name, detail)

    def counts(self, live: LiveCounts) -> None:
        """Passed on."""
        self._progress.counts(live)

    def note(self, text: str) -> None:
        """Passed on, and remembered."""
        self._told.append((self._clock.now_s(), text))
        self._progress.note(text)


class Launcher(Protocol):
    """Makes tasks exist on one engine.

    A call asks for something or reads the present state; the caller waits by calling again, up to its own deadline. Not
    in the contract: that a task which exists answers signals, that a removed app's tasks are gone when ``remove``
    returns, or how the engine gets there (deployments, pods, allocations).
    """

    def apply(self, spec: AppSpec) -> None:
        """Create this app, or change it to this; raises an InfrastructureError when the engine refused."""

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now; none for an app that does not exist."""

    def waiting_reason(self, app_id: str) -> WaitingReason:
        """Why some of the app's tasks are not there, in the engine's words."""

    def remove(self, app_id: str) -> None:
        """Ask for the app and its tasks to be removed; harmless when it is gone already."""

    def removed(self, app_id: str) -> bool:
        """Whether the app and every task of it are gone."""


@dataclass(frozen=True)
class ClusterFacts:
    """What is known of the cluster under test."""

    cluster_id: str
    brokers: Mapping[int, Endpoint] = field(default_factory=dict)
    version: str = ""
    """The broker's version as far as its API versions tell it."""
    max_message_bytes: int | None = None
    """message.max.bytes of a broker; None where this user may not read it."""
    takes_consumer_groups: bool = False
    """Whether brokers take ConsumerGroupHeartbeat: members of a group by the protocol of KIP-848."""


class TopicAdmin(Protocol):
    """Topics and offsets of the cluster under test. Raises BrokerError, with host:port and cause, from every call."""

    def check(self) -> ClusterFacts:
        """Reach the cluster and learn about it."""

    def connection_limits(self) -> Sequence[ConnectionLimit] | None:
        """What limits the connections to any of the brokers; None where this user may not read it."""

    def create_topic(
        self, name: str, *, partitions: int, replicas: int | None = None, configs: Mapping[str, str]
    ) -> Sequence[PartitionLeader]:
        """Create a topic; returns once every partition has a leader, with the leaders.

        ``replicas`` of each partition; None: as many as the brokers make by default.
        """

    def find_topic(self, name: str) -> Sequence[PartitionLeader]:
        """The leaders of a topic that is there; a UsageError if there is none."""

    def describe_topic(self, name: str) -> TopicFacts:
        """What the cluster tells of a topic; its settings only where this user may read them."""

    def look_at_topic(self, name: str) -> TopicIdentity | None:
        """Which topic has that name now; None where there is none. Answers, or raises, within some seconds."""

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone; harmless when there is none."""

    def delete_groups(self, group_ids: Sequence[str]) -> None:
        """Delete consumer groups, with those of their members that are still in them; harmless for one there is not."""

    def is_settled(self, group_id: str, *, members: int, partitions: int) -> bool:
        """Whether a group of the consumer protocol has all its members, each with what it is to have.

        And whether somebody has each partition. True, too, where this user may not know.
        """

    def offsets(self, topic: str) -> Mapping[int, OffsetRange]:
        """Log start and end offset of every partition."""

    def close(self) -> None:
        """Let go of all connections; harmless the second time."""


class Auditor(Protocol):
    """A fresh reader of a run's whole log. Not in the contract: that it knows what the clients received."""

    records_per_s: int
    """It reads no fewer in a second, on any machine that runs are made on."""

    def audit(self, order: RunOrder, log: Mapping[int, OffsetRange], timeout_s: float) -> Audit:
        """Read every partition from its start to its end; BrokerError when that took longer, or cannot be done."""


@dataclass(frozen=True)
class ProcessReading:
    """What a process has used up to now."""

    cpu_s: float
    rss_bytes: int
    host_cpu: HostCpu | None = None
    """Where the process is not on the controller's machine."""


class Host(Protocol):
    """The machine that the controller runs on. Not in the contract: a broker that runs elsewhere."""

    @property
    def cores(self) -> float:
        """How many CPUs of it Hydra's processes may use; a quota may allow a part of one."""

    def clock(self) -> ClockReading:
        """Its clocks, now."""

    def sample(self, at_s: float) -> MachineSample:
        """What it has used up to now, and the broker where that is a process of it; never raises."""

    def broker_cpu(self) -> BrokerCpu | None:
        """CPU time of such brokers up to now; None where there is none. Never raises."""


class BrokerWatch(Protocol):
    """Looks into brokers while the publisher sends. Not in the contract: that anything can be seen; it never raises."""

    def look(self) -> None:
        """Look once; several times a second, and never for long."""

    def seen(self, start_s: float) -> BrokerInside:
        """What was seen; asked once, after the last look. Of one look alone there is nothing to tell.

        Times are since ``start_s``, the start of the plan on the controller's clock.
        """


@dataclass(frozen=True)
class RunContext:
    """The engine, Kafka, the machine, and who is told of the progress."""

    launcher: Launcher
    signals: Signals
    admin: TopicAdmin
    clock: Clock
    host: Host
    auditor: Auditor
    progress: Progress
    broker_error: Callable[[], str]
    """Why the broker counts as gone; empty while it does not. Cheap: it is called several times a second."""
    brokers_lost: Callable[[], Sequence[str]] = tuple
    """Which of several brokers that Hydra started have died, and why, also while the run goes on. Cheap, too."""
    watches: Sequence[BrokerWatch] = ()
    """They look into the brokers."""
    told: Callable[[], Sequence[tuple[float, str]]] = tuple
    """What users were told of lately, such as a broker that cannot be reached: (when on the clock, in words)."""
    access: KafkaAccess = NO_SECURITY
    """How Kafka lets the tasks in."""
