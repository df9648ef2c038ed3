"""The group memberships of all clients of a wire driver: one queue of what is due, joined and left together."""

from __future__ import annotations

import heapq
import selectors
import time
from collections.abc import Sequence

from hydra.clients.wire_channel import Channel, ReceiveBuffer
from hydra.clients.wire_group import Claimant, GroupMember
from hydra.endpoints import Endpoint

LEAVE_TIMEOUT_S = 1.5


class Memberships:
    """The memberships of all clients of a task.

    Args:
        topic: what the groups read.
        partitions: its partitions.
        servers: brokers that know the coordinators.
        selector: as for a Channel.
        scratch: as for a Channel.
    """

    def __init__(
        self,
        topic: str,
        partitions: Sequence[int],
        *,
        servers: Sequence[Endpoint],
        selector: selectors.BaseSelector,
        scratch: ReceiveBuffer,
    ) -> None:
        self.topic = topic
        self.partitions = tuple(partitions)
        self._servers = tuple(servers)
        self._selector = selector
        self._scratch = scratch
        self._members: list[GroupMember] = []
        self._due: list[tuple[float, int]] = []

    def add(self, client: Claimant, group_id: str, *, shared: bool) -> None:
        """Have the client join the group, once ``open`` is called."""
        client.release()
        self._members.append(GroupMember(len(self._members), client, group_id, self, shared=shared))

    def open(self) -> None:
        """Begin to join.

        Raises:
            CapacityError: when no file descriptor is left.
        """
        for member in self._members:
            member.begin()

    @property
    def due_s(self) -> float:
        """When ``step`` has something to do, on the monotonic clock."""
        return self._due[0][0] if self._due else float("inf")

    def step(self, now_s: float) -> None:
        """Do what is due: heartbeats, commits, another try."""
        while self._due and self._due[0][0] <= now_s:
            due_s, number = heapq.heappop(self._due)
            member = self._members[number]
            if member.due_s == due_s:
                member.step(now_s)

    def close(self) -> None:
        """Commit and leave, all at once, and let go of the connections; waits a moment for the coordinators."""
        deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
        for member in self._members:
            member.leave()
        while not all(member.gone for member in self._members):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not self._selector.get_map():
                break
            for key, mask in self._selector.select(left_s):
                key.data(mask)
        for member in self._members:
            member.close()
        self._due.clear()

    def schedule(self, member: GroupMember, due_s: float) -> None:
        """Have ``step`` of the member called then, and at no other time."""
        member.due_s = due_s
        heapq.heappush(self._due, (due_s, member.number))

    def server(self, turn: int) -> Endpoint:
        """A broker to ask for a coordinator, another one each turn."""
        return self._servers[turn % len(self._servers)]

    def channel(self, member: GroupMember, endpoint: Endpoint) -> Channel:
        """A new connection for the member."""
        return Channel(
            endpoint,
            self._selector,
            self._scratch,
            connected=member.connected,
            answered=member.answered,
            lost=member.lost,
        )
