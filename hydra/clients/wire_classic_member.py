"""A group's member by the classic protocol, which all brokers speak: everyone stops, joins, and is assigned anew.

One of the members assigns the partitions. A frozen state and what follows from replies to it; no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hydra.clients import wire_group_protocol as protocol
from hydra.clients.wire_membership import ELSEWHERE, REBALANCE_TIMEOUT_MS, Group, Step, Turn
from hydra.clients.wire_protocol import Buffer

SESSION_TIMEOUT_MS = 45_000
HEARTBEAT_S = 3.0
"""Kafka's defaults of session.timeout.ms and heartbeat.interval.ms."""

_OUT = frozenset((protocol.REBALANCE_IN_PROGRESS, protocol.ILLEGAL_GENERATION, protocol.UNKNOWN_MEMBER_ID))
"""The codes after which a member has to join again."""


@dataclass(frozen=True)
class ClassicMember:
    """What a member by the classic protocol knows; a Membership."""

    group: Group
    member_id: str = ""
    """Empty until the coordinator has given it one."""
    generation: int = -1
    """Below zero while it is no member."""
    deals: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """What it assigns to all members, where it leads them."""
    assigned: tuple[int, ...] | None = None
    """Its partitions; None until it knows what it was assigned in this generation."""
    settled: bool = False
    """Whether it reads what it was assigned in this generation."""
    gives_up: bool = False
    """Whether another one joins: the group must know its positions before others get its partitions."""

    @property
    def step(self) -> Step:
        """See the Protocol."""
        if self.gives_up and self.assigned:
            return Step.COMMIT
        if self.gives_up or self.generation < 0:
            return Step.JOIN
        if self.assigned is None:
            return Step.SYNC
        return Step.REST if self.settled else Step.OFFSETS

    @property
    def beats(self) -> bool:
        """See the Protocol; before it is settled, its requests keep it in the group."""
        return self.settled

    @property
    def known(self) -> bool:
        """See the Protocol."""
        return bool(self.member_id)

    @property
    def heartbeat_s(self) -> float:
        """See the Protocol."""
        return HEARTBEAT_S

    @property
    def claimed(self) -> frozenset[int]:
        """See the Protocol."""
        return frozenset(self.assigned or ()) if self.generation >= 0 else frozenset()

    def request(self, step: Step, positions: Mapping[int, int]) -> bytearray:
        """See the Protocol."""
        group = self.group
        me = protocol.MemberName(group.client_id, group.group_id, self.generation, self.member_id)
        if step is Step.JOIN:
            return protocol.join_request(
                group.client_id, group.group_id, self.member_id, group.topic,
                session_timeout_ms=SESSION_TIMEOUT_MS, rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            )  # fmt: skip
        if step is Step.SYNC:
            return protocol.sync_request(me, group.topic, self.deals)
        if step is Step.OFFSETS:
            return protocol.committed_request(group.client_id, group.group_id, group.topic, self.assigned or ())
        if step is Step.COMMIT:
            return protocol.commit_request(me, group.topic, positions)
        return protocol.leave_request(me) if step is Step.LEAVE else protocol.heartbeat_request(me)

    def after(self, step: Step, buffer: Buffer, start: int) -> Turn:
        """See the Protocol."""
        if step is Step.JOIN:
            return self.after_join(protocol.read_joined(buffer, start))
        if step is Step.SYNC:
            return self.after_sync(*protocol.read_synced(buffer, start, self.group.topic))
        if step is Step.OFFSETS:
            return self.after_offsets(*protocol.read_committed(buffer, start))
        if step is Step.COMMIT:
            return self.after_commit(protocol.read_commit(buffer, start))
        return self.after_heartbeat(protocol.read_error(buffer, start))

    def lost(self) -> ClassicMember:
        """See the Protocol: what it is assigned stays, and a way that it was half through is begun anew."""
        return self if self.assigned is not None else replace(self, generation=-1)

    def after_join(self, joined: protocol.Joined) -> Turn:
        """It is in the group, and waits for what its leader assigns; or it leads."""
        if joined.error:
            return self.refused(joined.error)
        leads = joined.leader == joined.member_id
        deals = protocol.range_assign(joined.members, self.group.partitions) if leads else {}
        return Turn(ClassicMember(self.group, joined.member_id, joined.generation, deals))

    def after_sync(self, error: int, assigned: tuple[int, ...]) -> Turn:
        """It knows its partitions."""
        if error:
            return self.refused(error)
        return Turn(replace(self, assigned=assigned, settled=not assigned), held=None if assigned else {})

    def after_offsets(self, error: int, committed: Mapping[int, int]) -> Turn:
        """It knows where to begin."""
        if error:
            return self.refused(error)
        return Turn(replace(self, settled=True), held=self.group.starts(self.assigned or (), committed))

    def after_commit(self, error: int) -> Turn:
        """Its positions are known; or they are not, and another member reads once more what this one has read."""
        if not self.gives_up:
            return self.refused(error) if error else Turn(self)
        if error in ELSEWHERE or error == protocol.COORDINATOR_LOAD_IN_PROGRESS:
            return Turn(self, error=error)
        member_id = "" if error == protocol.UNKNOWN_MEMBER_ID else self.member_id
        return Turn(ClassicMember(self.group, member_id))

    def after_heartbeat(self, error: int) -> Turn:
        """It stays a member; or it has to give everything up, since another one joins."""
        if error != protocol.REBALANCE_IN_PROGRESS:
            return self.refused(error) if error else Turn(self)
        return Turn(replace(self, settled=False, gives_up=True), released=frozenset(self.assigned or ()))

    def refused(self, code: int) -> Turn:
        """Do what an error code asks for; after any other code try again."""
        if code not in _OUT:
            return Turn(self.lost(), error=code)
        out = ClassicMember(self.group, "" if code == protocol.UNKNOWN_MEMBER_ID else self.member_id)
        released = frozenset(self.assigned or ()) if self.settled else None
        return Turn(out, released=released, error=0 if self.generation >= 0 else code)
