"""Topics and offsets of a real broker, and the ways in which one cannot be asked."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import threading
import time
import uuid
import warnings

import psutil
import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.protocol.metadata import MetadataResponse

from hydra.accounting.evidence import OffsetRange
from hydra.broker.admin import KafkaTopicAdmin
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, UsageError
from hydra.options.order import TopicIdentity
from hydra.run.protocols import TopicAdmin


@pytest.fixture
def admin(broker):
    opened = KafkaTopicAdmin(broker.bootstrap_servers)
    yield opened
    opened.close()


def endpoint(broker) -> Endpoint:
    host, port = broker.bootstrap_servers.split(":")
    return Endpoint(host, int(port))


@contextlib.contextmanager
def broker_setting(servers, name, value):
    """While it lasts, the broker has this dynamic setting."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=servers)) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {name: value})])
        try:
            yield
        finally:
            client.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {name: ("DELETE", None)})])


@pytest.mark.integration
class TestARealBroker:
    def test_it_is_what_the_harness_asks_for(self, admin):
        asked: TopicAdmin = admin
        names = [name for name in vars(TopicAdmin) if not name.startswith("_")]
        assert all(callable(getattr(asked, name)) for name in names)
        assert "create_topic" in names

    def test_the_cluster_tells_about_itself(self, broker, admin):
        facts = admin.check()
        assert len(facts.cluster_id) == 22
        assert facts.brokers == {1: endpoint(broker)}
        assert (facts.version.startswith("4."), facts.takes_consumer_groups) == (True, True)

    def test_limits_on_connections_are_read_as_they_are_now(self, broker, admin, eventually):
        assert admin.connection_limits() == ()
        with broker_setting(broker.bootstrap_servers, "max.connections.per.ip", "200"):
            eventually(lambda: [*map(str, admin.connection_limits())] == ["max.connections.per.ip=200"])

    def test_a_topic_lives_and_dies(self, broker, admin):
        leaders = admin.create_topic("short-lived", partitions=3, configs={"retention.ms": "5000"})
        assert [(leader.partition, leader.node_id, leader.endpoint) for leader in leaders] == [
            (partition, 1, endpoint(broker)) for partition in range(3)
        ]
        assert admin.offsets("short-lived") == {partition: OffsetRange(0, 0) for partition in range(3)}
        admin.delete_topic("short-lived")
        admin.delete_topic("short-lived")
        admin.create_topic("short-lived", partitions=1, configs={})
        assert set(admin.offsets("short-lived")) == {0}
        admin.delete_topic("short-lived")

    def test_offsets_follow_the_log(self, broker, admin):
        admin.create_topic("followed", partitions=2, configs={})
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for value in (b"a", b"b", b"c"):
            producer.produce("followed", value, partition=1)
        assert producer.flush(20) == 0
        assert admin.offsets("followed") == {0: OffsetRange(0, 0), 1: OffsetRange(0, 3)}

    def test_a_topic_tells_what_it_takes_and_which_one_it_is(self, admin):
        configs = {"max.message.bytes": "5000", "message.timestamp.type": "LogAppendTime"}
        admin.create_topic("described", partitions=2, configs=configs)
        facts = admin.describe_topic("described")
        assert (facts.max_message_bytes, facts.timestamp_type) == (5000, "LogAppendTime")
        assert (facts.min_insync_replicas, facts.in_sync_replicas, facts.replicas) == (1, 1, 1)
        assert facts.identity.topic_id
        assert admin.look_at_topic("described") == facts.identity
        admin.delete_topic("described")
        assert admin.look_at_topic("described") is None
        admin.create_topic("described", partitions=2, configs={})
        again = admin.look_at_topic("described")
        assert again is not None
        assert not facts.identity.is_same(again)
        facts = admin.describe_topic("described")
        assert (facts.max_message_bytes, facts.timestamp_type) == (1048588, "CreateTime")

    @pytest.mark.parametrize(
        ("name", "partitions", "configs", "reason"),
        [
            ("no spaces please", 1, {}, "Topic name is invalid"),
            ("none", 0, {}, "InvalidPartitions"),
            ("none", 1, {"retention.ms": "soon"}, "Invalid value soon for configuration retention.ms"),
            ("none", 1, {"no.such": "1"}, "Unknown topic config name: no.such"),
        ],
    )
    def test_a_refusal_is_quoted_at_once(self, admin, name, partitions, configs, reason):
        started = time.monotonic()
        with pytest.raises(BrokerError, match=rf"cannot create the topic {name} on 127.*{reason}"):
            admin.create_topic(name, partitions=partitions, configs=configs)
        assert time.monotonic() - started < 5
        admin.delete_topic(name)

    def test_a_topic_that_exists_is_not_taken_over(self, admin):
        admin.create_topic("taken", partitions=1, configs={})
        with pytest.raises(BrokerError, match="already exists"):
            admin.create_topic("taken", partitions=1, configs={})

    def test_a_topic_that_is_not_there_has_no_offsets(self, broker):
        admin = KafkaTopicAdmin(broker.bootstrap_servers, timeout_s=2)
        with pytest.raises(BrokerError, match=r"offsets of the topic nowhere.*UnknownTopicOrPartition"):
            admin.offsets("nowhere")
        admin.close()

    def test_it_may_be_closed_twice_and_used_again(self, admin):
        admin.check()
        admin.close()
        admin.close()
        assert admin.check().brokers


@pytest.fixture
def sockets_left_open(caplog):
    """kafka-python leaves the socket of a refused connection to the garbage collection: it comes here, unheard."""
    yield
    caplog.get_records("call").clear()  # the errors that were logged hold them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.release
@pytest.mark.integration
@pytest.mark.usefixtures("sockets_left_open")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_broker_that_pauses_dies_and_returns(make_broker, tmp_path, eventually):
    with make_broker(tmp_path / "broker", properties={"broker.session.timeout.ms": "2000"}) as broker:
        admin = KafkaTopicAdmin(broker.bootstrap_servers, timeout_s=3)
        admin.check()
        os.kill(broker.pid, signal.SIGSTOP)
        eventually(lambda: psutil.Process(broker.pid).status() == psutil.STATUS_STOPPED)
        started = time.monotonic()
        with pytest.raises(BrokerError, match=r"describe the cluster on 127.*(Timeout|timed out)"):
            admin.check()
        assert time.monotonic() - started < 10
        os.kill(broker.pid, signal.SIGCONT)
        assert admin.check().brokers
        os.kill(broker.pid, signal.SIGKILL)
        eventually(lambda: broker.returncode() is not None)
        with pytest.raises(BrokerError, match=r"no Kafka broker can be reached.*Connection refused"):
            admin.check()
        broker.start()
        assert admin.check().brokers
        admin.close()


@pytest.mark.release
@pytest.mark.integration
@pytest.mark.usefixtures("sockets_left_open")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_advertised_address_that_cannot_be_reached_is_named(make_broker, tmp_path):
    with make_broker(tmp_path / "broker", advertised_port=1) as broker:
        servers = broker.bootstrap_servers
        admin = KafkaTopicAdmin(servers, timeout_s=3)
        with pytest.raises(BrokerError) as caught:
            admin.check()
        admin.close()
    assert str(caught.value).startswith(
        f"the Kafka cluster at {servers} advertises 127.0.0.1:1 to its clients, which cannot be reached"
        " from here (Connection refused)"
    )
    assert "advertised.listeners" in caught.value.hint


class TestNobody:
    def test_a_closed_port_is_named_soon_and_quietly(self, capfd, caplog):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            started = time.monotonic()
            with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
                KafkaTopicAdmin(f"127.0.0.1:{port}").check()
            assert time.monotonic() - started < 5
        assert capfd.readouterr() == ("", "")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_a_server_that_is_no_kafka_is_given_up_and_leaves_no_thread(self, capfd):
        with socket.create_server(("127.0.0.1", 0)) as server:
            started = time.monotonic()
            with pytest.raises(BrokerError, match=r"cannot describe the cluster on 127\.0\.0\.1"):
                KafkaTopicAdmin(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=3).check()
            assert time.monotonic() - started < 10
        assert capfd.readouterr() == ("", "")
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("kafka-io-hydra-admin")]

    def test_an_address_that_is_none_is_refused_at_once(self):
        with pytest.raises(UsageError, match="invalid host:port"):
            KafkaTopicAdmin("localhost")


TOPIC_ID = uuid.UUID(int=7)


@pytest.fixture
def metadata_broker():
    """Starts a broker that answers each connection with these Metadata replies in turn; None: it hangs up."""
    with contextlib.ExitStack() as opened:

        def start(*replies):
            listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                for reply in replies:
                    connection = listening.accept()[0]
                    with connection:
                        connection.settimeout(5)
                        asked = connection.recv(1000)
                        if reply is not None:
                            connection.sendall(reply(struct.unpack_from(">h", asked, 6)[0]))

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            opened.callback(thread.join, 5)
            return f"127.0.0.1:{listening.getsockname()[1]}"

        yield start


def metadata(error=0, epochs=(4, 2)):
    def encoded(version):
        parts = [
            MetadataResponse.MetadataResponseTopic.MetadataResponsePartition(
                error_code=0, partition_index=number, leader_id=1, leader_epoch=epoch,
                replica_nodes=[1], isr_nodes=[1], offline_replicas=[],
            )
            for number, epoch in reversed(list(enumerate(epochs)))
        ]  # fmt: skip
        topic = MetadataResponse.MetadataResponseTopic(
            error_code=error, name="t", topic_id=TOPIC_ID, is_internal=False, partitions=parts
        )
        reply = MetadataResponse(throttle_time_ms=0, brokers=[], cluster_id="c", controller_id=1, topics=[topic])
        head = struct.pack(">i", 1) + (b"\0" if version >= 9 else b"")
        body = head + bytes(reply.encode(version=version))
        return struct.pack(">i", len(body)) + body

    return encoded


@pytest.mark.parametrize(
    ("reply", "found"), [(metadata(), TopicIdentity(str(TOPIC_ID), (4, 2))), (metadata(error=3, epochs=()), None)]
)
def test_a_look_tells_which_topic_is_there(metadata_broker, reply, found):
    assert KafkaTopicAdmin(metadata_broker(reply)).look_at_topic("t") == found


@pytest.mark.parametrize("cut", [b"\x00", b"\x01"])
def test_a_reply_with_nothing_where_topics_must_be_is_no_answer(metadata_broker, cut):
    def nulled(_version):
        body = struct.pack(">i", 1) + b"\0" + struct.pack(">i", 0) + b"\x01\x02c" + struct.pack(">i", 1) + cut
        return struct.pack(">i", len(body) + 8) + body + bytes(8)

    with contextlib.closing(KafkaTopicAdmin(metadata_broker(nulled), timeout_s=3)) as admin:
        with pytest.raises(BrokerError, match="cannot look at the topic t"):
            admin.look_at_topic("t")


def test_a_broker_before_topic_ids_tells_of_its_leaders_epochs(metadata_broker):
    admin = KafkaTopicAdmin(metadata_broker(metadata()))
    admin._has_topic_ids = False
    assert admin.look_at_topic("t") == TopicIdentity("", (4, 2))


@pytest.mark.parametrize("reply", [None, lambda _version: b"\0\0\0\x08\0\0\0\1", metadata(error=5, epochs=())])
def test_a_look_without_an_answer_asks_the_next_broker_and_says_so(metadata_broker, reply):
    unable, able = metadata_broker(reply, reply), metadata_broker(metadata())
    with pytest.raises(BrokerError, match=f"cannot look at the topic t on {unable}"):
        KafkaTopicAdmin(unable).look_at_topic("t")
    assert KafkaTopicAdmin(f"{unable},{able}").look_at_topic("t") is not None
