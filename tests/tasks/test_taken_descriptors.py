"""A task all of whose descriptors strangers hold: it lives, measures on, and its controller reaches it."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hydra.endpoints import Endpoint
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.signals.keys import CONTROLLER_KEY, SignalKeys, new_key_pair
from hydra.signals.messages import StartAt, StatusQuestion, TaskOrder, request
from hydra.signals.zmq_signals import ZmqSignals
from tests.commands import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at a process by Linux's /proc"),
]

HOST = "127.0.0.1"
MOST = 60
DRIVER = """
import time

class Idle:
    tallies = ()
    def __init__(self, order, access): pass
    def open(self): pass
    def poll(self, timeout_s): time.sleep(timeout_s)
    def close(self): pass
"""


def free_port():
    with socket.create_server((HOST, 0)) as probe:
        return probe.getsockname()[1]


def status_of(signals, endpoint):
    answer = signals.ask({endpoint: request("teststatus", StatusQuestion(sample=True))}, 5.0)[endpoint]
    assert answer.ok, answer
    return answer.body


def open_files(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


@pytest.fixture
def keys():
    return SignalKeys(new_key_pair())


@pytest.fixture
def launch(tmp_path, keys):
    """Starts a subscriber that may open few files; ended afterwards."""
    (tmp_path / "idle.py").write_text(DRIVER)
    driver = f"{tmp_path}/idle.py:Idle"
    with contextlib.ExitStack() as closing:

        def start(options):
            endpoint = Endpoint(HOST, free_port())
            place = {"MESOS_TASK_ID": "t", "HOST": HOST, "PORT0": str(endpoint.port)}
            process = subprocess.Popen(
                [sys.executable, "-m", "hydra", "task", "kafka-sub", driver],
                env={**os.environ, **place, CONTROLLER_KEY: keys.controller.public},
                cwd=Path(__file__).parents[2],
                stderr=subprocess.PIPE,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST)),  # noqa: PLW1509
            )
            closing.enter_context(process)
            closing.callback(process.kill)
            return process, endpoint, TaskOrder(RunOrder("r", Options(sub_driver=driver, **options)))

        yield start


@pytest.mark.parametrize("options", [{}, {"marathon_url": "http://m:8080"}], ids=["here", "elsewhere"])
def test_connections_beyond_the_limit_of_descriptors_end_no_task(launch, keys, options):
    process, endpoint, order = launch(options)
    with contextlib.ExitStack() as closing:
        signals = closing.enter_context(contextlib.closing(ZmqSignals(keys)))
        wait_until(lambda: signals.ask({endpoint: request("ping")}, 0.5)[endpoint].ok, 20, "the task is up")
        for told in (request("updateconfig", order), request("teststart", StartAt(time.monotonic(), time.time()))):
            answer = signals.ask({endpoint: told}, 5.0)[endpoint]
            assert answer.ok, answer
        strangers = []
        for _ in range(2 * MOST):  # whoever proves nothing is cut off after 2 s, and the next ones come in
            strangers.append(closing.enter_context(socket.socket()))
            strangers[-1].connect((endpoint.host, endpoint.port))
        wait_until(lambda: open_files(process) == MOST, 5, "nothing can be opened")
        before = status_of(signals, endpoint)
        wait_until(lambda: status_of(signals, endpoint) != before, 5, "it notes what it has used")
        wait_until(lambda: open_files(process) == MOST, 5, "they still have all")
        for stranger in strangers:
            stranger.close()
        with contextlib.closing(ZmqSignals(keys)) as another:
            assert another.ask({endpoint: request("ping")}, 10.0)[endpoint].ok, "and there is room again"
        assert process.poll() is None
