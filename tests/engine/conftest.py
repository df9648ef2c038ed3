"""Servers that play Marathon for the tests of this folder, and a clock that does not wait."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest

from hydra.codec import encode
from hydra.files.folders import OWNER, make_run_folder, new_run_folder
from hydra.files.process_identity import this_process
from tests.scripted_marathon import ScriptedMarathon, drip, drip_head, hang, lose, refuse


class FakeClock:
    """Time that passes by sleeping only, at once; ``meanwhile`` is called at each sleep."""

    def __init__(self):
        self.time_s = 0.0
        self.meanwhile = lambda: None

    def now_s(self):
        return self.time_s

    def sleep(self, seconds):
        self.time_s += seconds
        self.meanwhile()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def killed_folder(tmp_path, monkeypatch):
    """The folder of certificates of a command that was killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = new_run_folder("hydra-kube")
    make_run_folder(folder)
    (folder / OWNER).write_bytes(encode(dataclasses.replace(this_process(), started="before")))
    (folder / "client.key").write_text("KEY")
    return folder


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
    return SimpleNamespace(refuse=refuse, hang=hang, lose=lose, drip=drip, drip_head=drip_head)
