"""Which settings of a broker limit connections, and which runs go beyond them."""

import pytest

from hydra.errors import UsageError
from hydra.options.connection_limits import ConnectionLimit, check_connections, connection_limits
from hydra.options.options import Options

NONE = str(2**31 - 1)
LISTENERS = {"advertised.listeners": "INTERNAL://b1:9093,Outside://k1:9092,V6://[::1]:9094"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"max.connections": NONE, "max.connections.per.ip": NONE, "max.connection.creation.rate": NONE}, []),
        ({"max.connections": "80", "num.network.threads": "3"}, ["max.connections=80"]),
        ({"max.connections": "80", "max.connections.per.ip": "7"}, ["max.connections=80", "max.connections.per.ip=7"]),
        ({"max.connection.creation.rate": "5"}, ["max.connection.creation.rate=5"]),
        ({"max.connections": "many"}, []),
        ({"listener.name.outside.max.connections": "9"}, ["listener.name.outside.max.connections=9"]),
        ({"listener.name.internal.max.connections": "9"}, []),
        (
            {"listener.name.outside.max.connection.creation.rate": "3"},
            ["listener.name.outside.max.connection.creation.rate=3"],
        ),
        (
            {"max.connections.per.ip": "7", "max.connections.per.ip.overrides": "10.0.0.9:1,10.0.0.1:40"},
            ["max.connections.per.ip.overrides of 10.0.0.1=40"],
        ),
        ({"max.connections.per.ip.overrides": "::1:40,10.0.0.9:1"}, []),
    ],
)
def test_limits_are_those_that_hold_for_this_client(settings, told):
    assert list(map(str, connection_limits({**LISTENERS, **settings}, "10.0.0.1", "k1:9092"))) == told


def test_an_address_of_ip_version_6_may_have_an_override():
    (limit,) = connection_limits({"max.connections.per.ip.overrides": "::1:40,10.0.0.9:1"}, "::1")
    assert (limit.value, limit.of) == (40, "one address")


def shortage(limits, brokers=1, **changes):
    """What is told of a run with 40 clients."""
    try:
        check_connections(Options(**{"total_sub_apps": 4, "clients_per_app": 10, **changes}), limits, brokers)
    except UsageError as error:
        return str(error)
    return ""


def most(value, of="all", setting="max.connections"):
    return [ConnectionLimit(setting, value, of)]


def test_a_run_that_fits_is_let_in():
    assert not shortage(None)
    assert not shortage([])
    assert not shortage(most(41))
    assert not shortage(most(10, "one address"), marathon_url="http://m:8080")  # from how many, nobody knows


@pytest.mark.parametrize("of", ["all", "one address"])
def test_a_run_that_does_not_fit_is_told_both_numbers_and_the_setting(of):
    assert shortage(most(40, of)) == (
        "40 clients and a publisher need 41 connections to a broker at least, and it lets in 40 (max.connections):"
        " raise max.connections, or ask for fewer clients"
    )


def test_in_a_shared_group_each_partition_has_one_client():
    shared = {"group": "shared", "partitions": 6}
    assert not shortage(most(7), **shared)
    assert shortage(most(6), **shared)
    assert not shortage(most(3), brokers=3, **shared)
    assert shortage(most(2), brokers=3, **shared)


def test_a_rate_is_a_matter_of_the_start_timeout():
    rate = most(2, "a second", "max.connection.creation.rate")
    assert not shortage(rate, start_timeout=10.0)  # 22 at once, and 19 more take 9.5 s
    assert "41 connections need 10 s at max.connection.creation.rate=2" in shortage(rate, start_timeout=9.0)
