"""The local Marathon as a whole; it runs in the event loop of its caller."""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from hydra.errors import MarathonError, OutputError, UsageError
from hydra.localmarathon import app_routes, mesos_routes, server_routes, task_routes
from hydra.localmarathon.agent import AgentSettings
from hydra.localmarathon.guard import RequestGuard
from hydra.localmarathon.newcomers import Newcomers
from hydra.localmarathon.placement import AgentIdentity
from hydra.localmarathon.ports import HOST_PORTS, HostPorts
from hydra.localmarathon.processes import ChildProcesses, ProcessStarter
from hydra.localmarathon.routing import ServerIdentity, make_application
from hydra.localmarathon.scheduler import Scheduler
from hydra.localmarathon.task import inherited_environment
from hydra.localmarathon.threads import in_thread
from hydra.localmarathon.watchdog import Watchdog
from hydra.options.parsers import AgentSpec

# Tasks before apps: the pattern of an app's id matches the rest of a path.
ROUTES = (*server_routes.ROUTES, *task_routes.ROUTES, *app_routes.ROUTES, *mesos_routes.ROUTES)
UNSUPPORTED = (*server_routes.UNSUPPORTED, *app_routes.UNSUPPORTED)
_CLOSING_S = 1.0  # for responses that are being written
_BACKLOG = 128


class LocalMarathon:
    """Marathon's v2 API on one machine; its tasks are child processes.

    An asynchronous context manager; or ``start`` and ``stop``, both in the same event loop, which must keep running in
    between. Installs no signal handlers. If its process is killed, a watchdog ends its tasks.

    Args:
        folder: gets a new folder with the sandboxes; existing files are not touched.
        token: what a request has to carry (``guard.py``); empty for a server that obeys anyone on this machine.
        host: the address of the API.
        agents: the virtual agents; by default one at ``host``.
        port: of the API; 0 chooses a free one.
        base_env: the environment that every task starts with; by default a few variables of this process.
        host_ports: the ports to choose from for tasks.
        staging_s: how long a task is TASK_STAGING after its process has started. Real tasks take about a second, and
            callers rely on seeing the deployment of an app that they have just created.
        max_tasks: how many tasks may run on an agent at once; further ones wait.
        starter: starts the tasks' processes; by default as children of this process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        token: str,
        host: str = "127.0.0.1",
        port: int = 0,
        agents: Sequence[AgentSpec] = (),
        base_env: Mapping[str, str] | None = None,
        host_ports: range = HOST_PORTS,
        staging_s: float = 0.25,
        max_tasks: int = 2000,
        starter: ProcessStarter | None = None,
    ) -> None:
        self.framework_id = f"{uuid.uuid4()}-0000"  # identifies this server; MESOS_FRAMEWORK_ID of its tasks
        self._folder = folder / self.framework_id
        self._host = host
        self._port = port
        self._token = token
        self._inherited = dict(inherited_environment(os.environ) if base_env is None else base_env)
        self._starter = starter or ChildProcesses()
        chosen_ports: set[int] = set()
        self._agents = [
            (
                AgentSettings(
                    identity=AgentIdentity(f"{self.framework_id}-S{index}", agent.host, agent.attributes),
                    cpus=agent.cpus,
                    mem_mb=agent.mem_mib,
                    framework_id=self.framework_id,
                    folder=self._folder,
                    inherited=self._inherited,
                    starter=self._starter,
                    staging_s=staging_s,
                    max_tasks=max_tasks,
                ),
                HostPorts(agent.host, host_ports, chosen_ports),
            )
            for index, agent in enumerate(agents or [AgentSpec(host)])
        ]
        self._scheduler: Scheduler | None = None
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._watchdog: Watchdog | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:8080``; the port is known after the start."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Open the API.

        Raises:
            UsageError: the port is taken, or an agent's address is not an address of this machine.
            OutputError: the folder cannot be created.
            MarathonError: it was started before.
        """
        if self._scheduler is not None:
            raise MarathonError("this local Marathon was started before", hint="create a new one")
        for settings, _ports in self._agents:
            _check_address(settings.identity.host)
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"the folder {self._folder} cannot be created ({error.strerror})") from error
        self._scheduler = Scheduler(self._agents)
        try:
            self._watchdog = Watchdog(self.framework_id, self._folder, self._inherited)
            self._starter.open(self.framework_id)
            await self._listen(self._scheduler)
        except BaseException:
            await self.stop()
            raise

    async def stop(self, *, grace_s: float | None = None) -> None:
        """End every task, close the port, remove the folder. A second call does no harm; it can only shorten the grace.

        Args:
            grace_s: an upper bound for the apps' own time between SIGTERM and SIGKILL.
        """
        if self._scheduler is not None:
            await self._scheduler.close(grace_s=grace_s)
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
        await self._starter.close()
        if self._watchdog is not None:
            watchdog, self._watchdog = self._watchdog, None
            await in_thread(watchdog.dismiss)
        await in_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def __aenter__(self) -> LocalMarathon:  # noqa: PYI034  # typing.Self is newer than Python 3.10
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    async def _listen(self, scheduler: Scheduler) -> None:
        try:
            listener = socket.create_server((self._host, self._port))
        except OSError as error:
            raise UsageError(
                f"the local Marathon cannot listen on {self._host}:{self._port} ({error.strerror})",
                hint="choose another port, or 0 for any that is free",
            ) from error
        self._port = listener.getsockname()[1]
        identity = ServerIdentity(self.framework_id, self._host, self._port, own_user=own_user())
        guard = RequestGuard(self._host, self._token)
        newcomers = Newcomers()
        application = make_application((*UNSUPPORTED, *ROUTES), scheduler, identity, guard, newcomers.welcome)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=_CLOSING_S)
        await self._runner.setup()
        assert self._runner.server is not None
        connection = functools.partial(newcomers.connection, self._runner.server)
        self._listening = await asyncio.get_running_loop().create_server(connection, sock=listener, backlog=_BACKLOG)


def _check_address(host: str) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise UsageError(
            f"the local Marathon's agent {host} is not an address of this machine ({error.strerror or error})",
            hint="use 127.0.0.1, or on Linux 127.0.0.2 and so on",
        ) from error


def own_user() -> str:
    """The name of the user that this process, and every task, runs as."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return str(os.getuid())
