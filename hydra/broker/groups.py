"""Groups and who is in them.

kafka-python knows the members of the classic protocol only; of those of the consumer protocol (KIP-848) brokers are
asked by our own requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, TypeVar

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import GroupIdNotFoundError, NonEmptyGroupError, for_code

from hydra.clients import wire_consumer_protocol as protocol
from hydra.clients.wire_group_protocol import UNKNOWN_MEMBER_ID, MemberName, find_coordinator_request, read_coordinator
from hydra.clients.wire_protocol import INT32, MALFORMED, api_versions_request, read_api_versions
from hydra.clients.wire_request import CLIENT_ID, ask
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.kafka_errors import UNSUPPORTED_VERSION, final_error_in, is_final
from hydra.options.kafka_access import KafkaAccess

STABLE = "Stable"
_DEAD = "Dead"
"""What brokers say of a group that is not there by the protocol that was asked about."""

_GONE = ("OK", GroupIdNotFoundError.__name__)
HAS_MEMBERS = NonEmptyGroupError.__name__
"""Why brokers do not delete a group that somebody is in."""

_T = TypeVar("_T")

_NOBODY = "hydra-nobody"
"""A group and a member that there are not."""

_TIMEOUT_S = 5.0


class _Member(TypedDict):
    member_id: str


class _ClassicGroup(TypedDict):
    group_state: str
    members: list[_Member]
    error: str | None


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


def undeleted(client: KafkaAdminClient, group_ids: Sequence[str]) -> Mapping[str, str]:
    """Delete groups; why those are still there that are, by group.

    Raises:
        KafkaError, RuntimeError, OSError: a coordinator is not known, or does not answer.
    """
    return {group_id: why for group_id, why in client.delete_groups(group_ids).items() if why not in _GONE}


def member_count(client: KafkaAdminClient, group_id: str, brokers: Sequence[Endpoint], access: KafkaAccess) -> int:
    """How many members a group of either protocol has.

    Raises:
        KafkaError, RuntimeError, OSError: the coordinator does not tell, so that it may be any number.
    """
    found = _classic_group(client, group_id)
    if found["group_state"] == _DEAD:
        return len(_members(_coordinator(brokers, group_id, access), group_id, access))
    return len(found["members"])


def empty_group(client: KafkaAdminClient, group_id: str, brokers: Sequence[Endpoint], access: KafkaAccess) -> None:
    """Remove members that did not leave: those of a killed task stay until their session times out.

    Raises:
        KafkaError, RuntimeError, OSError: the coordinator is not known, or does not answer.
    """
    found = _classic_group(client, group_id)
    if found["group_state"] == _DEAD:
        _remove_members(_coordinator(brokers, group_id, access), group_id, access)
    elif members := found["members"]:
        client.remove_group_members(group_id, [MemberToRemove(member_id=member["member_id"]) for member in members])


def _classic_group(client: KafkaAdminClient, group_id: str) -> _ClassicGroup:
    """A group by the classic protocol; ``_DEAD`` where there is none of this name."""
    found: _ClassicGroup = client.describe_groups([group_id])[group_id]
    if error := found["error"]:
        # The library raises nothing, and says beside the error that the group has no members.
        code = final_error_in(error)
        if code is None:
            raise RuntimeError(error)
        if code != protocol.GROUP_ID_NOT_FOUND:  # what brokers say beside ``_DEAD`` from 4.0 on
            raise for_code(code)(group_id)
    return found


def _members(coordinator: Endpoint, group_id: str, access: KafkaAccess) -> tuple[protocol.DescribedMember, ...]:
    """The members of a group by the consumer protocol: none where there is no such group."""
    # Before 4.0 brokers hang up on a request that they do not know.
    if protocol.CONSUMER_GROUP_DESCRIBE not in _asked(
        coordinator, api_versions_request(CLIENT_ID), read_api_versions, access
    ):
        return ()
    group = _described(coordinator, group_id, access)
    if group.error and group.error not in {protocol.GROUP_ID_NOT_FOUND, UNSUPPORTED_VERSION}:
        raise for_code(group.error)(group_id)
    return group.members


def _remove_members(coordinator: Endpoint, group_id: str, access: KafkaAccess) -> None:
    for member in _members(coordinator, group_id, access):
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
