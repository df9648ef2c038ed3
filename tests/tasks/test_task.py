"""``hydra task`` as an agent starts it, where that cannot be."""

import os
import socket
import subprocess
import sys

import pytest

from hydra.signals.keys import CONTROLLER_KEY, new_key_pair

pytestmark = pytest.mark.integration


def started(**environment):
    """How a subscriber task ends that is told this."""
    told = {**os.environ, "MESOS_TASK_ID": "t", "HOST": "127.0.0.1", CONTROLLER_KEY: new_key_pair().public}
    command = [sys.executable, "-m", "hydra", "task", "kafka-sub"]
    return subprocess.run(command, env=told | environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken_is_named_in_a_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = started(PORT0=str(port))
    where = f"127.0.0.1:{port} (Address already in use)"
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"hydra: this task cannot listen for signals on {where}: ")
    assert ended.returncode == 4


def test_an_address_of_another_machine_is_named_in_a_line():
    ended = started(HOST="192.0.2.7", PORT0="31000")
    assert ended.stderr.startswith("hydra: this task cannot listen for signals on 192.0.2.7:31000 (")
    assert (len(ended.stderr.splitlines()), ended.returncode) == (1, 4)
