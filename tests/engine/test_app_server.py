"""The server of one file: what it gives, to whom, and what it refuses."""

import hashlib
import http.client
import os
import socket
import threading
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from hydra.endpoints import Endpoint
from hydra.engine.app_server import MAX_CONNECTIONS, AppServer, address_towards, own_address
from hydra.errors import UsageError

ANY_PORT = Endpoint("127.0.0.1", 0)
CONTENT = os.urandom(3_000_000)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hydra.pyz"
    path.write_bytes(CONTENT)
    (tmp_path / "secret").write_text("not to be seen")
    return path


@pytest.fixture
def serve(file):
    servers = []

    def start(listen=ANY_PORT, reached_at="127.0.0.1"):
        servers.append(AppServer(file, listen, reached_at))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.close()
        server.close()
    assert [thread for thread in threading.enumerate() if thread.name == "appserver"] == []


def ask(url, method, path):
    """A request as it stands, without a client that makes a path proper."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_the_file_is_given_whole(serve):
    server = serve()
    answer = requests.get(server.url, timeout=10)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(CONTENT).digest()
    assert server.url.endswith("/hydra.pyz")
    assert server.requests == 1
    head = requests.head(server.url, timeout=10)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(CONTENT)), b"")


def test_every_server_has_a_path_that_nobody_guesses(serve):
    paths = {urlsplit(serve().url).path for _ in range(5)}
    assert len(paths) == 5
    assert all(len(path.split("/")[1]) >= 32 for path in paths)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_nothing_but_get_and_head(serve, method):
    server = serve()
    status, body, headers = ask(server.url, method, urlsplit(server.url).path)
    assert (status, body, headers["Allow"]) == (405, b"", "GET, HEAD")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: "/", lambda path: "/hydra.pyz", lambda path: path + "/", lambda path: path + "?x=1",
        lambda path: path.replace("hydra.pyz", "secret"), lambda path: path + "/../secret",
        lambda path: path.replace("hydra.pyz", "%2e%2e/secret"), lambda path: path[:-1],
        lambda path: path.swapcase(), lambda path: "/../../../../etc/passwd", lambda path: "*",
    ],
)  # fmt: skip
def test_nothing_but_the_one_path(serve, change):
    server = serve()
    status, body, _headers = ask(server.url, "GET", change(urlsplit(server.url).path))
    assert (status, body) == (404, b"")
    assert server.requests == 0


def test_a_crowd_of_idle_connections_is_bounded_and_harms_nobody_who_came_first(serve):
    server = serve()
    address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
    idle = [socket.create_connection(address, timeout=10) for _ in range(MAX_CONNECTIONS + 8)]
    try:
        for connection in idle[-8:]:
            assert connection.recv(1) == b"", "who is one too many is sent away"
        idle[0].sendall(f"GET {urlsplit(server.url).path} HTTP/1.0\r\n\r\n".encode())
        assert idle[0].recv(15).startswith(b"HTTP/1.0 200")
    finally:
        for connection in idle:
            connection.close()


def test_a_taken_port_is_told_with_its_owner(serve):
    port = urlsplit(serve().url).port
    with pytest.raises(UsageError, match=rf"port {port} on 127\.0\.0\.1 is taken by process {os.getpid()} ") as caught:
        serve(Endpoint("127.0.0.1", port))
    assert caught.value.exit_code == 2


def test_an_address_of_another_machine_is_told(serve):
    with pytest.raises(UsageError, match=r"203\.0\.113\.7 is no address of this machine"):
        serve(Endpoint("203.0.113.7", 0))


def test_it_listens_on_the_one_address_that_it_was_given(serve):
    port = urlsplit(serve(Endpoint("127.0.0.3", 0), "127.0.0.3").url).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_an_interface_stands_for_its_address():
    loopback = next(
        name for name, addresses in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in addresses)
    )
    assert own_address(loopback) == "127.0.0.1"
    assert own_address("127.0.0.9") == "127.0.0.9"
    assert own_address("[::1]") == "::1"
    with pytest.raises(UsageError, match="no-such-interface is no address or interface"):
        own_address("no-such-interface")


def test_the_way_to_a_peer_tells_the_address():
    assert address_towards(Endpoint("127.0.0.1", 8080)) == "127.0.0.1"
    with pytest.raises(UsageError, match=r"no way to nowhere\.invalid:80"):
        address_towards(Endpoint("nowhere.invalid", 80))
