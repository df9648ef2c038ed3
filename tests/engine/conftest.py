"""Servers that play Marathon for the tests of this folder, and none of which is left at the end."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from tests.scripted_marathon import ScriptedMarathon, drip, hang, lose, refuse


@pytest.fixture
def scripted():
    """Makes servers; all are closed at the end, and leave no thread behind."""
    before = set(threading.enumerate())
    servers = []

    def start(**options):
        servers.append(ScriptedMarathon(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
    deadline_s = time.monotonic() + 10
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline_s, set(threading.enumerate()) - before
        time.sleep(0.02)


@pytest.fixture
def server(scripted):
    return scripted()


@pytest.fixture
def plays():
    """What a server can be told to do in place of an answer."""
    return SimpleNamespace(refuse=refuse, hang=hang, lose=lose, drip=drip)
