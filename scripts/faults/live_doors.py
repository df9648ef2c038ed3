"""The same doors as sockets: servers and clients of Hydra that are alive, and peers that send or answer nonsense."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path

import requests
import zmq
from doors import APP, FETCH, METADATA, RUN_ID, SIGNALS, VERSIONS, Chance, Door, _signal, changed_bytes, changed_json
from kafka.protocol.metadata import MetadataResponse

from hydra.broker.admin import KafkaTopicAdmin
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunOrder
from hydra.signals.keys import KeyPair, new_key_pair
from hydra.signals.messages import Request, success
from hydra.signals.signal_server import SignalServer
from tests.marathon_fixtures import RunningMarathon

SOON_S = 2.0
"""Within which a good request after a bad one is answered."""
POLLS, POLL_S = 6, 0.01
REST_S = 0.5
"""How long to wait for the answer to what may be half a request."""

ALIVE = contextlib.ExitStack()
"""What was started for these doors, and has threads that a process would wait for at its end."""

logging.getLogger().addHandler(logging.NullHandler())  # as the command line does


# The HTTP API


@lru_cache(maxsize=1)
def _marathon() -> RunningMarathon:
    folder = ALIVE.enter_context(tempfile.TemporaryDirectory(prefix="faults-live-", ignore_cleanup_errors=True))
    server = RunningMarathon(Path(folder))
    ALIVE.callback(server.close)
    return server


def _request(chance: Chance) -> object:
    value: object = APP
    for _ in range(chance.randrange(1, 5)):
        value = changed_json(chance, value)
    if isinstance(value, dict):
        value = {**value, "instances": 0, "cmd": "true", "args": None}  # whatever is taken runs nothing
    body = json.dumps(value).encode(errors="replace")
    paths = (
        "/v2/apps",
        "/v2/apps//g1/x",
        "/v2/groups",
        "/v2/tasks/delete",
        "/v2/deployments/x",
        "/v2/queue",
        "/slaves",
    )
    path = chance.choice(paths) + chance.choice(("", "?force=x", "?embed=\x7f", "?dryRun=1", "/..", "?" + "a" * 3000))
    method = chance.choice(("POST", "PUT", "PATCH", "GET", "DELETE"))
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    content = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    return changed_bytes(chance, content) if chance.random() < 0.5 else content


def _send(content: object) -> object:
    server = _marathon().server.url
    host, _, port = server.removeprefix("http://").rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), 5) as peer:
        peer.settimeout(REST_S)
        with contextlib.suppress(OSError):
            peer.sendall(content)  # type: ignore[arg-type]
            while part := peer.recv(65536):
                answer += part
    status = answer[9:12].decode(errors="replace") if answer.startswith(b"HTTP/1.1 ") else "closed"
    known = b"URI not found" in answer  # what Marathon itself says with 500 for a path that it does not know
    assert not status.startswith("5") or known or status == "501", answer[:600]
    began_s = time.monotonic()
    assert requests.get(f"{server}/ping", timeout=5).status_code == 200
    assert time.monotonic() - began_s < SOON_S
    return status


# A task's signal port, by whoever has the key


class _Signals:
    def __init__(self) -> None:
        self.controller, task = new_key_pair(), new_key_pair()
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self.port = reserved.getsockname()[1]
        self.server = SignalServer(
            "127.0.0.1", self.port, self.answer, controller=self.controller.public_bytes, own=task
        )
        self.server.start()
        self.context = zmq.Context()
        self.peer = self.connected(self.controller)

    @staticmethod
    def answer(_request: Request) -> bytes:
        return success()

    def connected(self, own: KeyPair) -> zmq.Socket[bytes]:
        peer = self.context.socket(zmq.REQ)
        peer.linger = 0
        peer.setsockopt(zmq.CURVE_SERVER, 1)
        peer.setsockopt(zmq.CURVE_PUBLICKEY, own.public_bytes)
        peer.setsockopt(zmq.CURVE_SECRETKEY, own.secret_bytes)
        peer.connect(f"tcp://127.0.0.1:{self.port}")
        return peer

    def ask(self, content: bytes) -> bytes | None:
        self.peer.send(content)
        if self.peer.poll(int(SOON_S * 1000)):
            return self.peer.recv()
        self.peer.close()
        self.peer = self.connected(self.controller)
        return None

    def close(self) -> None:
        self.server.stop()
        self.context.destroy(linger=0)


@lru_cache(maxsize=1)
def _signals() -> _Signals:
    signals = _Signals()
    ALIVE.callback(signals.close)
    return signals


def _ask(content: object) -> object:
    signals = _signals()
    reply = signals.ask(content)  # type: ignore[arg-type]
    told = "disconnected" if reply is None else str(sorted(json.loads(reply)))
    assert signals.ask(SIGNALS[0]) is not None, "the next good one is not answered"
    return told


# Brokers that answer nonsense


class _Nonsense:
    """A broker that answers each request of a connection with what is next, for as long as there is anything."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                connection, _ = self._listener.accept()
                with contextlib.suppress(OSError, struct.error), connection:
                    connection.settimeout(1)
                    for answer in self._answers:
                        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
                        correlation = connection.recv(size, socket.MSG_WAITALL)[4:8]
                        connection.sendall(struct.pack(">i", len(answer)) + correlation + answer[4:])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(3)


def _answers(chance: Chance) -> object:
    versions = (
        VERSIONS if chance.random() < 0.3 else bytes(4) + struct.pack(">hi", 0, 1) + struct.pack(">hhh", 1, 4, 11)
    )
    good = [versions, FETCH, FETCH, METADATA]
    kept = chance.randrange(3)
    return [each if number < kept else changed_bytes(chance, each) for number, each in enumerate(good)]


def _subscribe(answers: object) -> object:
    with contextlib.closing(_Nonsense(answers)) as broker:  # type: ignore[arg-type]
        client = ClientAssignment("c", "g", (PartitionStart(0, 0),))
        leaders = (PartitionLeader(0, 1, broker.endpoint),)
        order = RunOrder(RUN_ID, Options(), str(broker.endpoint), (client,), leaders)
        with contextlib.closing(WireSubscriber(order)) as driver:
            driver.open()
            for _ in range(POLLS):
                driver.poll(POLL_S)
            return driver.tallies[0].error.partition(": ")[2][:30]


def _metadata(chance: Chance) -> object:
    topic = MetadataResponse.MetadataResponseTopic(
        error_code=chance.choice((0, 0, 3, 29, -1)), name="t", topic_id=None, is_internal=False, partitions=[]
    )
    reply = MetadataResponse(throttle_time_ms=0, brokers=[], cluster_id="c", controller_id=1, topics=[topic])
    return changed_bytes(chance, struct.pack(">i", 1) + b"\0" + bytes(reply.encode(version=10)))


def _look(content: object) -> object:
    with (
        contextlib.closing(_Nonsense([content])) as broker,  # type: ignore[list-item]
        contextlib.closing(KafkaTopicAdmin(str(broker.endpoint), timeout_s=1.5)) as admin,
    ):
        return str(admin.look_at_topic("t"))[:12]


LIVE_DOORS = [
    Door("live HTTP", 4, _request, _send),
    Door("live signals", 4, _signal, _ask),
    Door("live wire client", 1, _answers, _subscribe, (BrokerError,)),
    Door("live admin", 1, _metadata, _look, (BrokerError,)),
]
