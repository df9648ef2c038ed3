"""Mesos' addresses, as a master on one address and its agents on others give them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.mesos import MAX_READ_BYTES, Mesos
from hydra.errors import InfrastructureError

TASK = "g1_kafka-sub.instance-7a._app.1"


class Served(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        status, document = self.server.answer(url.path, {name: each[0] for name, each in parse_qs(url.query).items()})
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


@pytest.fixture
def serve():
    servers = []

    def start(host, answer):
        server = ThreadingHTTPServer((host, 0), Served)
        server.daemon_threads, server.answer = True, answer
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"{host}:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(10)
        server.server_close()


class AgentTwin:
    """One agent with the sandbox of a task that has ended and one that runs."""

    def __init__(self, serve, host):
        self.files = {"/sandbox/7a/stdout": "", "/sandbox/7a/stderr": ""}
        self.state = {
            "frameworks": [
                {"executors": [{"id": "other", "directory": "/sandbox/other"}],
                 "completed_executors": [{"id": TASK, "directory": "/sandbox/7a", "source": "x"}]},
            ],
            "flags": {},
        }  # fmt: skip
        self.reads = 0
        self.address = serve(host, self.answer)

    def answer(self, path, query):
        if path == "/state":
            return 200, self.state
        if path != "/files/read" or query["path"] not in self.files:
            return 404, b"Not found."
        self.reads += 1
        content = self.files[query["path"]].encode()
        offset = int(query["offset"])
        if offset == -1:
            return 200, {"data": "", "offset": len(content)}
        piece = content[offset : offset + min(MAX_READ_BYTES, int(query["length"]))]
        return 200, {"data": piece.decode(errors="replace"), "offset": offset}


@pytest.fixture
def cluster(serve):
    agent = AgentTwin(serve, "127.0.0.2")
    slaves = [
        {"id": "S1", "hostname": "node2", "pid": f"slave(1)@{agent.address}", "active": True, "version": "1.9.0",
         "attributes": {"slave_id": "slave-set1_0", "rack": 7.0}, "used_resources": {"cpus": 0.5, "mem": 64.0},
         "resources": {"cpus": 4.0, "mem": 1024.0, "ports": "[31000-32000]"}},
        {"id": "S0", "hostname": "node1", "pid": "slave(1)@127.0.0.9:1", "active": False},
    ]  # fmt: skip
    address = serve("127.0.0.1", lambda path, _query: (200, {"slaves": slaves}) if path == "/slaves" else (404, b""))
    mesos = Mesos(f"http://{address}/", MarathonAccess(("http://unused",), local=True))
    mesos.agent = agent
    yield mesos
    mesos.close()


def test_agents_are_listed_with_their_attributes(cluster):
    first, second = cluster.agents()
    assert (first.hostname, first.active, first.attributes) == ("node1", False, {})
    assert (second.agent_id, second.hostname, second.url) == ("S1", "node2", f"http://{cluster.agent.address}")
    assert second.attributes == {"slave_id": "slave-set1_0", "rack": "7"}
    assert (second.resources["ports"], second.used["cpus"]) == ("[31000-32000]", 0.5)


@pytest.mark.parametrize("size", [0, 1, 5_000, MAX_READ_BYTES, 3 * MAX_READ_BYTES + 17])
def test_a_file_is_read_to_its_end_in_pieces(cluster, size):
    line = "what the task said: grüße\n"
    text = (line * (size // len(line) + 1))[:size]
    cluster.agent.files["/sandbox/7a/stderr"] = text.encode("ascii", "replace").decode()
    sandbox = cluster.sandbox(TASK, "S1")
    assert (sandbox.host, sandbox.folder) == ("node2", "/sandbox/7a")
    assert cluster.read(sandbox, "stderr", 10_000_000) == cluster.agent.files["/sandbox/7a/stderr"]
    assert cluster.agent.reads == 1 + -(-size // MAX_READ_BYTES)


def test_the_end_of_a_file_begins_with_a_line(cluster):
    cluster.agent.files["/sandbox/7a/stdout"] = "".join(f"line {number}\n" for number in range(1000))
    assert cluster.read(cluster.sandbox(TASK, "S1"), "stdout", 20) == "line 998\nline 999\n"


def test_the_last_lines_tell_why(cluster):
    cluster.agent.files["/sandbox/7a/stderr"] = "a\nb\n\nTraceback\n  boom  \n\n"
    assert cluster.last_lines(TASK, "S1", 2, timeout_s=9) == ("Traceback", "boom")
    assert cluster.last_lines("unknown", "S1", 2, timeout_s=9) == ()
    assert cluster.last_lines(TASK, "S9", 2, timeout_s=9) == ()


def test_an_unknown_task_is_told(cluster):
    with pytest.raises(InfrastructureError, match="knows no sandbox of unknown"):
        cluster.sandbox("unknown", "S1")


@pytest.mark.parametrize("garbage", [b"", b"<html>", b"[]", b"{}", b'{"slaves": [{}]}', b"[" * 100_000])
def test_what_is_no_mesos_is_told(serve, garbage):
    mesos = Mesos(
        f"http://{serve('127.0.0.1', lambda _path, _query: (200, garbage))}",
        MarathonAccess(("http://unused",), local=True),
    )
    with pytest.raises(InfrastructureError, match="unexpected response from Mesos"):
        mesos.agents()
    mesos.close()


def test_no_mesos_is_told_with_the_way_out():
    mesos = Mesos("http://127.0.0.1:1", MarathonAccess(("http://unused",), local=True))
    with pytest.raises(InfrastructureError, match=r"cannot be reached \(Connection refused\): check --mesos_url"):
        mesos.agents()
    mesos.close()
