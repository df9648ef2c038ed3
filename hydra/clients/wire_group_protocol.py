"""The requests of a consumer group's member, and the replies to them, as bytes.

In versions that are not "flexible" and that all of Kafka 0.11 to 4 take: FindCoordinator 0, JoinGroup 2, SyncGroup 0,
Heartbeat 0, LeaveGroup 0, OffsetCommit 2, OffsetFetch 1; and version 0 of the consumer protocol, which is what the
members tell each other through the coordinator. Notation is that of ``wire_protocol.py``; every function here is pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hydra.clients.wire_protocol import INT16, INT32, Buffer, Reader, frame, string
from hydra.endpoints import Endpoint

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10
JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 11, 12, 13, 14

COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS = 22, 25, 27

_PROTOCOL_TYPE = b"consumer"
_PROTOCOL = b"range"


class MemberName(NamedTuple):
    """Who a member is, in each of its requests."""

    client_id: str
    group_id: str
    generation: int
    """By the consumer protocol its epoch."""
    member_id: str

    @property
    def encoded(self) -> bytes:
        """As the requests of a member begin."""
        return string(self.group_id.encode()) + INT32.pack(self.generation) + string(self.member_id.encode())


@dataclass(frozen=True)
class Joined:
    """The reply to a JoinGroup. The ``leader`` has to assign the partitions; only it is told all ``members``."""

    error: int
    generation: int
    leader: str
    member_id: str
    members: tuple[str, ...]


def _bytes(content: bytes) -> bytes:
    return INT32.pack(len(content)) + content


def find_coordinator_request(client_id: str, group_id: str) -> bytearray:
    """Which broker coordinates the group (FindCoordinator 0)."""
    return frame(client_id, FIND_COORDINATOR, 0, string(group_id.encode()))


def join_request(
    client_id: str, group_id: str, member_id: str, topic: str, *, session_timeout_ms: int, rebalance_timeout_ms: int
) -> bytearray:
    """Join, to read this topic (JoinGroup 2); the coordinator gives a member id in return for an empty one."""
    subscription = struct.pack(">hi", 0, 1) + string(topic.encode()) + INT32.pack(-1)
    body = string(group_id.encode()) + struct.pack(">ii", session_timeout_ms, rebalance_timeout_ms)
    body += string(member_id.encode()) + string(_PROTOCOL_TYPE)
    body += INT32.pack(1) + string(_PROTOCOL) + _bytes(subscription)
    return frame(client_id, JOIN_GROUP, 2, body)


def sync_request(member: MemberName, topic: str, assignment: Mapping[str, Sequence[int]]) -> bytearray:
    """Ask for the assignment (SyncGroup 0); the group's leader sends it for all members, the others send nothing."""
    body = member.encoded + INT32.pack(len(assignment))
    for member_id, partitions in assignment.items():
        part = b""
        if partitions:
            part = string(topic.encode()) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
        body += string(member_id.encode()) + _bytes(
            struct.pack(">hi", 0, 1 if partitions else 0) + part + INT32.pack(-1)
        )
    return frame(member.client_id, SYNC_GROUP, 0, body)


def heartbeat_request(member: MemberName) -> bytearray:
    """Stay a member (Heartbeat 0)."""
    return frame(member.client_id, HEARTBEAT, 0, member.encoded)


def leave_request(member: MemberName) -> bytearray:
    """Leave (LeaveGroup 0)."""
    body = string(member.group_id.encode()) + string(member.member_id.encode())
    return frame(member.client_id, LEAVE_GROUP, 0, body)


def commit_request(member: MemberName, topic: str, positions: Mapping[int, int]) -> bytearray:
    """Commit positions (OffsetCommit 2), to be kept for as long as the broker keeps any."""
    body = member.encoded + struct.pack(">qi", -1, 1) + string(topic.encode())
    body += INT32.pack(len(positions))
    for partition, offset in positions.items():
        body += struct.pack(">iq", partition, offset) + string(b"")
    return frame(member.client_id, OFFSET_COMMIT, 2, body)


def committed_request(client_id: str, group_id: str, topic: str, partitions: Sequence[int]) -> bytearray:
    """Ask for the group's committed offsets (OffsetFetch 1)."""
    body = string(group_id.encode()) + INT32.pack(1) + string(topic.encode())
    return frame(client_id, OFFSET_FETCH, 1, body + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions))


def read_error(buffer: Buffer, start: int) -> int:
    """The error code of a reply that begins with it (Heartbeat 0, LeaveGroup 0)."""
    return int(INT16.unpack_from(buffer, start)[0])


def read_coordinator(buffer: Buffer, start: int) -> tuple[int, Endpoint]:
    """(error code, the coordinator; meaningless with an error)."""
    reader = Reader(buffer, start)
    error = reader.int16()
    reader.int32()
    return error, Endpoint("", 0) if error else reader.endpoint()


def read_joined(buffer: Buffer, start: int) -> Joined:
    """The reply to a JoinGroup."""
    reader = Reader(buffer, start + 4)
    error, generation = reader.int16(), reader.int32()
    reader.string()
    leader, member_id = reader.string(), reader.string()
    members = []
    for _ in range(reader.int32()):
        members.append(reader.string())
        reader.skip(reader.int32())
    return Joined(error, generation, leader, member_id, tuple(members))


def read_synced(buffer: Buffer, start: int, topic: str) -> tuple[int, tuple[int, ...]]:
    """(error code, the partitions of the topic that this member is assigned)."""
    reader = Reader(buffer, start)
    error = reader.int16()
    size = reader.int32()
    partitions: list[int] = []
    if error or size <= 0:
        return error, ()
    reader.skip(2)
    for _ in range(reader.int32()):
        named = reader.string()
        given = [reader.int32() for _ in range(reader.int32())]
        if named == topic:
            partitions += given
    return error, tuple(partitions)


def read_commit(buffer: Buffer, start: int) -> int:
    """The first error code of an OffsetCommit's partitions."""
    reader = Reader(buffer, start)
    error = 0
    for _ in range(reader.int32()):
        reader.string()
        for _ in range(reader.int32()):
            reader.int32()
            error = error or reader.int16()
    return error


def read_committed(buffer: Buffer, start: int) -> tuple[int, dict[int, int]]:
    """(the first error code, partition -> committed offset); a partition without one is left out."""
    reader = Reader(buffer, start)
    error = 0
    offsets: dict[int, int] = {}
    for _ in range(reader.int32()):
        reader.string()
        for _ in range(reader.int32()):
            partition, offset = reader.int32(), reader.int64()
            reader.string()
            error = error or reader.int16()
            if offset >= 0:
                offsets[partition] = offset
    return error, offsets


def range_assign(members: Sequence[str], partitions: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Assign one topic as Kafka's range assignor does: ranges of partitions, to members in the order of their ids."""
    ordered = sorted(members)
    each, extra = divmod(len(partitions), len(ordered))
    assignment = {}
    at = 0
    for number, member in enumerate(ordered):
        stop = at + each + (number < extra)
        assignment[member] = tuple(partitions[at:stop])
        at = stop
    return assignment
