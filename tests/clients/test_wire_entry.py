"""While a broker lets the clients of a task in, those that are in do not ask for records that there are none of."""

from __future__ import annotations

import itertools
import threading

import pytest

from hydra.accounting.delivery_latency import DeliveryTiming
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
