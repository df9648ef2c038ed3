"""Whole runs on an embedded Kafka 0.9.0.1 with its ZooKeeper."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from hydra.broker.topic_command import TopicCommand
from hydra.codec import decode
from hydra.kafkatest.kafka_admin import old_java
from hydra.kafkatest.running_stack import RunningStack
from tests.commands import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.release, pytest.mark.timeout(300)]

VERSION = "--kafka_version=0.9.0.1"
OLD = (VERSION, "--pub_driver=kafka-python", "--sub_driver=kafka-python")
LOAD = ("--total_sub_apps=1", "--clients_per_app=3", "--msg_rate=200", "--warmup=0", "--output=result.json")


def zookeeper(place) -> psutil.Process:
    return next(process for process in place.processes() if any("QuorumPeerMain" in word for word in process.cmdline()))


def test_one_command_on_a_machine_where_nothing_is_up(hydra, place):
    command = hydra("kafka", *OLD, *LOAD, "--test_duration=2", "--acks=all")
    command.wait_for("sending", 120)
    assert zookeeper(place).is_running()
    command.end_well()
    assert not [line for line in command.errors if "left behind" in line]
    record = place.record()
    assert (record["cluster"]["kafka"], record["cluster"]["kafka_version"]) == ("embedded", "0.9.0.1")
    totals, latency = record["result"]["totals"], record["result"]["latency"]
    assert (totals["records_acked"], totals["records_lost"], totals["records_delivered"]) == (400, 0, 1200)
    (log,) = record["evidence"]["audit"]["partitions"].values()
    assert sum(records for _offset, _sequence, records in log["spans"]) == 400
    assert (latency["e2e"]["deliveries"], latency["service"]["deliveries"]) == (1200, 0)
    assert any("the service latency was not measured" in note for note in record["result"]["notes"])
    assert "service" not in command.text.partition("latency [ms]")[2].partition("RES")[0]
    place.assert_nothing_left()


def test_runs_on_a_stack_that_stays_leave_no_topic_in_zookeeper(hydra, place):
    try:
        up = hydra("local", "up", VERSION)
        assert up.end(150) == 0, up.errors
        assert "version     0.9.0.1" in up.text
        other = hydra("kafka", *LOAD)
        assert other.end() == 2
        assert "asked for is --kafka_version=4.4.0, and it has 0.9.0.1" in other.complaint
        for flags in (("--compression=gzip", "--msg_size=200"), ("--compression=snappy", "--partitions=2", "--acks=0")):
            hydra("kafka", *OLD, *LOAD, "--test_duration=1", *flags).end_well()
            assert place.record()["result"]["totals"]["records_delivered"] == 600
        (file,) = place.state.rglob("stack.json")
        stack = decode(file.read_bytes(), RunningStack)
        topics = TopicCommand(old_java(None, Path(stack.folder), print), stack.zookeeper).topics()
        assert topics == {"__consumer_offsets"}
    finally:
        assert hydra("local", "down").end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(hydra, place, number):
    command = hydra("kafka", *OLD, *LOAD, "--test_duration=60")
    command.wait_for(r"delivered [1-9]", 120)
    servers = [zookeeper(place), place.kafka()]
    command.send(number)
    assert command.end(60) == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not any(server.is_running() for server in servers), 15, "both servers are gone")
    place.assert_nothing_left(15)


def test_a_zookeeper_that_dies_is_named_and_ends_the_run(hydra, place):
    command = hydra("kafka", *OLD, *LOAD, "--test_duration=60")
    command.wait_for(r"delivered [1-9]", 120)
    zookeeper(place).kill()
    assert command.end(60) == 4
    assert "the ZooKeeper of the embedded Kafka died: it was killed by SIGKILL" in command.complaint
    place.assert_nothing_left(15)
