"""Ways to pods through the API server, against one that serves its port-forward as its kubelets do."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading

import pytest
import trustme
from aiohttp import web

from hydra.endpoints import Endpoint
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_connection import KubernetesConnection, Route
from hydra.engine.kube_forward import MAX_CONNECTIONS, PortForwards
from hydra.engine.kube_objects import PORT
from hydra.engine.kube_refusals import ROLE_HINT, KubernetesUnavailableError
from hydra.engine.kube_websocket import PodWebSockets
from hydra.run.clock import MonotonicClock
from hydra.run.protocols import Task
from tests.commands import wait_until
from tests.kube_port_forward import serve_port_forward

APP = "/g1/kafka-sub"
PATIENCE_S = 20
FORBIDDEN = 'pods "pod-1" is forbidden: User "me" cannot get resource "pods/portforward" in API group "" in namespace'


class ForwardingServer:
    """An API server with pods that echo what they get, after their name. What it holds may be changed at any time."""

    def __init__(self, authority):
        self.pods = {}
        """The port that each listens on; 0: none."""
        self.token = "Bearer first"
        self.faults = []
        """(status, body, headers) of the next requests, each once."""
        self.asked = []
        self.gate = None
        """An event that is waited for before a request is answered."""
        self.open = []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.tls)
        self.ready, self.loop = threading.Event(), asyncio.new_event_loop()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()))
        self.thread.start()
        assert self.ready.wait(PATIENCE_S)

    async def serve(self):
        self.ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/lab/pods/{pod}/portforward", self.forward)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        self.listeners = []
        for name in ("pod-1", "pod-2"):
            listener = await asyncio.start_server(lambda *ends, name=name: self.echo(name, *ends), "127.0.0.1", 0)
            self.listeners.append(listener)
            self.pods[name] = listener.sockets[0].getsockname()[1]
        self.ready.set()
        await self.ended.wait()
        await runner.cleanup()
        for listener in self.listeners:
            listener.close()

    async def echo(self, name, reader, writer):
        writer.write(name.encode())
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                if content == b"end":
                    break
                writer.write(content)
                await writer.drain()
        writer.close()

    async def forward(self, request):
        pod = request.match_info["pod"]
        self.asked.append((pod, request.query["ports"], request.headers.get("Authorization")))
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            status, body, headers = self.faults.pop(0)
            return web.Response(status=status, text=body, headers=headers)
        if request.headers.get("Authorization") != self.token:
            return web.Response(status=401, text="Unauthorized")
        if pod not in self.pods:
            return web.json_response({"message": f'pods "{pod}" not found'}, status=404)
        self.open.append(request)
        try:
            return await serve_port_forward(request, [PORT], pod, ("127.0.0.1", self.pods[pod]))
        finally:
            self.open.remove(request)

    def do(self, act):
        """Have something done on its thread."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(PATIENCE_S)

    def cut(self):
        """All connections break, as those of an API server that is killed."""
        self.do(lambda: [request.transport.abort() for request in self.open])

    def close(self):
        self.do(self.ended.set)
        self.thread.join(PATIENCE_S)
        self.loop.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server(authority):
    server = ForwardingServer(authority)
    yield server
    server.close()


@pytest.fixture
def notes():
    return []


def kubeconfig(tmp_path, authority, url, user, proxy):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cluster = {"server": url, "certificate-authority": str(tmp_path / "ca.pem"), "proxy-url": proxy}
    config = {
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": "lab"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    return {"KUBECONFIG": str(tmp_path / "config")}


@contextlib.contextmanager
def forwarding(server, authority, tmp_path, notes, user, proxy=""):
    before = set(threading.enumerate())
    access = kubernetes_access(None, None, kubeconfig(tmp_path, authority, server.url, user, proxy))
    with contextlib.closing(access), contextlib.closing(KubernetesConnection(access, MonotonicClock())) as connection:
        forwards = PortForwards(access, connection.route(), notes.append)
        try:
            yield forwards
        finally:
            forwards.close()
            forwards.close()
    wait_until(lambda: set(threading.enumerate()) <= before, PATIENCE_S, "its threads are gone")


@pytest.fixture
def forwards(server, authority, tmp_path, notes):
    with forwarding(server, authority, tmp_path, notes, {"token": "first"}) as made:
        yield made


def follow(forwards, *pods):
    tasks = [Task(pod, APP, running=True, endpoint=Endpoint("10.0.0.9", PORT)) for pod in pods]
    return [task.endpoint for task in forwards.follow(APP, tasks)]


def connected(endpoint):
    connection = socket.create_connection((endpoint.host, endpoint.port), timeout=PATIENCE_S)
    connection.settimeout(PATIENCE_S)
    return connection


def read(connection, size):
    found = b""
    while len(found) < size and (content := connection.recv(65536)):
        found += content
    return found


def ended(connection):
    """Whether the other end closes it."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def talks(endpoint, pod):
    """Whether a new connection leads to this pod, in several attempts, as ZMQ makes them."""
    with connected(endpoint) as connection, contextlib.suppress(ConnectionResetError):
        return read(connection, len(pod)) == pod.encode()
    return False


def test_bytes_go_both_ways_and_to_the_right_pod(server, forwards, notes):
    first, second = follow(forwards, "pod-1", "pod-2")
    assert {first.host, second.host} == {"127.0.0.1"}
    content = bytes(range(256)) * 4096
    with connected(first) as one, connected(second) as two:
        assert read(two, 5) == b"pod-2"
        sending = threading.Thread(target=one.sendall, args=(content,))
        sending.start()
        assert read(one, 5 + len(content)) == b"pod-1" + content
        sending.join(PATIENCE_S)
        two.sendall(b"hello")
        assert read(two, 5) == b"hello"
    assert sorted(server.asked) == [(pod, str(PORT), "Bearer first") for pod in ("pod-1", "pod-2")]
    assert follow(forwards, "pod-1", "pod-2") == [first, second]
    assert (notes, forwards.failure(APP)) == ([], None)


def test_what_the_pod_closes_is_closed_here(server, forwards):
    (endpoint,) = follow(forwards, "pod-1")
    with connected(endpoint) as connection:
        read(connection, 5)
        connection.sendall(b"end")
        assert ended(connection)
    wait_until(lambda: not server.open, PATIENCE_S, "the WebSocket is closed")


def test_what_is_closed_here_is_closed_at_the_pod(server, forwards):
    (endpoint,) = follow(forwards, "pod-1")
    with connected(endpoint) as connection:
        read(connection, 5)
        assert len(server.open) == 1
    wait_until(lambda: not server.open, PATIENCE_S, "the WebSocket is closed")


def test_a_way_that_breaks_is_opened_again(server, forwards, notes):
    (endpoint,) = follow(forwards, "pod-1")
    with connected(endpoint) as connection:
        read(connection, 5)
        server.cut()
        assert ended(connection)
    server.faults = [(503, "etcd is away", {})] * 2
    wait_until(lambda: talks(endpoint, "pod-1"), PATIENCE_S, "the pod is reached again")
    assert server.faults == []
    what = "forward a port of a pod (create and get pods/portforward)"
    assert notes == [f"pod-1 is not reached: Kubernetes would not {what}: HTTP 503; it is tried again"]
    assert forwards.failure(APP) is None


def test_a_port_that_is_not_open_yet_is_tried_again(server, forwards, notes):
    (endpoint,) = follow(forwards, "pod-1")
    port, server.pods["pod-1"] = server.pods["pod-1"], 1
    assert not talks(endpoint, "pod-1")
    wait_until(lambda: forwards.failure(APP) is not None, PATIENCE_S, "why is known")
    assert f"error forwarding port {PORT} to pod pod-1" in str(forwards.failure(APP))
    server.pods["pod-1"] = port
    wait_until(lambda: talks(endpoint, "pod-1"), PATIENCE_S, "the pod is reached")
    assert notes == []  # all pods begin so


def test_a_pod_that_is_gone_is_not_reached_and_the_list_of_pods_tells_why(server, forwards, notes):
    (endpoint,) = follow(forwards, "pod-9")
    assert not talks(endpoint, "pod-9")
    assert "HTTP 404" in str(forwards.failure(APP))
    assert notes == []
    assert follow(forwards) == []
    assert forwards.failure(APP) is None
    wait_until(lambda: is_refused(endpoint), PATIENCE_S, "nobody listens there")


def is_refused(endpoint):
    try:
        connected(endpoint).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # the listener closes at this moment
        return False
    return False


def test_the_way_to_a_pod_that_is_gone_before_it_was_begun_is_closed(server, forwards):
    release = threading.Event()
    forwards._carrier._loop.call_soon_threadsafe(release.wait, PATIENCE_S)
    (endpoint,) = follow(forwards, "pod-1")
    follow(forwards)
    release.set()
    wait_until(lambda: is_refused(endpoint), PATIENCE_S, "nobody listens for it")


def test_a_missing_right_is_told_once_and_known_not_to_pass(server, forwards, notes):
    refusal = (403, json.dumps({"message": FORBIDDEN}), {})
    server.faults = [refusal, (403, json.dumps({"message": FORBIDDEN.replace("pod-1", "pod-2")}), {}), refusal]
    first, second = follow(forwards, "pod-1", "pod-2")
    assert forwards.refused(APP) is None
    assert not talks(first, "pod-1")
    assert not talks(second, "pod-2")
    assert forwards.refused(APP).hint == ROLE_HINT
    assert len(notes) == 1
    assert FORBIDDEN in notes[0]
    assert not talks(first, "pod-1")
    wait_until(lambda: talks(first, "pod-1"), PATIENCE_S, "the right is there")
    assert forwards.refused(APP) is None


def test_a_token_that_has_expired_is_renewed_once(server, authority, tmp_path, notes):
    script = tmp_path / "get-token"
    status = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "NEXT"}})
    script.write_text(f"#!/bin/sh\necho x >>{tmp_path}/runs\necho '{status}' | sed s/NEXT/$(wc -l <{tmp_path}/runs)/\n")
    script.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}}
    server.token = "Bearer 2"
    with forwarding(server, authority, tmp_path, notes, user) as made:
        endpoints = follow(made, "pod-1", "pod-2")
        assert [talks(endpoint, pod) for endpoint, pod in zip(endpoints, ("pod-1", "pod-2"), strict=True)] == [
            True,
            True,
        ]
    assert [header for _pod, _ports, header in server.asked] == ["Bearer 1", "Bearer 2", "Bearer 2"]
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    assert notes == []


def test_a_slow_api_server_is_waited_for_by_whoever_comes_next(server, forwards):
    """ZMQ gives up a connection after two seconds, and comes again."""
    server.gate = asyncio.Event()
    (endpoint,) = follow(forwards, "pod-1")
    with connected(endpoint) as connection:
        connection.sendall(b"greeting")
        wait_until(lambda: server.asked, PATIENCE_S, "it is asked for a way")
    wait_until(lambda: forwards._forwards["pod-1"].spare is not None, PATIENCE_S, "it is seen to be given up")
    with connected(endpoint) as connection:
        server.do(server.gate.set)
        connection.sendall(b"again")
        assert read(connection, 10) == b"pod-1again"
    assert len(server.asked) == 1


def test_strangers_of_this_machine_open_no_more_than_a_few_ways(server, forwards):
    (endpoint,) = follow(forwards, "pod-1")
    with contextlib.ExitStack() as held:
        for _ in range(MAX_CONNECTIONS):
            assert read(held.enter_context(connected(endpoint)), 5) == b"pod-1"
        assert not talks(endpoint, "pod-1")
    assert len(server.asked) == MAX_CONNECTIONS


def test_credentials_go_nowhere_else(server, forwards, notes):
    server.faults = [(307, "", {"Location": f"{server.url}/api/v1/namespaces/lab/pods/pod-2/portforward?ports=1"})]
    (endpoint,) = follow(forwards, "pod-1")
    assert not talks(endpoint, "pod-1")
    assert [pod for pod, _ports, _header in server.asked] == ["pod-1"]
    assert "sends us elsewhere" in notes[0]


def test_an_api_server_that_others_pose_as_is_not_spoken_to(server, tmp_path, notes):
    with forwarding(server, trustme.CA(), tmp_path, notes, {"token": "first"}) as made:
        assert not talks(*follow(made, "pod-1"), "pod-1")
    assert server.asked == []
    assert "certificate verify failed" in notes[0]


def copy(source, target):
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)


def be_proxy(listener, heads):
    """For one connection (RFC 9110, CONNECT)."""
    near, _address = listener.accept()
    with near:
        while not heads or not heads[-1].endswith(b"\r\n\r\n"):
            heads[:] = [b"".join(heads) + near.recv(1)]
        host, _colon, port = heads[0].split()[1].decode().partition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as far:
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(far, near))
            back.start()
            copy(near, far)
            back.join(PATIENCE_S)


def test_the_proxy_of_the_kubeconfig_is_on_the_way(server, authority, tmp_path, notes):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        heads = []
        proxy = threading.Thread(target=be_proxy, args=(listener, heads))
        proxy.start()
        place = f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}"
        with forwarding(server, authority, tmp_path, notes, {"token": "first"}, place) as made:
            assert talks(*follow(made, "pod-1"), "pod-1")
        proxy.join(PATIENCE_S)
    assert heads[0].startswith(f"CONNECT {server.url.partition('//')[2]} HTTP/1.1".encode())
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in heads[0]
    with forwarding(server, authority, tmp_path, notes, {"token": "first"}, place) as made:
        assert not talks(*follow(made, "pod-1"), "pod-1")
    (note,) = notes
    assert "cannot be reached" in note
    assert "secret" not in note


def test_all_ends_with_it(server, forwards):
    endpoints = follow(forwards, "pod-1", "pod-2")
    with connected(endpoints[0]) as connection:
        read(connection, 5)
        server.gate = asyncio.Event()
        with connected(endpoints[1]) as other:  # it is still being opened
            wait_until(lambda: len(server.asked) == 2, PATIENCE_S, "it is asked for a way")
            forwards.close()
            assert ended(connection)
            assert ended(other)
    assert all(map(is_refused, endpoints))
    server.do(server.gate.set)


def test_a_proxy_that_refuses_us_is_told_without_its_password(tmp_path):
    def refuse():
        near, _address = listener.accept()
        with near:
            near.recv(65536)
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    listener = socket.create_server(("127.0.0.1", 0))
    proxy = threading.Thread(target=refuse)
    proxy.start()
    url = f"http://me:of-mine@127.0.0.1:{listener.getsockname()[1]}"
    config = {
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:1", "proxy-url": url}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    access = kubernetes_access(None, None, {"KUBECONFIG": str(tmp_path / "config")})
    websockets = PodWebSockets(access, Route(url, None), 7400)

    async def reach():
        async with websockets.connected():
            await websockets.open("pod")

    with pytest.raises(KubernetesUnavailableError, match="its proxy says HTTP 407 Proxy Auth") as caught:
        asyncio.run(reach())
    assert "of-mine" not in str(caught.value)
    proxy.join(10)
    listener.close()
