"""Whether brokers can be reached: addresses, the probe of a run, and the question to a broker that starts."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from hydra.broker import connectivity
from hydra.broker.connectivity import BrokerProbe, await_reachable, connection_errors, is_ready
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from tests.commands import wait_until


@pytest.fixture
def closed_port():
    with socket.socket() as taken:  # bound and not listening: connections are refused, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent():
    """Endpoints that never answer: the kernel drops what comes after a full queue, as a firewall does."""
    made = []

    def make():
        server = socket.create_server(("127.0.0.1", 0), backlog=0)
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(server.getsockname())
        made.extend((server, *waiting))
        return Endpoint(*server.getsockname())

    yield make
    for each in made:
        each.close()


def test_someone_is_there(closed_port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = server.getsockname()[1]
        await_reachable([Endpoint("127.0.0.1", closed_port), Endpoint("127.0.0.1", open_port)], timeout_s=5)
        server.settimeout(5)
        with server.accept()[0] as connection:
            assert connection.recv(1) == b""


def test_a_refusal_is_given_up_early_and_names_address_and_cause(closed_port):
    started = time.monotonic()
    with pytest.raises(BrokerError, match=rf"127\.0\.0\.1:{closed_port}: Connection refused.*bootstrap_servers"):
        await_reachable([Endpoint("127.0.0.1", closed_port)], timeout_s=15)
    assert 2 < time.monotonic() - started < 5


def test_a_refusal_is_tried_again_for_a_while():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        timer = threading.Timer(0.6, server.listen)
        timer.start()
        started = time.monotonic()
        await_reachable([Endpoint(*server.getsockname())], timeout_s=15)
        assert time.monotonic() - started > 0.4
        timer.join()


def test_silence_is_waited_for_no_longer_than_asked(silent):
    started = time.monotonic()
    with pytest.raises(BrokerError, match="timed out"):
        await_reachable([silent()], timeout_s=1)
    assert time.monotonic() - started < 4


def test_many_that_are_silent_have_one_deadline_and_hide_nobody(silent, closed_port):
    quiet = [silent() for _ in range(6)]
    refusing = Endpoint("127.0.0.1", closed_port)
    unknown = Endpoint("no-such-host.invalid", 9092)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = Endpoint(*server.getsockname())
        started = time.monotonic()
        errors = connection_errors([*quiet, refusing, unknown, answering], 0.5)
        assert time.monotonic() - started < 1.5
        assert set(errors) == {*quiet, refusing, unknown}
        assert isinstance(errors[quiet[0]], TimeoutError)
        assert isinstance(errors[refusing], ConnectionRefusedError)
        assert connection_errors([*quiet, answering], 30, until_one_connects=True) == {}
        assert time.monotonic() - started < 5


# The probe of a run


@pytest.fixture
def probe(monkeypatch):
    """Makes a probe that tries often, with the notes that it took."""
    monkeypatch.setattr(connectivity, "PROBE_EVERY_S", 0.02)
    made = []

    def make(*endpoints, grace_s=0.0, **settings):
        notes = []
        made.append(BrokerProbe(",".join(map(str, endpoints)), grace_s=grace_s, note=notes.append, **settings))
        return made[-1].__enter__(), notes

    yield make
    for each in made:
        each.__exit__(None, None, None)
    assert not [thread for thread in threading.enumerate() if thread.name == "broker-probe"]


def test_asking_about_silent_brokers_does_not_wait_for_them(probe, silent):
    ask, _notes = probe(*[silent() for _ in range(4)])
    began_s = time.monotonic()
    assert ask() == ""
    assert time.monotonic() - began_s < connectivity.PROBE_TIMEOUT_S / 2
    wait_until(ask, 10, "all of them count as gone")
    assert "timed out" in ask()


def test_one_of_them_is_enough(probe, closed_port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask, notes = probe(Endpoint("127.0.0.1", closed_port), Endpoint(*server.getsockname()))
        server.settimeout(5)
        for _ in range(3):
            assert ask() == ""
            server.accept()[0].close()
    assert notes == []


def test_brokers_that_go_and_come_back_are_noted_once(probe):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        where = Endpoint(*server.getsockname())
        ask, notes = probe(where, grace_s=30.0)
        wait_until(lambda: ask() or notes, 10, "they are noted as unreachable")
        assert notes == [f"Kafka at {where} cannot be reached (Connection refused)"]
        assert ask() == "", "within the grace"
        server.listen()
        wait_until(lambda: ask() or len(notes) > 1, 10, "they are noted as back")
    assert len(notes) == 2
    assert notes[1].startswith(f"Kafka at {where} is back after ")


def test_brokers_count_as_gone_after_the_grace(probe, closed_port):
    ask, _notes = probe(Endpoint("127.0.0.1", closed_port), grace_s=0.2)
    wait_until(ask, 10, "they count as gone")
    assert ask() == f"Kafka at 127.0.0.1:{closed_port} is gone (Connection refused)"


def test_a_broker_with_a_full_queue_is_not_gone_as_soon_as_one_that_refuses(probe, silent, closed_port):
    full, refusing = silent(), Endpoint("127.0.0.1", closed_port)
    ask, notes = probe(full, silent_grace_s=30.0)
    wait_until(lambda: ask() or notes, 10, "it is noted as unreachable")
    assert notes == [f"Kafka at {full} cannot be reached (timed out)"]
    looks = iter(range(10))
    wait_until(lambda: ask() or next(looks, None) is None, 10, "it was looked at some times more")
    assert ask() == "", "it may be busy with those that connect"
    ask, _notes = probe(refusing, silent_grace_s=30.0)
    wait_until(ask, 10, "one that refuses counts as gone")


# The question to a broker that starts


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
