"""A member of a consumer group, for the wire driver: joins, reads what it is assigned, heartbeats, commits, leaves.

It has a connection of its own to the group's coordinator, so that nothing of this is in the way of a fetch. It never
waits: everything happens when a reply comes or a timer is due. What is sent and what follows from a reply is up to the
protocol by which it is a member (``wire_membership.py``). Times are those of Kafka's own client.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hydra.clients.wire_client import WireClient
from hydra.clients.wire_connection import Connection, EventLoop
from hydra.clients.wire_group_protocol import (
    COORDINATOR_NOT_AVAILABLE,
    find_coordinator_request,
    read_coordinator,
)  # fmt: skip
from hydra.clients.wire_membership import REBALANCE_TIMEOUT_MS, Group, Membership, Step
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError
from hydra.kafka_errors import NOT_LET_IN, error_name

HEARTBEAT_BEFORE_START_S = 0.5
"""Where a member waits for others, or for its partitions: it hears of them with a heartbeat, and the start waits."""

COMMIT_S = 5.0
REPLY_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 1.5

_BACK_OFF_FIRST_S = 0.1
_BACK_OFF_LAST_S = 1.0
_SPREAD = 0.618033988749895
"""The fractional parts of its multiples are spread evenly over 0 to 1, so that heartbeats do not come all at once."""


def new_membership(group: Group, group_protocol: str) -> Membership:
    """A membership by the protocol of that name that has not begun; imports no other."""
    if group_protocol == "consumer":
        from hydra.clients.wire_consumer_member import ConsumerMember

        return ConsumerMember(group)
    from hydra.clients.wire_classic_member import ClassicMember

    return ClassicMember(group)


class GroupMember:
    """One client's membership in its group.

    It looks up the coordinator, and takes the steps of its membership; then come heartbeats and commits. There is one
    request at a time. A coordinator that is gone is looked up again while the client reads on: it is a member until the
    coordinator says otherwise. ``number`` is the client's in its task; ``start_deadline_s`` is how long the run waits
    for all to be ready.
    """

    def __init__(
        self, client: WireClient, membership: Membership, number: int,
        *, servers: Sequence[Endpoint], start_deadline_s: float,
    ) -> None:  # fmt: skip
        self.gone = False
        """Whether it has left, or lost the coordinator while it was leaving."""
        self._client = client
        self._membership = membership
        self._group = membership.group
        self._servers = servers
        self._start_deadline_s = start_deadline_s
        self._answered = False
        """Whether the broker has answered on this connection."""
        self._server_turn = number
        self._spread = (1 + number * _SPREAD % 1) / 2
        self._loop = client.loop
        self._connection: Connection | None = None
        self._coordinator: Endpoint | None = None
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
        self._connection = self._loop.connection(
            endpoint, self._group.client_id, on_open=self._go_on, on_lost=self._lost
        )
        self._answered = False
        self._await_reply()
        self._connection.connect()

    def leave(self) -> None:
        """Commit and leave, as far as the connection is there."""
        connection, membership = self._connection, self._membership
        if not membership.known or self._coordinator is None or connection is None or connection.connecting:
            self.close()
            return
        self._leaving = True
        if positions := self._uncommitted():
            connection.request(membership.request(Step.COMMIT, positions), lambda *_: None)
        connection.request(membership.request(Step.LEAVE, {}), lambda *_: self.close())

    def close(self) -> None:
        """Close the connection; harmless the second time."""
        self.gone = True
        self._disconnect()

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
        elif connection.waiting_since_s is None:
            self._go_on()
        elif now_s < self._reply_due_s:
            self._schedule(self._reply_due_s)
        else:
            self._overdue(connection, now_s, now_s - connection.waiting_since_s)

    def _overdue(self, connection: Connection, now_s: float, silent_s: float) -> None:
        """The broker owes a reply for long: go elsewhere, but not where that would only cost a place in its queue."""
        waits_to_get_in = self._client.tally.timing is None and connection.reached and not self._answered
        what = "no connection" if not connection.reached else "no reply" if self._answered else NOT_LET_IN
        text = f"{connection.endpoint}: {what} for {silent_s:.0f} s"
        if waits_to_get_in and silent_s < self._start_deadline_s:
            self._tell(text)
            self._schedule(now_s + 1)
        else:
            self._lost(text)

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
        self._answered = True
        if not self._leaving:
            on_reply(buffer, start)

    def _go_on(self) -> None:
        """Send what is next, or wait for what is due."""
        if self._coordinator is None:
            request = find_coordinator_request(self._group.client_id, self._group.group_id)
            self._request(request, self._take_coordinator)
            return
        now_s, step = time.monotonic(), self._membership.step
        if self._membership.beats and now_s >= self._heartbeat_s:
            self._heartbeat_s = now_s + self._heartbeat_every_s()
            self._send(Step.HEARTBEAT)
            return
        if step is Step.REST and now_s >= self._commit_s:
            self._commit_s = now_s + COMMIT_S
            step = Step.COMMIT if self._uncommitted() else step
        if step is Step.REST:
            self._schedule(min(self._heartbeat_s, self._commit_s))
            return
        if step is Step.HEARTBEAT:
            self._heartbeat_s = now_s + self._heartbeat_every_s() * self._spread
        self._send(step)

    def _send(self, step: Step) -> None:
        positions = self._positions() if step is Step.COMMIT else {}
        # The reply to a join waits for all other members.
        extra_timeout_s = REBALANCE_TIMEOUT_MS / 1000 if step is Step.JOIN else 0.0
        self._request(
            self._membership.request(step, positions), partial(self._take_turn, step, positions), extra_timeout_s
        )

    def _take_coordinator(self, buffer: bytearray, start: int) -> None:
        error, coordinator = read_coordinator(buffer, start)
        if error:
            self._retry(self._refusal(error), disconnect=error != COORDINATOR_NOT_AVAILABLE)
            return
        self._coordinator = coordinator
        if self._connection is not None and self._connection.endpoint == coordinator:
            self._go_on()
        else:
            self._disconnect()
            self._schedule(time.monotonic())

    def _take_turn(self, step: Step, positions: Mapping[int, int], buffer: bytearray, start: int) -> None:
        """Do what follows from a reply."""
        turn = self._membership.after(step, buffer, start)
        self._membership = turn.membership
        if step is Step.COMMIT and not turn.error:
            self._committed = positions
        if turn.released is not None:
            self._client.release(turn.released)
        if turn.held is not None:
            self._client.hold(turn.held)
        if turn.held is not None and step is not Step.HEARTBEAT:
            now_s = time.monotonic()
            self._heartbeat_s = min(self._heartbeat_s, now_s + self._heartbeat_every_s() * self._spread)
            self._commit_s = min(self._commit_s, now_s + COMMIT_S * self._spread)
        if turn.error:
            if turn.elsewhere:
                self._coordinator = None
            self._retry(self._refusal(turn.error, turn.message), disconnect=turn.elsewhere)
            return
        if self._membership.step is Step.REST:
            self._clear_error()
        self._go_on()

    def _heartbeat_every_s(self) -> float:
        tally = self._client.tally
        waits = tally.timing is None and (self._group.shared or not tally.held)
        every_s = self._membership.heartbeat_s
        return min(HEARTBEAT_BEFORE_START_S, every_s) if waits else every_s

    def _positions(self) -> dict[int, int]:
        parts = self._client.tally.partitions
        return {number: parts[number].next_offset for number in self._membership.claimed if number in parts}

    def _uncommitted(self) -> dict[int, int]:
        """Its positions; nothing if they are those of its last commit."""
        positions = self._positions()
        return {} if positions == self._committed else positions

    def _refusal(self, code: int, message: str = "") -> str:
        where = self._connection.endpoint if self._connection else "no connection"
        return f"{where}: {error_name(code)}" + (f" ({message.rstrip('.')})" if message else "")

    def _lost(self, reason: str) -> None:
        """The connection is gone. The client keeps its partitions as long as the coordinator does not say otherwise."""
        self._coordinator = None
        self._membership = self._membership.lost()
        self._retry(reason, disconnect=True)

    def _retry(self, reason: str, *, disconnect: bool = False) -> None:
        if disconnect:
            self._disconnect()
        if self._leaving:
            self.close()
            return
        self._tell(reason)
        due_s = time.monotonic() + self._back_off_s
        self._heartbeat_s = min(self._heartbeat_s, due_s)
        self._back_off_s = min(_BACK_OFF_LAST_S, 2 * self._back_off_s)
        self._schedule(due_s)

    def _tell(self, reason: str) -> None:
        self._client.group_error = self._client.tally.error = f"group {self._group.group_id}: {reason}"

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
