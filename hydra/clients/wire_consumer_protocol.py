"""The requests of a group's member by the consumer protocol (KIP-848), and the replies to them, as bytes.

ConsumerGroupHeartbeat 0 and 1, and of those that every group has, OffsetCommit 9 and OffsetFetch 9: the first versions
that carry a member's epoch, the last that name a topic by its name. Layouts are those of Kafka's message definitions
(clients/src/main/resources/common/message); all of these versions are flexible. Every function here is pure.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hydra.clients.wire_flexible import (
    NO_TAGS,
    NULL,
    FlexibleReader,
    compact,
    compact_array,
    flexible_frame,
)  # fmt: skip
from hydra.clients.wire_group_protocol import OFFSET_COMMIT, OFFSET_FETCH, MemberName
from hydra.clients.wire_protocol import INT32, Buffer
from hydra.errors import BrokerError
from hydra.kafka_errors import UNSUPPORTED_VERSION, error_name

CONSUMER_GROUP_HEARTBEAT, CONSUMER_GROUP_DESCRIBE = 68, 69

JOIN_EPOCH, LEAVE_EPOCH = 0, -1
"""What a member says in place of its epoch to join and to leave."""

FENCED_MEMBER_EPOCH, STALE_MEMBER_EPOCH = 110, 113
GROUP_ID_NOT_FOUND = 69

_VERSIONS = (1, 0)
"""Of ConsumerGroupHeartbeat, the best one first."""

_WITH_EPOCH = 9
"""The versions of OffsetCommit and OffsetFetch."""

_NO_EPOCH = -1
_UNCHANGED = -1


@dataclass(frozen=True)
class Subscription:
    """What a member tells when it joins, and again when a reply may have been lost."""

    topic: str
    rack: str
    rebalance_timeout_ms: int


@dataclass(frozen=True)
class Heartbeat:
    """The reply to a ConsumerGroupHeartbeat; all but the error is meaningless with an error."""

    error: int
    message: str = ""
    """What the broker says to the error."""
    epoch: int = JOIN_EPOCH
    interval_s: float = 0.0
    """After how long the coordinator wants the next one."""
    topic_id: bytes = b""
    assigned: frozenset[int] | None = None
    """The partitions that the member may read now; None where they are those of the last reply."""


@dataclass(frozen=True)
class DescribedMember:
    """A member as the coordinator knows it."""

    member_id: str
    assigned: frozenset[int]
    """Its partitions of all topics."""


@dataclass(frozen=True)
class DescribedGroup:
    """A group of the consumer protocol as its coordinator knows it."""

    error: int
    state: str
    """``Stable``: every member has acknowledged what it is to have."""
    members: tuple[DescribedMember, ...]


def heartbeat_version(versions: Mapping[int, tuple[int, int]]) -> int:
    """The best version of ConsumerGroupHeartbeat that the broker takes, as ``read_api_versions`` gives them.

    Raises:
        BrokerError: there is none, or the broker takes no epochs of members.
    """
    oldest, newest = versions.get(CONSUMER_GROUP_HEARTBEAT, (0, -1))
    version = next((version for version in _VERSIONS if oldest <= version <= newest), None)
    both = [versions.get(key, (0, -1)) for key in (OFFSET_COMMIT, OFFSET_FETCH)]
    with_epochs = all(least <= _WITH_EPOCH <= most for least, most in both)
    if version is None or not with_epochs:
        raise BrokerError(
            f"{error_name(UNSUPPORTED_VERSION)}: the broker does not take ConsumerGroupHeartbeat (KIP-848), as Kafka"
            " does from 4.0 on"
        )
    return version


def heartbeat_request(
    member: MemberName, version: int,
    *, subscription: Subscription | None = None, topic_id: bytes = b"", owned: Collection[int] | None = None,
) -> bytearray:  # fmt: skip
    """Join, stay, acknowledge or leave (ConsumerGroupHeartbeat).

    Without a ``subscription`` it is that of before. ``owned`` are the partitions that the member has; None where they
    are those of the last heartbeat.
    """
    body = compact(member.group_id) + compact(member.member_id) + INT32.pack(member.generation)
    body += NULL  # no static member
    body += NULL if subscription is None or not subscription.rack else compact(subscription.rack)
    body += INT32.pack(_UNCHANGED if subscription is None else subscription.rebalance_timeout_ms)
    body += NULL if subscription is None else compact_array([compact(subscription.topic)])
    body += NULL if version >= 1 else b""  # no regular expression
    body += NULL  # the brokers choose the assignor
    body += NULL if owned is None else _topic_partitions(topic_id, owned)
    return flexible_frame(member.client_id, CONSUMER_GROUP_HEARTBEAT, version, body + NO_TAGS)


def _topic_partitions(topic_id: bytes, partitions: Collection[int]) -> bytes:
    if not partitions:
        return compact_array(())
    return compact_array([topic_id + compact_array(INT32.pack(each) for each in sorted(partitions)) + NO_TAGS])


def read_heartbeat(buffer: Buffer, start: int) -> Heartbeat:
    """The reply to a ConsumerGroupHeartbeat.

    Raises:
        BrokerError: it assigns partitions of more than the one topic that a member asks for.
    """
    reader = FlexibleReader(buffer, start)
    reader.int32()
    error, message = reader.int16(), reader.string()
    reader.string()
    epoch, interval_ms = reader.int32(), reader.int32()
    if error:
        return Heartbeat(error, message)
    if reader.int8() < 0:
        return Heartbeat(0, "", epoch, interval_ms / 1000)
    assigned = _read_partitions(reader)
    if len(assigned) > 1:
        raise BrokerError(f"the group assigns partitions of {len(assigned)} topics, of which this member reads one")
    topic_id, partitions = assigned[0] if assigned else (b"", frozenset[int]())
    return Heartbeat(0, "", epoch, interval_ms / 1000, topic_id, partitions)


def _read_partitions(reader: FlexibleReader, *, named: bool = False) -> list[tuple[bytes, frozenset[int]]]:
    """(topic id, partitions) of each topic of an assignment, whose names come too where they are ``named``."""
    found = []
    for _ in range(reader.count()):
        topic_id = reader.uuid()
        if named:
            reader.string()
        found.append((topic_id, frozenset([reader.int32() for _ in range(reader.count())])))
        reader.tags()
    reader.tags()
    return found


def commit_request(member: MemberName, topic: str, positions: Mapping[int, int]) -> bytearray:
    """Commit positions (OffsetCommit 9)."""
    parts = (
        struct.pack(">iqi", partition, offset, _NO_EPOCH) + compact("") + NO_TAGS
        for partition, offset in positions.items()
    )
    body = compact(member.group_id) + INT32.pack(member.generation) + compact(member.member_id) + NULL
    body += compact_array([compact(topic) + compact_array(parts) + NO_TAGS])
    return flexible_frame(member.client_id, OFFSET_COMMIT, _WITH_EPOCH, body + NO_TAGS)


def committed_request(member: MemberName, topic: str, partitions: Collection[int]) -> bytearray:
    """Ask for the group's committed offsets (OffsetFetch 9)."""
    numbers = compact_array(INT32.pack(each) for each in sorted(partitions))
    topics = compact_array([compact(topic) + numbers + NO_TAGS])
    group = compact(member.group_id) + compact(member.member_id) + INT32.pack(member.generation) + topics + NO_TAGS
    unstable_too = b"\x00"
    return flexible_frame(member.client_id, OFFSET_FETCH, _WITH_EPOCH, compact_array([group]) + unstable_too + NO_TAGS)


def read_commit(buffer: Buffer, start: int) -> int:
    """The first error code of an OffsetCommit's partitions."""
    reader = FlexibleReader(buffer, start)
    reader.int32()
    error = 0
    for _ in range(reader.count()):
        reader.string()
        for _ in range(reader.count()):
            reader.int32()
            error = error or reader.int16()
            reader.tags()
        reader.tags()
    return error


def read_committed(buffer: Buffer, start: int) -> tuple[int, dict[int, int]]:
    """(the first error code, partition -> committed offset); a partition without one is left out."""
    reader = FlexibleReader(buffer, start)
    reader.int32()
    error = 0
    offsets: dict[int, int] = {}
    for _ in range(reader.count()):
        reader.string()
        for _ in range(reader.count()):
            reader.string()
            for _ in range(reader.count()):
                partition, offset = reader.int32(), reader.int64()
                reader.int32()
                reader.string()
                error = error or reader.int16()
                reader.tags()
                if offset >= 0:
                    offsets[partition] = offset
            reader.tags()
        error = error or reader.int16()
        reader.tags()
    return error, offsets


def describe_request(client_id: str, group_id: str) -> bytearray:
    """Who is in a group, and what everyone has (ConsumerGroupDescribe 0)."""
    without_rights = b"\x00"
    body = compact_array([compact(group_id)]) + without_rights + NO_TAGS
    return flexible_frame(client_id, CONSUMER_GROUP_DESCRIBE, 0, body)


def read_described(buffer: Buffer, start: int) -> DescribedGroup:
    """The reply to a ConsumerGroupDescribe of one group."""
    reader = FlexibleReader(buffer, start)
    reader.int32()
    reader.count()
    error = reader.int16()
    reader.string()
    reader.string()
    state = reader.string()
    reader.int32()
    reader.int32()
    reader.string()
    return DescribedGroup(error, state, tuple([_read_member(reader) for _ in range(reader.count())]))


def _read_member(reader: FlexibleReader) -> DescribedMember:
    member_id = reader.string()
    reader.string()
    reader.string()
    reader.int32()
    reader.string()
    reader.string()
    for _ in range(reader.count()):
        reader.string()
    reader.string()
    assigned = _read_partitions(reader, named=True)
    _read_partitions(reader, named=True)  # what it is to have
    reader.tags()
    return DescribedMember(member_id, frozenset(number for _, numbers in assigned for number in numbers))
