"""Mesos' HTTP API: the agents with their attributes, and the files in a task's sandbox. No run depends on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
import requests

from hydra.engine.http_session import BoundedSession, GivenAuthorization
from hydra.engine.marathon_access import MarathonAccess
from hydra.errors import InfrastructureError

_T = TypeVar("_T")

TIMEOUT_S = 3.0
MIN_TIMEOUT_S = 0.2
MAX_READ_BYTES = 64 * 1024
"""Mesos returns no more at once."""


@dataclass(frozen=True)
class Agent:
    """A machine that runs tasks."""

    agent_id: str
    hostname: str
    url: str
    """Of its own API; empty if Mesos does not tell."""
    active: bool
    attributes: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, object] = field(default_factory=dict)
    used: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sandbox:
    """The folder of a task's files."""

    agent_url: str
    host: str
    folder: str


class _AgentResponse(msgspec.Struct, frozen=True):
    id: str
    hostname: str
    pid: str = ""
    active: bool = True
    attributes: Mapping[str, object] = {}
    resources: Mapping[str, object] = {}
    used_resources: Mapping[str, object] = {}


class _Agents(msgspec.Struct, frozen=True):
    slaves: tuple[_AgentResponse, ...]


class _NamedTask(msgspec.Struct, frozen=True):
    id: str = ""


class _Executor(msgspec.Struct, frozen=True):
    id: str = ""
    directory: str = ""
    tasks: tuple[_NamedTask, ...] = ()
    completed_tasks: tuple[_NamedTask, ...] = ()

    def runs(self, task_id: str) -> bool:
        return task_id in {self.id, *(task.id for task in (*self.tasks, *self.completed_tasks))}


class _Framework(msgspec.Struct, frozen=True):
    executors: tuple[_Executor, ...] = ()
    completed_executors: tuple[_Executor, ...] = ()


class _AgentState(msgspec.Struct, frozen=True):
    frameworks: tuple[_Framework, ...] = ()
    completed_frameworks: tuple[_Framework, ...] = ()


class _FilePart(msgspec.Struct, frozen=True):
    data: str = ""
    offset: int = 0


class Mesos:
    """The Mesos cluster of a master's URL. Not thread-safe.

    The CA file and time-out of Marathon's access apply here too. Its secrets are not sent to Mesos, but to a local
    Marathon, which is both.
    """

    def __init__(self, url: str, access: MarathonAccess) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = min(TIMEOUT_S, access.timeout_s)
        self._session = BoundedSession(self._timeout_s, trust_env=not access.local)
        self._session.verify = access.ca_file or True
        if access.local and access.authorization:
            self._session.auth = GivenAuthorization(access.authorization)

    def agents(self) -> tuple[Agent, ...]:
        """All agents, sorted by host name.

        Raises:
            InfrastructureError: Mesos cannot be reached, or the address is not that of a Mesos.
        """
        agents = [
            Agent(
                agent_id=agent.id,
                hostname=agent.hostname,
                url=_agent_url(agent.pid, self._url),
                active=agent.active,
                attributes={name: _attribute_text(value) for name, value in agent.attributes.items()},
                resources=agent.resources,
                used=agent.used_resources,
            )
            for agent in self._get(f"{self._url}/slaves", _Agents).slaves
        ]
        return tuple(sorted(agents, key=lambda agent: agent.hostname))

    def sandbox(self, task_id: str, agent_id: str | None = None) -> Sandbox:
        """The sandbox of a task, also of one that has ended recently; all agents are asked if none is given.

        Raises:
            InfrastructureError: Mesos or the agent cannot be reached, or does not know the task.
        """
        unreachable = ""
        for agent in self.agents():
            if agent_id not in {None, agent.agent_id} or not agent.url:
                continue
            try:
                state = self._get(f"{agent.url}/state", _AgentState)
            except InfrastructureError as error:
                if agent_id is not None:
                    raise
                unreachable = f"; {error.message}"
                continue
            for framework in (*state.frameworks, *state.completed_frameworks):
                for executor in (*framework.executors, *framework.completed_executors):
                    if executor.directory and executor.runs(task_id):
                        return Sandbox(agent.url, agent.hostname, executor.directory)
        raise InfrastructureError(f"Mesos at {self._url} knows no sandbox of {task_id}{unreachable}")

    def read(self, sandbox: Sandbox, name: str, limit_bytes: int) -> str:
        """At most ``limit_bytes`` of the end of a file, such as ``stderr``, from the start of a line on.

        Raises:
            InfrastructureError: it cannot be read.
        """
        path = f"{sandbox.folder}/{name}"
        size = self._read(sandbox, path, -1).offset
        start = max(0, size - limit_bytes)
        data, offset = "", start
        deadline_s = time.monotonic() + 10 * TIMEOUT_S
        while offset < size and time.monotonic() < deadline_s:
            piece = self._read(sandbox, path, offset)
            if not piece.data:
                break
            data += piece.data
            offset += len(piece.data.encode(errors="surrogatepass"))
        return data.partition("\n")[2] if start and "\n" in data else data

    def last_lines(self, task_id: str, agent_id: str, count: int, *, timeout_s: float) -> tuple[str, ...]:
        """The last lines of a task's stderr that are not empty; none if they cannot be read in time."""
        # Four requests: the agents, the agent's state, the file's size, its end.
        self._session.timeout_s = max(MIN_TIMEOUT_S, min(self._timeout_s, timeout_s / 4))
        try:
            text = self.read(self.sandbox(task_id, agent_id), "stderr", 4096)
        except InfrastructureError:
            return ()
        finally:
            self._session.timeout_s = self._timeout_s
        return tuple([line.strip() for line in text.splitlines() if line.strip()][-count:])

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _read(self, sandbox: Sandbox, path: str, offset: int) -> _FilePart:
        query = urlencode({"path": path, "offset": offset, **({"length": MAX_READ_BYTES} if offset >= 0 else {})})
        return self._get(f"{sandbox.agent_url}/files/read?{query}", _FilePart)

    def _get(self, url: str, kind: type[_T]) -> _T:
        shown = url.partition("?")[0]
        try:
            response = self._session.get(url, headers={"Accept": "application/json"})
        except requests.RequestException as error:
            text = f"Mesos at {shown} cannot be reached ({self._session.failure})"
            raise InfrastructureError(text, hint="check --mesos_url or [mesos] in hydra.ini") from error
        if response.status_code != 200:
            raise InfrastructureError(f"Mesos at {shown} answered HTTP {response.status_code}")
        try:
            return msgspec.json.decode(response.content, type=kind, strict=False)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InfrastructureError(f"unexpected response from Mesos at {shown}") from error


def _agent_url(pid: str, master_url: str) -> str:
    """The HTTP address in ``slave(1)@10.0.0.7:5051``."""
    address = pid.rpartition("@")[2]
    return f"{master_url.partition('://')[0]}://{address}" if address else ""


def _attribute_text(value: object) -> str:
    """A scalar attribute is a number in JSON; Marathon compares its text, which is ``1`` for 1.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)
