"""Clients come to a broker a few at a time; those that are in do not ask for records that there are none of yet."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.clients import wire_entrance
from hydra.clients.wire_entrance import Entrance
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.records.send_plan import Partitioner, SendPlan
from tests.clients.scripted_broker import API_VERSIONS, FETCH

CLIENTS = 3


class Door:
    """A broker that has answered all clients but the last one; what it says to that one waits until it is opened."""

    def __init__(self, scripted, reading, until, *, key=FETCH, **settings):
        self.broker, self.opened, self.until = scripted(), threading.Event(), until
        self.waiting = False
        answer, numbers = self.broker._answer, itertools.count(1)

        def answer_late(asked_key, version, body):
            if asked_key == key and next(numbers) == CLIENTS:
                self.waiting = True
                self.opened.wait()
            return answer(asked_key, version, body)

        self.broker._answer = answer_late
        self.driver = WireSubscriber(
            reading(str(self.broker.endpoint), "topic", clients=CLIENTS, fetch_wait_max_ms=10, **settings)
        )
        self.driver.open()
        until(lambda: self.waiting and sum(self.fetches) == CLIENTS - 1, self.poll)

    @property
    def fetches(self):
        return [tally.fetches for tally in self.driver.tallies]

    def poll(self):
        self.driver.poll(0.01)

    def all_go_on(self):
        before = self.fetches
        self.until(lambda: all(now > then for now, then in zip(self.fetches, before, strict=True)), self.poll)


@pytest.fixture
def door(scripted, reading, until):
    made = []

    def make(**settings):
        made.append(Door(scripted, reading, until, **settings))
        return made[-1]

    yield make
    for each in made:
        each.opened.set()
        each.driver.close()


@pytest.mark.parametrize("key", [API_VERSIONS, FETCH])
@pytest.mark.parametrize("settings", [{}, {"unpaced": (0, 1, 2), "pace_ms": 5.0}, {"pace_ms": 5.0}])
def test_those_that_are_in_hold_still_until_all_are(door, key, settings):
    shut = door(key=key, **settings)
    for _ in range(20):
        shut.poll()
    assert sorted(shut.fetches) == [0, 1, 1]
    shut.opened.set()
    shut.all_go_on()
    assert all(tally.positioned for tally in shut.driver.tallies)


def test_from_the_start_of_a_run_on_nobody_waits_for_another(door):
    shut = door()
    timing = DeliveryTiming(SendPlan(100.0, 10), Partitioner(1, 10), 0.0, 0.0)
    for tally in shut.driver.tallies:
        tally.time_by(timing)
    shut.until(lambda: sorted(shut.fetches)[1] > 3, shut.poll)
    assert min(shut.fetches) == 0


def test_nobody_waits_for_a_client_whose_connection_was_lost(door):
    """It tries again, for as long as it may take."""
    shut = door()
    shut.broker.turns_away = True
    out = next(client for client in shut.driver._clients if not client.tally.fetches)
    out.lost(next(iter(out.fetchers.values())), "gone")
    shut.until(lambda: sorted(shut.fetches)[1] > 3, shut.poll)
    assert not out.tally.positioned


def test_a_rebalance_that_takes_partitions_away_in_mid_run_holds_nobody(door):
    shut = door()
    shut.opened.set()
    shut.all_go_on()
    shut.driver.tallies[0].positioned = False
    shut.all_go_on()


def test_no_more_than_a_few_are_on_the_way_in_at_a_time(scripted, reading, until, monkeypatch):
    monkeypatch.setattr(wire_entrance, "AT_A_TIME", 4)
    monkeypatch.setattr(wire_entrance, "LEAST_AT_A_TIME", 2)
    broker, opened, lock, most = scripted(), threading.Event(), threading.Lock(), []
    answer = broker._answer

    def answer_late(key, version, body):
        opened.wait()
        with lock:
            most.append(broker.connections - sum(tally.fetches for tally in driver.tallies))
        return answer(key, version, body)

    broker._answer = answer_late
    driver = WireSubscriber(
        reading(str(broker.endpoint), "topic", clients=12, total_sub_apps=1, clients_per_app=12, pace_ms=60_000.0)
    )
    driver.open()
    until(lambda: broker.connections == 4, lambda: driver.poll(0.01))
    for _ in range(10):
        driver.poll(0.01)
    assert broker.connections == 4
    opened.set()
    until(lambda: all(tally.positioned for tally in driver.tallies), lambda: driver.poll(0.01))
    assert broker.connections == 12
    assert max(most) == 4
    driver.close()


def test_where_nobody_listens_all_clients_find_out(reading, until, monkeypatch):
    monkeypatch.setattr(wire_entrance, "AT_A_TIME", 2)
    monkeypatch.setattr(wire_entrance, "LEAST_AT_A_TIME", 2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        driver = WireSubscriber(reading(f"127.0.0.1:{unused.getsockname()[1]}", "topic", clients=9))
        driver.open()
        until(lambda: all("refused" in tally.error for tally in driver.tallies), lambda: driver.poll(0.01))
        driver.close()


@pytest.mark.parametrize(
    ("clients", "of", "at_a_time"), [(500, 500, 2048), (500, 16_000, 64), (500, 5_000, 204), (10, 10_000, 16)]
)
def test_a_task_has_its_share_of_the_way_in(clients, of, at_a_time):
    assert Entrance(clients / of)._at_a_time == at_a_time
