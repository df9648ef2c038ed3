"""``hydra marathon`` as a process: up, used with curl, ended in every way, nothing left."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import requests

from hydra.cli.main import run
from hydra.localmarathon.task import TASK_MARK

pytestmark = pytest.mark.integration

APP = {"id": "/x", "cmd": "exec sleep 1000", "instances": 3, "cpus": 0.1, "mem": 16}


@pytest.fixture
def marathon(tmp_path):
    """Starts ``hydra marathon``; returns the process and the address of the API."""
    started = []
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "hydra", "marathon", "--port=0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
        started.append(process)
        first = process.stdout.readline()
        return process, re.search(r"http://\S+:\d+", first)[0] if first else ""

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def marked(url):
    framework_id = requests.get(f"{url}/v2/info", timeout=5).json()["frameworkId"]

    def find():
        return [
            process
            for process in psutil.process_iter(["environ"])
            if (process.info["environ"] or {}).get(TASK_MARK, "").startswith(framework_id)
        ]

    return find


@pytest.mark.parametrize(
    ("end", "arguments", "hosts"),
    [
        (signal.SIGINT, (), ["127.0.0.1", "127.0.0.2"]),
        (signal.SIGTERM, ("--local_agents=127.0.0.3",), ["127.0.0.3"]),
        (signal.SIGKILL, (), ["127.0.0.1", "127.0.0.2"]),
    ],
)
def test_its_agents_are_those_it_was_given_and_however_it_ends_its_tasks_end_too(
    marathon, poll, tmp_path, end, arguments, hosts
):
    (tmp_path / "hydra.ini").write_text("[mesos]\nlocal_agents: 127.0.0.1 rack:a, 127.0.0.2 rack:b cpus:2 mem:64\n")
    process, url = marathon(*arguments)
    agents = requests.get(f"{url}/slaves", timeout=5).json()["slaves"]
    assert [agent["hostname"] for agent in agents] == hosts
    tasks = marked(url)
    assert requests.post(f"{url}/v2/apps", json=APP, timeout=5).status_code == 201
    poll(lambda: len(tasks()) == 3 and not requests.get(f"{url}/v2/deployments", timeout=5).json())
    process.send_signal(end)
    assert process.wait(20) == (-9 if end is signal.SIGKILL else 0)
    poll(lambda: not tasks())
    if end is not signal.SIGKILL:
        assert not list(tmp_path.glob("hydra-*"))
    else:
        poll(lambda: not list(tmp_path.glob("hydra-*/marathon/*")))


@pytest.mark.parametrize(
    ("argument", "told"), [("--local_agents=somewhere", "local_agents"), ("--port={taken}", "choose another port")]
)
def test_what_cannot_be_is_told_in_a_line(server, monkeypatch, tmp_path, capsys, argument, told):
    monkeypatch.chdir(tmp_path)
    assert run(["marathon", argument.format(taken=server.url.rpartition(":")[2])]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_curl_works(server, poll):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")

    def call(*arguments):
        answer = subprocess.run(
            [curl, "-sS", "-m", "10", *arguments], capture_output=True, text=True, timeout=20, check=True
        )
        return json.loads(answer.stdout or "null")

    url = server.url
    created = call("-X", "POST", f"{url}/v2/apps", "-H", "Content-Type: application/json", "-d", json.dumps(APP))
    assert created["id"] == "/x"
    poll(lambda: not call(f"{url}/v2/deployments"))
    assert call(f"{url}/v2/apps//x")["app"]["tasksRunning"] == 3
    assert call("-X", "DELETE", f"{url}/v2/apps/x")["deploymentId"]
    poll(lambda: not call(f"{url}/v2/deployments"))
