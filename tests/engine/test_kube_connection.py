"""Requests to an API server whose connection breaks, or whose answers do."""

import contextlib
import json
import socket
import threading

import pytest
import requests

from hydra.engine import kube_namespace
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_connection import KubernetesConnection
from hydra.engine.kube_namespace import KubernetesNamespace
from hydra.engine.kube_refusals import KubernetesUnavailableError
from hydra.engine.kube_responses import VersionResponse
from hydra.errors import KubernetesError
from tests.scripted_kubernetes import playing_kubernetes


class Answering:
    """A port where each connection is answered by a function, and closed."""

    def __init__(self, answer):
        self.answer, self.count = answer, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self.count += 1
                    connection.settimeout(5)
                    self.answer(connection, self.count)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@pytest.fixture
def connect(tmp_path, clock):
    """A connection to a port that is answered by a function."""
    with contextlib.ExitStack() as closing:

        def connected(scheme, answer):
            server = Answering(answer)
            closing.callback(server.close)
            config = {
                "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": {"server": f"{scheme}://127.0.0.1:{server.port}"}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": ""}}],
            }
            (tmp_path / "config").write_text(json.dumps(config))
            access = kubernetes_access(None, None, {"KUBECONFIG": str(tmp_path / "config")})
            closing.callback(access.close)
            connection = KubernetesConnection(access, clock)
            closing.callback(connection.close)
            return server, connection

        yield connected


def hang_up(connection, _count):
    connection.recv(65536)


def reset(connection, _count):
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("answer", [hang_up, reset])
@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_connection_that_the_server_closes_is_made_again_until_the_deadline(connect, clock, answer, scheme, method):
    server, connection = connect(scheme, answer)
    with pytest.raises(KubernetesUnavailableError, match="cannot be reached"):
        connection.request("ask", method, "/version", VersionResponse, 5.0)
    assert server.count > 3
    assert clock.now_s() <= 5


def test_a_server_that_speaks_no_tls_is_not_asked_again(connect):
    server, connection = connect(
        "https", lambda there, _count: (there.recv(65536), there.sendall(b"HTTP/1.0 400 x\r\n"))
    )
    with pytest.raises(KubernetesError) as caught:
        connection.request("ask", "GET", "/version", VersionResponse, 5.0)
    assert type(caught.value) is KubernetesError
    assert server.count == 1


def test_an_answer_without_a_length_that_breaks_off_is_asked_for_again_and_a_change_is_not(connect):
    def answer(there, count):
        asked = there.recv(65536)
        while asked.startswith(b"PATCH") and not asked.endswith(b"{}"):  # what is not read would reset the connection
            asked += there.recv(65536)
        whole = b'{"major": "1", "minor": "37", "gitVersion": "v1.37.2"}'
        there.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + whole[: 20 if count < 3 else None])

    server, connection = connect("http", answer)
    assert connection.request("ask", "GET", "/version", VersionResponse, 5.0).git_version == "v1.37.2"
    assert server.count == 3
    server.count = 0
    with pytest.raises(KubernetesError, match="unexpected response"):
        connection.request("ask", "PATCH", "/version", VersionResponse, 5.0, body={})
    assert server.count == 1


@pytest.mark.parametrize(("after", "asked"), [("2", 4), ("9", 1)])
def test_a_busy_server_is_left_alone_as_long_as_it_says_and_never_beyond_the_deadline(tmp_path, clock, after, asked):
    with playing_kubernetes() as server:
        server.fail("GET", "/version", 429, "too many requests", times=100, Retry_After=after)
        access = kubernetes_access(None, None, server.kubeconfig(tmp_path / "config"))
        connection = KubernetesConnection(access, clock)
        with pytest.raises(KubernetesUnavailableError, match="429 too many requests"):
            connection.request("ask", "GET", "/version", VersionResponse, 7.0)
        connection.close()
        assert len(server.requests) == asked
        assert clock.now_s() <= 7


@pytest.mark.parametrize("fault", ["expires for ever", "has no end"])
def test_a_list_that_never_ends_is_given_up(tmp_path, clock, monkeypatch, fault):
    monkeypatch.setattr(kube_namespace, "MAX_PAGES", 20)
    with playing_kubernetes() as server:
        again = {"metadata": {"continue": "again"}, "items": []}
        gone = (410, {"message": "The provided continue parameter is too old"}, {})
        server.list_pods = lambda query: (
            gone if "continue" in query and fault == "expires for ever" else (200, again, {})
        )
        namespace = KubernetesNamespace(kubernetes_access(None, None, server.kubeconfig(tmp_path / "config")), clock)
        with pytest.raises(KubernetesError, match="more than 20 pages"):
            namespace.pods("/g1/kafka-sub")
        namespace._connection.close()


def test_what_a_busy_server_has_said_holds_for_other_requests_too(tmp_path, clock):
    with playing_kubernetes() as server:
        server.fail("GET", "/version", 429, "too many requests", Retry_After="20")
        access = kubernetes_access(None, None, server.kubeconfig(tmp_path / "config"))
        connection = KubernetesConnection(access, clock)
        for _ in range(30):
            with pytest.raises(KubernetesUnavailableError, match="429 too many requests"):
                connection.request("ask", "GET", "/version", VersionResponse, clock.now_s() + 3)
            clock.sleep(0.5)
        assert len(server.requests) == 1
        connection.request("ask", "GET", "/version", VersionResponse, clock.now_s() + 10)
        assert clock.now_s() == 20
        server.fail("GET", "/version", 429, "too many requests", Retry_After="3600")
        with pytest.raises(KubernetesUnavailableError):
            connection.request("ask", "GET", "/version", VersionResponse, clock.now_s() + 10)
        connection.request("ask", "GET", "/version", VersionResponse, clock.now_s() + 40)
        assert clock.now_s() == 50
        connection.close()


@pytest.mark.parametrize("cause", ["http://me:of-mine@p:1 is bad", "url='http://me:of-mine@p:1'"])
def test_what_keeps_us_from_a_server_is_told_without_the_password_of_a_proxy(tmp_path, clock, monkeypatch, cause):
    def fail(*_arguments, **_named):
        raise requests.ConnectionError(cause)

    with playing_kubernetes() as server:
        access = kubernetes_access(None, None, server.kubeconfig(tmp_path / "config"))
        connection = KubernetesConnection(access, clock)
        monkeypatch.setattr(requests.Session, "request", fail)
        with pytest.raises(KubernetesUnavailableError, match="//p:1") as caught:
            connection.request("ask", "GET", "/version", VersionResponse, 1.0)
        assert "of-mine" not in str(caught.value)
        connection.close()


NO_PATH = 'forbidden: User "system:serviceaccount:a:b" cannot get path "/version"'
NO_JOBS = 'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot get resource "jobs" in API group "batch"'


def refused(message):
    body = json.dumps({"kind": "Status", "message": message}).encode()
    return b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("message", [NO_PATH, NO_JOBS])
def test_a_server_that_was_away_and_knows_no_roles_yet_is_asked_again_by_all_connections(connect, clock, message):
    fine = b'{"major": "1", "minor": "37", "gitVersion": "v1.37.2"}'
    away = [True]

    def answer(there, _count):
        there.recv(65536)
        if away[0]:
            return
        there.sendall(answers.pop(0))

    found = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(fine) + fine
    answers = [refused(message), refused(message), found]
    _server, connection = connect("http", answer)
    with pytest.raises(KubernetesUnavailableError, match="cannot be reached"):
        connection.request("ask", "GET", "/version", VersionResponse, 2.0)
    away[0] = False
    other = KubernetesConnection(connection._access, clock)
    with contextlib.closing(other):
        assert other.request("ask", "GET", "/version", VersionResponse, 10.0).minor == "37"
    assert answers == []


@pytest.mark.parametrize(("message", "hint"), [(NO_PATH, "system:discovery"), (NO_JOBS, "prints the Role")])
def test_a_right_that_is_missing_while_the_server_was_there_is_told_at_once(connect, message, hint):
    server, connection = connect("http", lambda there, _count: (there.recv(65536), there.sendall(refused(message))))
    with pytest.raises(KubernetesError, match="403") as caught:
        connection.request("ask", "GET", "/version", VersionResponse, 10.0)
    assert hint in caught.value.hint
    assert (type(caught.value), server.count) == (KubernetesError, 1)
