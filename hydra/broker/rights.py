"""The rights that a run needs, asked for one by one with requests that change nothing.

A broker looks at a right before it looks at anything else. So each question is about what does not exist, or only
checked: a topic or a group of a name that no run has yet, or a partition that the topic does not have. Without the
right the answer is that it is missing; with it, that the thing does not exist. The requests are of the oldest versions
that Kafka 4 takes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hydra.clients import wire_group_protocol as group_protocol
from hydra.clients.record_writer import RecordWriter
from hydra.clients.wire_produce import init_producer_id_request, read_init_producer_id
from hydra.clients.wire_protocol import (
    FETCH,
    INT16,
    INT32,
    PRODUCE,
    Reader,
    frame,
    list_offsets_request,
    read_list_offsets,
    string,
)  # fmt: skip
from hydra.clients.wire_request import exchange
from hydra.endpoints import Endpoint
from hydra.errors import HydraError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.options import Options
from hydra.records.identity import IDENTITY_BYTES, identity_prefix

CLIENT_ID = "hydra-rights"
NO_PARTITION = 0x7FFFFFF0
"""No topic has as many."""

TOPIC_REFUSED, GROUP_REFUSED, CLUSTER_REFUSED = 29, 30, 31
_REFUSALS = {TOPIC_REFUSED, GROUP_REFUSED, CLUSTER_REFUSED}
_NOT_CONTROLLER = 41
_TIMEOUT_S = 10.0
"""For all questions to one broker."""


_CREATE_TOPICS, _DELETE_RECORDS, _DESCRIBE_CONFIGS, _DESCRIBE_GROUPS, _DELETE_GROUPS = 19, 21, 32, 15, 42
_TOPIC_RESOURCE = 2

Read = Callable[[bytes], int]
"""The error code in a reply, which begins with its correlation id."""


@dataclass(frozen=True)
class Right:
    """An operation of Kafka's ACLs on a resource, and what a run needs it for."""

    operation: str
    resource: str
    purpose: str
    request: bytes
    read: Read
    optional: bool = False
    """Whether a run does without it, and then knows less."""

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource}"


@dataclass(frozen=True)
class Answer:
    """What the brokers say of a right."""

    right: Right
    granted: bool | None
    """None where nobody can tell."""
    reason: str = ""
    """Why nobody can."""


def check_rights(
    options: Options, run_id: str, brokers: Sequence[Endpoint], access: KafkaAccess = NO_SECURITY
) -> Iterator[Answer]:
    """Ask for each right that a run of that name with these options needs; never raises.

    A broker is asked for all of them on one connection, for which it has to let us in once. What it did not answer, or
    only the controller knows, the next one is asked for.
    """
    rights = tuple(rights_needed(options, run_id))
    waiting = dict.fromkeys(rights, "no broker answers")
    answers: dict[Right, Answer] = {}
    for broker in brokers:
        if not waiting:
            break
        _ask(broker, waiting, answers, access)
    answers |= {right: Answer(right, None, reason) for right, reason in waiting.items()}
    yield from (answers[right] for right in rights)


def _ask(broker: Endpoint, waiting: dict[Right, str], answers: dict[Right, Answer], access: KafkaAccess) -> None:
    """Move what one broker answers from what is waited for to the answers, and note of the rest why it did not."""
    asked = tuple(waiting)
    try:
        replies, reason = exchange(broker, [bytearray(right.request) for right in asked], _TIMEOUT_S, access)
    except (HydraError, OSError) as error:
        replies, reason = [], str(error)
    waiting |= dict.fromkeys(asked[len(replies) :], reason)
    for right, reply in zip(asked, replies, strict=False):
        try:
            code = right.read(reply)
        except (ValueError, LookupError, struct.error) as error:
            waiting[right] = f"{broker}: {error or type(error).__name__}"
            continue
        if code == _NOT_CONTROLLER:
            waiting[right] = f"{broker} is not the controller"
        else:
            answers[right] = Answer(right, code not in _REFUSALS)
            del waiting[right]


def rights_needed(options: Options, run_id: str) -> Iterator[Right]:
    """All rights of a run of that name, in the order in which it needs them."""
    topic = options.topic or run_id
    where = f"topic {topic}" if options.topic else "topics hydra-* (prefixed)"
    if not options.topic:
        yield Right("Create", where, "the run's topic", _create_request(topic), _create_error)
    offsets = list_offsets_request(CLIENT_ID, topic, NO_PARTITION, -1)
    yield Right(
        "Describe", where, "its leaders and offsets", bytes(offsets), lambda reply: read_list_offsets(reply, 4)[0]
    )
    what = "its limits and its retention"
    yield Right("DescribeConfigs", where, what, _configs_request(topic), _configs_error, optional=True)
    yield Right("Write", where, "the publisher", _produce_request(topic, run_id), _produce_error)
    yield Right("Read", where, "clients and auditor", _fetch_request(topic), _fetch_error)
    if options.idempotence == "yes" or (options.idempotence == "auto" and options.acks == "all"):
        request = bytes(init_producer_id_request(CLIENT_ID))
        purpose = "an idempotent publisher, with brokers before 2.8"
        yield Right(
            "IdempotentWrite", "the cluster", purpose, request, lambda reply: read_init_producer_id(reply, 4)[0]
        )
    yield from _group_rights(options, f"{options.group_prefix}{run_id}")
    if not options.topic:
        yield Right("Delete", where, "the end of the run", _delete_request(topic), _delete_error)


def _group_rights(options: Options, group: str) -> Iterator[Right]:
    where = f"groups {options.group_prefix}hydra-* (prefixed)"
    name = string(group.encode())
    if options.group_mode == "group":
        heartbeat = group_protocol.heartbeat_request(group_protocol.MemberName(CLIENT_ID, group, 1, "nobody"))
        purpose = "members that join, heartbeat and commit"
        yield Right("Read", where, purpose, bytes(heartbeat), lambda reply: group_protocol.read_error(reply, 4))
    if options.group_mode == "group" or options.sub_driver != "wire":
        request = bytes(frame(CLIENT_ID, _DESCRIBE_GROUPS, 0, INT32.pack(1) + name))
        yield Right("Describe", where, "the look-up of their coordinator", request, lambda reply: _int16(reply, 8))
    if options.group_mode == "group":
        request = bytes(frame(CLIENT_ID, _DELETE_GROUPS, 0, INT32.pack(1) + name))
        yield Right("Delete", where, "the end of the run", request, _delete_groups_error)


def _int16(reply: bytes, at: int) -> int:
    return int(INT16.unpack_from(reply, at)[0])


def _after_string(reply: bytes, at: int) -> int:
    reader = Reader(reply, at)
    reader.string()
    return reader.int16()


def _create_request(topic: str) -> bytes:
    """CreateTopics 2, to be checked only: nothing is created."""
    body = INT32.pack(1) + string(topic.encode()) + struct.pack(">ihii", 1, 1, 0, 0)
    return bytes(frame(CLIENT_ID, _CREATE_TOPICS, 2, body + struct.pack(">ib", 5000, 1)))


def _create_error(reply: bytes) -> int:
    return _after_string(reply, 12)


def _delete_request(topic: str) -> bytes:
    """DeleteRecords 0, of a topic that does not exist, which needs the right that DeleteTopics looks at too late."""
    body = INT32.pack(1) + string(topic.encode()) + struct.pack(">iiqi", 1, NO_PARTITION, 0, 5000)
    return bytes(frame(CLIENT_ID, _DELETE_RECORDS, 0, body))


def _delete_error(reply: bytes) -> int:
    reader = Reader(reply, 12)
    reader.string()
    reader.skip(16)
    return reader.int16()


def _delete_groups_error(reply: bytes) -> int:
    return _after_string(reply, 12)


def _configs_request(topic: str) -> bytes:
    """DescribeConfigs 1."""
    body = struct.pack(">ib", 1, _TOPIC_RESOURCE) + string(topic.encode()) + struct.pack(">ib", -1, 0)
    return bytes(frame(CLIENT_ID, _DESCRIBE_CONFIGS, 1, body))


def _configs_error(reply: bytes) -> int:
    return _int16(reply, 12)


def _produce_request(topic: str, run_id: str) -> bytes:
    """Produce 3, of one record to a partition that there is not."""
    batch = RecordWriter(identity_prefix(run_id), IDENTITY_BYTES).batch(0, [(1, time.time_ns() // 1_000_000)])
    body = struct.pack(">hhii", -1, 1, 5000, 1) + string(topic.encode())
    body += struct.pack(">iii", 1, NO_PARTITION, len(batch)) + batch
    return bytes(frame(CLIENT_ID, PRODUCE, 3, body))


def _produce_error(reply: bytes) -> int:
    reader = Reader(reply, 8)
    reader.string()
    reader.skip(8)
    return reader.int16()


def _fetch_request(topic: str) -> bytes:
    """Fetch 4, of a partition that there is not."""
    body = struct.pack(">iiiibi", -1, 0, 0, 1024, 0, 1) + string(topic.encode())
    return bytes(frame(CLIENT_ID, FETCH, 4, body + struct.pack(">iiqi", 1, NO_PARTITION, 0, 1024)))


def _fetch_error(reply: bytes) -> int:
    reader = Reader(reply, 12)
    reader.string()
    reader.skip(8)
    return reader.int16()


def lacking(
    options: Options, run_id: str, brokers: Sequence[Endpoint], access: KafkaAccess = NO_SECURITY
) -> tuple[Right, ...]:
    """The rights that such a run needs and is known not to have."""
    answers = check_rights(options, run_id, brokers, access)
    return tuple(answer.right for answer in answers if answer.granted is False and not answer.right.optional)
