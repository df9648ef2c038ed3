"""Topics of a Kafka 0.9: when they count as made and as gone. Its broker and Kafka's own tool are scripted."""

from __future__ import annotations

import pytest

from hydra.accounting.evidence import OffsetRange
from hydra.broker import old_admin
from hydra.broker.old_admin import OldTopicAdmin, is_old_ready
from hydra.broker.old_requests import OldMetadata, OldPartition
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, UsageError
from hydra.options.order import NO_TIMESTAMPS, PartitionLeader, TopicIdentity

BROKER = Endpoint("127.0.0.1", 9092)
BROKERS = {1: BROKER}
LED, LEADERLESS = OldPartition(0, 1, 1), OldPartition(0, -1, 0)


class Scripted:
    """A broker that answers in turn, the last answer again and again; and a tool that notes what it is told."""

    def __init__(self):
        self.answers = [OldMetadata(BROKERS)]
        self.listed = [frozenset()]
        self.done = []

    def metadata(self, endpoint, topic, timeout_s):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def create(self, name, partitions, settings):
        self.done.append(("create", name, partitions, settings))

    def delete(self, name):
        self.done.append(("delete", name))

    def topics(self):
        self.done.append(("list",))
        return self.listed.pop(0) if len(self.listed) > 1 else self.listed[0]


@pytest.fixture
def scripted_kafka(monkeypatch):
    script = Scripted()
    monkeypatch.setattr(old_admin, "old_metadata", script.metadata)
    monkeypatch.setattr(old_admin, "_POLL_S", 0.001)
    return script


@pytest.fixture
def admin(scripted_kafka):
    return OldTopicAdmin("127.0.0.1:9092", scripted_kafka, 1_048_588, timeout_s=0.05)


def topic(*partitions):
    return OldMetadata(BROKERS, partitions)


def test_a_topic_counts_as_made_once_every_partition_has_a_leader(admin, scripted_kafka):
    scripted_kafka.answers = [OldMetadata(BROKERS), topic(LEADERLESS), topic(LED)]
    leaders = admin.create_topic("t", partitions=1, configs={"retention.ms": "5000"})
    assert leaders == (PartitionLeader(0, 1, BROKER),)
    assert scripted_kafka.done == [("create", "t", 1, {"retention.ms": "5000"})]
    facts = admin.describe_topic("t")
    assert (facts.timestamp_type, facts.retention_ms, facts.in_sync_replicas, facts.replicas) == (
        NO_TIMESTAMPS, 5000, 1, 1,
    )  # fmt: skip
    assert facts.max_message_bytes == 1_048_588


def test_what_the_topic_was_made_with_is_its_largest_message(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LED)]
    admin.create_topic("t", partitions=1, configs={"max.message.bytes": "2000000"})
    assert admin.describe_topic("t").max_message_bytes == 2_000_000


def test_a_topic_without_leaders_is_told(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LEADERLESS)]
    with pytest.raises(BrokerError, match="has 0 leaders for 1 partitions"):
        admin.create_topic("t", partitions=1, configs={})


def test_a_topic_is_gone_once_neither_broker_nor_zookeeper_knows_it(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LED), topic(LED), OldMetadata(BROKERS)]
    scripted_kafka.listed = [frozenset({"t", "other"}), frozenset({"other"})]
    admin.delete_topic("t")
    assert scripted_kafka.done == [("delete", "t"), ("list",), ("list",)]


def test_one_that_stays_in_zookeeper_is_told(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LED), OldMetadata(BROKERS)]
    scripted_kafka.listed = [frozenset({"t"})]
    with pytest.raises(BrokerError, match="still in ZooKeeper"):
        admin.delete_topic("t")


def test_one_that_stays_with_the_broker_is_told(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LED)]
    with pytest.raises(BrokerError, match="still there"):
        admin.delete_topic("t")


def test_a_topic_that_nobody_knows_is_not_deleted(admin, scripted_kafka):
    admin.delete_topic("t")
    assert scripted_kafka.done == [("list",)]


def test_one_that_only_zookeeper_knows_is_deleted(admin, scripted_kafka):
    scripted_kafka.listed = [frozenset({"t"}), frozenset()]
    admin.delete_topic("t")
    assert scripted_kafka.done == [("list",), ("delete", "t"), ("list",)]


def test_a_look_at_a_topic(admin, scripted_kafka):
    scripted_kafka.answers = [topic(LED), OldMetadata(BROKERS), ConnectionError("refused")]
    assert admin.look_at_topic("t") == TopicIdentity()
    assert admin.look_at_topic("t") is None
    with pytest.raises(BrokerError, match="cannot look at the topic t"):
        admin.look_at_topic("t")


def test_a_broker_that_is_away_for_a_moment_is_asked_again(admin, scripted_kafka):
    scripted_kafka.answers = [ConnectionError("refused"), ValueError("cut off"), OldMetadata(BROKERS)]
    facts = admin.check()
    assert (facts.version, facts.brokers, facts.cluster_id) == ("0.9.0.1", BROKERS, "")
    scripted_kafka.answers = [ConnectionError("refused")]
    with pytest.raises(BrokerError, match=r"cannot describe the cluster on 127\.0\.0\.1:9092 \(refused\)"):
        admin.check()


def test_offsets_are_of_every_partition(admin, scripted_kafka, monkeypatch):
    asked = []

    def offsets(endpoint, name, partitions, timeout_s):
        asked.append((name, list(partitions)))
        return {0: [3, 10], 1: [0, 0]}

    monkeypatch.setattr(old_admin, "old_offsets", offsets)
    scripted_kafka.answers = [topic(LED, OldPartition(1, 1, 1))]
    assert admin.offsets("t") == {0: OffsetRange(3, 10), 1: OffsetRange(0, 0)}
    assert asked == [("t", [0, 1])]
    scripted_kafka.answers = [OldMetadata(BROKERS)]
    with pytest.raises(BrokerError, match="does not exist"):
        admin.offsets("t")


def test_what_it_cannot_do_it_does_not_seem_to_do(admin):
    with pytest.raises(BrokerError, match="3 replicas"):
        admin.create_topic("t", partitions=1, replicas=3, configs={})
    with pytest.raises(BrokerError, match="groups cannot be deleted"):
        admin.delete_groups(["g"])
    with pytest.raises(UsageError, match="does not exist"):
        admin.find_topic("t")
    assert admin.connection_limits() is None


def test_a_broker_is_ready_once_it_is_in_its_own_list(scripted_kafka):
    scripted_kafka.answers = [ConnectionError("refused"), OldMetadata({}), OldMetadata(BROKERS)]
    assert [is_old_ready(BROKER, 0.1) for _ in range(3)] == [False, False, True]
