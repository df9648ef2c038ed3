"""A small task that runs on every agent for a moment and reports what a run would find there. It needs Python only."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import requests

from hydra.engine.apps import agent_python
from hydra.engine.http_session import BoundedSession
from hydra.errors import HydraError, InfrastructureError
from hydra.options.options import Options
from hydra.run.clock import MonotonicClock, poll_until
from hydra.run.protocols import AppSpec, Launcher, Task

POLL_S = 0.2
PROBE_TIMEOUT_S = 8.0
REMOVE_TIMEOUT_S = 20.0

PROBE = """
import concurrent.futures, http.server, json, os, resource, socket, sys, sysconfig, time
def reaches(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""
def unreached(targets):
    with concurrent.futures.ThreadPoolExecutor(max(1, len(targets))) as pool:
        return dict(zip(targets, pool.map(reaches, targets)))
def facts():
    return {"python": "%d.%d" % sys.version_info[:2], "platform": sysconfig.get_platform(), "path": sys.executable,
            "host": os.environ.get("HOST", ""), "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "unreached": unreached(sys.argv[1:]), "time_s": time.time()}
class Probe(http.server.BaseHTTPRequestHandler):
    timeout = 10
    def do_GET(self):
        body = json.dumps(facts()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
def address(host):
    found = [entry[4][0] for entry in socket.getaddrinfo(host, None, socket.AF_INET)]
    if host in found or not found[0].startswith("127."):
        return found[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("192.0.2.1", 9))
        return udp.getsockname()[0]
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer((address(os.environ["HOST"]), int(os.environ["PORT0"])), Probe).serve_forever()
"""
"""It tries all targets at the same time: those that say nothing would else take longer than its controller waits."""


class AgentFacts(msgspec.Struct, frozen=True):
    """What a probe reports."""

    python: str
    platform: str
    path: str
    host: str
    descriptors: int
    unreached: dict[str, str]
    """The reason by target; empty for a target that was reached."""
    time_s: float


@dataclass(frozen=True)
class ProbeResult:
    """One agent, according to its probe."""

    task: Task
    facts: AgentFacts | None
    error: str = ""
    clock_offset_s: float = 0.0
    """How far its clock is ahead of the controller's."""
    round_trip_s: float = 0.0
    """The offset may be wrong by half of it."""


def probe_agents(
    launcher: Launcher, options: Options, *, name: str, agents: int, targets: Sequence[str], timeout_s: float
) -> tuple[ProbeResult, ...]:
    """Run a probe on that many agents, ask each what it is and which targets (host:port) it reaches, and remove them.

    Raises:
        InfrastructureError: they do not all run within ``timeout_s``; gives Marathon's reason.
    """
    spec = AppSpec(
        app_id=f"/{options.app_prefix}/{name}",
        command=f"{agent_python(options.agent_python)} -I -c {shlex.quote(PROBE)} {shlex.join(targets)}",
        instances=agents,
        constraints=(("hostname", "UNIQUE"),),
        labels={"hydra": "doctor"},
    )
    try:
        launcher.apply(spec)
        return tuple(_request(task) for task in _running(launcher, spec, timeout_s))
    finally:
        _remove(launcher, spec.app_id)


def _running(launcher: Launcher, spec: AppSpec, timeout_s: float) -> Sequence[Task]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        running = [task for task in launcher.tasks(spec.app_id) if task.running and task.endpoint is not None]
        if len(running) >= spec.instances:
            return running
        if time.monotonic() >= deadline_s:
            reason = launcher.waiting_reason(spec.app_id).text
            text = f"{len(running)} of {spec.instances} probes ran after {timeout_s:g} s"
            raise InfrastructureError(f"{text} ({reason})" if reason else text)
        time.sleep(POLL_S)


def _request(task: Task) -> ProbeResult:
    """Ask one probe; again for a while, since its task runs before it listens."""
    deadline_s = time.monotonic() + PROBE_TIMEOUT_S
    with BoundedSession(PROBE_TIMEOUT_S, trust_env=False) as session:
        while True:
            began_s, began_at_s = time.monotonic(), time.time()
            try:
                content = session.get(f"http://{task.endpoint}/").content
                facts = msgspec.json.decode(content, type=AgentFacts)
            except (requests.RequestException, msgspec.MsgspecError) as error:
                if time.monotonic() >= deadline_s:
                    return ProbeResult(task, None, session.failure or str(error))
                time.sleep(POLL_S)
                continue
            round_trip_s = time.monotonic() - began_s
            # The probe reads its clock last, right before it answers.
            return ProbeResult(task, facts, "", facts.time_s - (began_at_s + round_trip_s), round_trip_s)


def _remove(launcher: Launcher, app_id: str) -> None:
    deadline_s = time.monotonic() + REMOVE_TIMEOUT_S
    while True:
        try:
            launcher.remove(app_id)
            break
        except HydraError as error:
            if not error.retryable or time.monotonic() >= deadline_s:
                raise
            time.sleep(POLL_S)
    poll_until(MonotonicClock(), lambda: launcher.removed(app_id), deadline_s - time.monotonic())
