"""A run that strangers of the same machine get at: by HTTP, by signals, as another user. It is theirs in nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests
import zmq

from hydra.codec import encode
from hydra.endpoints import Endpoint
from hydra.engine.marathon_access import TOKEN_FILE, local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.signals.keys import CONTROLLER_KEY, SignalKeys, new_key_pair
from hydra.signals.messages import request
from hydra.signals.zmq_signals import ZmqSignals

pytestmark = pytest.mark.integration

STOP = request("teststop", {"end_offsets": {"0": 0}})
NOBODY = 65534


def record_of(stack):
    (file,) = stack.state.rglob("stack.json")
    return json.loads(file.read_text())


def raw_request(endpoint: Endpoint) -> int:
    """Send ``teststop`` as it was sent before there were keys; returns how many replies came within a second."""
    context = zmq.Context()
    try:
        peer = context.socket(zmq.REQ)
        peer.connect(f"tcp://{endpoint}")
        peer.send(encode(STOP))
        return peer.poll(1000)
    finally:
        context.destroy(linger=0)


@pytest.mark.usefixtures("on_running_stack")
def test_nobody_else_gives_orders_to_a_run(hydra, place, running_stack):
    command = hydra("kafka", "--total_sub_apps=2", "--test_duration=6", "--warmup=0", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    with command.held():
        stack = record_of(running_stack)
        folder, url = Path(stack["folder"]), stack["marathon_url"]

        # What anyone may read who may read apps: the controller's public key, and the tasks' addresses.
        launcher = MarathonLauncher(local_access(url, folder))
        apps = {app.id: app for app in launcher.apps()}
        endpoints = [Endpoint(task.host, task.ports[0]) for task in launcher.all_tasks()]
        launcher.close()
        assert set(apps) == {"/g1/kafka-pub", "/g1/kafka-sub"}
        assert len(endpoints) == 3
        public = str(apps["/g1/kafka-pub"].env[CONTROLLER_KEY])

        assert [raw_request(endpoint) for endpoint in endpoints] == [0, 0, 0]
        own = new_key_pair()
        for keys in (own, type(own)(public, own.secret)):
            stranger = ZmqSignals(SignalKeys(keys))
            began_s = time.monotonic()
            answers = stranger.ask(dict.fromkeys(endpoints, STOP), 5.0)
            assert time.monotonic() - began_s < 2
            assert {answer.refused for answer in answers.values()} == {True}
            assert all("obeys another controller" in answer.error for answer in answers.values())
            stranger.close()

        for path in ("/v2/apps/g1/kafka-pub?force=true", "/v2/groups?force=true"):
            assert requests.delete(url + path, timeout=5).status_code == 401
        assert requests.get(f"{url}/v2/apps", timeout=5).status_code == 401

        tasks = [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")]
        cores = {psutil.Process(task.pid).rlimit(psutil.RLIMIT_CORE) for task in tasks}
        assert cores == {(0, 0)}, "the memory of a task has its key, and no file of it is written"
        secrets = [file.read_text().split()[-1] for file in [folder / TOKEN_FILE]]
        secrets += [json.loads((folder / name).read_text())["secret"] for name in ("controller.key", "tasks.key")]
        shown = [repr(app) for app in apps.values()]
        for process in [command.process, *tasks, *running_stack.processes()]:
            with_pid = psutil.Process(process.pid)
            shown += [" ".join(with_pid.cmdline()), json.dumps(dict(with_pid.environ()))]

    command.end_well()
    record = place.record()
    assert record["evidence"]["publisher"]["attempted"] == 6000
    assert record["result"]["totals"]["records_lost"] == 0
    shown += [(place.work / "result.json").read_text(), command.text, "\n".join(command.errors)]
    shown += [log.read_text(errors="replace") for log in folder.rglob("*") if is_log(log)]
    assert [text[:80] for text in shown for secret in secrets if secret in text] == []


def is_log(path: Path) -> bool:
    return path.is_file() and path.name in {"stack.log", "broker.log", "stdout", "stderr"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.usefixtures("on_running_stack")
def test_another_user_of_the_machine_has_neither_token_nor_keys(running_stack):
    stack = record_of(running_stack)
    script = (
        "import os, socket, sys\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for path in sys.argv[2:]:\n"
        "    try: open(path); print('read', path)\n"
        "    except PermissionError: print('closed')\n"
        'body = b\'{"id": "/evil", "cmd": "touch /tmp/evil"}\'\n'
        "head = b'POST /v2/apps HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nContent-Type: application/json\\r\\n'\n"
        "head += b'Content-Length: %d\\r\\n\\r\\n'\n"
        "peer = socket.socket()\n"
        "peer.connect(('127.0.0.1', int(sys.argv[1])))\n"
        "peer.sendall(head % len(body) + body)\n"
        "print(peer.recv(4096).split()[1].decode())\n"
    )
    files = [os.path.join(stack["folder"], name) for name in (TOKEN_FILE, "controller.key", "tasks.key")]
    # The tests' own folder is closed to others as well: so here is what closes these.
    assert {stat.S_IMODE(os.stat(file).st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(os.stat(stack["folder"]).st_mode) == 0o700
    ended = subprocess.run(
        [sys.executable, "-I", "-c", script, stack["marathon_url"].rpartition(":")[2], *files],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.stdout.split() == ["closed", "closed", "closed", "401"], ended
