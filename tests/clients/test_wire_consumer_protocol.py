"""The bytes of the consumer protocol: against Kafka's message definitions, by hand and as kafka-python reads them."""

from __future__ import annotations

import struct

import pytest
from kafka.protocol.consumer.group import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)

from hydra.clients import wire_consumer_protocol as protocol
from hydra.clients.wire_flexible import FlexibleReader, unsigned_varint
from hydra.clients.wire_group_protocol import MemberName
from hydra.clients.wire_protocol import MALFORMED
from hydra.errors import BrokerError

TOPIC_ID = bytes(range(16))
NULL = b"\0"


def text(words):
    return unsigned_varint(len(words) + 1) + words.encode()


def head(version):
    return struct.pack(">hhih", 68, version, 0, 2) + b"me" + b"\0"


def framed(content):
    return struct.pack(">i", len(content)) + content


@pytest.mark.parametrize("version", [0, 1])
def test_who_joins_tells_everything(version):
    request = protocol.heartbeat_request(
        MemberName("me", "grp", 0, "id"), version,
        subscription=protocol.Subscription("top", "r1", 60_000), topic_id=TOPIC_ID, owned=(),
    )  # fmt: skip
    regular_expression = NULL if version else b""
    assert bytes(request) == framed(
        head(version) + text("grp") + text("id") + struct.pack(">i", 0) + NULL + text("r1")
        + struct.pack(">i", 60_000) + b"\2" + text("top") + regular_expression + NULL + b"\1" + b"\0"
    )  # fmt: skip


def test_who_stays_says_only_that_and_who_acknowledges_what_it_has():
    stays = head(1) + text("grp") + text("id") + struct.pack(">i", 7) + NULL + NULL + struct.pack(">i", -1) + NULL * 3
    assert bytes(protocol.heartbeat_request(MemberName("me", "grp", 7, "id"), 1)) == framed(stays + NULL + b"\0")
    owned = b"\2" + TOPIC_ID + b"\3" + struct.pack(">ii", 2, 5) + b"\0"
    request = protocol.heartbeat_request(MemberName("me", "grp", 7, "id"), 1, topic_id=TOPIC_ID, owned={5, 2})
    assert bytes(request) == framed(stays + owned + b"\0")


def answer(*, error=0, message=NULL, epoch=3, interval_ms=5000, assignment=b"\xff", tags=b"\0"):
    fixed = struct.pack(">ih", 0, error) + message + text("id") + struct.pack(">ii", epoch, interval_ms)
    return b"\0" + fixed + assignment + tags


def topic(topic_id, *partitions):
    return topic_id + unsigned_varint(len(partitions) + 1) + struct.pack(f">{len(partitions)}i", *partitions) + b"\0"


def test_a_reply_tells_epoch_interval_and_what_to_read():
    assert protocol.read_heartbeat(answer(), 0) == protocol.Heartbeat(0, "", 3, 5.0)
    some = answer(assignment=b"\1\2" + topic(TOPIC_ID, 4, 0) + b"\0")
    assert protocol.read_heartbeat(some, 0) == protocol.Heartbeat(0, "", 3, 5.0, TOPIC_ID, frozenset((0, 4)))
    none = answer(assignment=b"\1\1\0")
    assert protocol.read_heartbeat(none, 0).assigned == frozenset()
    refused = answer(error=110, message=text("too old"))
    assert protocol.read_heartbeat(refused, 0) == protocol.Heartbeat(110, "too old")


def test_tagged_fields_that_nobody_knows_yet_are_passed_over():
    strange = b"\1\7\3abc"
    reply = strange + answer(assignment=b"\1\2" + topic(TOPIC_ID, 1)[:-1] + strange + strange)[1:]
    assert protocol.read_heartbeat(reply, 0).assigned == {1}


def test_a_topic_that_nobody_asked_for_is_refused():
    two = answer(assignment=b"\1\3" + topic(TOPIC_ID, 1) + topic(bytes(16), 1) + b"\0")
    with pytest.raises(BrokerError, match="assigns partitions of 2 topics"):
        protocol.read_heartbeat(two, 0)


def test_a_commit_is_what_kafka_python_reads():
    request = protocol.commit_request(MemberName("me", "grp", 4, "id"), "top", {3: 70, 1: 2**40})
    read = OffsetCommitRequest.decode(bytes(request), version=9, header=True, framed=True).to_dict()
    assert (read["group_id"], read["member_id"], read["group_instance_id"]) == ("grp", "id", None)
    assert next(value for key, value in read.items() if key.startswith("generation_id")) == 4
    (named,) = read["topics"]
    assert named["name"] == "top"
    found = [(part["partition_index"], part["committed_offset"]) for part in named["partitions"]]
    assert found == [(3, 70), (1, 2**40)]


def test_a_look_at_what_is_committed_is_what_kafka_python_reads():
    request = protocol.committed_request(MemberName("me", "grp", 4, "id"), "top", {3, 1})
    read = OffsetFetchRequest.decode(bytes(request), version=9, header=True, framed=True).to_dict()
    assert read["require_stable"] is False
    (asked,) = read["groups"]
    assert (asked["group_id"], asked["member_id"], asked["member_epoch"]) == ("grp", "id", 4)
    assert [(each["name"], each["partition_indexes"]) for each in asked["topics"]] == [("top", [1, 3])]


def encoded(reply):
    """With its correlation id, and no tags behind that."""
    return bytes(5) + reply.encode(version=9)


def test_what_kafka_python_answers_is_read():
    kind = OffsetCommitResponse.OffsetCommitResponseTopic
    part = kind.OffsetCommitResponsePartition
    rows = [part(partition_index=0, error_code=0), part(partition_index=1, error_code=113)]
    reply = OffsetCommitResponse(throttle_time_ms=0, topics=[kind(name="top", partitions=rows)])
    assert protocol.read_commit(encoded(reply), 4) == 113
    groups = OffsetFetchResponse.OffsetFetchResponseGroup
    topics = groups.OffsetFetchResponseTopics
    parts = topics.OffsetFetchResponsePartitions

    def committed(error):
        rows = [
            parts(partition_index=number, committed_offset=offset, committed_leader_epoch=-1, metadata="", error_code=0)
            for number, offset in ((0, 12), (1, -1))
        ]
        of_topic = topics(name="top", partitions=rows)
        return encoded(
            OffsetFetchResponse(
                throttle_time_ms=0, groups=[groups(group_id="grp", topics=[of_topic], error_code=error)]
            )
        )

    assert protocol.read_committed(committed(0), 4) == (0, {0: 12})
    assert protocol.read_committed(committed(113), 4)[0] == 113


def test_a_group_is_described():
    def member(name, target, *partitions):
        fixed = text(name) + NULL + NULL + struct.pack(">i", 3) + text("c") + text("h") + b"\2" + text("top") + NULL
        assigned, wanted = ((b"\2" + named(*each) + b"\0") for each in (partitions, target))
        return fixed + assigned + wanted + b"\0"

    def named(*partitions):
        return TOPIC_ID + text("top") + topic(b"", *partitions)

    fixed = struct.pack(">i", 0) + b"\2" + struct.pack(">h", 0) + NULL + text("grp") + text("Stable")
    fixed += struct.pack(">ii", 4, 4) + text("uniform")
    reply = b"\0" + fixed + b"\3" + member("a", (0, 1), 0) + member("b", (2,), 1, 2) + struct.pack(">i", 0) + b"\0\0"
    members = (protocol.DescribedMember("a", frozenset((0,))), protocol.DescribedMember("b", frozenset((1, 2))))
    assert protocol.read_described(reply, 0) == protocol.DescribedGroup(0, "Stable", members)
    request = bytes(protocol.describe_request("me", "grp"))
    assert request.endswith(b"\2" + text("grp") + b"\0\0")


@pytest.mark.parametrize(
    "known", [{}, {68: (0, 1)}, {68: (2, 3), 8: (2, 10), 9: (1, 10)}, {68: (0, 1), 8: (2, 8), 9: (1, 9)}]
)
def test_a_broker_without_it_is_said_to_be_one(known):
    with pytest.raises(BrokerError, match=r"UNSUPPORTED_VERSION: .* does not take ConsumerGroupHeartbeat \(KIP-848\)"):
        protocol.heartbeat_version(known)


def test_the_best_version_is_taken():
    with_epochs = {8: (2, 10), 9: (1, 10)}
    assert protocol.heartbeat_version({68: (0, 1), **with_epochs}) == 1
    assert protocol.heartbeat_version({68: (0, 0), **with_epochs}) == 0


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "read", [protocol.read_heartbeat, protocol.read_commit, protocol.read_committed, protocol.read_described]
)
@pytest.mark.parametrize("byte", [0, 1, 0x7F, 0x80, 0xFF])
def test_what_is_no_reply_is_read_to_an_end(read, byte):
    content = bytes([byte]) * 200
    try:
        read(content, 0)
    except (*MALFORMED, BrokerError):
        return


def test_a_number_without_an_end_is_malformed():
    with pytest.raises(MALFORMED, match="more than 32 bits"):
        FlexibleReader(b"\0" + b"\xff" * 10, 0).count()
    assert FlexibleReader(b"\0" + unsigned_varint(300), 0).unsigned_varint() == 300
