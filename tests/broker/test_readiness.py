"""The question to a broker that starts, against servers that are none."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from hydra.broker.readiness import is_ready


def reply(brokers: int, cluster_id: str | None) -> bytes:
    body = struct.pack(">ii", 1, brokers)
    for node_id in range(brokers):
        body += struct.pack(">i", node_id) + b"\x00\x01h" + struct.pack(">ih", 9092, -1)
    body += struct.pack(">h", -1) if cluster_id is None else struct.pack(">h", len(cluster_id)) + cluster_id.encode()
    body += struct.pack(">ii", 1, 0)
    return struct.pack(">i", len(body)) + body


@pytest.fixture
def answering():
    """Start a server on loopback that answers one connection with some bytes; returns its port."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def serve(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(10)

        def run() -> None:
            with server, server.accept()[0] as connection:
                connection.settimeout(10)
                (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
                connection.recv(size, socket.MSG_WAITALL)
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        servers.append((server, thread))
        return server.getsockname()[1]

    yield serve
    for _, thread in servers:
        thread.join(timeout=20)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (reply(1, "mine"), True),
        (reply(3, "mine"), True),
        (reply(0, "mine"), False),
        (reply(1, "another"), False),
        (reply(1, None), False),
        (reply(1, "mine")[:-30], False),
        (b"", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (struct.pack(">i", -5), False),
        (struct.pack(">ii", 4, 1), False),
        (struct.pack(">iiih", 10, 1, 100000, 3), False),
        (reply(1, "mine").replace(b"\x00\x01h", b"\x00\x01\xff"), False),
    ],
)
def test_only_a_serving_broker_of_the_cluster_is_ready(answering, answer, ready):
    assert is_ready(answering(answer), "mine", timeout_s=5) is ready


def test_nobody_is_not_ready():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not is_ready(taken.getsockname()[1], "mine", timeout_s=5)


def test_silence_is_not_ready():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_ready(server.getsockname()[1], "mine", timeout_s=0.2)
