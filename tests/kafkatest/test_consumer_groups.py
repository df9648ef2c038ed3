"""``--group_protocol=consumer`` with the wire driver as its user runs it: who dies, who comes, who is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from hydra.broker.embedded import EmbeddedBroker
from tests.commands import wait_until
from tests.kafka_parts import kafka_parts

pytestmark = [pytest.mark.integration, pytest.mark.release]

QUICK = {
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
}
"""A member that died is out of its group soon."""

PARTITIONS = 6
RUN = (
    "kafka", "--group_mode=group", "--group_protocol=consumer", "--group=shared", f"--partitions={PARTITIONS}",
    "--total_sub_apps=2", "--output=result.json",
)  # fmt: skip


def broker(folder, properties) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(**{**kafka_parts(folder), "properties": properties}) as running:
        yield running


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Iterator[str]:
    for running in broker(tmp_path_factory.mktemp("quick") / "kafka", QUICK):
        yield running.bootstrap_servers


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> Iterator[str]:
    """Brokers that know the protocol's requests and have it turned off."""
    properties = {"group.coordinator.rebalance.protocols": "classic"}
    for running in broker(tmp_path_factory.mktemp("without") / "kafka", properties):
        yield running.bootstrap_servers


@pytest.fixture
def groups(quick):
    """The run's groups that the broker knows now: group -> member -> its partitions."""
    admin = AdminClient({"bootstrap.servers": quick})

    def look() -> dict[str, dict[str, list[int]]]:
        listed = [each.group_id for each in admin.list_consumer_groups(request_timeout=10).result(10).valid]
        names = [name for name in listed if name.startswith("hydra-")]
        if not names:
            return {}
        found = admin.describe_consumer_groups(names, request_timeout=10)
        return {
            name: {
                member.member_id: sorted(place.partition for place in member.assignment.topic_partitions)
                for member in future.result(10).members
            }
            for name, future in found.items()
        }

    return look


def held(groups):
    """How many members there are, and the partitions that they have, all together."""
    (members,) = groups().values() or [{}]
    return len(members), sorted(number for numbers in members.values() for number in numbers)


@pytest.mark.parametrize("per_app", [3, 5], ids=["a partition each", "more members than partitions"])
def test_the_members_cover_all_partitions_once(hydra, place, quick, groups, per_app) -> None:
    command = hydra(*RUN, f"--clients_per_app={per_app}", f"--bootstrap_servers={quick}", "--test_duration=3")
    command.wait_for(r"delivered [1-9]")
    assert held(groups) == (2 * per_app, list(range(PARTITIONS)))
    command.end_well()
    result = place.record()["result"]
    totals = result["totals"]
    assert (totals["records_counted"], totals["records_delivered"]) == (3000, 3000)
    assert (totals["records_lost"], totals["records_duplicated"], totals["clients_ok"]) == (0, 0, 2 * per_app)
    assert totals["clients_expecting"] == PARTITIONS
    assert {client["rebalances"] for client in result["clients"]} == {0}
    assert groups() == {}


def test_partitions_of_members_that_are_killed_are_read_on_by_the_others(hydra, place, quick, groups) -> None:
    command = hydra(
        *RUN, "--clients_per_app=3", f"--bootstrap_servers={quick}", "--test_duration=25", "--drain_timeout=5"
    )
    command.wait_for(r"delivered [1-9]")
    place.tasks("kafka-sub")[0].kill()
    wait_until(lambda: held(groups) == (3, list(range(PARTITIONS))), 20, "three members have all partitions")
    assert command.end() == 3, (command.errors, command.text)
    result = place.record()["result"]
    totals = result["totals"]
    assert result["verdict"] == "indeterminate"
    assert totals["clients_missing"] == 3
    assert (totals["records_unread"], totals["records_skipped"], totals["records_broker_lost"]) == (0, 0, 0)
    assert (totals["records_duplicated"], totals["records_counted"]) == (0, 25_000)
    assert totals["records_delivered"] > 25_000 // 2  # the dead had half of them, for some seconds
    assert groups() == {}


def test_who_comes_late_takes_over_and_no_record_is_lost_or_counted_twice(hydra, place, quick, groups) -> None:
    command = hydra(*RUN, "--clients_per_app=2", f"--bootstrap_servers={quick}", "--test_duration=15")
    command.wait_for(r"delivered [1-9]")
    (name,) = groups()
    # It joins and leaves without having read or committed anything.
    stranger = Consumer(
        {
            "bootstrap.servers": quick, "group.id": name, "group.protocol": "consumer", "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
    )  # fmt: skip
    given = []
    stranger.subscribe([name], on_assign=lambda _consumer, places: given.extend(places))
    stranger.poll(0)
    wait_until(lambda: stranger.poll(0.1) or given, 10, "the stranger has been given partitions")
    assert held(groups)[0] == 5
    stranger.close()
    command.end_well()
    result = place.record()["result"]
    totals = result["totals"]
    assert (totals["records_lost"], totals["records_duplicated"], totals["records_delivered"]) == (0, 0, 15_000)
    assert 1 <= sum(client["rebalances"] > 0 for client in result["clients"]) < 4
    assert re.search(r"clients? had their partitions taken away by a rebalance", " ".join(result["notes"]))
    assert groups() == {}


@pytest.mark.parametrize("driver", ["wire", "confluent"])
def test_brokers_that_have_it_turned_off_are_named_before_anything_starts(hydra, place, without, driver) -> None:
    command = hydra(*RUN, "--clients_per_app=3", f"--bootstrap_servers={without}", f"--sub_driver={driver}")
    assert command.end() == 2
    assert command.errors[-1].startswith(
        f"hydra: --group_protocol=consumer needs Kafka 4, and the brokers at {without} do not take"
        " ConsumerGroupHeartbeat (KIP-848): use brokers from Kafka 4.0 on, with group.version=1"
    )
    assert not place.tasks("kafka-sub")
    assert not (place.work / "result.json").exists()
