"""``--broker_property`` and ``--broker_heap_mb``: what is asked for is what the embedded Kafka has, or one line."""

from __future__ import annotations

import json

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from hydra.broker.server_properties import BrokerSettings
from tests.commands import wait_until

integration = pytest.mark.integration

RUN = ("kafka", "--total_sub_apps=1", "--clients_per_app=2", "--test_duration=1", "--warmup=0")


@pytest.mark.release
@integration
def test_a_kept_stack_has_what_was_asked_for_and_nothing_else_is_taken(hydra, place) -> None:
    try:
        up = hydra(
            "local", "up", "--broker_property=num.io.threads=5", "--broker_property=queued.max.requests=777",
            "--broker_heap_mb=400",
        )  # fmt: skip
        assert up.end() == 0, up.errors
        assert "setting     num.io.threads=5" in up.text
        kafka = place.kafka()
        assert "-Xmx400m" in kafka.cmdline()
        servers = next(line.split()[1] for line in up.output if line.strip().startswith("Kafka "))
        admin = AdminClient({"bootstrap.servers": servers})
        resource = ConfigResource(ConfigResource.Type.BROKER, "1")
        entries = admin.describe_configs([resource])[resource].result(20)
        assert (entries["num.io.threads"].value, entries["queued.max.requests"].value) == ("5", "777")

        run = hydra(*RUN, "--output=r.json")
        run.end_well()
        cluster = json.loads((place.work / "r.json").read_text())["cluster"]
        assert cluster["broker_property"] == ["num.io.threads=5", "queued.max.requests=777"]
        assert cluster["broker_heap_mb"] == 400
        same = hydra(*RUN, "--broker_property=num.io.threads=5", "--broker_heap_mb=400")
        same.end_well()

        for flag, words in (
            ("--broker_property=num.io.threads=6", "--broker_property=num.io.threads=6, and it has 5"),
            ("--broker_property=background.threads=3", "background.threads=3, and it has its own default"),
            ("--broker_heap_mb=600", "--broker_heap_mb=600, and it has 400"),
        ):
            other = hydra(*RUN, flag)
            assert other.end() == 2
            (line,) = [line for line in other.errors if line.startswith("hydra: a local stack")]
            assert words in line
            assert "hydra local down" in line
        assert place.kafka().pid == kafka.pid
    finally:
        assert hydra("local", "down").end() == 0


@integration
def test_hydras_own_properties_are_refused_before_anything_starts(hydra, place) -> None:
    for command in (hydra(*RUN, "--broker_property=listeners=x"), hydra("local", "up", "--broker_property=node.id=7")):
        assert command.end() == 2
        assert "is set by Hydra for its embedded broker" in command.complaint
    assert not place.left_behind()


@pytest.mark.release
@integration
def test_a_property_that_kafka_refuses_is_told_in_kafkas_words(hydra, place) -> None:
    command = hydra(*RUN, "--broker_property=num.io.threads=many")
    assert command.end(60) == 4
    assert "num.io.threads" in command.complaint
    assert "many" in command.complaint
    wait_until(lambda: not place.left_behind(), 10, "nothing is left")


@pytest.mark.release
@integration
def test_a_heap_that_is_too_small_is_told(hydra, place) -> None:
    command = hydra(*RUN, "--broker_property=log.cleaner.dedupe.buffer.size=1000000000", "--broker_heap_mb=64")
    assert command.end(90) == 4
    assert "embedded" in command.complaint


@integration
def test_a_broker_of_ones_own_takes_none(hydra) -> None:
    command = hydra(*RUN, "--bootstrap_servers=127.0.0.1:9", "--broker_property=num.io.threads=5")
    assert command.end() == 2
    assert command.complaint.startswith("hydra: --broker_property=num.io.threads=5 is a setting of the embedded Kafka")


def test_what_is_not_asked_for_makes_no_difference() -> None:
    there = BrokerSettings(("a=1", "b=2"), 400)
    assert BrokerSettings().difference(there) == ""
    assert BrokerSettings(("b=2",), 400).difference(there) == ""
    assert BrokerSettings(("a=2",)).difference(there) == "--broker_property=a=2, and it has 1"
    assert BrokerSettings(racks=True).difference(BrokerSettings(racks=True)) == ""
    assert BrokerSettings(racks=True).difference(there) == "racks (--client_rack)=yes, and it has no"
