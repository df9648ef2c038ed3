"""A subscriber's clients: how far they are."""

import pytest

from hydra.core.configuration import ClientAssignment, PartitionStart, SubscriberConfiguration
from hydra.core.signals import DrainTo
from hydra.core.stats import ProcessUsage
from hydra.harness.subscribing import MAX_NAMES, Subscribing

FROM_THE_START = (PartitionStart(0, 0),)

USAGE = ProcessUsage(cpu_percent=1.0, rss_bytes=1, window_s=1.0)


@pytest.fixture
def make(clock, twins):
    def make(clients=2, starts=FROM_THE_START):
        configuration = SubscriberConfiguration(
            run_id="run-1",
            topic="run-1",
            bootstrap_servers="127.0.0.1:9092",
            driver="memory",
            clients=tuple(ClientAssignment(f"c{number}", f"g{number}", tuple(starts)) for number in range(clients)),
            leaders=(),
            fetch_min_bytes=1,
            fetch_wait_max_ms=1,
            max_buffer_bytes=0,
            fetch_pace_ms=0,
        )
        broker = twins.Broker(clock)
        broker.create_topic("run-1", partitions=1, configs={})
        driver = twins.SubscriberDriver(configuration, broker)
        return Subscribing(configuration, driver, clock, lambda: twins.READING), driver, broker

    return make


def test_clients_connect_are_positioned_and_receive(make):
    subscribing, driver, broker = make()
    driver.may_position = False
    subscribing.open()
    subscribing.poll(0)
    status = subscribing.status()
    assert (status.phase, status.clients, status.positioned, status.waiting) == ("connecting", 2, 0, ("c0", "c1"))
    driver.may_position = True
    broker.append("run-1", 0, range(5))
    subscribing.poll(0)
    status = subscribing.status()
    assert (status.phase, status.positioned, status.received, status.waiting) == ("receiving", 2, 10, ())
    assert driver.opened == 1


def test_drained_means_read_up_to_the_end_offsets(make):
    subscribing, driver, broker = make()
    broker.append("run-1", 0, range(5))
    driver.limit = 3
    subscribing.poll(0)
    subscribing.drain(DrainTo({0: 5}))
    status = subscribing.status()
    assert (status.phase, status.drained, status.waiting) == ("receiving", 0, ("c0", "c1"))
    driver.limit = 5
    subscribing.poll(0)
    status = subscribing.status()
    assert (status.phase, status.drained, status.waiting) == ("drained", 2, ())
    assert [client.received for client in subscribing.stats("t", USAGE).clients] == [5, 5]


def test_clients_with_nothing_to_read_are_positioned_and_drained(make):
    subscribing, _, _ = make(starts=())
    assert subscribing.status().phase == "receiving"
    subscribing.drain(DrainTo({0: 5}))
    assert subscribing.status().phase == "drained"


def test_a_status_names_twenty_clients_at_most(make):
    subscribing, driver, _ = make(clients=50)
    driver.may_position = False
    subscribing.poll(0)
    status = subscribing.status()
    assert len(status.waiting) == MAX_NAMES == 20
    assert (status.clients, status.positioned) == (50, 0)


def test_a_clients_trouble_is_told(make):
    subscribing, driver, _ = make()
    driver.tallies[1].error = "connection refused"
    assert subscribing.status().error == "connection refused"
    assert subscribing.stats("t", USAGE).clients[1].error == "connection refused"


def test_close_lets_go_of_the_clients(make):
    subscribing, driver, _ = make()
    subscribing.close()
    assert driver.closed == 1
