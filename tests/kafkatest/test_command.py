"""The main job as its user runs it: a command, a real broker, real tasks, and nothing left afterwards."""

from __future__ import annotations

import ast
import re

import pytest

from hydra.report.text import MEANINGS

pytestmark = pytest.mark.integration


def seed_keys(text: str) -> dict[str, float]:
    """What stands behind ``RES =``."""
    return ast.literal_eval(text[text.index("RES = ") + 6 :])


def test_main_job(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=3", "--test_duration=2", "--output=result.json")
    command.end_well()

    keys = seed_keys(command.text)
    assert set(keys) == set(MEANINGS)
    assert keys["client_count"] == 30
    assert keys["packet_tx"] == keys["average_packets"] == 2000
    assert keys["average_packet_loss"] == keys["failing_clients"] == keys["failing_clients_rate"] == 0
    passed = command.text.startswith("PASS  ")
    assert (900 if passed else 0) < keys["average_tx_rate"] < 1100
    assert keys["pub_cpu"] > 0
    assert keys["pub_net_txrate"] > 0
    assert re.match(
        r"(PASS|INDETERMINATE)  30 clients, sent [0-9.,]+ of 1,000 records/s, lost 0, p99 [0-9.,]+ ms", command.text
    )
    for key, value in keys.items():
        assert bool(re.search(rf"^ {key} ", command.text, re.MULTILINE)) == bool(value), key

    record = place.record()
    assert record["format"] == "hydra-result"
    assert record["status"] == "complete"
    assert record["seed_keys"] == keys
    assert record["order"]["options"]["msg_rate"] == 1000
    assert record["cluster"]["kafka"] == "embedded"
    assert record["cluster"]["kafka_version"].startswith("4.")
    assert len(record["result"]["clients"]) == 30
    assert {client["distinct"] for client in record["result"]["clients"]} == {2000}
    assert record["evidence"]["publisher"]["attempted"] == 2000
    place.assert_nothing_left()


@pytest.mark.parametrize("dashes", [False, True])
def test_bad_flag_costs_one_line_and_starts_nothing(hydra, place, dashes) -> None:
    flag = "--total-sub-apps" if dashes else "--total_sub_apps"
    command = hydra("kafka", f"{flag}=0")
    assert command.end() == 2
    assert command.errors == ["hydra: --total_sub_apps = '0' must be a whole number from 1 to 10000"]
    assert not command.output
    assert not place.left_behind()


def test_wrong_ini_is_named_by_file_line_and_key(hydra, place) -> None:
    (place.work / "hydra.ini").write_text("[kafka]\n\nacks = 7\n")
    command = hydra("kafka")
    assert command.end() == 2
    assert command.errors == ["hydra: hydra.ini:3: [kafka] acks = '7' must be 0, 1 or all"]


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_flags_win_over_ini(hydra, place) -> None:
    (place.work / "my.ini").write_text("[hydra]\ntotal_sub_apps = 2\nclients_per_app = 3\ntest_duration = 1\n")
    command = hydra("kafka", "--config_file=my.ini", "--clients_per_app=2", "--msg_rate=200")
    command.end_well()
    keys = seed_keys(command.text)
    assert (keys["client_count"], keys["packet_tx"]) == (4, 200)


def test_unwritable_output_is_refused_before_the_start(hydra, place) -> None:
    command = hydra("kafka", "--output=missing/result.json")
    assert command.end() == 4
    assert command.errors == [
        "hydra: --output=missing/result.json: the folder 'missing' does not exist: create it first"
    ]
    assert not place.left_behind()


def test_unusable_java(hydra) -> None:
    command = hydra("kafka", "--java=/bin/false", "--total_sub_apps=1")
    assert command.end() == 4
    assert "the Java /bin/false" in command.complaint
    assert "--java" in command.complaint


def test_too_few_descriptors_are_refused_with_the_number(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=100", prefix=["prlimit", "--nofile=1024:1024"])
    assert command.end() == 2
    assert re.fullmatch(
        r"hydra: an embedded Kafka with 1000 clients needs 1500 file descriptors and a process may open 1024 here: .*",
        command.complaint,
    )
    assert not place.left_behind()


def test_unreachable_broker(hydra) -> None:
    command = hydra("kafka", "--bootstrap_servers=127.0.0.1:9", "--total_sub_apps=1")
    assert command.end() == 4
    assert "127.0.0.1:9: Connection refused" in command.complaint


def test_unreachable_marathon(hydra, external_kafka) -> None:
    command = hydra(
        "kafka", "--marathon_url=http://127.0.0.1:9", f"--bootstrap_servers={external_kafka}", "--total_sub_apps=1"
    )
    assert command.end() == 4
    assert "Marathon at http://127.0.0.1:9 cannot be reached (Connection refused)" in command.complaint


def test_external_kafka(hydra, place, external_kafka) -> None:
    command = hydra(
        "kafka", f"--bootstrap_servers={external_kafka}", "--total_sub_apps=2", "--test_duration=1", "--output=r.json"
    )
    command.end_well()
    record = place.record("r.json")
    assert record["cluster"]["kafka"] == "external"
    assert external_kafka in record["cluster"]["brokers"].values()
    from hydra.broker.admin import KafkaTopicAdmin

    admin = KafkaTopicAdmin(external_kafka)
    try:
        assert not [name for name in admin._connected().list_topics() if name.startswith("hydra-")]
    finally:
        admin.close()


def test_help_and_version(hydra) -> None:
    command = hydra("--help")
    assert command.end() == 0
    assert "kafka" in command.text
    version = hydra("--version")
    assert version.end() == 0
    assert version.text.startswith("hydra-scaletest ")
