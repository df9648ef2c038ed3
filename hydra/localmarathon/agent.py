"""The agents: the machines that run tasks, here as child processes of the server; which of them launches a task."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.localmarathon.app import QueueEntry
from hydra.localmarathon.app_definition import AppDefinition, timestamp_now
from hydra.localmarathon.fetching import FetchError, fetch_all
from hydra.localmarathon.placement import AgentIdentity, Offer, decline_reason
from hydra.localmarathon.ports import HostPorts
from hydra.localmarathon.processes import TASK_MARK, ProcessSnapshot, ProcessStarter, TaskProcess, exit_message
from hydra.localmarathon.task import Task, TaskState, task_environment

DEFAULT_KILL_GRACE_S = 3.0  # that of Mesos' command executor
_launch_numbers = itertools.count(1)  # over all agents: a higher number is a younger task


def _new_future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@dataclass
class _Lifecycle:
    """A task with what drives it from launch to end."""

    task: Task
    kill_requested: asyncio.Future[None] = field(default_factory=_new_future)
    grace_over: asyncio.Future[None] = field(default_factory=_new_future)
    run: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class AgentSettings:
    """What is the same for all tasks of an agent."""

    identity: AgentIdentity
    cpus: float
    mem_mb: float
    framework_id: str
    folder: Path  # contains the sandboxes
    inherited: Mapping[str, str]  # the environment that every task starts with
    starter: ProcessStarter
    staging_s: float  # from the start of a task's process to TASK_RUNNING
    max_tasks: int


class Agent:
    """Launches, watches and kills tasks.

    Args:
        settings: what is the same for all tasks.
        ports: the host ports.
        on_change: called in the event loop after a task's state has changed; after its end, the agent has forgotten it.
        snapshot: reads the process table; one for all agents.
    """

    def __init__(
        self, settings: AgentSettings, ports: HostPorts, on_change: Callable[[Task], None], snapshot: ProcessSnapshot
    ) -> None:
        self.settings = settings
        self._ports = ports
        self._on_change = on_change
        self._snapshot = snapshot
        self._lifecycles: dict[str, _Lifecycle] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks that have not ended."""
        return [lifecycle.task for lifecycle in self._lifecycles.values()]

    def offer(self) -> Offer:
        """What is free."""
        tasks = self.tasks
        return Offer(
            self.settings.identity,
            self.settings.cpus - sum(task.app.cpus for task in tasks),
            self.settings.mem_mb - sum(task.app.mem_mb for task in tasks),
            has_room=len(tasks) < self.settings.max_tasks,
        )

    def launch(self, app: AppDefinition) -> Task | None:
        """Launch one more task of an app; None while this agent has too few ports for it."""
        ports = self._ports.claim(app)
        if ports is None:
            return None
        task_id = f"{app.app_id[1:].replace('/', '_')}.instance-{uuid.uuid1()}._app.1"
        task = Task(
            task_id=task_id,
            app=app,
            agent=self.settings.identity,
            number=next(_launch_numbers),
            ports=ports,
            sandbox=self.settings.folder / task_id,
            staged_at=timestamp_now(),
        )
        lifecycle = _Lifecycle(task)
        self._lifecycles[task.task_id] = lifecycle
        lifecycle.run = asyncio.get_running_loop().create_task(self._run(lifecycle))
        return task

    def kill(self, task: Task, *, grace_s: float | None = None) -> None:
        """Begin to end a task: SIGTERM, and SIGKILL after its grace period. A second call can only shorten the period.

        Args:
            task: any task of this agent; nothing happens if it has ended already.
            grace_s: replaces the app's own grace period if that is longer.
        """
        lifecycle = self._lifecycles.get(task.task_id)
        if lifecycle is None:
            return
        if not lifecycle.kill_requested.done() or grace_s is not None:
            own_s = DEFAULT_KILL_GRACE_S if task.app.kill_grace_s is None else task.app.kill_grace_s
            within_s = own_s if grace_s is None else min(grace_s, own_s)
            asyncio.get_running_loop().call_later(within_s, _set_done, lifecycle.grace_over)
        _set_done(lifecycle.kill_requested)
        if task.state in (TaskState.STAGING, TaskState.RUNNING):
            task.state = TaskState.KILLING

    async def wait_empty(self) -> None:
        """Wait until every task has ended; bounded by the graces of the tasks that are being killed."""
        while self._lifecycles:
            await asyncio.wait({one.run for one in self._lifecycles.values() if one.run is not None})

    async def _run(self, lifecycle: _Lifecycle) -> None:
        """Take a task from its sandbox to the end of its last process."""
        # Not part of launch: the caller must know the task before it is told that the task failed to start.
        task = lifecycle.task
        try:
            if task.app.docker_image is not None:
                task.end(TaskState.FAILED, "None of the enabled containerizers could create a container: no Docker")
                return
            task.sandbox.mkdir(parents=True)
            if await _fetch(lifecycle):
                await self._supervise(await self._start_process(task), lifecycle)
        except OSError as error:
            task.end(TaskState.FAILED, f"Failed to launch the command: {error}")
        finally:
            self._ports.release(task.ports)
            del self._lifecycles[task.task_id]
            self._on_change(task)

    async def _supervise(self, process: TaskProcess, lifecycle: _Lifecycle) -> None:
        """Wait until a task's process ends or is to be killed, then end all that is left of the task."""
        task = lifecycle.task
        # Even a process that ends at once is reported as running first.
        await asyncio.wait({lifecycle.kill_requested}, timeout=self.settings.staging_s)
        if task.state is TaskState.STAGING:
            task.state = TaskState.RUNNING
            task.started_at = timestamp_now()
            self._on_change(task)
        await _wait_first(process.exited, lifecycle.kill_requested)
        if not lifecycle.kill_requested.done():
            # Mesos ends what a command leaves behind, without a grace period.
            _set_done(lifecycle.grace_over)
        await process.end(lifecycle.grace_over)
        if task.state is TaskState.KILLING:
            task.end(TaskState.KILLED, "Command terminated by the agent")
        elif process.exited.done():
            exit_code = process.exited.result()
            task.end(TaskState.FINISHED if exit_code == 0 else TaskState.FAILED, exit_message(exit_code))

    async def _start_process(self, task: Task) -> TaskProcess:
        settings = self.settings
        environment = task_environment(task, inherited=settings.inherited, framework_id=settings.framework_id)
        argv = task.app.args or ["/bin/sh", "-c", task.app.cmd or ""]
        started = await settings.starter.start(argv, environment, task.sandbox)
        return TaskProcess(started, environment[TASK_MARK], self._snapshot)


class Cluster:
    """All agents.

    Args:
        agents: each agent's settings and ports.
        on_change: as for Agent.
    """

    def __init__(self, agents: Iterable[tuple[AgentSettings, HostPorts]], on_change: Callable[[Task], None]) -> None:
        snapshot = ProcessSnapshot()
        self.agents = [Agent(settings, ports, on_change, snapshot) for settings, ports in agents]
        self._agent_of_id = {agent.settings.identity.agent_id: agent for agent in self.agents}

    def launch(self, app: AppDefinition, tasks: Iterable[Task], entry: QueueEntry) -> Task | None:
        """Launch one more task on the suitable agent with the fewest tasks; None if no agent is suitable.

        Args:
            app: the app to launch a task of.
            tasks: the tasks that the app already has.
            entry: gets a note of what happened to the offers.
        """
        placed = [task.agent for task in tasks]
        now, reasons = timestamp_now(), []
        for agent in sorted(self.agents, key=lambda agent: len(agent.tasks)):
            reason = decline_reason(app, agent.offer(), placed)
            task = agent.launch(app) if reason is None else None
            if task is not None:
                entry.note_used(now)
                return task
            reasons.append(reason or "InsufficientPorts")
        entry.note_declined(reasons, now)
        return None

    def kill(self, task: Task, *, grace_s: float | None = None) -> None:
        """As Agent.kill."""
        self._agent_of_id[task.agent.agent_id].kill(task, grace_s=grace_s)


async def _fetch(lifecycle: _Lifecycle) -> bool:
    """Fetch the files of a task. Returns whether all are there; if not, the task has ended."""
    task = lifecycle.task
    if not task.app.fetch:
        return True
    fetching = asyncio.get_running_loop().create_task(fetch_all(task.app.fetch, task.sandbox))
    await _wait_first(fetching, lifecycle.kill_requested)
    fetching.cancel()
    try:
        await fetching
    except FetchError as error:
        reason = f"Failed to fetch all URIs for container '{task.task_id}': {error}"
        task.end(TaskState.FAILED, f"Failed to launch container: {reason}")
    except asyncio.CancelledError:
        task.end(TaskState.KILLED, "Container destroyed while fetching")
    else:
        return True
    return False


async def _wait_first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
