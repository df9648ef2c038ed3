"""The broker's settings as text, and whose settings win."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.broker.server_properties import Ports, properties_text, server_properties
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
