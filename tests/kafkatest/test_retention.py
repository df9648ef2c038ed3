"""What Kafka deletes by its retention before a subscriber has read it: expired, and not lost."""

from __future__ import annotations

import signal

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.commands import suspend, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("on_running_stack")]


@pytest.fixture
def log_bounds(external_kafka):
    """Where the log of the run's topic begins and ends now."""
    consumer = Consumer({"bootstrap.servers": external_kafka, "group.id": "looks-on"})

    def look() -> tuple[int, int]:
        (topic,) = [name for name in consumer.list_topics(timeout=10).topics if name.startswith("hydra-")]
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)

    yield look
    consumer.close()


@pytest.mark.release
def test_what_retention_took_before_it_was_read_has_expired_with_its_exact_count(hydra, place, log_bounds) -> None:
    command = hydra(
        "kafka", "--total_sub_apps=2", "--clients_per_app=2", "--test_duration=6", "--msg_rate=1000",
        "--retention_ms=3000", "--output=result.json",
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    stopped, well = place.tasks("kafka-sub")
    suspend(stopped)
    # What it has read is not more than what is sent by now, and what its sockets hold is read before it asks again.
    _, there = log_bounds()
    wait_until(lambda: log_bounds()[0] > there + 1000, 30, "records that it has not read are gone")
    stopped.send_signal(signal.SIGCONT)
    assert command.end() == 1, command.text
    whole = place.record()
    result = whole["result"]
    by_pid = {stats["task_id"]: stats for stats in whole["evidence"]["subscribers"]}
    assert len(by_pid) == 2
    behind = [client for client in result["clients"] if client["expired"]]
    assert len(behind) == 2
    assert len({client["task_id"] for client in behind}) == 1
    for client in behind:
        (stats,) = [item for item in by_pid[client["task_id"]]["clients"] if item["name"] == client["name"]]
        (part,) = stats["partitions"]
        # What the client itself saw of it: it asked for one offset, and was sent on to another one.
        assert client["expired"] == sum(there - here for here, there in part["jumps"]) > 500
        assert client["expired"] == client["expected"] - client["distinct"] == client["lost"]
        assert (client["expected"], client["duplicates"]) == (6000, 0)
    assert all(client["lost"] == 0 for client in result["clients"] if client not in behind)
    assert whole["evidence"]["audit"]["partitions"]["0"]["start_offset"] > 0
    assert f"{sum(client['expired'] for client in behind)} expired before they were read" in result["reasons"][0]
    assert well.is_running() is False
