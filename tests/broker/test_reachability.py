"""Whether someone is there at the addresses of a cluster."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from hydra.broker.reachability import await_reachable
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError


@pytest.fixture
def closed_port():
    with socket.socket() as taken:  # bound and not listening: connections are refused, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


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


def test_silence_is_waited_for_no_longer_than_asked():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1])
        # A full queue of a server that never accepts: the kernel drops what comes next, as a firewall does.
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex((endpoint.host, endpoint.port))
        started = time.monotonic()
        with pytest.raises(BrokerError, match="timed out"):
            await_reachable([endpoint], timeout_s=1)
        assert time.monotonic() - started < 4
        for connection in waiting:
            connection.close()
