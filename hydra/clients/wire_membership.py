"""The seam between a group's member on its connection (``wire_group.py``) and the protocol by which it is one.

A membership is what a member knows of itself at one moment. It knows neither socket nor clock: it says what has to be
sent next, and what follows from the reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from hydra.clients.wire_group_protocol import COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
from hydra.clients.wire_protocol import Buffer

REBALANCE_TIMEOUT_MS = 60_000
"""How long a group waits for a member that has to give partitions up."""

ELSEWHERE = frozenset((COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR))
"""The codes of a broker that does not coordinate the group: it is to be looked up again."""


class Step(Enum):
    """A request of a member's."""

    VERSIONS = "which requests the coordinator takes"
    JOIN = "join"
    SYNC = "ask what everyone is assigned"
    OFFSETS = "ask where the group is"
    COMMIT = "commit"
    HEARTBEAT = "heartbeat"
    LEAVE = "leave"
    REST = "nothing but what is due"


@dataclass(frozen=True)
class Group:
    """A group and what a member wants of it."""

    client_id: str
    group_id: str
    topic: str
    partitions: tuple[int, ...]
    """All of the topic."""
    shared: bool = False
    """Whether it has other members."""
    begin_offsets: Mapping[int, int] | None = None
    rack: str = ""

    def starts(self, partitions: Iterable[int], committed: Mapping[int, int]) -> dict[int, int]:
        """Where each partition is read from: one that nobody has committed, from where it ended before the run."""
        begin = self.begin_offsets or {}
        return {part: committed.get(part, begin.get(part, 0)) for part in partitions}


@dataclass(frozen=True)
class Turn:
    """What follows from a reply."""

    membership: Membership
    """From now on."""
    released: frozenset[int] | None = None
    """Partitions that the member has to stop reading, so that it may be asked for its position in them."""
    held: Mapping[int, int] | None = None
    """Partitions that it reads from now on beside what it reads, and from which offsets. Empty: it has what it gets."""
    error: int = 0
    """Kafka's code for what is in the way: the member says so, and tries again after a while."""
    message: str = ""
    """What the broker says to that."""

    @property
    def elsewhere(self) -> bool:
        """Whether the coordinator has to be looked up again."""
        return self.error in ELSEWHERE


class Membership(Protocol):
    """What a member knows of itself; frozen."""

    @property
    def group(self) -> Group:
        """Which group it is in, or wants to be."""

    @property
    def step(self) -> Step:
        """What has to be sent next on the way to reading what it is assigned."""

    @property
    def beats(self) -> bool:
        """Whether it has to send heartbeats meanwhile."""

    @property
    def known(self) -> bool:
        """Whether the coordinator may know it, so that it has to leave."""

    @property
    def heartbeat_s(self) -> float:
        """The time between two heartbeats."""

    @property
    def claimed(self) -> frozenset[int]:
        """The partitions of which its positions are to be committed."""

    def request(self, step: Step, positions: Mapping[int, int]) -> bytearray:
        """A request as bytes; ``positions`` are what a commit commits."""

    def after(self, step: Step, buffer: Buffer, start: int) -> Turn:
        """What follows from the reply to it.

        Raises:
            BrokerError: the coordinator cannot be used.
        """

    def lost(self) -> Membership:
        """The connection to the coordinator is gone, and with it perhaps a reply."""
