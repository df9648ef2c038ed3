"""The broker's settings as text, and whose settings win."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.broker.server_properties import Place, Ports, properties_text, quorum_size, server_properties
from hydra.errors import UsageError

PORTS = Ports(broker=21001, controller=21002)


def read_properties(text: str) -> dict[str, str]:
    """The part of java.util.Properties that reads what is written: name=value with \\uXXXX."""
    units = {}
    for line in text.splitlines():
        name, value = (re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), part) for part in line.split("=", 1))
        units[name] = value
    joined = lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # noqa: E731 - short
    return {joined(name): joined(value) for name, value in units.items()}


@given(st.dictionaries(st.text(), st.text()))
def test_any_text_is_written_so_that_java_reads_it_back(properties):
    text = properties_text(properties)
    assert text.isascii()
    assert read_properties(text) == properties


def test_a_value_cannot_bring_another_setting():
    assert properties_text({"a.b": "1\nlisteners=x"}).count("\n") == 1


def test_both_listeners_are_on_loopback_by_number():
    properties = server_properties(PORTS, "/data", 2, {})
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:21001,CONTROLLER://127.0.0.1:21002"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:21001"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:21002"
    assert properties["log.dirs"] == "/data"


def test_of_three_brokers_each_is_a_controller_and_knows_all_three():
    quorum = (21002, 21004, 21006)
    second = server_properties(Ports(21003, 21004), "/data", 2, {}, Place(2, 3, quorum))
    assert (second["node.id"], second["process.roles"]) == ("2", "broker,controller")
    assert second["listeners"] == "PLAINTEXT://127.0.0.1:21003,CONTROLLER://127.0.0.1:21004"
    assert second["controller.quorum.voters"] == "1@127.0.0.1:21002,2@127.0.0.1:21004,3@127.0.0.1:21006"


def test_a_broker_beyond_the_quorum_is_none_of_its_controllers():
    fourth = server_properties(Ports(21007, 21008), "/data", 2, {}, Place(4, 4, (21002, 21004, 21006)))
    assert (fourth["process.roles"], fourth["listeners"]) == ("broker", "PLAINTEXT://127.0.0.1:21007")
    assert fourth["controller.quorum.voters"].count("@") == 3


@pytest.mark.parametrize(("brokers", "size"), [(1, 1), (2, 1), (3, 3), (4, 3), (9, 3)])
def test_no_quorum_is_of_two_controllers(brokers, size):
    assert quorum_size(brokers) == size


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2"), (5, "3", "2")])
def test_kafkas_own_topics_survive_a_broker_where_they_can(brokers, copies, in_sync):
    properties = server_properties(PORTS, "/data", 2, {}, Place(1, brokers, (1,)))
    assert properties["offsets.topic.replication.factor"] == copies
    assert properties["transaction.state.log.replication.factor"] == copies
    assert properties["transaction.state.log.min.isr"] == in_sync


def test_several_brokers_notice_that_one_is_gone_as_soon_as_by_kafkas_defaults():
    assert "broker.session.timeout.ms" in server_properties(PORTS, "/data", 2, {})
    assert "broker.session.timeout.ms" not in server_properties(PORTS, "/data", 2, {}, Place(1, 3, (1, 2, 3)))


def test_the_users_settings_win():
    properties = server_properties(PORTS, "/data", 2, {"num.io.threads": "3", "my.own": "x"})
    assert properties["num.io.threads"] == "3"
    assert properties["my.own"] == "x"


@pytest.mark.parametrize("name", ["listeners", "log.dirs", "node.id", "advertised.listeners"])
def test_what_makes_it_reachable_and_removable_is_not_the_users(name):
    with pytest.raises(UsageError, match=rf"{name}.*bootstrap_servers"):
        server_properties(PORTS, "/data", 2, {name: "x"})


@pytest.mark.parametrize(("cores", "network", "io"), [(1, "3", "8"), (2, "3", "8"), (32, "16", "32")])
def test_threads_follow_the_cores(cores, network, io):
    properties = server_properties(PORTS, "/data", cores, {})
    assert (properties["num.network.threads"], properties["num.io.threads"]) == (network, io)
