"""Starts the tasks of a local stack: by forks of one prepared process (``tasks/fork_server.py``), or as programs."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.codec import decode, encode
from hydra.engine.apps import local_command
from hydra.environment import for_own_processes
from hydra.localmarathon.processes import TASK_MARK, ChildProcesses, StartedProcess, output_files
from hydra.localmarathon.task import inherited_environment
from hydra.localmarathon.threads import in_thread
from hydra.tasks.fork_server import FORKING, MESSAGE_LIMIT_BYTES, ForkAnswer, ForkRequest
from hydra.tasks.task import ROLES

IS_SUPPORTED = sys.platform == "linux"
"""Elsewhere a fork of a process with frameworks is not safe, and sockets of whole messages are not there."""

MARK = "forking"
FULL_POLL_S = 0.002
END_TIMEOUT_S = 5.0
KILLED = -9
"""The exit code of a task whose end nobody saw: it ends itself when its parent is gone."""


class ForkedTasks:
    """Starts tasks; a ProcessStarter.

    Whatever is no task of Hydra's own, and all when the fork server has gone, starts as a program.

    Args:
        program: the fork server.
    """

    def __init__(self, program: Sequence[str] = (sys.executable, "-m", "hydra", "task", FORKING)) -> None:
        self._program = program
        self._others = ChildProcesses()
        self._roles: dict[tuple[str, ...], str] = {
            ("/bin/sh", "-c", local_command(f"task {role}")): role for role in ROLES
        }
        self._environment = inherited_environment(os.environ)
        self._server: subprocess.Popen[bytes] | None = None
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(0)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[ForkAnswer, asyncio.Future[int]]]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._is_read = False
        self._is_gone = False

    def open(self, framework_id: str) -> None:
        """Start the fork server. Its mark is that of all tasks, as seen from outside: a fork does not change it."""
        with self._theirs as theirs:
            self._server = subprocess.Popen(
                [*self._program],
                env={**for_own_processes(self._environment), TASK_MARK: f"{framework_id}/{MARK}"},
                cwd="/",
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    async def start(self, argv: Sequence[str], environment: dict[str, str], sandbox: Path) -> StartedProcess:
        """As ProcessStarter."""
        role = self._roles.get(tuple(argv))
        if role is None or self._is_gone or self._starts_otherwise(environment):
            return await self._others.start(argv, environment, sandbox)
        loop = asyncio.get_running_loop()
        if not self._is_read:
            loop.add_reader(self._control, self._read)
            self._is_read = True
        number = next(self._numbers)
        answer: asyncio.Future[tuple[ForkAnswer, asyncio.Future[int]]] = loop.create_future()
        self._waiting[number] = answer
        request = encode(ForkRequest(number, role, environment, str(sandbox)))
        try:
            with output_files(sandbox) as (stdout, stderr):
                await self._send(request, [stdout.fileno(), stderr.fileno()])
            started, exited = await answer
        except ConnectionError:
            return await self._others.start(argv, environment, sandbox)
        finally:
            self._waiting.pop(number, None)
        if not started.pid:
            raise OSError(started.error_number, os.strerror(started.error_number))
        return StartedProcess(started.pid, exited)

    async def close(self) -> None:
        """End the fork server, whose tasks have ended."""
        asyncio.get_running_loop().remove_reader(self._control)
        self._is_gone = True
        for end in (self._control, self._theirs):
            end.close()
        if self._server is not None:
            await in_thread(_end, self._server)

    def _starts_otherwise(self, environment: Mapping[str, str]) -> bool:
        """Whether an app sets variables that only a program's start respects."""
        return any(
            self._environment.get(name) != value
            for name, value in environment.items()
            if name.startswith(("PYTHON", "LD_", "DYLD_", "MALLOC_"))
        )

    async def _send(self, request: bytes, outputs: list[int]) -> None:
        if len(request) > MESSAGE_LIMIT_BYTES:
            raise ConnectionError(f"a request of {len(request)} bytes is not read in one piece")
        while True:
            try:
                socket.send_fds(self._control, [request], outputs)
            except BlockingIOError:  # it is as full as a hundred requests at once make it
                await asyncio.sleep(FULL_POLL_S)
            else:
                return

    def _read(self) -> None:
        """Take all answers that are there."""
        while True:
            try:
                message = self._control.recv(MESSAGE_LIMIT_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._end_all()
                return
            answer = decode(message, ForkAnswer)
            if answer.exit_code is not None:
                self._exits.pop(answer.pid).set_result(answer.exit_code)
                continue
            exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            if answer.pid:
                self._exits[answer.pid] = exited
            waiting = self._waiting.get(answer.number)
            if waiting is not None and not waiting.done():
                # With its exit, which may be among the answers that are read now: the process is forgotten then.
                waiting.set_result((answer, exited))

    def _end_all(self) -> None:
        """The fork server has gone: so have its tasks, and the next ones start without it."""
        self._is_gone = True
        asyncio.get_running_loop().remove_reader(self._control)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the fork server has gone"))
        for exited in self._exits.values():
            exited.set_result(KILLED)
        self._exits.clear()


def _end(server: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a fork server whose socket is closed."""
    try:
        server.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(END_TIMEOUT_S)
