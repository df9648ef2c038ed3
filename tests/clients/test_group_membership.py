"""Clients that are members of their consumer groups, on a real broker: exact counts, and groups that the admin sees."""

from __future__ import annotations

import time

import pytest

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.intervals import IntervalSet, received
from hydra.broker.admin import KafkaTopicAdmin
from hydra.clients.protocols import subscriber_driver
from hydra.errors import BrokerError
from hydra.options.order import ClientAssignment
from hydra.records.send_plan import Partitioner, SendPlan
from tests.clients.conftest import RECORDS, close_soon, send_all

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("nothing_left"),
    # kafka-python leaves the sockets of refused connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning"),
]
MEMBERS = (("wire", "classic"), pytest.param("wire", "consumer", marks=pytest.mark.release), ("confluent", "classic"))
GROUPS = {"own": lambda topic, number: f"{topic}-{number}", "shared": lambda topic, _number: topic}


@pytest.fixture(scope="module")
def groups(broker):
    """The groups of the broker as librdkafka's admin sees them: {group: (state, {member id: partitions})}."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})

    def look(names):
        found = {}
        for name, future in admin.describe_consumer_groups(list(names), request_timeout=20).items():
            about = future.result(20)
            members = {
                each.member_id: sorted(place.partition for place in each.assignment.topic_partitions)
                for each in about.members
            }
            found[name] = (about.state.name, members)
        return found

    return look


@pytest.fixture
def committed(broker):
    """How far a group says it is, partition -> offset."""
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})

    def look(name):
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])[name].result(20)
        return {place.partition: place.offset for place in answer.topic_partitions}

    return look


@pytest.fixture
def listed(broker):
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    return lambda: {each.group_id for each in admin.list_consumer_groups(request_timeout=20).result(20).valid}


@pytest.fixture
def members(reading, broker, until):
    """Makes a task's clients and has them join; ``first`` is the number of the first one."""
    made = []

    def make(topic, driver, group, *, partitions, protocol="classic", clients=3, first=0, positioned=True):
        asked = reading(
            broker.bootstrap_servers, topic, driver=driver, partitions=partitions, clients=clients, group_mode="group",
            group_protocol=protocol,
        )  # fmt: skip
        assignments = tuple(
            ClientAssignment(
                f"c{first + number}",
                GROUPS[group](topic, first + number),
                client.starts if group == "own" else (),
            )
            for number, client in enumerate(asked.clients)
        )
        made.append(subscriber_driver(type(asked)(**{**vars(asked), "clients": assignments})))
        made[-1].open()
        if positioned:
            positioned_all([made[-1]], until, partitions)
        return made[-1]

    yield make
    for each in made:
        close_soon(each)


def positioned_all(drivers, until, partitions):
    """Everyone is positioned, and in a shared group all partitions are somebody's."""
    tallies = [tally for driver in drivers for tally in driver.tallies]

    def settled():
        held = [number for tally in tallies for number in tally.held]
        own = all(len(tally.held) == partitions for tally in tallies)
        return all(tally.positioned for tally in tallies) and (own or sorted(held) == list(range(partitions)))

    until(settled, lambda: poll(drivers), describe=lambda: [(each.name, each.held, each.error) for each in tallies])


def poll(drivers):
    for driver in drivers:
        driver.poll(0.02)


@pytest.fixture
def send(publisher, broker):
    """Has so many records of each partition acked; all of a test's come from one publisher."""
    made = []

    def send(topic, partitions, first=0):
        if not made:
            made.append(publisher(broker, topic, partitions=partitions))
        send_all(made[0], partitions, first)
        made[0].flush(20)

    return send


def got_of(drivers, partition):
    """(distinct sequences of the group as a whole, records received in all)."""
    union = IntervalSet()
    count = 0
    for tally in (tally for driver in drivers for tally in driver.tallies):
        part = tally.partitions.get(partition)
        if part is not None:
            count += part.received
            for start, stop in received(part.stats().spans).sequences:
                union.add(start, stop)
    return list(union), count


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("driver", "protocol"), MEMBERS)
def test_members_get_every_record_once_and_the_broker_knows_them(
    broker, new_topic, members, send, until, groups, committed, listed, driver, protocol, group
):
    partitions, clients = 5, 3
    topic = new_topic(broker, partitions)
    reader = members(topic, driver, group, partitions=partitions, protocol=protocol, clients=clients)
    names = {GROUPS[group](topic, number) for number in range(clients)}
    there = {}

    def is_stable():
        # The members know their partitions; the coordinator learns by their next heartbeats that they do.
        there.update(groups(names))
        return {state for state, _ in there.values()} == {"STABLE"}

    until(is_stable, lambda: reader.poll(0.02), describe=lambda: there)
    dealt = [parts for _, membership in there.values() for parts in membership.values()]
    assert len(dealt) == clients
    assert sorted(dealt) == sorted(sorted(tally.held) for tally in reader.tallies)
    copies = clients if group == "own" else 1
    assert sorted(number for parts in dealt for number in parts) == sorted(list(range(partitions)) * copies)
    send(topic, partitions)
    ends = dict.fromkeys(range(partitions), RECORDS)
    until(
        lambda: all(tally.reached(ends) for tally in reader.tallies),
        lambda: reader.poll(0.02),
        describe=lambda: [tally.stats() for tally in reader.tallies],
    )
    for tally in reader.tallies:
        assert (tally.error, tally.foreign, tally.corrupt, tally.rebalances) == ("", 0, 0, 0)
        # While the group was forming, a member may have held for a moment what another one reads now.
        for number, part in tally.partitions.items():
            assert part.stats().spans == (((0, 0, RECORDS),) if number in tally.held else ())
    assert sum(tally.received for tally in reader.tallies) == copies * partitions * RECORDS
    reader.close()
    assert {state for state, _ in groups(names).values()} == {"EMPTY"}
    assert all(committed(name) == ends for name in names)
    assert names <= listed()
    admin = KafkaTopicAdmin(broker.bootstrap_servers)
    admin.delete_groups(sorted(names))
    admin.delete_groups(sorted(names))
    admin.close()
    assert not names & listed()


@pytest.mark.release
@pytest.mark.parametrize(("driver", "protocol"), MEMBERS)
def test_members_that_come_and_go_lose_and_duplicate_nothing(broker, new_topic, members, send, until, driver, protocol):
    partitions = 4
    topic = new_topic(broker, partitions)
    first = members(topic, driver, "shared", partitions=partitions, protocol=protocol, clients=1)
    first.tallies[0].time_by(
        DeliveryTiming(SendPlan(1000, 12), Partitioner(partitions, 100), time.monotonic(), time.time())
    )
    send(topic, partitions)
    until(lambda: got_of([first], 3)[1] == RECORDS, lambda: poll([first]))
    second = members(
        topic, driver, "shared", partitions=partitions, protocol=protocol, clients=1, first=1, positioned=False
    )
    # Step by step, a member that has joined has nothing until the other one has let go.
    until(lambda: second.tallies[0].held, lambda: poll([first, second]))
    positioned_all([first, second], until, partitions)
    assert first.tallies[0].rebalances == 1
    assert all(part.start_offset == RECORDS for part in second.tallies[0].partitions.values())
    send(topic, partitions, RECORDS)
    both = [first, second]
    until(lambda: all(got_of(both, number)[1] >= 2 * RECORDS for number in range(partitions)), lambda: poll(both))
    first.close()
    positioned_all([second], until, partitions)
    send(topic, partitions, 2 * RECORDS)
    until(
        lambda: second.tallies[0].reached(dict.fromkeys(range(partitions), 3 * RECORDS)),
        lambda: poll([second]),
        describe=second.tallies[0].stats,
    )
    assert [got_of(both, number) for number in range(partitions)] == [([(0, 3 * RECORDS)], 3 * RECORDS)] * partitions


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.release)])
def test_groups_with_members_that_never_left_are_deleted_too(broker, new_topic, members, listed, protocol):
    topic = new_topic(broker, 2)
    members(topic, "wire", "shared", partitions=2, protocol=protocol, clients=2)
    assert topic in listed()
    admin = KafkaTopicAdmin(broker.bootstrap_servers)
    assert (admin.member_count(topic), admin.member_count("never-there")) == (2, 0)
    with pytest.raises(BrokerError, match=f"the group {topic} on .* has members by now, and stays"):
        admin.delete_groups([topic], with_members=False)
    assert admin.member_count(topic) == 2
    admin.delete_groups([topic, "never-there"])
    admin.close()
    assert topic not in listed()


def test_deleting_groups_of_a_broker_that_is_gone_is_refused_in_one_line():
    admin = KafkaTopicAdmin("127.0.0.1:1", timeout_s=1)
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
        admin.delete_groups(["g"])
    admin.close()
