"""The processes of tasks: which belong to a task, even without its group or parent; how they start and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any, Protocol

import psutil

from hydra.files.process_identity import ProcessIdentity, identity_of
from hydra.localmarathon.threads import in_thread

_LOG = logging.getLogger(__name__)
# <framework id>/<task id> in the environment of a task: identifies its processes, whatever group or parent they have.
TASK_MARK = "HYDRA_LOCALMARATHON_TASK"
_COALESCING_S = 0.01
_POLL_S = 0.05
_GIVE_UP_S = 10.0  # after SIGKILL; only a process that hangs in the kernel lives that long
_SCARCE_S = 20.0  # a connection that asks for nothing has half as long (newcomers.py)


@dataclass(frozen=True)
class ProcessRow:
    """One process in the table."""

    identity: ProcessIdentity
    parent_pid: int
    group_id: int
    mark: str  # TASK_MARK of its environment, "" if it has none or cannot be read


class ProcessTable:
    """All processes of the machine at one moment, without zombies."""

    def __init__(self, rows: Iterable[ProcessRow]) -> None:
        self._rows = {row.identity.pid: row for row in rows}
        self._children: defaultdict[int, list[int]] = defaultdict(list)
        self._by_group: defaultdict[int, list[int]] = defaultdict(list)
        self._by_mark: defaultdict[str, list[int]] = defaultdict(list)
        for pid, row in self._rows.items():
            self._children[row.parent_pid].append(pid)
            self._by_group[row.group_id].append(pid)
            self._by_mark[row.mark].append(pid)

    def task_processes(self, leader_pid: int, mark: str) -> set[ProcessIdentity]:
        """The processes of a task: found by its mark and its group, and all their descendants."""
        waiting = [leader_pid, *self._by_group[leader_pid], *self._by_mark[mark]]
        found: set[int] = set()
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found.add(pid)
                waiting.extend(self._children[pid])
        return {self._rows[pid].identity for pid in found if pid in self._rows}

    def marked(self, prefix: str) -> set[ProcessIdentity]:
        """The processes whose mark begins with a prefix."""
        return {row.identity for row in self._rows.values() if row.mark.startswith(prefix)}


def read_process_table() -> ProcessTable:
    """The processes that exist now."""
    rows = []
    for process in psutil.process_iter(["ppid", "create_time", "environ"]):
        known = process.info
        identity = identity_of(process.pid, known["create_time"] or 0.0)
        if identity is None:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            rows.append(
                ProcessRow(
                    identity=identity,
                    parent_pid=known["ppid"] or 0,
                    group_id=os.getpgid(process.pid),
                    mark=(known["environ"] or {}).get(TASK_MARK, ""),
                )
            )
    return ProcessTable(rows)


def send_signal(identities: Iterable[ProcessIdentity], signal_number: signal.Signals) -> None:
    """Signal those that still exist."""
    for identity in identities:
        if identity.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(identity.pid, signal_number)


class ProcessSnapshot:
    """Reads the process table once for all callers that ask at about the same time."""

    def __init__(self) -> None:
        self._next: asyncio.Task[ProcessTable] | None = None

    async def take(self) -> ProcessTable:
        """A table that is newer than the call."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._read_soon())
        return await asyncio.shield(self._next)

    async def _read_soon(self) -> ProcessTable:
        await asyncio.sleep(_COALESCING_S)
        self._next = None
        return await in_thread(read_process_table)


@dataclass(frozen=True)
class StartedProcess:
    """A task's own process, the leader of a session and a group of its own."""

    pid: int
    exited: asyncio.Future[int]
    """Its exit code; -N after signal N."""


@contextlib.contextmanager
def output_files(sandbox: Path) -> Iterator[tuple[BufferedWriter, BufferedWriter]]:
    """Where a task's process writes: the files ``stdout`` and ``stderr`` of its sandbox."""
    with (sandbox / "stdout").open("ab") as stdout, (sandbox / "stderr").open("ab") as stderr:
        yield stdout, stderr


class ProcessStarter(Protocol):
    """Starts the processes of tasks, between its own ``open`` and ``close``."""

    def open(self, framework_id: str) -> None:
        """Get ready; a process that lives longer than a task has a mark of that server's."""

    async def close(self) -> None:
        """End what ``open`` began; all tasks have ended."""

    async def start(self, argv: Sequence[str], environment: dict[str, str], sandbox: Path) -> StartedProcess:
        """Start a process, with its output in the files of the sandbox.

        Args:
            argv: the program and its arguments.
            environment: all of its variables, TASK_MARK among them.
            sandbox: its working directory.

        Raises:
            OSError: the program cannot be executed.
        """


class ChildProcesses:
    """Starts any program as a child of this process; a ProcessStarter.

    No preexec_fn: it is unsafe with threads and makes each start three times as slow. The shell sets the limits
    instead, and the watchdog handles the death of the server.
    """

    def open(self, framework_id: str) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        """There is nothing to do."""

    async def start(self, argv: Sequence[str], environment: dict[str, str], sandbox: Path) -> StartedProcess:
        """As ProcessStarter."""
        process = _start_child(argv, environment, sandbox)
        return StartedProcess(process.pid, _watch(process))


class TaskProcess:
    """A task's own process and all that come from it.

    Args:
        started: the task's own process.
        mark: its TASK_MARK.
        snapshot: reads the process table.
    """

    def __init__(self, started: StartedProcess, mark: str, snapshot: ProcessSnapshot) -> None:
        self._pid = started.pid
        self.exited = started.exited
        self._mark = mark
        self._snapshot = snapshot
        self._loop = asyncio.get_running_loop()

    async def end(self, grace_over: asyncio.Future[None]) -> None:
        """End every process of the task and wait until none is left.

        SIGTERM to all; when ``grace_over`` is done, SIGKILL to all that remain. Does not find a process that left the
        group, outlived its parents and emptied its environment.

        Args:
            grace_over: done when the grace period is over; already done for SIGKILL at once.
        """
        known = await self._processes()
        if not grace_over.done():
            send_signal(known, signal.SIGTERM)
            known = await self._await_end(known, grace_over)
        give_up_at_s = self._loop.time() + _GIVE_UP_S
        while known or not self.exited.done():
            if self._loop.time() > give_up_at_s:
                _LOG.error("task process %d does not end after SIGKILL: giving up on it", self._pid)
                return
            send_signal(known, signal.SIGKILL)
            await asyncio.wait({self.exited}, timeout=_POLL_S)
            known = {identity for identity in known if identity.alive()} | await self._processes()

    async def _await_end(self, known: set[ProcessIdentity], grace_over: asyncio.Future[None]) -> set[ProcessIdentity]:
        """Wait until all have ended or the grace period is over; returns those that may still run."""
        while not grace_over.done():
            if not self.exited.done():
                first: set[asyncio.Future[Any]] = {self.exited, grace_over}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                continue
            known = {identity for identity in known if identity.alive()}
            # The known ones may have started children after they were listed.
            known = known or await self._processes()
            if not known:
                break
            await asyncio.wait({grace_over}, timeout=_POLL_S)
        return known

    async def _processes(self) -> set[ProcessIdentity]:
        """Those that there are. To see them takes a descriptor, which strangers' connections may leave none of."""
        give_up_at_s = self._loop.time() + _SCARCE_S
        while True:
            try:
                table = await self._snapshot.take()
            except OSError:
                if self._loop.time() > give_up_at_s:
                    raise
                await asyncio.sleep(_POLL_S)
            else:
                return table.task_processes(self._pid, self._mark)


def _start_child(argv: Sequence[str], environment: dict[str, str], sandbox: Path) -> subprocess.Popen[bytes]:
    with output_files(sandbox) as (stdout, stderr):
        return subprocess.Popen(
            [*_limit_prefix(), *argv],
            env=environment, cwd=sandbox, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip


def _watch(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """The exit code of a child once it ends: told by a pidfd, or found by polling where there is none."""
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[int] = loop.create_future()

    def end(descriptor: int) -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        exited.set_result(process.wait())

    def poll() -> None:
        exit_code = process.poll()
        if exit_code is None:
            loop.call_later(_POLL_S, poll)
        else:
            exited.set_result(exit_code)

    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        loop.call_later(_POLL_S, poll)
    else:
        loop.add_reader(descriptor, end, descriptor)
    return exited


def exit_message(exit_code: int) -> str:
    """How a command ended, in Mesos' words."""
    if exit_code >= 0:
        return f"Command exited with status {exit_code}"
    return f"Command terminated with signal {signal.strsignal(-exit_code) or -exit_code}"


def _limit_prefix() -> list[str]:
    """Makes a shell raise the soft limit of open files to the hard limit, then run the task in its own place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return []
    limit = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    return ["/bin/sh", "-c", f'ulimit -S -n {limit}; exec "$@"', "sh"]
