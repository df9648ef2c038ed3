"""The seams. What the harness asks of the world, each with at least two implementations, one of them in memory.

None of these is thread-safe: a driver belongs to its task's loop, the rest to the controller's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from hydra.core.app_spec import AppSpec, Capabilities, Task, Trouble
from hydra.core.configuration import Endpoint, PartitionLeader
from hydra.core.log import Audit, OffsetRange
from hydra.core.signals import ClockReading, Request
from hydra.core.stats import MachineSample, PartitionOutcomes
from hydra.core.tally import ClientTally


class Clock(Protocol):
    """Time as the harness sees it. Not in the contract: the time of day, or an epoch shared between hosts."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens for zero or less."""
        ...


class Launcher(Protocol):
    """Makes tasks exist on one engine.

    Every call starts something or looks at something and returns; the harness waits, with its own deadline, by looking
    again. Not in the contract: that a task which exists already answers signals, that a removed app's tasks are gone
    when ``remove`` returns, or how the engine gets there (deployments, pods, allocations).
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    def apply(self, spec: AppSpec) -> None:
        """Wish for this app with this many instances: created, or changed to it when it is there already.

        Raises:
            MarathonError: (or the engine's own InfrastructureError) when the engine refused.
        """
        ...

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now; none for an app that does not exist."""
        ...

    def trouble(self, app_id: str) -> Trouble:
        """Why the app's tasks are not there, in the engine's words."""
        ...

    def remove(self, app_id: str) -> None:
        """Wish for the app to be gone, tasks and all; harmless when it is gone already."""
        ...

    def removed(self, app_id: str) -> bool:
        """Whether the app and every task of it are gone."""
        ...


@dataclass(frozen=True)
class Answer:
    """A peer's reply to a signal, or why there is none."""

    body: bytes = b""
    """JSON of the reply's ``result``; empty when there is an error."""
    error: str = ""
    silent: bool = False
    """No reply came at all; false where the peer refused."""
    sent_s: float = 0.0
    received_s: float = 0.0
    """When the request went out and the reply was there, on the asker's clock."""

    @property
    def ok(self) -> bool:
        """Whether the peer carried the signal out."""
        return not self.error


class Signals(Protocol):
    """Sends signals to tasks. Not in the contract: order between peers; that a silent peer did nothing."""

    def ask(self, requests: Mapping[Endpoint, Request], timeout_s: float) -> Mapping[Endpoint, Answer]:
        """Send each peer its request, all at once, and wait until all have answered or ``timeout_s`` is over.

        Returns an answer for every endpoint; a peer that stayed silent has an ``error`` that says so. Never raises for
        a peer.
        """
        ...

    def close(self) -> None:
        """Let go of all sockets at once, whatever is under way; harmless the second time."""
        ...


@dataclass(frozen=True)
class AckCount:
    """How many records have an outcome so far."""

    acked: int
    failed: int
    error: str = ""
    """The last trouble in the library's words; empty when there was none."""


class PublisherDriver(Protocol):
    """One Kafka producer.

    Not in the contract: when records leave the process (linger and batching are the library's), or acks in order.
    """

    def open(self, deadline_s: float) -> None:
        """Connect and learn the topic's leaders, so that the first record does not wait for that.

        Args:
            deadline_s: how long it may take.

        Raises:
            BrokerError: when it took longer, or the broker refused.
        """
        ...

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Hand records with the sequences from ``first_sequence`` on to the library, without waiting for acks.

        Returns how many it took: fewer when its queue is full.
        """
        ...

    def poll(self) -> AckCount:
        """Take in what became of earlier records; never waits."""
        ...

    def flush(self, timeout_s: float) -> AckCount:
        """Send what is held back and wait ``timeout_s`` at most for the outcome of all records.

        The last thing that a driver is asked to send: what has no outcome by then is given up, so that nothing enters
        the log after the count was taken.
        """
        ...

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far, by partition."""
        ...

    def close(self) -> None:
        """Let go of threads and connections within 5 s, whatever is under way; harmless the second time."""
        ...


@runtime_checkable
class PausingPublisher(Protocol):
    """A PublisherDriver without a thread of its own: it works in the pauses of whoever uses it."""

    def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass, and go on with what is under way meanwhile: linger, requests, acks."""
        ...


class SubscriberDriver(Protocol):
    """All clients of one subscriber task.

    Not in the contract: how many records one poll brings, fairness between clients within one poll, or threads.
    """

    def open(self) -> None:
        """Begin to connect all clients; returns without waiting for them.

        Raises:
            BrokerError: for what no waiting will mend, such as a broker that is too old for the driver.
        """
        ...

    def poll(self, timeout_s: float) -> None:
        """Move all clients on: connect, fetch, count. Waits ``timeout_s`` at most when nothing is there.

        A client's trouble stands in its tally's ``error`` and is tried again; it is never raised.
        """
        ...

    @property
    def tallies(self) -> Sequence[ClientTally]:
        """One for each client, in the order of the configuration; written to by ``poll``."""
        ...

    def close(self) -> None:
        """Let go of threads and connections within 5 s, whatever is under way; harmless the second time."""
        ...


@dataclass(frozen=True)
class ClusterFacts:
    """What is known of the cluster under test."""

    cluster_id: str
    brokers: Mapping[int, Endpoint] = field(default_factory=dict)
    version: str = ""
    """The broker's version as far as its API versions tell it."""


class TopicAdmin(Protocol):
    """Topics and offsets of the cluster under test. Raises BrokerError, with host:port and cause, from every call."""

    def check(self) -> ClusterFacts:
        """Reach the cluster and learn about it."""
        ...

    def create_topic(self, name: str, *, partitions: int, configs: Mapping[str, str]) -> Sequence[PartitionLeader]:
        """Create a topic; returns once every partition has a leader, with the leaders."""
        ...

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone; harmless when there is none."""
        ...

    def delete_groups(self, group_ids: Sequence[str]) -> None:
        """Delete consumer groups, with those of their members that are still in them; harmless for one there is not."""
        ...

    def offsets(self, topic: str) -> Mapping[int, OffsetRange]:
        """Log start and end offset of every partition."""
        ...

    def close(self) -> None:
        """Let go of all connections; harmless the second time."""
        ...


@dataclass(frozen=True)
class AuditOrder:
    """Which log an auditor reads."""

    run_id: str
    topic: str
    bootstrap_servers: str
    leaders: tuple[PartitionLeader, ...]


class Auditor(Protocol):
    """A fresh reader of a run's whole log. Not in the contract: that it knows what the clients received."""

    def audit(self, order: AuditOrder, log: Mapping[int, OffsetRange], timeout_s: float) -> Audit:
        """Read every partition from its start to its end.

        Raises:
            BrokerError: when that took longer, or the log cannot be read.
        """
        ...


@dataclass(frozen=True)
class ProcessReading:
    """What a process has used up to now."""

    cpu_s: float
    rss_bytes: int


class Host(Protocol):
    """The machine that the controller runs on. Not in the contract: a broker that runs elsewhere."""

    @property
    def cores(self) -> int:
        """How many it has."""
        ...

    def clock(self) -> ClockReading:
        """Its clocks, now."""
        ...

    def sample(self, at_s: float) -> MachineSample:
        """What it has used up to now, and the broker where that is a process of it; never raises."""
        ...
