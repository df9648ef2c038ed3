"""A member of a consumer group, for the wire driver: joins, reads what it is assigned, heartbeats, commits, leaves.

It has a connection of its own to the group's coordinator, so that nothing of this is in the way of a fetch. It never
waits: everything happens when a reply comes or a timer is due. Times are those of Kafka's own client.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hydra.clients import wire_group_protocol as protocol
from hydra.clients.wire_client import WireClient
from hydra.clients.wire_connection import Connection, EventLoop
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError
from hydra.kafka_errors import error_name

SESSION_TIMEOUT_MS = 45_000
REBALANCE_TIMEOUT_MS = 60_000
HEARTBEAT_S = 3.0
HEARTBEAT_BEFORE_START_S = 0.5
"""In a shared group: a member hears of the next one that joins with a heartbeat, and the start waits for the last."""

COMMIT_S = 5.0
REPLY_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 1.5

_BACK_OFF_FIRST_S = 0.1
_BACK_OFF_LAST_S = 1.0
_SPREAD = 0.618033988749895
"""The fractional parts of its multiples are spread evenly over 0 to 1, so that heartbeats do not come all at once."""


class GroupMember:
    """One client's membership in its group.

    It looks up the coordinator, joins, gets its assignment and asks for the group's offsets; then come heartbeats and
    commits. A coordinator that is gone is looked up again while the client reads on: it is a member until the
    coordinator says otherwise. ``number`` is the client's in its task; a ``shared`` group has other members.
    """

    def __init__(
        self, client: WireClient, group_id: str, number: int,
        *, servers: Sequence[Endpoint], partitions: Sequence[int], shared: bool,
    ) -> None:  # fmt: skip
        self.gone = False
        """Whether it has left, or lost the coordinator while it was leaving."""
        self._client = client
        self._client_id = client.tally.name
        self._group_id = group_id
        self._servers = servers
        self._server_turn = number
        self._spread = number * _SPREAD % 1
        self._topic = client.settings.topic
        self._partitions = partitions
        self._shared = shared
        self._loop = client.loop
        self._connection: Connection | None = None
        self._coordinator: Endpoint | None = None
        self._member_id = ""
        self._generation = -1
        """Below zero while it is no member."""
        self._assigned: tuple[int, ...] | None = None
        """Its partitions; None until it knows what it was assigned in this generation."""
        self._settled = False
        """Whether the client reads what it was assigned in this generation."""
        self._leaving = False
        self._due_s = self._reply_due_s = self._heartbeat_s = self._commit_s = float("inf")
        self._committed: Mapping[int, int] = {}
        self._back_off_s = _BACK_OFF_FIRST_S

    def connect(self) -> None:
        """Connect to the coordinator, or to a broker that knows it.

        Raises:
            CapacityError: no file descriptor is left; it is tried again all the same.
        """
        endpoint = self._coordinator
        if endpoint is None:
            endpoint = self._servers[self._server_turn % len(self._servers)]
            self._server_turn += 1
        self._connection = self._loop.connection(endpoint, self._client_id, on_open=self._go_on, on_lost=self._lost)
        self._await_reply()
        self._connection.connect()

    def leave(self) -> None:
        """Commit and leave, as far as the connection is there."""
        connection = self._connection
        if not self._member_id or connection is None or connection.connecting:
            self.close()
            return
        self._leaving = True
        self._commit()
        connection.request(protocol.leave_request(self._membership), lambda *_: self.close())

    def close(self) -> None:
        """Close the connection; harmless the second time."""
        self.gone = True
        self._disconnect()

    @property
    def _membership(self) -> protocol.Membership:
        return protocol.Membership(self._client_id, self._group_id, self._generation, self._member_id)

    def _schedule(self, due_s: float) -> None:
        """Have ``_step`` called then, and at no other time."""
        self._due_s = due_s
        self._loop.call_at(due_s, partial(self._step, due_s))

    def _step(self, due_s: float) -> None:
        """Do what is due, unless it was scheduled for another time since."""
        if due_s != self._due_s or self._leaving:
            return
        connection, now_s = self._connection, time.monotonic()
        if connection is None:
            with contextlib.suppress(CapacityError):  # the client's error says so, and the next try is scheduled
                self.connect()
        elif connection.waiting_since_s is not None:
            if now_s >= self._reply_due_s:
                what = "no connection" if connection.connecting else "no reply"
                self._lost(f"{connection.endpoint}: {what} for {now_s - connection.waiting_since_s:.0f} s")
            else:
                self._schedule(self._reply_due_s)
        elif self._coordinator is None or not self._settled:
            self._go_on()
        elif now_s >= self._heartbeat_s:
            self._heartbeat_s = now_s + self._heartbeat_every_s()
            self._request(protocol.heartbeat_request(self._membership), self._take_heartbeat)
        else:
            if now_s >= self._commit_s:
                self._commit_s = now_s + COMMIT_S
                self._commit()
            self._rest()

    def _request(
        self, frame: bytearray, on_reply: Callable[[bytearray, int], None], extra_timeout_s: float = 0.0
    ) -> None:
        if self._connection is not None:
            self._await_reply(extra_timeout_s)
            self._connection.request(frame, partial(self._take, on_reply))

    def _await_reply(self, extra_timeout_s: float = 0.0) -> None:
        self._reply_due_s = time.monotonic() + REPLY_TIMEOUT_S + extra_timeout_s
        self._schedule(self._reply_due_s)

    def _take(self, on_reply: Callable[[bytearray, int], None], buffer: bytearray, start: int, _stop: int) -> None:
        if not self._leaving:
            on_reply(buffer, start)

    def _rest(self) -> None:
        """Wait for what is due next."""
        self._schedule(min(self._heartbeat_s, self._commit_s))

    def _rest_unless(self, error: int) -> None:
        if error:
            self._refused(error)
        else:
            self._clear_error()
            self._rest()

    def _heartbeat_every_s(self) -> float:
        before_start = self._shared and self._client.tally.timing is None
        return HEARTBEAT_BEFORE_START_S if before_start else HEARTBEAT_S

    def _go_on(self) -> None:
        """Send the next request on the way to being a member."""
        if self._coordinator is None:
            self._request(protocol.find_coordinator_request(self._client_id, self._group_id), self._take_coordinator)
        elif self._generation < 0 or self._assigned is None:
            request = protocol.join_request(
                self._client_id, self._group_id, self._member_id, self._topic,
                session_timeout_ms=SESSION_TIMEOUT_MS, rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            )  # fmt: skip
            # The reply waits for all other members.
            self._request(request, self._take_joined, REBALANCE_TIMEOUT_MS / 1000)
        elif not self._settled:
            request = protocol.committed_request(self._client_id, self._group_id, self._topic, self._assigned)
            self._request(request, self._take_committed)
        else:
            self._heartbeat_s = time.monotonic()
            self._rest()

    def _take_coordinator(self, buffer: bytearray, start: int) -> None:
        error, coordinator = protocol.read_coordinator(buffer, start)
        if error:
            self._retry(self._refusal(error), disconnect=error != protocol.COORDINATOR_NOT_AVAILABLE)
            return
        self._coordinator = coordinator
        if self._connection is not None and self._connection.endpoint == coordinator:
            self._go_on()
        else:
            self._disconnect()
            self._schedule(time.monotonic())

    def _take_joined(self, buffer: bytearray, start: int) -> None:
        joined = protocol.read_joined(buffer, start)
        if joined.error:
            self._refused(joined.error)
            return
        self._generation, self._member_id, self._assigned = joined.generation, joined.member_id, None
        leads = joined.leader == joined.member_id
        assignment = protocol.range_assign(joined.members, self._partitions) if leads else {}
        self._request(protocol.sync_request(self._membership, self._topic, assignment), self._take_synced)

    def _take_synced(self, buffer: bytearray, start: int) -> None:
        error, assigned = protocol.read_synced(buffer, start, self._topic)
        if error:
            self._refused(error)
            return
        self._assigned = assigned
        if assigned:
            self._go_on()
        else:
            self._settle({})

    def _take_committed(self, buffer: bytearray, start: int) -> None:
        error, committed = protocol.read_committed(buffer, start)
        if error:
            self._refused(error)
            return
        # A run's topic is fresh: a partition that nobody has committed is read from its start.
        self._settle({partition: committed.get(partition, 0) for partition in self._assigned or ()})

    def _settle(self, offsets: Mapping[int, int]) -> None:
        self._settled = True
        self._committed = {}
        self._clear_error()
        now_s = time.monotonic()
        self._heartbeat_s = now_s + self._heartbeat_every_s() * (1 + self._spread) / 2
        self._commit_s = now_s + COMMIT_S * (1 + self._spread) / 2
        self._client.hold(offsets)
        self._rest()

    def _take_heartbeat(self, buffer: bytearray, start: int) -> None:
        error = protocol.read_error(buffer, start)
        if error == protocol.REBALANCE_IN_PROGRESS:
            # The group must know the client's position before another member gets its partitions.
            self._client.release()
            self._commit()
            self._settled = False
        self._rest_unless(error)

    def _commit(self) -> None:
        """Commit the client's position, if it has moved."""
        parts = self._client.tally.partitions
        positions = {number: parts[number].next_offset for number in self._assigned or () if number in parts}
        if self._generation >= 0 and positions and positions != self._committed:
            self._committed = positions
            self._request(protocol.commit_request(self._membership, self._topic, positions), self._take_commit)

    def _take_commit(self, buffer: bytearray, start: int) -> None:
        error = protocol.read_commit(buffer, start)
        if error:
            self._committed = {}
        if self._settled:  # otherwise it joins again already
            self._rest_unless(error)

    def _refused(self, code: int) -> None:
        """Do what an error code asks for; after any other code try again after the back-off."""
        if code in {protocol.REBALANCE_IN_PROGRESS, protocol.ILLEGAL_GENERATION, protocol.UNKNOWN_MEMBER_ID}:
            if code == protocol.UNKNOWN_MEMBER_ID:
                self._member_id = ""
            if self._settled:
                self._client.release()
            was_member, self._generation = self._generation >= 0, -1
            self._settled = False
            if was_member:
                self._go_on()
                return
        elsewhere = code in {protocol.COORDINATOR_NOT_AVAILABLE, protocol.NOT_COORDINATOR}
        if elsewhere:
            self._coordinator = None
        self._retry(self._refusal(code), disconnect=elsewhere)

    def _refusal(self, code: int) -> str:
        return f"{self._connection.endpoint if self._connection else 'no connection'}: {error_name(code)}"

    def _lost(self, reason: str) -> None:
        """The connection is gone. The client keeps its partitions as long as the coordinator does not say otherwise."""
        self._coordinator = None
        self._retry(reason, disconnect=True)

    def _retry(self, reason: str, *, disconnect: bool = False) -> None:
        if disconnect:
            self._disconnect()
        if self._leaving:
            self.close()
            return
        self._client.group_error = self._client.tally.error = f"group {self._group_id}: {reason}"
        due_s = time.monotonic() + self._back_off_s
        self._heartbeat_s = min(self._heartbeat_s, due_s)
        self._back_off_s = min(_BACK_OFF_LAST_S, 2 * self._back_off_s)
        self._schedule(due_s)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _clear_error(self) -> None:
        self._back_off_s = _BACK_OFF_FIRST_S
        client = self._client
        if client.group_error and client.tally.error == client.group_error:
            client.tally.error = ""
        client.group_error = ""


def leave_groups(members: Sequence[GroupMember], loop: EventLoop) -> None:
    """Have all members commit and leave at once; wait ``LEAVE_TIMEOUT_S`` at most for the coordinators."""
    deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
    for member in members:
        member.leave()
    while not all(member.gone for member in members) and (left_s := deadline_s - time.monotonic()) > 0:
        loop.run_once(left_s)
    for member in members:
        member.close()
