"""A local Marathon in an event loop of its own, reached over HTTP; whatever it leaves behind fails the test."""

import asyncio
import collections.abc
import contextlib
import os
import random
import re
import socket
import threading
import time

import psutil
import pytest
import requests

from hydra.options.parsers import parse_agents

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
NEVER = {"cmd": "exec sleep 1000", "cpus": 1e6}  # waits: no agent has so much
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STAGING_S = 0.05  # real tasks take longer; most tests need not wait for it
AGENTS = "127.0.0.1 rack:a floor:1 cpus:2 mem:1024, 127.0.0.2 rack:b floor:2 cpus:2 mem:1024, 127.0.0.3 cpus:2 mem:1024"


def poll(probe, timeout_s=15.0):
    """Call ``probe`` until it returns something true; that is the result."""
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > give_up_at_s:
            pytest.fail(f"nothing after {timeout_s} s; the last answer was {found!r}")
        time.sleep(0.01)


def marked_processes(framework_id):
    """Pids of the processes that carry the mark of a server."""
    from hydra.localmarathon.processes import TASK_MARK

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(TASK_MARK, "").startswith(framework_id) and process.status() != "zombie":
                found.append(process.pid)
    return found


def marathon_client(url):
    """The PyPI client; imported here, because every run of tests imports this module."""
    import marathon
    import marathon.util

    marathon.util.collections = collections.abc  # the client's module was written for Python < 3.10
    return marathon.MarathonClient(url)


class RunningMarathon:
    """What a test does with a server: requests, waits, and a list of its processes."""

    def __init__(self, folder, **options):
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.server = self.run(self._make(options))
        except BaseException:
            self._end_loop()
            raise
        self.url = self.server.url
        self.session = requests.Session()
        self.client = marathon_client(self.url)

    async def _make(self, options):
        from hydra.localmarathon.server import LocalMarathon

        server = LocalMarathon(self.folder, **{"token": "", **options})
        await server.start()
        return server

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self):
        self.session.close()
        self.client.session.close()
        self.client.sse_session.close()
        self.run(self.server.stop(grace_s=0.5))
        self._end_loop()

    def _end_loop(self):
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def call(self, method, path, body=None, **options):
        return self.session.request(method, self.url + path, json=body, timeout=10, **options)

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def create(self, app_id, **fields):
        """Create an app and return its deployment's id; it need not be finished."""
        answer = self.call("POST", "/v2/apps", {"id": app_id, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["deployments"][0]["id"]

    def deployments(self):
        return self.get("/v2/deployments").json()

    def wait_settled(self):
        poll(lambda: not self.deployments())

    def start_app(self, app_id, **fields):
        """Create an app, wait for the end of its deployment, return its tasks."""
        self.create(app_id, **fields)
        self.wait_settled()
        return self.tasks(app_id)

    def tasks(self, app_id):
        return self.get(f"/v2/apps{app_id}/tasks").json()["tasks"]

    def app(self, app_id):
        return self.get(f"/v2/apps{app_id}").json()["app"]

    def sandbox(self, task_id):
        return self.folder / self.server.framework_id / task_id

    def text(self, task_id, name="stdout"):
        path = self.sandbox(task_id) / name
        return path.read_text() if path.exists() else ""

    def wait_text(self, task_id, name="stdout", *, lines=1):
        """The lines of a task's file, as soon as there are so many."""
        return poll(
            lambda: self.text(task_id, name).splitlines() if self.text(task_id, name).count("\n") >= lines else None
        )

    def remove_all_apps(self):
        assert self.call("DELETE", "/v2/groups?force=true").status_code == 200
        self.wait_settled()

    def census(self):
        return marked_processes(self.server.framework_id)


@pytest.fixture(name="poll")
def poll_fixture():
    return poll


@pytest.fixture(name="marked_processes")
def marked_processes_fixture():
    return marked_processes


@pytest.fixture
def free_ports():
    """Finds so many ports in a row that nobody has: other tests may run on this machine."""

    def find(count):
        while True:
            first = random.randrange(21000, 31000)
            with contextlib.ExitStack() as held, contextlib.suppress(OSError):
                for port in range(first, first + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
                return range(first, first + count)

    return find


def closed_without_trace(server):
    """Close a server; nothing of it may be left."""
    server.close()
    assert server.census() == []
    assert list(server.folder.iterdir()) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/ping", timeout=5)


def children():
    """All processes below this one, but for those of the browser that is open for all tests."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "chrom" not in process.name():
                found.add(process)
    return found


@contextlib.contextmanager
def no_children_left():
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def no_errors_logged(caplog):
    """What goes wrong in the event loop's own callbacks is seen in the log only."""
    yield
    logged = [record for record in caplog.get_records("call") if record.name.startswith(("hydra", "asyncio"))]
    assert [record.getMessage() for record in logged if record.levelname in ("ERROR", "CRITICAL")] == []


@pytest.fixture
def start_marathon(tmp_path, no_errors_logged):
    """Starts servers with options of their own; all are closed at the end, and must leave nothing."""
    started = []

    def start(**options):
        folder = tmp_path / f"marathon-{len(started)}"
        started.append(RunningMarathon(folder, **{"staging_s": STAGING_S, **options}))
        return started[-1]

    with no_children_left():
        yield start
        for server in started:
            closed_without_trace(server)


def shared_server(tmp_path_factory, **options):
    """One server for all tests of a module."""
    with no_children_left():
        server = RunningMarathon(tmp_path_factory.mktemp("marathon"), **{"staging_s": STAGING_S, **options})
        yield server
        closed_without_trace(server)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory, request):
    """A module's own STAGING_S is for tests that look at the deployment of what they have just created."""
    options = {"staging_s": getattr(request.module, "STAGING_S", STAGING_S)}
    environment = {"PATH": os.environ["PATH"], "HYDRA_RUN_ID": "run-7"}
    yield from shared_server(tmp_path_factory, base_env=environment, **options)


@pytest.fixture(scope="module")
def module_agents(tmp_path_factory):
    yield from shared_server(tmp_path_factory, agents=parse_agents(AGENTS))


@pytest.fixture
def server(module_server, no_errors_logged):
    """The module's server, without any app before and after."""
    yield module_server
    module_server.remove_all_apps()


@pytest.fixture
def agents(module_agents, no_errors_logged):
    """The module's server with three agents, without any app before and after."""
    yield module_agents
    module_agents.remove_all_apps()
