"""What a probe says of the agent that it runs on, as its program and as it is asked."""

import contextlib
import socket
import subprocess
import sys

import pytest

from hydra.endpoints import Endpoint
from hydra.engine import agent_probe
from hydra.engine.agent_probe import PROBE, probe_agents
from hydra.options.options import Options
from hydra.run.protocols import Task

pytestmark = pytest.mark.integration


@pytest.fixture
def silent():
    """Addresses that do not answer a connection: their queues are full."""
    with contextlib.ExitStack() as closing:
        found = []
        for _ in range(6):
            listener = closing.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(2):
                waits = closing.enter_context(socket.socket())
                waits.setblocking(False)
                waits.connect_ex(listener.getsockname())
            found.append(f"127.0.0.1:{listener.getsockname()[1]}")
        yield found


class OneProcess:
    """A Launcher of one task: the probe of the command line that an app has, without an agent's shell."""

    def __init__(self, targets):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = Endpoint(*free.getsockname())
        self._argv = [sys.executable, "-I", "-c", PROBE, *targets]
        self.process = None

    def apply(self, _spec):
        environment = {"HOST": self.endpoint.host, "PORT0": str(self.endpoint.port)}
        self.process = subprocess.Popen(self._argv, env=environment)

    def tasks(self, app_id):
        return (Task("probe", app_id, running=True, endpoint=self.endpoint),)

    def remove(self, _app_id):
        self.process.kill()
        self.process.wait(10)

    def removed(self, _app_id):
        return True


def test_brokers_that_say_nothing_are_told_and_not_the_agent_itself(silent, monkeypatch):
    monkeypatch.setattr(agent_probe, "POLL_S", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        targets = [*silent, f"127.0.0.1:{listener.getsockname()[1]}"]
        launcher = OneProcess(targets)
        (probed,) = probe_agents(launcher, Options(), name="doctor", agents=1, targets=targets, timeout_s=10)
    assert probed.error == ""
    assert {target for target, error in probed.facts.unreached.items() if error} == set(silent)
    assert list(probed.facts.unreached) == targets
