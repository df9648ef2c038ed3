"""An agent: the machine that runs tasks, here as child processes of the server."""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.localmarathon.app_definition import DEFAULT_KILL_GRACE_S, AppDefinition
from hydra.localmarathon.app_ids import task_id_prefix
from hydra.localmarathon.environment import task_environment, task_mark
from hydra.localmarathon.fetching import FetchError, fetch_all
from hydra.localmarathon.health_checks import Health, HealthCheck, Patient, watch
from hydra.localmarathon.placement import Offer, Place
from hydra.localmarathon.ports import HostPorts
from hydra.localmarathon.process_table import Census
from hydra.localmarathon.task import Task, TaskState
from hydra.localmarathon.task_process import TaskProcess, exit_message
from hydra.localmarathon.timestamps import format_timestamp, utc_now

_launch_numbers = itertools.count(1)  # over all agents: a task's number tells its age


@dataclass
class _Life:
    """What makes a task run, and end."""

    task: Task
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    kill_at: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    course: asyncio.Task[None] | None = None
    checks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(frozen=True)
class AgentSettings:
    """What stays the same for all tasks of an agent."""

    place: Place
    cpus: float
    mem_mb: float
    framework_id: str
    folder: Path  # sandboxes are made in it
    inherited: Mapping[str, str]  # the environment that every task begins with
    staging_s: float  # from the start of a task's process to TASK_RUNNING
    max_tasks: int


class Agent:
    """Launches tasks, watches over them, kills them.

    Args:
        settings: what stays the same for all tasks.
        ports: the host ports.
        census: where the process table comes from; one for all agents.
        on_change: called in the event loop after a task's state has changed; after an end, the task is gone altogether.
    """

    def __init__(
        self, settings: AgentSettings, ports: HostPorts, on_change: Callable[[Task], None], census: Census
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._on_change = on_change
        self._census = census
        self._lives: dict[str, _Life] = {}
        self._used_cpus = 0.0
        self._used_mem_mb = 0.0

    @property
    def place(self) -> Place:
        """Where it is."""
        return self._settings.place

    @property
    def settings(self) -> AgentSettings:
        """What it was made with."""
        return self._settings

    @property
    def task_count(self) -> int:
        """How many have not ended."""
        return len(self._lives)

    @property
    def tasks(self) -> list[Task]:
        """Those that have not ended."""
        return [life.task for life in self._lives.values()]

    def offer(self) -> Offer:
        """What is free."""
        return Offer(
            self._settings.place,
            self._settings.cpus - self._used_cpus,
            self._settings.mem_mb - self._used_mem_mb,
            has_room=len(self._lives) < self._settings.max_tasks,
        )

    def launch(self, app: AppDefinition) -> Task | None:
        """Start one more task of an app; None while this agent has no ports for it."""
        ports = self._ports.claim(app)
        if ports is None:
            return None
        task = self._new_task(app, ports)
        life = _Life(task)
        self._account(task, 1)
        self._lives[task.task_id] = life
        life.course = asyncio.get_running_loop().create_task(self._run(app, task, life))
        return task

    def kill(self, task: Task, *, grace_s: float | None = None) -> None:
        """Begin to end a task: SIGTERM, after its grace SIGKILL. Called again, it can only shorten the grace.

        Args:
            task: any task of this agent; one that has ended already is left alone.
            grace_s: in place of the app's own grace, if that is longer.
        """
        life = self._lives.get(task.task_id)
        if life is None:
            return
        within_s = task.kill_grace_s if grace_s is None else min(grace_s, task.kill_grace_s)
        if not life.ending.is_set() or grace_s is not None:
            asyncio.get_running_loop().call_later(within_s, _set_done, life.kill_at)
        life.ending.set()
        if task.state in (TaskState.STAGING, TaskState.RUNNING):
            task.state = TaskState.KILLING

    async def wait_empty(self) -> None:
        """Wait until every task has ended; bounded by the graces of those that are being killed."""
        while self._lives:
            await asyncio.wait({life.course for life in self._lives.values() if life.course is not None})

    def _new_task(self, app: AppDefinition, ports: tuple[int, ...]) -> Task:
        task_id = f"{task_id_prefix(app.app_id)}.instance-{uuid.uuid1()}._app.1"
        return Task(
            task_id=task_id,
            app_id=app.app_id,
            version=app.versions.version,
            config_version=app.versions.last_config_change_at,
            number=next(_launch_numbers),
            host=self._settings.place.host,
            agent_id=self._settings.place.agent_id,
            ports=ports,
            service_ports=tuple(port.port for port in app.ports),
            role=app.role,
            kill_grace_s=DEFAULT_KILL_GRACE_S if app.kill_grace_s is None else app.kill_grace_s,
            sandbox=self._settings.folder / task_id,
            staged_at=format_timestamp(utc_now()),
            cpus=app.cpus,
            mem_mb=app.mem_mb,
            health=tuple(Health(task_id.partition("._app.")[0]) for _check in app.health_checks),
        )

    async def _run(self, app: AppDefinition, task: Task, life: _Life) -> None:
        """A task's life, from its first process to its last."""
        # Not part of launch: whoever asked for the launch must know the task before it hears of a failure to start it.
        try:
            if app.docker_image is not None:
                _end(task, TaskState.FAILED, "None of the enabled containerizers could create a container: no Docker")
                return
            task.sandbox.mkdir(parents=True)
            if await self._fetched(app, task, life):
                await self._watch(app, task, life, self._start(app, task))
        except OSError as error:
            _end(task, TaskState.FAILED, f"Failed to launch the command: {error}")
        finally:
            self._ports.release(task.ports)
            del self._lives[task.task_id]
            self._account(task, -1)
            self._on_change(task)

    async def _fetched(self, app: AppDefinition, task: Task, life: _Life) -> bool:
        """Whether all that the task wants lies in its sandbox; if not, the task has ended."""
        if not app.fetch:
            return True
        loop = asyncio.get_running_loop()
        fetching = loop.create_task(fetch_all(app.fetch, task.sandbox))
        asked_to_end = loop.create_task(life.ending.wait())
        first: set[asyncio.Future[Any]] = {fetching, asked_to_end}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        asked_to_end.cancel()
        fetching.cancel()
        try:
            await fetching
        except FetchError as error:
            reason = f"Failed to fetch all URIs for container '{task.task_id}': {error}"
            _end(task, TaskState.FAILED, f"Failed to launch container: {reason}")
        except asyncio.CancelledError:
            _end(task, TaskState.KILLED, "Container destroyed while fetching")
        else:
            return True
        return False

    def _account(self, task: Task, sign: int) -> None:
        self._used_cpus += sign * task.cpus
        self._used_mem_mb += sign * task.mem_mb

    async def _watch(self, app: AppDefinition, task: Task, life: _Life, process: TaskProcess) -> None:
        loop = asyncio.get_running_loop()
        staged = loop.call_later(self._settings.staging_s, self._mark_running, app, task, life)
        asked_to_end = loop.create_task(life.ending.wait())
        first: set[asyncio.Future[Any]] = {process.exited, asked_to_end}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        staged.cancel()
        asked_to_end.cancel()
        for watching in life.checks:
            watching.cancel()
        await asyncio.gather(*life.checks, return_exceptions=True)
        if not life.ending.is_set():
            # Mesos ends what a command leaves running behind it; nobody asked these to go, but nobody waits for them.
            _set_done(life.kill_at)
        await process.end(self._census, life.kill_at)
        if task.state is TaskState.KILLING:
            _end(task, TaskState.KILLED, "Command terminated by the agent")
        elif process.exited.done():
            exit_code = process.exited.result()
            _end(task, TaskState.FINISHED if exit_code == 0 else TaskState.FAILED, exit_message(exit_code))

    def _start(self, app: AppDefinition, task: Task) -> TaskProcess:
        return TaskProcess.start(
            app.args or ["/bin/sh", "-c", app.cmd or ""],
            environment=self._environment(app, task),
            sandbox=task.sandbox,
            mark=task_mark(self._settings.framework_id, task.task_id),
        )

    def _environment(self, app: AppDefinition, task: Task) -> dict[str, str]:
        settings = self._settings
        return task_environment(app, task, inherited=settings.inherited, framework_id=settings.framework_id)

    def _mark_running(self, app: AppDefinition, task: Task, life: _Life) -> None:
        if task.state is not TaskState.STAGING:
            return
        task.state = TaskState.RUNNING
        task.started_at = format_timestamp(utc_now())
        patient = Patient(task.host, task.ports, task.sandbox, self._environment(app, task))
        for check, health in zip(app.health_checks, task.health, strict=True):
            watching = watch(check, patient, health, functools.partial(self._on_look, check, task, health))
            life.checks.append(asyncio.get_running_loop().create_task(watching))
        self._on_change(task)

    def _on_look(self, check: HealthCheck, task: Task, health: Health) -> None:
        if task.state is not TaskState.RUNNING:
            return
        if 0 < check.max_failures <= health.consecutive_failures:
            self.kill(task)
        self._on_change(task)


async def remove_sandbox(sandbox: Path) -> None:
    """Remove the folder of a task that has ended."""
    await asyncio.to_thread(shutil.rmtree, sandbox, ignore_errors=True)


def _end(task: Task, state: TaskState, message: str) -> None:
    task.state = state
    task.message = message


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
