"""Mesos' HTTP API: the agents with their attributes, and what a task wrote into its sandbox.

Hydra does without it where it has to: nothing here is needed for a run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
import requests

from hydra.engine.http_session import BoundedSession
from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_answers import Answer
from hydra.errors import InfrastructureError

_T = TypeVar("_T")

TIMEOUT_S = 3.0
MAX_READ_BYTES = 64 * 1024
"""What Mesos gives at once."""


@dataclass(frozen=True)
class Agent:
    """A machine that runs tasks."""

    agent_id: str
    hostname: str
    url: str
    """Of its own API; empty when Mesos does not tell."""
    active: bool
    attributes: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, object] = field(default_factory=dict)
    used: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sandbox:
    """Where a task's files are."""

    agent_url: str
    host: str
    folder: str


class _AnsweredAgent(msgspec.Struct, frozen=True):
    id: str
    hostname: str
    pid: str = ""
    active: bool = True
    attributes: Mapping[str, object] = {}
    resources: Mapping[str, object] = {}
    used_resources: Mapping[str, object] = {}


class _Agents(msgspec.Struct, frozen=True):
    slaves: tuple[_AnsweredAgent, ...]


class _NamedTask(msgspec.Struct, frozen=True):
    id: str = ""


class _Executor(msgspec.Struct, frozen=True):
    id: str = ""
    directory: str = ""
    tasks: tuple[_NamedTask, ...] = ()
    completed_tasks: tuple[_NamedTask, ...] = ()


class _Framework(msgspec.Struct, frozen=True):
    executors: tuple[_Executor, ...] = ()
    completed_executors: tuple[_Executor, ...] = ()


class _AgentState(msgspec.Struct, frozen=True):
    frameworks: tuple[_Framework, ...] = ()
    completed_frameworks: tuple[_Framework, ...] = ()


class _Read(Answer, frozen=True):
    data: str = ""
    offset: int = 0


class Mesos:
    """One Mesos cluster. Not thread-safe.

    Args:
        url: of the master.
        access: what is known of Marathon: its CA file and time-out hold here too, its secrets are not given to Mesos.
    """

    def __init__(self, url: str, access: MarathonAccess) -> None:
        self._url = url.rstrip("/")
        self._session = BoundedSession(min(TIMEOUT_S, access.timeout_s), trust_env=not access.local)
        self._session.verify = access.ca_file or True

    def agents(self) -> tuple[Agent, ...]:
        """All agents, by their host names.

        Raises:
            InfrastructureError: Mesos cannot be reached, or is none.
        """
        found = self._get(f"{self._url}/slaves", _Agents).slaves
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
            for agent in found
        ]
        return tuple(sorted(agents, key=lambda agent: agent.hostname))

    def sandbox(self, task_id: str, agent_id: str | None = None) -> Sandbox:
        """Where a task's files are, also of one that has ended and is not forgotten yet.

        Args:
            task_id: the task.
            agent_id: its agent; None asks all of them.

        Raises:
            InfrastructureError: Mesos or the agent cannot be reached, or do not know the task.
        """
        silent = ""
        for agent in self.agents():
            if agent_id not in {None, agent.agent_id} or not agent.url:
                continue
            try:
                state = self._get(f"{agent.url}/state", _AgentState)
            except InfrastructureError as error:
                if agent_id is not None:
                    raise
                silent = f"; {error.message}"
                continue
            for framework in (*state.frameworks, *state.completed_frameworks):
                for executor in (*framework.executors, *framework.completed_executors):
                    if _runs(executor, task_id):
                        return Sandbox(agent.url, agent.hostname, executor.directory)
        raise InfrastructureError(f"Mesos at {self._url} knows no sandbox of {task_id}{silent}")

    def read(self, sandbox: Sandbox, name: str, limit_bytes: int) -> str:
        """The end of a file in a sandbox, from the start of a line.

        Args:
            sandbox: of the task.
            name: such as ``stderr``.
            limit_bytes: how much of it at most.

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

    def last_lines(self, task_id: str, agent_id: str, count: int) -> tuple[str, ...]:
        """The last lines of a task's stderr that are not empty; none when they cannot be had."""
        try:
            text = self.read(self.sandbox(task_id, agent_id), "stderr", 4096)
        except InfrastructureError:
            return ()
        return tuple([line.strip() for line in text.splitlines() if line.strip()][-count:])

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def _read(self, sandbox: Sandbox, path: str, offset: int) -> _Read:
        query = urlencode({"path": path, "offset": offset, **({"length": MAX_READ_BYTES} if offset >= 0 else {})})
        return self._get(f"{sandbox.agent_url}/files/read?{query}", _Read)

    def _get(self, url: str, kind: type[_T]) -> _T:
        shown = url.partition("?")[0]
        try:
            answer = self._session.get(url, headers={"Accept": "application/json"})
        except requests.RequestException as error:
            raise InfrastructureError(
                f"Mesos at {shown} cannot be reached ({self._session.failure})",
                hint="check --mesos_url or [mesos] in hydra.ini",
            ) from error
        if answer.status_code != 200:
            raise InfrastructureError(f"Mesos at {shown} answered HTTP {answer.status_code}")
        try:
            return msgspec.json.decode(answer.content, type=kind, strict=False)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InfrastructureError(f"{shown} answered what Mesos does not") from error


def _agent_url(pid: str, master_url: str) -> str:
    """``slave(1)@10.0.0.7:5051`` as an address of HTTP."""
    scheme = master_url.partition("://")[0]
    address = pid.rpartition("@")[2]
    return f"{scheme}://{address}" if address else ""


def _attribute_text(value: object) -> str:
    """A scalar attribute is a number in JSON, and ``1`` where Marathon compares it as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs(executor: _Executor, task_id: str) -> bool:
    return bool(executor.directory) and (
        executor.id == task_id or any(task.id == task_id for task in (*executor.tasks, *executor.completed_tasks))
    )
