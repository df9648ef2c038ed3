"""What the confluent subscriber asks of librdkafka, and what it takes from its statistics."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from confluent_kafka import TopicPartition

from hydra.accounting.tally import ClientTally
from hydra.clients.confluent_subscriber import ConfluentClient, settings


def settings_of(reading, **options):
    order = reading("k:9092", "t", driver="confluent", **options)
    return settings(order.clients[0], order)


def test_statistics_are_asked_for_with_a_rack_only(reading):
    """They are JSON of all that the library knows, for each client."""
    assert not {"client.rack", "statistics.interval.ms"} & set(settings_of(reading))
    assert (
        settings_of(reading, client_rack="r2").items() >= {"client.rack": "r2", "statistics.interval.ms": 1000}.items()
    )


@pytest.mark.parametrize(
    ("reads_from", "leader", "received", "followers"),
    [(2, 1, 5, {2}), (2, 1, 0, set()), (1, 1, 5, set()), (-1, 1, 5, set()), (2, -1, 5, set())],
)
def test_a_follower_is_one_that_records_came_from_and_does_not_lead(reads_from, leader, received, followers):
    client = SimpleNamespace(_topic="t", tally=ClientTally("c", b"", [(0, 0)]))
    partitions = {"0": {"broker": reads_from, "leader": leader, "rxmsgs": received}}
    ConfluentClient._on_stats(client, json.dumps({"topics": {"t": {"partitions": partitions}}}))
    ConfluentClient._on_stats(client, json.dumps({"topics": {}}))
    assert client.tally.followers == followers


CLASSIC = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}


def test_what_librdkafka_refuses_beside_the_consumer_protocol_is_left_out(reading):
    classic = settings_of(reading, group_mode="group")
    consumer = settings_of(reading, group_mode="group", group_protocol="consumer")
    assert set(classic) - set(consumer) == CLASSIC
    assert set(consumer.items()) - set(classic.items()) == {("group.protocol", "consumer")}


class Library:
    """Of a Consumer, what a client asks of it in a rebalance."""

    def __init__(self):
        self.assigned = []

    def committed(self, places, timeout):
        return [TopicPartition("t", place.partition, 7 if place.partition == 2 else -1001) for place in places]

    def incremental_assign(self, places):
        self.assigned += [(place.partition, place.offset) for place in places]


def places(*partitions):
    return [TopicPartition("t", partition) for partition in partitions]


def test_a_group_that_goes_step_by_step_leaves_the_other_partitions_as_they_are(reading):
    order = reading("127.0.0.1:9", "t", driver="confluent", group_mode="group", group_protocol="consumer")
    tally, library = ClientTally("c", b"", ()), Library()
    client = ConfluentClient(tally, order.clients[0], order)
    try:
        client._assigned(library, places(0, 1))
        assert (tally.held, client.unconfirmed, tally.positioned) == ({0, 1}, {0, 1}, False)
        client.unconfirmed = {1}
        tally.partitions[0].next_offset = 5
        client._assigned(library, places(2))
        assert (library.assigned, client.unconfirmed) == ([(0, 0), (1, 0), (2, 7)], {1, 2})
        client._revoked(library, places(1, 2))
        assert (tally.held, client.unconfirmed, tally.positioned) == ({0}, set(), True)
        assert (tally.partitions[0].next_offset, tally.partitions[0].handed_over) == (5, [])
        client._revoked(library, places(0))
        assert (tally.held, tally.positioned) == (set(), False)
        client._assigned(library, places(0))
        assert library.assigned[-1] == (0, 5)
    finally:
        client.close(1.0)
