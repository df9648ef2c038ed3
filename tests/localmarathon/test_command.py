"""``hydra marathon`` as a process: up, used with curl, ended in every way, nothing left."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from hydra.cli.main import run
from hydra.engine.marathon_access import read_token
from hydra.errors import UsageError

pytestmark = pytest.mark.integration

APP = {"id": "/x", "cmd": "exec sleep 1000", "instances": 3, "cpus": 0.1, "mem": 16}
FEW_FILES = ["/bin/sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh"]
# The grandchild has left the group and ignores SIGTERM.
GRANDCHILD = "ulimit -n; setsid sh -c 'trap \"\" TERM; sleep 1001' & sleep 1002"


@pytest.fixture
def marathon(tmp_path):
    """Starts ``hydra marathon``; returns the process, the address of the API and the framework's id."""
    started = []
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def start(*arguments):
        process = subprocess.Popen(
            [*FEW_FILES, sys.executable, "-m", "hydra", "marathon", "--port=0", "--no_auth", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
        started.append(process)
        url = re.search(r"http://\S+:\d+", process.stdout.readline())[0]
        return process, url, requests.get(f"{url}/v2/info", timeout=5).json()["frameworkId"]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    ("end", "arguments", "hosts"),
    [
        (signal.SIGINT, (), ["127.0.0.1", "127.0.0.2"]),
        (signal.SIGTERM, ("--local_agents=127.0.0.3",), ["127.0.0.3"]),
        (signal.SIGKILL, (), ["127.0.0.1", "127.0.0.2"]),
    ],
)
def test_its_agents_are_those_it_was_given_and_however_it_ends_its_tasks_end_too(
    marathon, poll, marked_processes, tmp_path, end, arguments, hosts
):
    (tmp_path / "hydra.ini").write_text("[mesos]\nlocal_agents: 127.0.0.1 rack:a, 127.0.0.2 rack:b cpus:2 mem:64\n")
    process, url, framework_id = marathon(*arguments)
    agents = requests.get(f"{url}/slaves", timeout=5).json()["slaves"]
    assert [agent["hostname"] for agent in agents] == hosts
    app = {**APP, "cmd": GRANDCHILD, "taskKillGracePeriodSeconds": 0.5}
    assert requests.post(f"{url}/v2/apps", json=app, timeout=5).status_code == 201
    poll(
        lambda: len(marked_processes(framework_id)) >= 9 and not requests.get(f"{url}/v2/deployments", timeout=5).json()
    )
    # Tasks may open as many files as the machine allows.
    outputs = [path.read_text().strip() for path in tmp_path.glob(f"**/{framework_id}/*/stdout")]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert outputs == ["unlimited" if hard == resource.RLIM_INFINITY else str(hard)] * 3
    children = psutil.Process(process.pid).children()
    watchdogs = [child for child in children if "watchdog" in " ".join(child.cmdline())]
    assert len(watchdogs) == 1
    process.send_signal(end)
    if end is signal.SIGKILL:
        assert process.wait(20) == -signal.SIGKILL
        poll(lambda: marked_processes(framework_id) == [], timeout_s=5)
        poll(lambda: not list(tmp_path.glob("hydra-*/marathon/*")), timeout_s=5)
        poll(lambda: not watchdogs[0].is_running(), timeout_s=5)
    else:
        assert process.wait(20) == 128 + end
        assert marked_processes(framework_id) == []
        assert [child.pid for child in children if child.is_running()] == []
        assert not list(tmp_path.glob("hydra-*"))


def test_it_prints_how_to_call_it_and_shows_its_token_to_nobody(tmp_path, poll):
    """By curl, and by Hydra itself; the token is in no argument, no output and no environment of a task."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "hydra", "marathon", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        try:
            lines = [process.stdout.readline() for _line in range(4)]
            url = re.search(r"http://\S+:\d+", lines[0])[0]
            call = shlex.split(lines[2].partition("call it:")[2])
            file = Path(call[2].removeprefix("@"))
            assert call == ["curl", "-H", f"@{file}", f"{url}/v2/apps"]
            assert lines[3].split("or:")[1].strip() == f"hydra kafka --marathon_url={url} --marathon_secrets={file}"
            assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
            token = file.read_text().split()[-1]
            assert len(token) > 40
            if shutil.which("curl"):
                answer = subprocess.run(
                    [*call, "-sS", "-m", "10"], capture_output=True, text=True, timeout=20, check=True
                )
                assert json.loads(answer.stdout) == {"apps": []}
            assert requests.get(f"{url}/v2/apps", timeout=5).status_code == 401
            header = {"Authorization": f"Bearer {token}"}
            app = {**APP, "cmd": "env; tr '\\0' ' ' < /proc/$PPID/cmdline; exec sleep 1000", "instances": 1}
            assert requests.post(f"{url}/v2/apps", json=app, headers=header, timeout=5).status_code == 201
            (output,) = poll(lambda: [path for path in tmp_path.glob("**/stdout") if path.stat().st_size])
            assert token not in output.read_text()
            assert token not in "".join(lines)
            secrets = ["--marathon_url=" + url, f"--marathon_secrets={file}"]
            shown = subprocess.run(
                [sys.executable, "-m", "hydra", "cli", "ls", "apps", *secrets], capture_output=True, text=True,
                timeout=30, check=True,
            ).stdout  # fmt: skip
            assert "/x" in shown
        finally:
            process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not file.exists()


def test_a_token_of_ones_own(tmp_path):
    file = tmp_path / "token"
    file.write_text("# mine\nauthorization: Bearer  of-my-own\n")
    file.chmod(0o600)
    assert read_token(file) == "of-my-own"
    no_token = "no line 'Authorization: Bearer TOKEN'"
    for content, told in (
        ("authorization = Basic x", no_token),
        ("authorization = Bearer", no_token),
        ("Authorization: bearer  ", no_token),
        ("", "is empty"),
    ):
        file.write_text(content)
        with pytest.raises(UsageError, match=told):
            read_token(file)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="may be read by others"):
        read_token(file)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--local_agents=somewhere", "local_agents"),
        ("--port={taken}", "choose another port"),
        ("--token=/nowhere/token", "--token=/nowhere/token cannot be read"),
    ],
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
        command = [curl, "-sS", "-m", "10", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return json.loads(answer.stdout or "null")

    url = server.url
    created = call("-X", "POST", f"{url}/v2/apps", "-H", "Content-Type: application/json", "-d", json.dumps(APP))
    assert created["id"] == "/x"
    poll(lambda: not call(f"{url}/v2/deployments"))
    assert call(f"{url}/v2/apps//x")["app"]["tasksRunning"] == 3
    assert call("-X", "DELETE", f"{url}/v2/apps/x")["deploymentId"]
    poll(lambda: not call(f"{url}/v2/deployments"))
