"""A real member of a consumer group, for the wire driver: joins, takes what it is given, heartbeats, commits, leaves.

It has a connection of its own to its group's coordinator, beside those that it fetches on, so that nothing of this is
on the path of a fetch. It waits for nothing: all is done when an answer comes or a time is due. Times are those of
Kafka's own client.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from hydra.accounting.tally import ClientTally
from hydra.clients import wire_group_protocol as protocol
from hydra.clients.wire_channel import Channel, ConnectionLostError
from hydra.clients.wire_protocol import MALFORMED, error_name
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError

SESSION_TIMEOUT_MS = 45_000
REBALANCE_TIMEOUT_MS = 60_000
HEARTBEAT_S = 3.0
HEARTBEAT_BEFORE_THE_START_S = 0.5
"""In a group of many: one that has joined hears of the next one with a heartbeat, and the start waits for the last."""

COMMIT_S = 5.0
ANSWER_TIMEOUT_S = 10.0

_BACK_OFF_FIRST_S = 0.1
_BACK_OFF_LAST_S = 1.0
_SPREAD = 0.618033988749895
"""Successive multiples of it, without their whole parts, lie evenly in 0 to 1: heartbeats do not come all at once."""

_ELSEWHERE = frozenset((protocol.COORDINATOR_NOT_AVAILABLE, protocol.NOT_COORDINATOR))


class Claimant(Protocol):
    """The client that a membership is for."""

    tally: ClientTally
    group_trouble: str
    """What keeps it from its group; empty when nothing does."""

    def hold(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset that the group is at."""
        ...

    def release(self) -> None:
        """Read nothing until the group has dealt its partitions out again."""
        ...


class Registry(Protocol):
    """The memberships of all clients of a task, as one of them sees it."""

    topic: str
    partitions: tuple[int, ...]

    def schedule(self, member: GroupMember, due_s: float) -> None:
        """Have ``step`` of the member called then (monotonic clock), and at no other time."""
        ...

    def server(self, turn: int) -> Endpoint:
        """A broker to ask for a coordinator, another one each turn."""
        ...

    def channel(self, member: GroupMember, endpoint: Endpoint) -> Channel:
        """A new connection for the member."""
        ...


class GroupMember:
    """One client's membership in its group.

    It goes through: look the coordinator up, join, sync, ask how far the group was; then heartbeats and commits. A
    coordinator that is gone is looked up again while the client reads on: it is a member until the coordinator says no.

    Args:
        number: its place among those of the task.
        client: whose it is.
        group_id: the group.
        around: the memberships that it is one of.
        shared: whether there are others in the group.
    """

    def __init__(self, number: int, client: Claimant, group_id: str, around: Registry, *, shared: bool) -> None:
        self.number = number
        self.due_s = 0.0
        self.gone = False
        """Whether it has left, or will hear of its coordinator no more."""
        self._client = client
        self._group_id = group_id
        self._shared = shared
        self._around = around
        self._channel: Channel | None = None
        self._coordinator: Endpoint | None = None
        self._turn = number
        self._asked = 0
        self._asked_s = 0.0
        self._member_id = ""
        self._generation = -1
        """Below zero while it is no member."""
        self._given: tuple[int, ...] | None = None
        """Its partitions; None as long as it does not know what this generation gave it."""
        self._settled = False
        """Whether the client reads what this generation gave it."""
        self._leaving = False
        self._heartbeat_s = self._commit_s = float("inf")
        self._committed: Mapping[int, int] = {}
        self._back_off_s = _BACK_OFF_FIRST_S
        self._takes = {
            protocol.FIND_COORDINATOR: self._take_coordinator,
            protocol.JOIN_GROUP: self._take_joined,
            protocol.SYNC_GROUP: self._take_synced,
            protocol.OFFSET_FETCH: self._take_committed,
            protocol.HEARTBEAT: self._take_heartbeat,
            protocol.OFFSET_COMMIT: self._take_commit,
            protocol.LEAVE_GROUP: self._take_left,
        }

    def begin(self) -> None:
        """Connect to the coordinator, or to a broker that knows it.

        Raises:
            CapacityError: when no file descriptor is left; it is tried again all the same.
        """
        endpoint = self._coordinator
        if endpoint is None:
            endpoint = self._around.server(self._turn)
            self._turn += 1
        self._asked, self._asked_s = 0, time.monotonic()
        channel = self._channel = self._around.channel(self, endpoint)
        try:
            channel.connect()
        except ConnectionLostError as error:
            self._retry(str(error))
        except CapacityError as error:
            self._retry(str(error))
            raise
        else:
            self._around.schedule(self, self._asked_s + ANSWER_TIMEOUT_S)

    def step(self, now_s: float) -> None:
        """Do what is due now."""
        channel = self._channel
        if channel is None:
            try:
                self.begin()
            except CapacityError:
                return  # it stands in the client's trouble, and the next try is arranged
        elif channel.connecting or channel.asked:
            self._await_answer(channel, now_s)
        elif self._coordinator is None or self._generation < 0 or not self._settled:
            self._go_on()
        elif now_s >= self._heartbeat_s:
            self._heartbeat_s = now_s + self._heartbeat_every_s()
            self._ask(protocol.HEARTBEAT, protocol.heartbeat_request(*self._membership))
        elif now_s >= self._commit_s:
            self._commit_s = now_s + COMMIT_S
            if not self._commit():
                self._rest()
        else:
            self._rest()

    def leave(self) -> None:
        """Commit and leave, as soon as the connection is free."""
        self._leaving = True
        channel = self._channel
        if not self._member_id or channel is None or channel.connecting:
            self.close()
        elif not channel.asked and not self._commit():
            self._say_goodbye()

    def close(self) -> None:
        """Let go of the connection; harmless the second time."""
        self.gone = True
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def connected(self) -> None:
        """The connection stands."""
        self._go_on()

    def lost(self, reason: str) -> None:
        """The connection is gone. What the client holds it keeps, as long as the coordinator does not say otherwise."""
        self._coordinator = None
        self._retry(reason)

    def answered(self, buffer: bytearray, start: int, _stop: int) -> None:
        """Take in an answer."""
        try:
            self._takes[self._asked](buffer, start)
        except MALFORMED as error:
            self.lost(f"{self._where}: an answer that cannot be read: {error}")

    @property
    def _membership(self) -> tuple[str, int, str]:
        return self._group_id, self._generation, self._member_id

    @property
    def _where(self) -> str:
        return f"group {self._group_id} at {self._channel.endpoint if self._channel else 'nobody'}"

    def _ask(self, key: int, request: bytearray) -> None:
        channel = self._channel
        if channel is None:
            return
        self._asked, self._asked_s = key, time.monotonic()
        self._around.schedule(self, self._asked_s + self._select_timeout_s())
        channel.ask(request)

    def _select_timeout_s(self) -> float:
        # The answer to a JoinGroup waits for all other members.
        return ANSWER_TIMEOUT_S + (REBALANCE_TIMEOUT_MS / 1000 if self._asked == protocol.JOIN_GROUP else 0.0)

    def _await_answer(self, channel: Channel, now_s: float) -> None:
        due_s = self._asked_s + self._select_timeout_s()
        if now_s < due_s:
            self._around.schedule(self, due_s)
            return
        what = "no connection" if channel.connecting else "no answer"
        self.lost(f"{self._where}: {what} for {now_s - self._asked_s:.0f} s")

    def _rest(self) -> None:
        """Wait for what is due next."""
        if self._leaving:
            self._say_goodbye()
        else:
            self._around.schedule(self, min(self._heartbeat_s, self._commit_s))

    def _heartbeat_every_s(self) -> float:
        waiting = self._shared and self._client.tally.timing is None
        return HEARTBEAT_BEFORE_THE_START_S if waiting else HEARTBEAT_S

    def _go_on(self) -> None:
        """Ask for whatever comes next on the way to being a member, on a connection that is free."""
        if self._coordinator is None:
            self._ask(protocol.FIND_COORDINATOR, protocol.find_coordinator_request(self._group_id))
        elif self._generation < 0 or self._given is None:
            request = protocol.join_request(
                self._group_id,
                self._member_id,
                self._around.topic,
                session_timeout_ms=SESSION_TIMEOUT_MS,
                rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            )
            self._ask(protocol.JOIN_GROUP, request)
        elif not self._settled:
            request = protocol.committed_request(self._group_id, self._around.topic, self._given)
            self._ask(protocol.OFFSET_FETCH, request)
        else:
            self._heartbeat_s = time.monotonic()
            self._rest()

    def _take_coordinator(self, buffer: bytearray, start: int) -> None:
        error, coordinator = protocol.read_coordinator(buffer, start)
        if error:
            self._retry(self._refusal(error), keep_channel=error == protocol.COORDINATOR_NOT_AVAILABLE)
            return
        self._coordinator = coordinator
        if self._channel is not None and self._channel.endpoint == coordinator:
            self._go_on()
            return
        self._drop_channel()
        self._around.schedule(self, time.monotonic())

    def _take_joined(self, buffer: bytearray, start: int) -> None:
        joined = protocol.read_joined(buffer, start)
        if joined.error:
            self._refused(joined.error)
            return
        self._generation, self._member_id, self._given = joined.generation, joined.member_id, None
        if self._leaving:
            self._say_goodbye()
            return
        dealt = protocol.range_assign(joined.members, self._around.partitions) if joined.leads else {}
        self._ask(protocol.SYNC_GROUP, protocol.sync_request(*self._membership, self._around.topic, dealt))

    def _take_synced(self, buffer: bytearray, start: int) -> None:
        error, given = protocol.read_synced(buffer, start, self._around.topic)
        if error:
            self._refused(error)
        elif self._leaving:
            self._say_goodbye()
        else:
            self._given = given
            if given:
                self._go_on()
            else:
                self._settle({})

    def _take_committed(self, buffer: bytearray, start: int) -> None:
        error, committed = protocol.read_committed(buffer, start)
        if error:
            self._refused(error)
        elif self._leaving:
            self._say_goodbye()
        else:
            # A run's topic is fresh: what nobody has committed is read from its start.
            self._settle({partition: committed.get(partition, 0) for partition in self._given or ()})

    def _settle(self, offsets: Mapping[int, int]) -> None:
        self._settled = True
        self._committed = {}
        self._well()
        now_s = time.monotonic()
        spread = self.number * _SPREAD % 1
        self._heartbeat_s = now_s + self._heartbeat_every_s() * (1 + spread) / 2
        self._commit_s = now_s + COMMIT_S * (1 + spread) / 2
        self._client.hold(offsets)
        self._rest()

    def _take_heartbeat(self, buffer: bytearray, start: int) -> None:
        error = protocol.read_error(buffer, start)
        if error == protocol.REBALANCE_IN_PROGRESS:
            # How far it is belongs to the group before the others get it.
            self._client.release()
            self._settled = False
            if self._commit():
                return
        if error:
            self._refused(error)
            return
        self._well()
        if not (self._leaving and self._commit()):
            self._rest()

    def _commit(self) -> bool:
        """Say how far the client is, where that is anything new. Returns whether there is an answer to wait for."""
        parts = self._client.tally.partitions
        positions = {number: parts[number].next_offset for number in self._given or () if number in parts}
        if self._generation < 0 or not positions or positions == self._committed:
            return False
        self._committed = positions
        self._ask(protocol.OFFSET_COMMIT, protocol.commit_request(*self._membership, self._around.topic, positions))
        return True

    def _take_commit(self, buffer: bytearray, start: int) -> None:
        error = protocol.read_commit(buffer, start)
        if error:
            self._committed = {}
        if self._leaving:
            self._say_goodbye()
        elif error or not self._settled:
            # Not settled: it was the last word before it joins again.
            self._refused(error or protocol.REBALANCE_IN_PROGRESS)
        else:
            self._well()
            self._rest()

    def _say_goodbye(self) -> None:
        self._ask(protocol.LEAVE_GROUP, protocol.leave_request(self._group_id, self._member_id))

    def _take_left(self, _buffer: bytearray, _start: int) -> None:
        self.close()

    def _refused(self, code: int) -> None:
        """Do what an error code asks for; one that asks for nothing known is tried again after a while."""
        if self._leaving:
            self._say_goodbye()
        elif code in {protocol.REBALANCE_IN_PROGRESS, protocol.ILLEGAL_GENERATION, protocol.UNKNOWN_MEMBER_ID}:
            if code == protocol.UNKNOWN_MEMBER_ID:
                self._member_id = ""
            if self._settled:
                self._client.release()
            was_member, self._generation = self._generation >= 0, -1
            self._settled = False
            if was_member:
                self._go_on()
            else:
                self._retry(self._refusal(code), keep_channel=True)
        elif code in _ELSEWHERE:
            self._coordinator = None
            self._retry(self._refusal(code))
        else:
            self._retry(self._refusal(code), keep_channel=True)

    def _refusal(self, code: int) -> str:
        return f"{self._where}: {protocol.GROUP_ERROR_NAMES.get(code) or error_name(code)}"

    def _retry(self, trouble: str, *, keep_channel: bool = False) -> None:
        if not keep_channel:
            self._drop_channel()
        if self._leaving:
            self.close()
            return
        self._client.group_trouble = self._client.tally.error = trouble
        due_s = time.monotonic() + self._back_off_s
        self._heartbeat_s = min(self._heartbeat_s, due_s)
        self._back_off_s = min(_BACK_OFF_LAST_S, 2 * self._back_off_s)
        self._around.schedule(self, due_s)

    def _drop_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _well(self) -> None:
        self._back_off_s = _BACK_OFF_FIRST_S
        tally = self._client.tally
        if self._client.group_trouble and tally.error == self._client.group_trouble:
            tally.error = ""
        self._client.group_trouble = ""
