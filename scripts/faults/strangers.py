"""Commands by strangers, thousands of them, to a stack and tasks at work: none is carried out, each is refused soon."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests
import zmq
from stage import House, Stage
from zmq.utils.monitor import recv_monitor_message

from hydra.codec import encode
from hydra.endpoints import Endpoint
from hydra.engine.marathon_access import TOKEN_FILE
from hydra.signals.keys import new_key_pair, stack_keys
from hydra.signals.messages import SignalName, StopSending, request
from hydra.signals.zmq_signals import ZmqSignals

REFUSED_WITHIN_S = 2.0
GRACE_S = 0.5
"""For a machine that is busy with other things: what took longer than both together was not refused in time."""

THREADS = 16
KEPT = ("kafka", "--total_sub_apps=1", "--clients_per_app=2", "--msg_rate=50", "--warmup=0", "--keep_running")
COMMANDS: tuple[SignalName, ...] = ("teststop", "resetstats", "updateconfig", "teststart", "getstats")
ENDS = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
FAILS = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


@dataclass
class Count:
    """What came of the commands of one kind."""

    tried: int = 0
    carried_out: int = 0
    late: int = 0
    slowest_s: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """What is attacked: the HTTP API of a stack, and the signal ports of its tasks."""

    url: str
    token: str
    ports: tuple[Endpoint, ...]
    recorded: bytes
    """What the controller has sent to a task on one connection, as it went over the wire: a command among it."""
    mark: Path
    """A folder in which commands that are carried out leave a file."""


Attack = Callable[[Target, random.Random], tuple[str, bool]]
"""Tries one command; returns how it was answered, and whether it was carried out."""


def run_strangers(count: int, seed: int) -> int:
    """So many commands, in the middle of a run. Returns 0 if none was carried out and each was refused in time."""
    print(f"seed {seed}", flush=True)
    counts = {name: Count() for name in ATTACKS}
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder))
        try:
            house.open()
            with house.stage() as stage:
                trouble = _attack_a_run(house, stage.on_stack(), counts, count, seed)
        finally:
            left = house.close()
    _print_table(counts)
    wrong = sum(each.carried_out + each.late for each in counts.values())
    tried = sum(each.tried for each in counts.values())
    carried_out = sum(each.carried_out for each in counts.values())
    print(f"{tried} commands, {carried_out} carried out; the run: {trouble or 'as planned'}; left: {left or 'nothing'}")
    return 1 if wrong or trouble or left else 0


def _attack_a_run(house: House, stage: Stage, counts: dict[str, Count], count: int, seed: int) -> list[str]:
    first = stage.hydra(*KEPT, "--test_duration=1")
    assert first.end(120) in {0, 3}, first.errors
    target = _target(house, stage)
    tasks = {task.pid for role in ("kafka-pub", "kafka-sub") for task in stage.place.tasks(role)}
    command = stage.hydra(*KEPT, "--test_duration=3600", "--output=result.json")
    command.wait_for("delivered [1-9]")
    apps = sorted(app.id for app in house.launcher.apps())
    _try_all(target, counts, count, seed)
    trouble = [] if not _readable_by_nobody(house) else ["another user can read its secrets"]
    trouble += [f"a command was carried out: {path.name}" for path in target.mark.iterdir()]
    if sorted(app.id for app in house.launcher.apps()) != apps:
        trouble.append("the apps are others")
    if {task.pid for role in ("kafka-pub", "kafka-sub") for task in stage.place.tasks(role)} != tasks:
        trouble.append("the tasks are others")
    if command.process.poll() is not None:
        trouble.append(f"the run has ended: {command.errors[-2:]}")
    seen = len(command.text)
    command.wait_for("delivered", timeout_s=10)  # it goes on
    assert seen <= len(command.text)
    stage.place.environment["HYDRA_KEPT"] = "1"
    command.send(2)
    if command.end(30) != 130:
        trouble.append(f"the run could not be ended: {command.errors[-2:]}")
    for app in house.launcher.apps():
        house.launcher.remove(app.id)
    return trouble


def _target(house: House, stage: Stage) -> Target:
    folder = Path(house.record["folder"])
    ports = tuple(
        task.endpoint for app in house.launcher.apps() for task in house.launcher.tasks(app.id) if task.endpoint
    )
    assert len(ports) == 2, ports
    token = (folder / TOKEN_FILE).read_text().split()[-1]
    mark = stage.place.work / "mark"
    mark.mkdir()
    return Target(house.record["marathon_url"], token, ports, _record(folder, ports[0]), mark)


def _record(folder: Path, task: Endpoint) -> bytes:
    """Have a task carry a command out, by its controller's keys and over a line that is listened to."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_listen, args=(listener, task, heard), daemon=True)
        thread.start()
        here = Endpoint("127.0.0.1", listener.getsockname()[1])
        with contextlib.closing(ZmqSignals(stack_keys(folder))) as signals:
            reply = signals.ask({here: request("resetstats")}, 10.0)[here]
        assert reply.ok, reply
        thread.join(10)
    assert len(heard) > 200
    return bytes(heard)


def _listen(listener: socket.socket, task: Endpoint, heard: bytearray) -> None:
    controller, _ = listener.accept()
    with controller, socket.create_connection((task.host, task.port)) as peer:
        back = threading.Thread(target=_pass_on, args=(peer, controller, bytearray()), daemon=True)
        back.start()
        _pass_on(controller, peer, heard)
        back.join(5)


def _pass_on(source: socket.socket, sink: socket.socket, heard: bytearray) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            heard += content
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)


def _try_all(target: Target, counts: dict[str, Count], count: int, seed: int) -> None:
    chance, lock = random.Random(seed), threading.Lock()  # noqa: S311
    names = [name for number in range(count) for name in [list(ATTACKS)[number % len(ATTACKS)]]]
    chance.shuffle(names)

    def attempt(number: int) -> None:
        name, began_s = names[number], time.monotonic()
        answer, carried_out = ATTACKS[name](target, random.Random(f"{seed} {number}"))  # noqa: S311
        took_s = time.monotonic() - began_s
        with lock:
            each = counts[name]
            each.tried += 1
            each.carried_out += carried_out
            each.late += took_s > REFUSED_WITHIN_S + GRACE_S
            each.slowest_s = max(each.slowest_s, took_s)
            each.answers[answer] += 1
            if (done := sum(one.tried for one in counts.values())) % 1000 == 0:
                print(f"{done} of {count}", flush=True)

    with ThreadPoolExecutor(THREADS) as pool:
        for _result in pool.map(attempt, range(count)):
            pass


def _http(target: Target, chance: random.Random, headers: dict[str, str]) -> tuple[str, bool]:
    """One request that would change something."""
    touch = f"touch {target.mark}/{chance.randrange(10**9)}; sleep 600"
    app = json.dumps({"id": f"/stranger-{chance.randrange(10**9)}", "cmd": touch})
    method, path, body = chance.choice((
        ("POST", "/v2/apps", app),
        ("PUT", "/v2/apps//g1/kafka-sub", json.dumps({"instances": 0})),
        ("PATCH", "/v2/apps", json.dumps([{"id": "/g1/kafka-sub", "cmd": touch}])),
        ("DELETE", "/v2/apps//g1/kafka-sub", ""),
        ("POST", "/v2/tasks/delete?scale=true", json.dumps({"ids": ["x"]})),
    ))  # fmt: skip
    kind = {"Content-Type": "application/json", **headers} if body else headers
    answer = requests.request(method, target.url + path, data=body or None, headers=kind, timeout=10)
    refused = answer.status_code in {401, 403, 415} and len(answer.json().get("message", "")) > 10
    return str(answer.status_code), not refused


def _by_page(headers: Callable[[Target], dict[str, str]]) -> Attack:
    """Also with the token: a page of another site must not be obeyed if it had it."""

    def attack(target: Target, chance: random.Random) -> tuple[str, bool]:
        token = {"Authorization": f"Bearer {target.token}"} if chance.random() < 0.5 else {}
        return _http(target, chance, {**token, **headers(target)})

    return attack


def _without_token(target: Target, chance: random.Random) -> tuple[str, bool]:
    wrong = target.token[:-1] + ("A" if target.token[-1] != "A" else "B")
    basic = base64.b64encode(f"root:{wrong}".encode()).decode()
    texts = ("", "Bearer", f"Bearer {wrong}", f"Basic {basic}", f"Token {target.token}", f"Bearer {target.token}x")
    text = chance.choice(texts)
    return _http(target, chance, {"Authorization": text} if text else {})


def _form(target: Target, chance: random.Random) -> tuple[str, bool]:
    kind = chance.choice(("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""))
    headers = {"Authorization": f"Bearer {target.token}", "Content-Type": kind}
    answer = requests.post(f"{target.url}/v2/apps", data=b'{"id": "/f", "cmd": "x"}', headers=headers, timeout=10)
    return str(answer.status_code), answer.status_code not in {403, 415}


def _content(chance: random.Random) -> bytes:
    name = chance.choice(COMMANDS)
    return encode(request(name, StopSending()) if name == "teststop" else request(name))


def _zmq(kind: str) -> Attack:
    """A peer that speaks ZMQ, with whatever proof."""

    def attack(target: Target, chance: random.Random) -> tuple[str, bool]:
        task = chance.choice(target.ports)
        with zmq.Context() as context, context.socket(zmq.REQ) as peer:
            peer.linger = 0
            peer.setsockopt(zmq.RECONNECT_IVL, -1)
            if kind == "plain":
                peer.setsockopt(zmq.PLAIN_USERNAME, b"root")
                peer.setsockopt(zmq.PLAIN_PASSWORD, b"x")
            elif kind != "null":
                own = new_key_pair()
                peer.setsockopt(zmq.CURVE_PUBLICKEY, own.public_bytes)
                peer.setsockopt(zmq.CURVE_SECRETKEY, own.secret_bytes)
                if kind == "wrong key":
                    peer.setsockopt(zmq.CURVE_SERVER, 1)
                else:
                    peer.setsockopt(zmq.CURVE_SERVERKEY, new_key_pair().public_bytes)
            monitor = peer.get_monitor_socket(ENDS | FAILS)
            try:
                peer.connect(f"tcp://{task}")
                with contextlib.suppress(zmq.Again):
                    peer.send(_content(chance), zmq.DONTWAIT)
                return _refused(peer, monitor)
            finally:
                peer.disable_monitor()
                monitor.close(linger=0)

    return attack


def _refused(peer: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> tuple[str, bool]:
    poller = zmq.Poller()
    poller.register(peer, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    ready = dict(poller.poll(5000))
    if peer in ready:
        return "answered", True
    if monitor not in ready:
        return "silence", False
    event = recv_monitor_message(monitor)["event"]
    return "refused" if event & FAILS else "closed", False


def _replayed(target: Target, chance: random.Random) -> tuple[str, bool]:
    """What a controller has once sent, sent again: whole, or what follows its greeting."""
    task = target.ports[0]
    heard = bytearray()
    with socket.create_connection((task.host, task.port), 5) as peer:
        peer.settimeout(4)
        with contextlib.suppress(OSError):
            cut = chance.choice((64, 11, len(target.recorded)))
            peer.sendall(target.recorded[:cut])
            peer.sendall(target.recorded[cut:])
            while content := peer.recv(65536):
                heard += content
            return "closed", b"MESSAGE" in heard
    return "reset", b"MESSAGE" in heard


ATTACKS: dict[str, Attack] = {
    "HTTP: no token, or a wrong one": _without_token,
    "HTTP: another Host": _by_page(lambda _: {"Host": "evil.example:80"}),
    "HTTP: another Origin": _by_page(lambda _: {"Origin": "http://evil.example"}),
    "HTTP: from another site": _by_page(lambda _: {"Sec-Fetch-Site": "cross-site"}),
    "HTTP: a form, a beacon": _form,
    "signals: no key": _zmq("null"),
    "signals: a password": _zmq("plain"),
    "signals: a wrong key": _zmq("wrong key"),
    "signals: as another task": _zmq("task"),
    "signals: replayed": _replayed,
}


def _readable_by_nobody(house: House) -> bool:
    """Whether another user of the machine can read a secret of the stack; only root can try."""
    if os.getuid():
        return False
    program = (
        "import os, sys\nos.setgid(65534); os.setuid(65534)\nfound = []\n"
        "for path in sys.argv[1:]:\n    try:\n        found.append(open(path, 'rb').read(9))\n    except OSError:\n"
        "        pass\nprint(len(found))"
    )
    files = [str(path) for path in Path(house.record["folder"]).rglob("*") if path.is_file() and path.stat().st_size]
    told = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True)
    return told.stdout.strip() != "0"


def _print_table(counts: dict[str, Count]) -> None:
    width = max(map(len, counts))
    print(f"\n{'by':{width}}  tried  carried out  late  slowest s  answers")
    for name, each in counts.items():
        answers = ", ".join(f"{answer} {number}" for answer, number in each.answers.most_common(4))
        line = f"{each.tried:5}  {each.carried_out:11}  {each.late:4}  {each.slowest_s:9.2f}  {answers}"
        print(f"{name:{width}}  {line}")
