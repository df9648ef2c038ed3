"""The processes of one task: started as their own group, watched, and ended down to the last grandchild."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.localmarathon.process_table import ProcessIdentity, ProcessSnapshot, is_alive, send_signal

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_GIVE_UP_S = 10.0  # after SIGKILL; only a process that hangs in the kernel lives that long


class TaskProcess:
    """A running task. Create it with ``TaskProcess.start`` in the event loop that watches it."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self.pid = process.pid
        self._process = process
        self._mark = mark
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()  # the exit code; -N after signal N
        self._watch()

    @classmethod
    def start(cls, argv: Sequence[str], *, environment: Mapping[str, str], sandbox: Path, mark: str) -> TaskProcess:
        """Start the program in its sandbox, with its output in the files ``stdout`` and ``stderr`` there.

        No preexec_fn: it is unsafe with threads and makes each start three times as slow. The shell sets the limits
        instead, and the watchdog handles the death of the server.

        Raises:
            OSError: the program cannot be executed.
        """
        with (sandbox / "stdout").open("ab") as stdout, (sandbox / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [*_limit_prefix(), *argv],
                env=dict(environment),
                cwd=sandbox,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                close_fds=True,
            )
        return cls(process, mark)

    async def end(self, snapshot: ProcessSnapshot, grace_over: asyncio.Future[None]) -> None:
        """End every process of the task and wait until none is left.

        SIGTERM to all; when ``grace_over`` is done, SIGKILL to all that remain. Does not find a process that left the
        group, outlived its parents and emptied its environment.

        Args:
            snapshot: reads the process table.
            grace_over: done when the grace period is over; already done for SIGKILL at once.
        """
        known = await self._processes(snapshot)
        if not grace_over.done():
            send_signal(known, signal.SIGTERM)
            known = await self._await_end(known, snapshot, grace_over)
        give_up_at_s = self._loop.time() + _GIVE_UP_S
        while known or not self.exited.done():
            if self._loop.time() > give_up_at_s:
                _LOG.error("task process %d does not end after SIGKILL: giving up on it", self.pid)
                return
            send_signal(known, signal.SIGKILL)
            await asyncio.wait({self.exited}, timeout=_POLL_S)
            known = {identity for identity in known if is_alive(identity)} | await self._processes(snapshot)

    async def _await_end(
        self, known: set[ProcessIdentity], snapshot: ProcessSnapshot, grace_over: asyncio.Future[None]
    ) -> set[ProcessIdentity]:
        """Wait until all have ended or the grace period is over; returns those that may still run."""
        while not grace_over.done():
            if not self.exited.done():
                first: set[asyncio.Future[Any]] = {self.exited, grace_over}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                continue
            known = {identity for identity in known if is_alive(identity)}
            # The known ones may have started children after they were listed.
            known = known or await self._processes(snapshot)
            if not known:
                break
            await asyncio.wait({grace_over}, timeout=_POLL_S)
        return known

    async def _processes(self, snapshot: ProcessSnapshot) -> set[ProcessIdentity]:
        table = await snapshot.take()
        return table.task_processes(self.pid, self._mark)

    def _watch(self) -> None:
        """Have ``exited`` set when the process ends: through a pidfd, or by polling where there is none."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            self._loop.call_later(_POLL_S, self._poll)
        else:
            self._loop.add_reader(descriptor, self._on_exit, descriptor)

    def _on_exit(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self.exited.set_result(self._process.wait())

    def _poll(self) -> None:
        exit_code = self._process.poll()
        if exit_code is None:
            self._loop.call_later(_POLL_S, self._poll)
        else:
            self.exited.set_result(exit_code)


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
