"""Bad days: what is killed, paused or interrupted in mid-run, and what Hydra makes of it."""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest

from hydra.broker.admin import KafkaTopicAdmin
from tests.commands import suspend, wait_until

pytestmark = pytest.mark.integration


def kill(kafka) -> None:
    psutil.Process(kafka.pid).kill()
    wait_until(lambda: kafka.returncode() is not None, 5, "the broker is dead")


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_one_subscriber_killed_and_one_suspended_for_a_while(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=3", "--test_duration=6", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    victim, suspended, _well = place.tasks("kafka-sub")
    victim.kill()
    killed_s = time.monotonic()
    suspend(suspended)
    suspended_s = time.monotonic()
    command.wait_for("is missing: its process ended", timeout_s=10)
    assert time.monotonic() - killed_s < 5
    assert not victim.is_running()
    # The pause itself: it lasts for three seconds.
    time.sleep(max(0.0, suspended_s + 3 - time.monotonic()))
    assert suspended.status() == psutil.STATUS_STOPPED
    suspended.resume()
    assert command.end() == 3, command.errors
    assert "10 clients of g1_kafka-sub" in command.text
    # Everything arrives, and what was late was so for the harness's own sake: no word on the broker.
    assert "stood still for" in command.text
    result = place.record()["result"]
    totals = result["totals"]
    assert (totals["clients_missing"], totals["clients_ok"], totals["clients_reporting"]) == (10, 20, 20)
    assert totals["records_lost"] == 0
    assert place.record()["seed_keys"]["failing_clients"] == 10
    assert result["verdict"] == "indeterminate"


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_all_subscribers_killed(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    for task in place.tasks("kafka-sub"):
        task.kill()
    killed_s = time.monotonic()
    assert command.end(30) == 3
    assert time.monotonic() - killed_s < 15
    assert place.record()["result"]["totals"]["clients_missing"] == 20


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_publisher_killed(hydra, place) -> None:
    command = hydra("kafka", "--warmup=0", "--total_sub_apps=2", "--test_duration=60", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    (publisher,) = place.tasks("kafka-pub")
    publisher.kill()
    killed_s = time.monotonic()
    assert command.end(30) == 3
    assert time.monotonic() - killed_s < 15
    assert "lower bound" in command.text
    result = place.record()["result"]
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
    assert "the embedded Kafka died: it was killed by SIGKILL" in command.complaint
    assert place.record()["status"] == "failed"
    assert place.record()["exit_code"] == 4


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
@pytest.mark.parametrize(
    ("publisher", "made_again"),
    [
        ("wire", True),
        *(pytest.param(*case, marks=pytest.mark.release) for case in (("wire", False), ("confluent", True))),
    ],
)
def test_topic_deleted_by_somebody_else(hydra, place, external_kafka, publisher, made_again) -> None:
    command = hydra(
        "kafka", f"--pub_driver={publisher}", "--clients=2", "--clients_per_app=2", "--msg_rate=200",
        "--test_duration=60", "--output=result.json",
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    with contextlib.closing(KafkaTopicAdmin(external_kafka)) as admin:
        topics = admin._call("list the topics", lambda client: client.list_topics())
        (topic,) = [name for name in topics if name.startswith("hydra-")]
        admin.delete_topic(topic)
        if made_again:
            admin.create_topic(topic, partitions=1, configs={})
        deleted_s = time.monotonic()
        assert command.end(40) == 3, command.errors
        assert time.monotonic() - deleted_s < 20
        assert (admin.look_at_topic(topic) is not None) == made_again
        admin.delete_topic(topic)
    result = place.record()["result"]
    assert result["verdict"] == "indeterminate"
    assert result["reasons"][0].startswith(f"somebody else deleted the topic {topic}")
    assert ("made another one" in result["reasons"][0]) == made_again
    assert result["bottleneck"]["limit"] == "unknown"


@pytest.mark.release
def test_external_kafka_killed(hydra, mortal_kafka) -> None:
    command = hydra(
        "kafka", f"--bootstrap_servers={mortal_kafka.bootstrap_servers}", "--total_sub_apps=2", "--test_duration=60",
        "--drain_timeout=5",
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    kill(mortal_kafka)
    killed_s = time.monotonic()
    command.wait_for("cannot be reached", timeout_s=5)
    assert command.end(60) == 4
    assert time.monotonic() - killed_s < 25
    assert f"Kafka at {mortal_kafka.bootstrap_servers} is gone (Connection refused)" in command.complaint


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_external_kafka_restarted(hydra, place, mortal_kafka) -> None:
    """Beneath two runs at once, one of each publisher."""
    runs = {
        name: hydra(
            "kafka", *publisher, f"--bootstrap_servers={mortal_kafka.bootstrap_servers}", "--total_sub_apps=2",
            "--test_duration=8", f"--app_prefix={name}", f"--output={name}.json",
        )
        for name, publisher in (("confluent", ["--pub_driver=confluent"]), ("wire", ["--acks=all"]))
    }  # fmt: skip
    for command in runs.values():
        command.wait_for(r"delivered [1-9]")
    kill(mortal_kafka)
    mortal_kafka.start(60)
    for name, command in runs.items():
        code = command.end()
        assert code in {0, 3}, command.errors
        totals = place.record(f"{name}.json")["result"]["totals"]
        assert totals["records_lost"] == 0
        assert totals["records_acked"] > 0
        if name == "wire":
            assert totals["records_duplicated_in_log"] == 0
        assert any("is back after" in line for line in command.errors) or code == 0
