"""The seams. What the harness asks of the world, each with at least two implementations, one of them in memory.

None of these is thread-safe: a driver belongs to its task's loop, the rest to the controller's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hydra.accounting.partition_log import Audit, OffsetRange
from hydra.accounting.stats import MachineSample
from hydra.endpoints import Endpoint
from hydra.options.order import PartitionLeader
from hydra.run.app_spec import AppSpec, Task, Trouble
from hydra.signals.messages import ClockReading


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
