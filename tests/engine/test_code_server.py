"""The code server: what it serves and refuses, and the main job on agents that have Python and no Hydra."""

import contextlib
import hashlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from hydra.endpoints import Endpoint
from hydra.engine import bounded_server
from hydra.engine.bounded_server import MAX_CONNECTIONS, MAX_CONNECTIONS_OF_PEER
from hydra.engine.code_server import CodeServer, FileServer, own_address
from hydra.errors import UsageError
from hydra.options.options import Options
from tests.commands import wait_until

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
        servers.append(FileServer(file, listen, reached_at))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.close()
        server.close()
    assert [thread for thread in threading.enumerate() if thread.name == "code-server"] == []


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


def idle(closing, server, number, source="127.0.0.1"):
    """Connections that ask for nothing."""
    address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
    return [
        closing.enter_context(socket.create_connection(address, timeout=10, source_address=(source, 0)))
        for _ in range(number)
    ]


def test_a_crowd_of_idle_connections_is_bounded_and_harms_nobody_who_came_first(serve):
    server = serve()
    with contextlib.ExitStack() as closing:
        first = idle(closing, server, MAX_CONNECTIONS_OF_PEER + 4)
        others = idle(closing, server, MAX_CONNECTIONS - MAX_CONNECTIONS_OF_PEER + 4, "127.0.0.2")
        for connection in (*first[-4:], *others[-4:]):
            assert connection.recv(1) == b"", "who is one too many is sent away"
        for connection in (first[0], others[0]):
            connection.sendall(f"GET {urlsplit(server.url).path} HTTP/1.0\r\n\r\n".encode())
            assert connection.recv(15).startswith(b"HTTP/1.0 200")


def test_who_sends_a_request_byte_by_byte_is_given_up_and_makes_room(serve, monkeypatch):
    monkeypatch.setattr(bounded_server, "MAX_CONNECTIONS_OF_PEER", 2)
    server = serve()

    def is_given_up(connection):
        try:
            connection.sendall(b"a")
            return connection.recv(1, socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:  # what comes after the end is reset
            return True

    with contextlib.ExitStack() as closing:
        with monkeypatch.context() as patch:
            patch.setattr(bounded_server, "HEAD_TIMEOUT_S", 0.2)
            slow = idle(closing, server, 2)
            for connection in slow:
                connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
            for connection in slow:
                wait_until(lambda each=connection: is_given_up(each), 10, "the server ends it although bytes come")
            wait_until(lambda: not server._held, 10, "its place is free")
        assert requests.get(server.url, timeout=10).status_code == 200


def test_connections_end_with_the_server(serve):
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as asking:
        asking.sendall(b"GET /")
        wait_until(lambda: server._held, 10, "the connection is there")
        server.close()
        with contextlib.suppress(ConnectionResetError):
            assert asking.recv(1) == b""
    wait_until(lambda: not server._held, 10, "its thread lets go of it")


def test_who_does_not_take_the_response_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(bounded_server, "REQUEST_TIMEOUT_S", 0.2)
    server = serve()
    server.path.write_bytes(bytes(30_000_000))
    with contextlib.ExitStack() as closing:
        (slow,) = idle(closing, server, 1)
        slow.sendall(f"GET {urlsplit(server.url).path} HTTP/1.0\r\n\r\n".encode())
        slow.recv(1)
        wait_until(lambda: not server._held, 10, "the server ends it although it has more to send")
    assert server.requests == 0, "the file was not taken whole"


def test_a_thread_that_cannot_be_started_takes_no_place(serve, monkeypatch):
    server = serve()

    def refuse(*_arguments):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, contextlib.ExitStack() as closing:
        patch.setattr(bounded_server.ThreadingHTTPServer, "process_request", refuse)
        (refused,) = idle(closing, server, 1)
        assert refused.recv(1) == b""
    assert server._held == {}
    assert requests.get(server.url, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False), ("fe80::1%eth0", "fe80::1", True),
    ],
)  # fmt: skip
def test_who_is_one_peer(first, second, same):
    assert (bounded_server._peer((first, 1)) == bounded_server._peer((second, 2, 0, 0))) is same


def test_a_taken_port_is_told_with_its_owner(serve):
    port = urlsplit(serve().url).port
    with pytest.raises(UsageError, match=rf"port {port} on 127\.0\.0\.1 is taken by process {os.getpid()} ") as caught:
        serve(Endpoint("127.0.0.1", port))
    assert caught.value.exit_code == 2


def test_an_address_of_another_machine_is_told(serve):
    with pytest.raises(UsageError, match=r"203\.0\.113\.7 is not an address of this machine"):
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
    with pytest.raises(UsageError, match="no-such-interface is not an address or interface"):
        own_address("no-such-interface")


def test_without_a_route_to_marathon_the_flag_is_named():
    with pytest.raises(UsageError, match=r"no route to nowhere\.invalid:80 .*give --appserver_address"):
        CodeServer(Options(), "hydra-test", "http://nowhere.invalid")


# The main job on agents that have Python and no Hydra


RUN = ("kafka", "--warmup=0", "--appserver=always")


@pytest.fixture
def bare_agents(place, tmp_path):
    """The only Python that tasks find has no package, least of all Hydra."""
    folder = tmp_path / "bare"
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], capture_output=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    place.environment["PATH"] = f"{folder / 'bin'}:/usr/bin:/bin"
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        place.environment.pop(name, None)
    return folder / "bin"


def loaded_files(process: psutil.Process) -> set[str]:
    return {item.path for item in process.memory_maps() if ".so" in item.path}


def listening(process: psutil.Process) -> set[str]:
    return {item.laddr.ip for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN}


@pytest.mark.release
@pytest.mark.integration
def test_the_main_job_on_agents_without_hydra_that_their_attributes_are_for(hydra, place, bare_agents, external_kafka):
    command = hydra(
        *RUN, f"--bootstrap_servers={external_kafka}", "--total_sub_apps=2", "--test_duration=3", "--msg_rate=100",
        "--local_agents=127.0.0.1, 127.0.0.2 slave_id:pub, 127.0.0.3 slave_id:sub, 127.0.0.4 slave_id:sub",
        "--cluster0=slave_id.pub", "--cluster1=slave_id.sub", "--output=result.json",
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    with command.held():
        (publisher,), subscribers = place.tasks("kafka-pub"), place.tasks("kafka-sub")
        assert listening(publisher) == {"127.0.0.2"}
        assert [listening(subscriber) <= {"127.0.0.3", "127.0.0.4"} for subscriber in subscribers] == [True, True]
        for task in (publisher, *subscribers):
            assert task.cmdline()[1:] == ["-I", "hydra.pyz", "task", task.cmdline()[-1]]
            assert Path(task.cmdline()[0]).parent == bare_agents
            ours = [path for path in loaded_files(task) if "msgspec" in path or "zmq" in path]
            assert ours
            assert all(path.startswith(task.cwd()) for path in ours), "its libraries are those in its own sandbox"
            assert not [path for path in loaded_files(task) if path.startswith(sys.prefix)]
    command.end_well()
    record = place.record()
    assert (record["status"], record["result"]["totals"]["records_lost"]) == ("complete", 0)
    place.assert_nothing_left()


@pytest.mark.release
@pytest.mark.integration
def test_an_agent_that_cannot_run_the_code_says_why(hydra, place, bare_agents, external_kafka):
    command = hydra(
        *RUN,
        f"--bootstrap_servers={external_kafka}",
        "--total_sub_apps=1",
        "--agent_python=/nowhere/python",
        "--start_timeout=6",
    )
    assert command.end() == 3
    assert "Command exited with status 127" in command.complaint
    place.assert_nothing_left()


@pytest.mark.release
@pytest.mark.integration
def test_a_port_of_the_code_server_that_is_taken_is_told_with_its_owner(hydra, place, bare_agents, external_kafka):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = hydra(
            *RUN,
            f"--bootstrap_servers={external_kafka}",
            "--total_sub_apps=1",
            f"--appserver_address=127.0.0.1:{port}",
        )
        assert command.end() == 2
    assert f"port {port} on 127.0.0.1 is taken by process {psutil.Process().pid} " in command.complaint
    place.assert_nothing_left()
