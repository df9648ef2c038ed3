"""Groups and who is in them.

kafka-python knows the members of the classic protocol only; of those of the consumer protocol (KIP-848) brokers are
asked by our own requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from hydra.clients import wire_consumer_protocol as protocol
from hydra.clients.wire_group_protocol import UNKNOWN_MEMBER_ID, MemberName, find_coordinator_request, read_coordinator
from hydra.clients.wire_protocol import INT32, MALFORMED, api_versions_request, read_api_versions
from hydra.clients.wire_request import CLIENT_ID, ask
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import UNSUPPORTED_VERSION, is_final
from hydra.options.kafka_access import KafkaAccess

STABLE = "Stable"
_DEAD = "Dead"
"""What brokers say of a group that is not there by the protocol that was asked about."""

_T = TypeVar("_T")

_NOBODY = "hydra-nobody"
"""A group and a member that there are not."""

_TIMEOUT_S = 5.0


def takes_consumer_groups(broker: Endpoint, access: KafkaAccess) -> bool:
    """Whether a broker takes members of this protocol: one that knows its requests may have it turned off.

    Raises:
        ConnectionError: the broker does not answer.
    """
    versions = _asked(broker, api_versions_request(CLIENT_ID), read_api_versions, access)
    try:
        version = protocol.heartbeat_version(versions)
    except BrokerError:
        return False
    leave = protocol.heartbeat_request(MemberName(CLIENT_ID, _NOBODY, protocol.LEAVE_EPOCH, _NOBODY), version)
    return _asked(broker, leave, protocol.read_heartbeat, access).error != UNSUPPORTED_VERSION


def is_settled(
    brokers: Sequence[Endpoint], group_id: str, access: KafkaAccess, *, members: int, partitions: int
) -> bool:
    """Whether a group has its members, each has what it is to have, and somebody has each of the topic's partitions.

    True, too, where this user may not know. Without an answer it is not settled.
    """
    try:
        group = _described(_coordinator(brokers, group_id, access), group_id, access)
    except ConnectionError:
        return False
    if group.error:
        return is_final(group.error)
    assigned = [number for member in group.members for number in member.assigned]
    return group.state == STABLE and len(group.members) >= members and len(set(assigned)) == partitions


def empty_group(client: KafkaAdminClient, group_id: str, brokers: Sequence[Endpoint], access: KafkaAccess) -> None:
    """Remove members that did not leave: those of a killed task stay until their session times out.

    Raises:
        KafkaError, RuntimeError, OSError: the coordinator is not known, or does not answer.
    """
    found = client.describe_groups([group_id])[group_id]
    if found["group_state"] == _DEAD:
        _remove_members(brokers, group_id, access)
    elif members := found["members"]:
        client.remove_group_members(group_id, [MemberToRemove(member_id=member["member_id"]) for member in members])


def _remove_members(brokers: Sequence[Endpoint], group_id: str, access: KafkaAccess) -> None:
    coordinator = _coordinator(brokers, group_id, access)
    for member in _described(coordinator, group_id, access).members:
        who = MemberName(CLIENT_ID, group_id, protocol.LEAVE_EPOCH, member.member_id)
        leave = protocol.heartbeat_request(who, version=0)
        error = _asked(coordinator, leave, protocol.read_heartbeat, access).error
        if error not in {0, UNKNOWN_MEMBER_ID}:
            return  # what keeps the group is told by who deletes it


def _coordinator(brokers: Sequence[Endpoint], group_id: str, access: KafkaAccess) -> Endpoint:
    request, reason = find_coordinator_request(CLIENT_ID, group_id), "no broker is known"
    for broker in brokers:
        try:
            error, coordinator = _asked(broker, request, read_coordinator, access)
        except ConnectionError as unreachable:
            reason = str(unreachable)
            continue
        if not error:
            return coordinator
        reason = f"{broker} does not know the coordinator of {group_id}"
    raise ConnectionError(reason)


def _described(coordinator: Endpoint, group_id: str, access: KafkaAccess) -> protocol.DescribedGroup:
    return _asked(coordinator, protocol.describe_request(CLIENT_ID, group_id), protocol.read_described, access)


def _asked(broker: Endpoint, request: bytearray, read: Callable[[bytes, int], _T], access: KafkaAccess) -> _T:
    """What a broker's reply says; it begins with its correlation id."""
    reply = ask(broker, request, _TIMEOUT_S, access)
    try:
        return read(reply, INT32.size)
    except MALFORMED as error:
        raise ConnectionError(f"{broker}: malformed reply: {error}") from error
