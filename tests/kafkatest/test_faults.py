"""Bad days: what is killed, paused or interrupted in mid-run, and what Hydra makes of it."""

from __future__ import annotations

import json
import time

import psutil
import pytest

from tests.conftest import wait_until

pytestmark = pytest.mark.integration


def record(place) -> dict:
    return json.loads((place.work / "result.json").read_text())


@pytest.mark.usefixtures("on_kept_stack")
def test_one_subscriber_killed(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=3", "--test_duration=4", "--output=result.json")
    command.wait_for("sending")
    command.wait_for(r"delivered [1-9]")
    victim = place.tasks("kafka-sub")[1]
    victim.kill()
    killed_s = time.monotonic()
    command.wait_for("is missing: its process ended", timeout_s=10)
    assert time.monotonic() - killed_s < 5
    assert not victim.is_running()
    assert command.end() == 3
    assert "10 clients of g1_kafka-sub" in command.text
    figures = record(place)["result"]["totals"]
    assert (figures["clients_missing"], figures["clients_ok"], figures["clients_reporting"]) == (10, 20, 20)
    assert figures["records_lost"] == 0
    assert record(place)["seed_keys"]["failing_clients"] == 10
    assert record(place)["result"]["verdict"] == "indeterminate"


@pytest.mark.usefixtures("on_kept_stack")
def test_all_subscribers_killed(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    for task in place.tasks("kafka-sub"):
        task.kill()
    killed_s = time.monotonic()
    assert command.end(30) == 3
    assert time.monotonic() - killed_s < 15
    assert record(place)["result"]["totals"]["clients_missing"] == 20


@pytest.mark.usefixtures("on_kept_stack")
def test_publisher_killed(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    (publisher,) = place.tasks("kafka-pub")
    publisher.kill()
    killed_s = time.monotonic()
    assert command.end(30) == 3
    assert time.monotonic() - killed_s < 15
    assert "lower bound" in command.text
    result = record(place)["result"]
    assert result["totals"]["records_counted"] > 0
    assert result["totals"]["records_lost"] == 0
    assert result["totals"]["clients_ok"] == 20


def test_embedded_kafka_killed(hydra, place) -> None:
    command = hydra("kafka", "--warmup=0", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    kafka = place.kafka()
    kafka.kill()
    killed_s = time.monotonic()
    assert command.end(30) == 4
    assert time.monotonic() - killed_s < 20
    assert "the embedded Kafka died" in command.complaint
    assert record(place)["status"] == "failed"
    assert record(place)["exit_code"] == 4


def test_external_kafka_killed(hydra, place, start_kafka) -> None:
    kafka = start_kafka()
    command = hydra(
        "kafka",
        f"--bootstrap_servers={kafka.bootstrap_servers}",
        "--total_sub_apps=2",
        "--test_duration=60",
        "--drain_timeout=5",
    )
    command.wait_for(r"delivered [1-9]")
    psutil.Process(kafka.pid).kill()
    wait_until(lambda: kafka.returncode() is not None, 5, "the broker is dead")
    killed_s = time.monotonic()
    command.wait_for("does not answer", timeout_s=5)
    assert command.end(60) == 4
    assert time.monotonic() - killed_s < 25
    assert f"Kafka at {kafka.bootstrap_servers} is gone (Connection refused)" in command.complaint


@pytest.mark.parametrize("publisher", [("--pub_driver=confluent",), ("--pub_driver=wire", "--acks=all")])
def test_external_kafka_restarted(hydra, place, start_kafka, publisher) -> None:
    kafka = start_kafka()
    command = hydra(
        "kafka",
        *publisher,
        f"--bootstrap_servers={kafka.bootstrap_servers}",
        "--total_sub_apps=2",
        "--test_duration=8",
        "--output=result.json",
    )
    command.wait_for(r"delivered [1-9]")
    psutil.Process(kafka.pid).kill()
    wait_until(lambda: kafka.returncode() is not None, 5, "the broker is dead")
    kafka.start(60)
    code = command.end()
    figures = record(place)["result"]["totals"]
    assert code in {0, 3}, command.errors
    assert figures["records_lost"] == 0
    assert figures["records_acked"] > 0
    if "--acks=all" in publisher:
        assert figures["records_duplicated_in_log"] == 0
    assert any("is back after" in line for line in command.errors) or code == 0


@pytest.mark.usefixtures("on_kept_stack")
def test_subscriber_paused_and_resumed(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=2", "--test_duration=5", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    paused = place.tasks("kafka-sub")[0]
    paused.suspend()
    wait_until(lambda: paused.status() == "stopped", 2, "the subscriber is stopped")
    time.sleep(3)  # the pause itself: nothing can be waited for, since nothing may happen
    paused.resume()
    # Everything arrives, and what was late was so for the harness's own sake: no word on the broker.
    assert command.end() == 3, command.errors
    assert "stood still for" in command.text
    assert record(place)["result"]["totals"]["records_lost"] == 0
