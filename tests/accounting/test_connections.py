"""Whose doing it is that connections were not let in."""

import dataclasses

import pytest

from hydra.accounting.connections import not_let_in, somebody_was_not_let_in
from hydra.accounting.evidence import Evidence
from hydra.accounting.stats import ClientStats, ProcessUsage, SubscriberStats
from hydra.options.connection_limits import ConnectionLimit
from tests.accounting.test_bottleneck import limit_of_late, publisher

LIMITS = (ConnectionLimit("max.connections.per.ip", 5, "one address"),)
WAITING = "h:1: not let in: no reply for 5 s"


def clients(*facts):
    """A task whose clients were (turned away so often, with this error)."""
    each = tuple(
        ClientStats(f"c{number}", (), True, 0, 0, 0.0, 0, 0, 0, error, turned_away=times)
        for number, (times, error) in enumerate(facts)
    )
    return (SubscriberStats("r", "sub.1", each, ProcessUsage(0.0, 0, 0.0)),)


CASES = [
    # clients, limits, whose doing
    (clients((0, ""), (2, "h:1: refused")), LIMITS, "broker"),
    (clients((0, ""), (3, "")), LIMITS, "refusal"),
    (clients((0, ""), (0, WAITING)), LIMITS, "refusal"),
    (clients((0, ""), (3, "")), None, "unknown"),
    (clients((0, ""), (0, WAITING)), None, "unknown"),
    # Nothing limits connections: who closes them is not known, and who leaves them in the queue is slow.
    (clients((0, ""), (3, "")), (), "unknown"),
    (clients((0, ""), (0, WAITING)), (), "broker"),
]


@pytest.mark.parametrize(("tasks", "limits", "whose"), CASES)
def test_a_limit_on_connections_is_not_what_a_broker_carries(tasks, limits, whose):
    found = limit_of_late(subscribers=tasks, connection_limits=limits)
    assert found.limit == whose
    assert not found.harness_limited
    assert ("max.connections.per.ip=5" in "; ".join(found.evidence)) == (whose == "refusal")


def test_who_was_turned_away_is_told():
    whose, told = not_let_in(Evidence(subscribers=clients((4, ""), (0, ""), (5, "")), connection_limits=LIMITS))
    assert whose == "refusal"
    assert [text for text, _ in told] == [
        "2 of 3 clients were turned away at once, 9 times in all",
        "set there: max.connections.per.ip=5",
    ]


def test_a_publisher_that_is_not_let_in_counts_too():
    evidence = Evidence(publisher=dataclasses.replace(publisher(), turned_away=3), connection_limits=LIMITS)
    assert not_let_in(evidence)[0] == "refusal"
    assert somebody_was_not_let_in(evidence)
    assert not somebody_was_not_let_in(Evidence(publisher=publisher(), subscribers=clients((2, ""))))


def test_a_full_machine_explains_nothing_of_it():
    totals = {"machine_cpu_percent": 99.0, "broker_cpu_percent": 10.0}
    found = limit_of_late(subscribers=clients((3, "")), connection_limits=LIMITS, totals=totals)
    assert found.limit == "refusal"
    assert limit_of_late(subscribers=clients((3, "")), connection_limits=(), totals=totals).limit == "harness"
