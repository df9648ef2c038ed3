"""How a pod gets the code: what the server hangs up on, or cuts, is asked for again; and what the log says of it."""

import shlex
import socket
import subprocess
import sys
import threading
import time

import pytest

from hydra.endpoints import Endpoint
from hydra.engine import bounded_server
from hydra.engine.apps import SUBSCRIBER, Placement, app_spec
from hydra.engine.code_server import FileServer
from hydra.engine.kube_fetch import FETCH, FETCH_LIMIT_S, unfetched
from hydra.engine.kube_objects import app_job
from hydra.options.options import Options

CONTENT = b"hydra" * 100_000


class Pods:
    """Processes that fetch, as pods do."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def start(self, url, limit_s=60):
        command = [sys.executable, "-I", "-c", FETCH, url, "hydra.pyz", str(limit_s)]
        place = self.folder / f"pod-{len(self.started)}"
        place.mkdir()
        self.started.append(subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True))
        return self.started[-1], place / "hydra.pyz"

    def close(self):
        for each in self.started:
            each.kill()
            each.communicate()


@pytest.fixture
def pods(tmp_path):
    made = Pods(tmp_path)
    yield made
    made.close()


@pytest.fixture
def served(tmp_path):
    file = tmp_path / "hydra.pyz"
    file.write_bytes(CONTENT)
    server = FileServer(file, Endpoint("127.0.0.1", 0), "127.0.0.1")
    server.start()
    yield server
    server.close()


def test_one_that_comes_when_every_place_is_taken_waits_for_one(pods, served, monkeypatch):
    monkeypatch.setattr(bounded_server, "MAX_CONNECTIONS_OF_PEER", 1)
    with socket.create_connection(("127.0.0.1", served.port), timeout=10):
        pod, file = pods.start(served.url)
        first = pod.stderr.readline()
        assert first.endswith("), and is asked for again\n")
        assert unfetched(first) == first.strip()
    _out, log = pod.communicate(timeout=60)
    assert pod.returncode == 0, log
    assert file.read_bytes() == CONTENT
    assert unfetched(first + log) == ""


class Cutting:
    """A server that cuts its first answers in the middle."""

    def __init__(self, cuts):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x/hydra.pyz"
        self.times_s = []
        self.thread = threading.Thread(target=self.serve, args=(cuts,))
        self.thread.start()

    def serve(self, cuts):
        for number in range(cuts + 1):
            connection, _peer = self.listener.accept()
            with connection:
                connection.recv(4096)
                self.times_s.append(time.monotonic())
                content = CONTENT[: 1000 if number < cuts else None]
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + content)

    def close(self):
        self.thread.join(10)
        self.listener.close()


def test_a_transfer_that_was_cut_is_begun_anew_after_longer_and_longer_pauses(pods):
    server = Cutting(cuts=3)
    pod, file = pods.start(server.url)
    _out, log = pod.communicate(timeout=60)
    server.close()
    assert pod.returncode == 0, log
    assert file.read_bytes() == CONTENT
    assert log.count("IncompleteRead") == 3
    pauses_s = [after - before for before, after in zip(server.times_s, server.times_s[1:], strict=False)]
    assert [pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.1, 0.2, 0.4), strict=True)] == [True] * 3


def test_one_that_is_let_in_nowhere_gives_up_and_says_why(pods):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    pod, _file = pods.start(f"http://{address}/x/hydra.pyz", limit_s=0.5)
    _out, log = pod.communicate(timeout=60)
    assert pod.returncode == 1
    last = log.splitlines()[-1]
    assert last.startswith(f"hydra: the code cannot be fetched from {address} (")
    assert last.endswith("Connection refused>): with --kube_image it need not be")


def test_a_pod_asks_for_two_minutes(served):
    class CodeServer:
        class bundle:  # noqa: N801  # an attribute of the real one
            command = staticmethod(lambda arguments, _python: f"run {arguments}")

        url = served.url

    options = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9")
    spec = app_spec(options, SUBSCRIBER, 1, Placement(code_server=CodeServer()))
    (container,) = app_job(spec, options, None)["spec"]["template"]["spec"]["containers"]
    fetch = container["command"][-1].rpartition(") || exit 1\n")[0]
    assert shlex.split(fetch)[-4:] == [FETCH, served.url, "hydra.pyz", "120"]
    assert FETCH_LIMIT_S == 120


@pytest.mark.parametrize("log", ["", "\n", "started", "hydra: the code cannot be fetched from x (y)\nhydra: other\n"])
def test_a_pod_that_says_other_things_has_its_code(log):
    assert unfetched(log) == ""
