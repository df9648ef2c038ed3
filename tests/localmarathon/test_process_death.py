"""What remains when processes die that nobody expected to: nothing."""

import os
import resource
import signal
import subprocess
import sys

import psutil
import pytest
import requests

pytestmark = pytest.mark.integration

PROGRAM = """
import asyncio, pathlib, resource, sys
from hydra.localmarathon.server import LocalMarathon

async def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    async with LocalMarathon(pathlib.Path(sys.argv[1])) as marathon:
        print(marathon.url, marathon.framework_id, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def process(tmp_path):
    """A server in a process of its own: (process, url, framework id)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            url, framework_id = running.stdout.readline().split()
            yield running, url, framework_id
        finally:
            running.kill()


def start(url, poll, cmd, instances=1):
    answer = requests.post(f"{url}/v2/apps", json={"id": "/x", "cmd": cmd, "instances": instances}, timeout=10)
    assert answer.status_code == 201, answer.text
    poll(lambda: requests.get(f"{url}/v2/deployments", timeout=10).json() == [])


def test_sigkill_of_the_server_leaves_no_process_and_no_folder(process, poll, marked_processes, tmp_path):
    running, url, framework_id = process
    # The grandchild has left the group and ignores SIGTERM.
    start(url, poll, "setsid sh -c 'trap \"\" TERM; sleep 1001' & sleep 1002", instances=10)
    assert poll(lambda: len(marked_processes(framework_id)) >= 30)
    watchdogs = [child for child in psutil.Process(running.pid).children() if "watchdog" in " ".join(child.cmdline())]
    assert len(watchdogs) == 1
    running.kill()
    assert running.wait(timeout=10) == -signal.SIGKILL
    poll(lambda: marked_processes(framework_id) == [], timeout_s=5)
    poll(lambda: list(tmp_path.iterdir()) == [], timeout_s=5)
    poll(lambda: not watchdogs[0].is_running(), timeout_s=5)


def test_an_orderly_end_dismisses_the_watchdog(process, poll, marked_processes, tmp_path):
    running, url, framework_id = process
    start(url, poll, "ulimit -n; exec sleep 1001", instances=3)
    # Tasks may open as many files as the machine allows.
    outputs = poll(lambda: [path for path in tmp_path.glob(f"{framework_id}/*/stdout") if path.read_text()][2:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert outputs[0].read_text().strip() == ("unlimited" if hard == resource.RLIM_INFINITY else str(hard))
    children = psutil.Process(running.pid).children()
    running.stdin.close()
    assert running.wait(timeout=10) == 0
    assert marked_processes(framework_id) == []
    assert [child.pid for child in children if child.is_running()] == []
    assert list(tmp_path.iterdir()) == []
