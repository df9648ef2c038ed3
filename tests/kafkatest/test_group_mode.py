"""``--group_mode=group`` as its user runs it: exact counts, groups while it runs, and none afterwards."""

from __future__ import annotations

import re
import time

import pytest
from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import AdminClient

from tests.commands import wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 4
RUN = ("kafka", "--group_mode=group", f"--partitions={PARTITIONS}", "--total_sub_apps=2", "--clients_per_app=3")


@pytest.fixture(scope="module")
def groups(external_kafka):
    """The run's groups that the broker knows now: group -> how many members it has."""
    admin = AdminClient({"bootstrap.servers": external_kafka})

    def look() -> dict[str, int]:
        listed = [each.group_id for each in admin.list_consumer_groups(request_timeout=10).result(10).valid]
        names = [name for name in listed if name.startswith("hydra-")]
        if not names:
            return {}
        found = admin.describe_consumer_groups(names, request_timeout=10)
        return {name: len(future.result(10).members) for name, future in found.items()}

    return look


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
@pytest.mark.parametrize(("driver", "group"), [("wire", "own"), ("confluent", "shared")])
def test_every_client_is_a_member_and_every_record_counts(hydra, place, groups, driver, group) -> None:
    command = hydra(*RUN, f"--group={group}", f"--sub_driver={driver}", "--test_duration=3", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    there = groups()
    assert sorted(there.values()) == ([1] * 6 if group == "own" else [6])
    command.end_well()
    result = place.record()["result"]
    totals = result["totals"]
    copies = 6 if group == "own" else 1
    assert totals["records_counted"] == 3000
    assert totals["records_delivered"] == copies * 3000
    assert sum(client["expected"] for client in result["clients"]) == copies * 3000
    assert (totals["records_lost"], totals["records_duplicated"], totals["clients_ok"]) == (0, 0, 6)
    assert totals["clients_expecting"] == (6 if group == "own" else PARTITIONS)
    assert {client["rebalances"] for client in result["clients"]} == {0}
    assert groups() == {}


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_members_by_the_consumer_protocol_are_that_and_every_record_counts(hydra, place, external_kafka) -> None:
    admin = AdminClient({"bootstrap.servers": external_kafka})

    def types() -> list[ConsumerGroupType]:
        listed = admin.list_consumer_groups(request_timeout=10).result(10).valid
        return [each.type for each in listed if each.group_id.startswith("hydra-")]

    asked = ("--group_protocol=consumer", "--group=shared", "--sub_driver=confluent", "--partitions=6")
    command = hydra(*RUN, *asked, "--test_duration=3", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    assert types() == [ConsumerGroupType.CONSUMER]
    command.end_well()
    totals = place.record()["result"]["totals"]
    assert (totals["records_delivered"], totals["records_lost"], totals["clients_expecting"]) == (3000, 0, 6)
    assert types() == []


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_a_member_that_is_killed_is_missing_and_its_group_goes_all_the_same(hydra, place, groups) -> None:
    command = hydra(*RUN, "--group=shared", "--test_duration=5", "--drain_timeout=2", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    with command.held():
        assert list(groups().values()) == [6]
        place.tasks("kafka-sub")[0].kill()
    assert command.end() == 3, (command.errors, command.text)
    result = place.record()["result"]
    assert result["verdict"] == "indeterminate"
    assert result["totals"]["clients_missing"] == 3
    assert result["totals"]["records_skipped"] == result["totals"]["records_broker_lost"] == 0
    assert groups() == {}


@pytest.mark.release
@pytest.mark.usefixtures("on_running_stack")
def test_somebody_else_in_the_group_costs_a_rebalance_that_is_told(hydra, place, external_kafka, groups) -> None:
    from confluent_kafka import Consumer

    command = hydra(*RUN, "--group=shared", "--test_duration=12", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    with command.held():
        (name,) = groups()
        stranger = Consumer(
            {
                "bootstrap.servers": external_kafka,
                "group.id": name,
                "partition.assignment.strategy": "range",
                # It joins and leaves without having read or committed anything.
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
            }
        )
        given = []
        stranger.subscribe([name], on_assign=lambda consumer, _places: (given.append(1), consumer.assign([])))
        wait_until(lambda: stranger.poll(0.1) or given, 10, "the stranger is in the group")
        # If it leaves before all others have been given their shares, its coming and going is one rebalance for them.
        stays_until_s = time.monotonic() + 2
        wait_until(lambda: stranger.poll(0.1) or time.monotonic() > stays_until_s, 5, "the stranger has stayed a while")
        stranger.close()
    command.end_well()
    result = place.record()["result"]
    assert result["totals"]["records_lost"] == 0
    assert result["totals"]["records_delivered"] == 12_000
    assert {client["rebalances"] for client in result["clients"]} == {2}
    assert re.search(r"6 of 6 clients had their partitions taken away by a rebalance", " ".join(result["notes"]))
    assert groups() == {}


def test_kafka_python_is_refused_in_one_line(hydra, place) -> None:
    command = hydra("kafka", "--group_mode=group", "--sub_driver=kafka-python")
    assert command.end() == 2
    (line,) = command.errors
    assert line.startswith(
        "hydra: --group_mode=group does not go with --sub_driver=kafka-python: use --sub_driver=wire"
    )
