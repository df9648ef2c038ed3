"""Brokers whose topics refuse records, take small batches, or stamp records themselves: what a run makes of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from hydra.broker.admin import KafkaTopicAdmin

pytestmark = [pytest.mark.integration, pytest.mark.release, pytest.mark.usefixtures("on_running_stack")]

EVERY_DRIVER = ["wire", "confluent", "kafka-python"]
LOAD = ("--clients=2", "--clients_per_app=2", "--test_duration=2", "--warmup=0", "--output=result.json")


@pytest.fixture
def new_topics_with(mortal_kafka):
    """Lets new topics of a Kafka have another default."""

    @contextlib.contextmanager
    def changed(name: str, value: str) -> Iterator[str]:
        admin = AdminClient({"bootstrap.servers": mortal_kafka.bootstrap_servers})

        def alter(operation: AlterConfigOpType) -> None:
            entry = ConfigEntry(name, value, incremental_operation=operation)
            resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
            admin.incremental_alter_configs([resource])[resource].result(10)

        alter(AlterConfigOpType.SET)
        try:
            yield f"--bootstrap_servers={mortal_kafka.bootstrap_servers}"
        finally:
            alter(AlterConfigOpType.DELETE)

    return changed


@pytest.mark.parametrize("publisher", EVERY_DRIVER)
def test_a_refusal_is_told_in_the_brokers_words(hydra, place, new_topics_with, publisher) -> None:
    with new_topics_with("log.cleanup.policy", "compact") as kafka:
        command = hydra(
            "kafka", kafka, *LOAD, f"--pub_driver={publisher}", "--msg_rate=50", "--csv=r.csv", "--junit=r.xml"
        )
        assert command.end(60) == 3, command.errors
    record = place.record()
    assert record["evidence"]["publisher"]["refusals"] == [{"error": "INVALID_RECORD", "records": 100, "code": 87}]
    assert record["result"]["bottleneck"]["limit"] != "broker"
    assert "not acked 100 (INVALID_RECORD: 100)" in command.text.splitlines()[0]
    told = "INVALID_RECORD for 100 records: a compacted topic"
    for text in (command.text, (place.work / "r.csv").read_text(), (place.work / "r.xml").read_text()):
        assert told in " ".join(text.split())


@pytest.mark.parametrize("publisher", EVERY_DRIVER)
def test_batches_are_cut_to_what_the_topic_takes(hydra, place, new_topics_with, publisher) -> None:
    with new_topics_with("message.max.bytes", "30000") as kafka:
        command = hydra(
            "kafka", kafka, *LOAD, f"--pub_driver={publisher}", "--msg_size=5000", "--msg_rate=200", "--linger_ms=200"
        )
        assert command.end(60) == 0, command.errors
    assert place.record()["order"]["topic_facts"]["max_message_bytes"] == 30_000


def test_records_that_no_topic_takes_are_refused_before_anything_starts(hydra, new_topics_with) -> None:
    with new_topics_with("message.max.bytes", "30000") as kafka:
        command = hydra("kafka", kafka, *LOAD, "--msg_size=30000")
        assert command.end(30) == 2
    assert "30072 bytes at least, and the brokers take 30000 (message.max.bytes)" in command.complaint


@pytest.mark.parametrize("driver", EVERY_DRIVER)
def test_large_records_in_large_batches_go_into_an_embedded_kafka(hydra, place, driver) -> None:
    drivers = (f"--pub_driver={driver}", f"--sub_driver={driver}")
    command = hydra("kafka", *LOAD, *drivers, "--msg_size=2000000", "--msg_batch=10", "--msg_rate=5", "--linger_ms=200")
    assert command.end(60) == 0, command.errors
    assert place.record()["order"]["topic_facts"]["max_message_bytes"] == 20_000_000


@pytest.mark.parametrize("subscriber", EVERY_DRIVER)
def test_what_the_broker_stamps_is_no_service_latency(hydra, place, new_topics_with, subscriber) -> None:
    with new_topics_with("log.message.timestamp.type", "LogAppendTime") as kafka:
        command = hydra(
            "kafka", kafka, *LOAD, f"--sub_driver={subscriber}", "--threshold=service_p99<10s", "--csv=r.csv"
        )
        assert command.end(60) == 3, command.errors
    record = place.record()
    assert record["result"]["latency"]["service"]["deliveries"] == 0
    assert record["result"]["latency"]["e2e"]["deliveries"] > 0
    assert all(not stats["service"].get("counts") for stats in record["evidence"]["subscribers"])
    assert "service_p99<10000ms was not judged" in command.text
    assert not [line for line in command.text.splitlines() if line.strip().startswith("service ")]
    assert "LogAppendTime" in command.text


def test_a_topic_that_is_there_keeps_what_others_wrote(hydra, place, mortal_kafka) -> None:
    servers = mortal_kafka.bootstrap_servers
    others = Producer({"bootstrap.servers": servers})

    def write(records: int) -> None:
        for number in range(records):
            others.produce("orders", b"somebody else's", partition=number % 2)
        assert others.flush(20) == 0

    with contextlib.closing(KafkaTopicAdmin(servers)) as admin:
        admin.create_topic("orders", partitions=2, configs={})
        write(5)
        command = hydra("kafka", f"--bootstrap_servers={servers}", *LOAD, "--topic=orders", "--msg_rate=50")
        command.wait_for("sending", 60)
        write(7)
        assert command.end(60) == 0, command.errors
        log = admin.offsets("orders")
    record = place.record()
    totals = record["result"]["totals"]
    assert (len(record["order"]["leaders"]), record["order"]["options"]["partitions"]) == (2, 2)
    assert (totals["records_acked"], totals["records_delivered"], totals["records_lost"]) == (100, 200, 0)
    # Two clients, and none reads what was there before.
    assert (totals["records_foreign"], record["evidence"]["audit"]["foreign"]) == (14, 7)
    assert "7 records of someone else's were in the topic" in record["result"]["notes"]
    assert sum(offsets.end for offsets in log.values()) == 112


def test_a_cluster_tells_the_largest_batch(mortal_kafka) -> None:
    with contextlib.closing(KafkaTopicAdmin(mortal_kafka.bootstrap_servers)) as admin:
        assert admin.check().max_message_bytes == 1_048_588
