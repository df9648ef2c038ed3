"""A group's member by the consumer protocol (KIP-848): the coordinator assigns, and tells each member its own part.

A member says in heartbeats which partitions it has. When it is to lose some, it stops reading them, commits, and has
them no more; then others get them. What it keeps it reads on. A frozen state and what follows from replies to it; no
socket, no clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hydra.clients import wire_consumer_protocol as protocol
from hydra.clients.wire_group_protocol import UNKNOWN_MEMBER_ID, MemberName
from hydra.clients.wire_membership import ELSEWHERE, REBALANCE_TIMEOUT_MS, Group, Step, Turn
from hydra.clients.wire_protocol import Buffer, api_versions_request, read_api_versions

HEARTBEAT_S = 5.0
"""Kafka's default of group.consumer.heartbeat.interval.ms, until the coordinator says what it wants."""

_NOTHING: frozenset[int] = frozenset()

_OUT = frozenset((UNKNOWN_MEMBER_ID, protocol.FENCED_MEMBER_EPOCH, protocol.GROUP_ID_NOT_FOUND))
"""The codes after which a member has lost its partitions and has to join again, under the same id."""


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class ConsumerMember:
    """What a member by the consumer protocol knows; a Membership."""

    group: Group
    member_id: str = field(default_factory=_new_id)
    """Its own choice, for as long as it lives (KIP-1082)."""
    version: int | None = None
    """Of the heartbeats that the coordinator takes; None until it was asked."""
    epoch: int = protocol.JOIN_EPOCH
    """How far it has followed the group's changes; ``JOIN_EPOCH`` while it is no member."""
    heartbeat_s: float = HEARTBEAT_S
    topic_id: bytes = b""
    """Of the group's one topic, by which the coordinator names it."""
    target: frozenset[int] = _NOTHING
    """The partitions that it may read, as the coordinator said last."""
    owned: frozenset[int] = _NOTHING
    """Those that it reads."""
    revoked: frozenset[int] = _NOTHING
    """Those that it reads no more and whose positions are not committed yet: nobody else may have them."""
    told: frozenset[int] | None = None
    """Those that it has, as it told the coordinator last; None where that has to be told everything once more."""

    @property
    def step(self) -> Step:
        """See the Protocol."""
        if self.version is None:
            return Step.VERSIONS
        if self.told is None:
            return Step.HEARTBEAT
        if self.revoked:
            return Step.COMMIT
        if self.owned != self.told:
            return Step.HEARTBEAT
        return Step.OFFSETS if self.target - self.owned else Step.REST

    @property
    def beats(self) -> bool:
        """See the Protocol."""
        return self.version is not None and self.epoch > protocol.JOIN_EPOCH

    @property
    def known(self) -> bool:
        """See the Protocol."""
        return self.version is not None

    @property
    def claimed(self) -> frozenset[int]:
        """See the Protocol."""
        return self.owned | self.revoked

    def request(self, step: Step, positions: Mapping[int, int]) -> bytearray:
        """See the Protocol."""
        group, version = self.group, self.version or 0
        me = MemberName(group.client_id, group.group_id, self.epoch, self.member_id)
        if step is Step.VERSIONS:
            return api_versions_request(group.client_id)
        if step is Step.COMMIT:
            return protocol.commit_request(me, group.topic, positions)
        if step is Step.OFFSETS:
            return protocol.committed_request(me, group.topic, self.target - self.owned)
        if step is Step.LEAVE:
            return protocol.heartbeat_request(me._replace(generation=protocol.LEAVE_EPOCH), version)
        everything = self.told is None or self.epoch == protocol.JOIN_EPOCH
        subscription = protocol.Subscription(group.topic, group.rack, REBALANCE_TIMEOUT_MS) if everything else None
        owned = self.claimed if everything or self.claimed != self.told else None
        return protocol.heartbeat_request(me, version, subscription=subscription, topic_id=self.topic_id, owned=owned)

    def after(self, step: Step, buffer: Buffer, start: int) -> Turn:
        """See the Protocol."""
        if step is Step.VERSIONS:
            return Turn(replace(self, version=protocol.heartbeat_version(read_api_versions(buffer, start))))
        if step is Step.COMMIT:
            return self.after_commit(protocol.read_commit(buffer, start))
        if step is Step.OFFSETS:
            return self.after_offsets(*protocol.read_committed(buffer, start))
        return self.after_heartbeat(protocol.read_heartbeat(buffer, start))

    def lost(self) -> ConsumerMember:
        """See the Protocol: if it was the reply with a new epoch, the old one counts with all that the member has."""
        return replace(self, version=None, told=None)

    def after_heartbeat(self, reply: protocol.Heartbeat) -> Turn:
        """It is a member, and knows what it may read. What it has to give up is not read from now on."""
        if reply.error:
            return self.refused(reply.error, reply.message)
        target = self.target if reply.assigned is None else reply.assigned
        gone = self.owned - target
        now = replace(
            self,
            epoch=reply.epoch,
            heartbeat_s=reply.interval_s,
            topic_id=reply.topic_id or self.topic_id,
            target=target,
            owned=self.owned - gone,
            revoked=self.revoked | gone,
            told=self.claimed,
        )
        # A member that is alone in its group has not been assigned anything yet if it has nothing.
        has_what_it_gets = self.group.shared and not target and now.step is Step.REST
        return Turn(now, released=gone or None, held={} if has_what_it_gets else None)

    def after_commit(self, error: int) -> Turn:
        """Its positions are known: it has what it reads, and nothing else."""
        return self.refused(error) if error else Turn(replace(self, revoked=_NOTHING))

    def after_offsets(self, error: int, committed: Mapping[int, int]) -> Turn:
        """It knows where to begin in what it was given."""
        if error:
            return self.refused(error)
        starts = self.group.starts(sorted(self.target - self.owned), committed)
        return Turn(replace(self, owned=self.target), held=starts)

    def refused(self, code: int, message: str = "") -> Turn:
        """Do what an error code asks for; after any other code tell the coordinator everything and try again.

        A stale epoch (STALE_MEMBER_EPOCH) is one of those: the next heartbeat brings the epoch that counts.
        """
        if code in _OUT:
            out = ConsumerMember(self.group, self.member_id, self.version, heartbeat_s=self.heartbeat_s)
            if self.epoch > protocol.JOIN_EPOCH:
                return Turn(out, released=self.owned)
            return Turn(out, error=code, message=message)
        version = None if code in ELSEWHERE else self.version
        return Turn(replace(self, told=None, version=version), error=code, message=message)
