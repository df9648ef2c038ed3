"""Kafka 0.9.0.1 with its ZooKeeper, for real: topics, records, what keeps it from starting; nothing is left."""

from __future__ import annotations

import signal
import socket
import threading

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from hydra.accounting.evidence import OffsetRange
from hydra.broker.classpath import resolve_classpath
from hydra.broker.jar_lockfile import lock_file, read_lock
from hydra.broker.java import Java
from hydra.broker.old_admin import OldTopicAdmin
from hydra.broker.server_properties import old_server_properties
from hydra.broker.topic_command import OldJava, TopicCommand
from hydra.broker.zookeeper_kafka import ZookeeperKafka, is_ok
from hydra.errors import BrokerError, UsageError
from hydra.options.kafka_versions import OLD_VERSION

API_VERSION = (0, 9)
TOPIC = "default-topic"


@pytest.mark.parametrize(("answer", "expected"), [(b"imok", True), (b"imno", False), (b"", False)])
def test_only_imok_is_ok(answer, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = []

        def serve():
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert is_ok(server.getsockname()[1]) is expected
        thread.join(10)
    assert asked == [b"ruok"]


def test_a_port_where_nobody_listens_is_not_ok():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not is_ok(port)


def test_the_settings_are_those_of_a_load_test_and_the_users_on_top():
    settings = old_server_properties(9092, "127.0.0.1:2181", "/data", {"message.max.bytes": "5", "a": "b"})
    assert (settings["delete.topic.enable"], settings["auto.create.topics.enable"]) == ("true", "false")
    assert settings["log.retention.check.interval.ms"] == "10000"
    # Kafka 0.9 does not start with a replica fetch that is smaller than a message may be.
    assert (settings["message.max.bytes"], settings["replica.fetch.max.bytes"], settings["a"]) == ("5", "5", "b")
    with pytest.raises(UsageError, match=r"zookeeper\.connect is set by Hydra"):
        old_server_properties(9092, "127.0.0.1:2181", "/data", {"zookeeper.connect": "h:1"})


def bed_on(folder, program, classpath=()) -> ZookeeperKafka:
    return ZookeeperKafka(OldJava(Java(program, 25, "--java"), tuple(classpath), folder))


@pytest.mark.integration
def test_a_zookeeper_that_cannot_start_is_told_and_leaves_nothing(tmp_path):
    folder = tmp_path / "bed"
    bed = bed_on(folder, tmp_path / "none")
    with bed, pytest.raises(BrokerError, match=r"ZooKeeper of the embedded Kafka.*ended during its start"):
        bed.start(30.0)
    assert not folder.exists()
    assert bed.zookeeper_pids == ()


@pytest.mark.integration
def test_no_broker_is_started_before_zookeeper_answered_imok(tmp_path):
    program, started = tmp_path / "java", tmp_path / "started"
    program.write_text(f'#!/bin/sh\necho "$@" >>{started}\nexec sleep 60\n')
    program.chmod(0o755)
    folder = tmp_path / "bed"
    bed = bed_on(folder, program)
    with bed, pytest.raises(BrokerError, match=r"timed out during its start, before it answered ruok with imok"):
        bed.start(2.0)
    (line,) = started.read_text().splitlines()
    assert "QuorumPeerMain" in line
    assert not folder.exists()


@pytest.mark.integration
@pytest.mark.release
def test_records_and_topics_of_the_old_kafka(tmp_path, java, eventually):
    old = OldJava(java, resolve_classpath(read_lock(lock_file(OLD_VERSION))), tmp_path / "bed")
    with ZookeeperKafka(old) as bed:
        bed.start(120.0)
        pids = [*bed.pids, *bed.zookeeper_pids]
        assert len(pids) == 2
        topics = TopicCommand(old, bed.zookeeper)
        admin = OldTopicAdmin(bed.bootstrap_servers, topics, 1_048_588)
        (leader,) = admin.create_topic(TOPIC, partitions=1, configs={"retention.ms": "5000", "segment.ms": "1000"})
        assert str(leader.endpoint) == bed.bootstrap_servers
        assert topics.topics() == {TOPIC}
        assert admin.offsets(TOPIC) == {0: OffsetRange(0, 0)}
        assert write_and_read(bed.bootstrap_servers, 1000) == [b"%014d" % number for number in range(1000)]
        assert admin.offsets(TOPIC) == {0: OffsetRange(0, 1000)}
        with pytest.raises(BrokerError, match="already exists"):
            admin.create_topic(TOPIC, partitions=1, configs={})
        admin.delete_topic(TOPIC)
        assert topics.topics() == frozenset()
        assert admin.look_at_topic(TOPIC) is None
        assert bed.deaths() == []
        psutil.Process(bed.zookeeper_pids[0]).kill()
        psutil.Process(bed.pids[0]).kill()
        told: list[str] = []
        eventually(lambda: told.extend(map(str, bed.deaths())) or len(told) == 2, 10.0)
        told.sort(key=lambda text: "ZooKeeper" not in text)
        assert [text.partition(":")[0] for text in told] == [
            "the ZooKeeper of the embedded Kafka died",
            "the embedded Kafka died",
        ]
        assert all(signal.SIGKILL.name in text for text in told)
        assert bed.deaths() == []
    assert not old.folder.exists()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def write_and_read(servers: str, count: int) -> list[bytes]:
    producer = KafkaProducer(bootstrap_servers=servers, api_version=API_VERSION, acks=1, enable_idempotence=False)
    try:
        sent = [producer.send(TOPIC, b"%014d" % number, partition=0) for number in range(count)]
        producer.flush(30)
        assert [future.get(0).offset for future in sent] == list(range(count))
    finally:
        producer.close(5)
    partition = TopicPartition(TOPIC, 0)
    consumer = KafkaConsumer(
        bootstrap_servers=servers, api_version=API_VERSION, enable_auto_commit=False, consumer_timeout_ms=30_000
    )
    try:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return [next(consumer).value for _ in range(count)]
    finally:
        consumer.close()
