"""Which processes exist and which of them belong to a task, even if they left its group or lost their parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

# <framework id>/<task id> in the environment of a task: identifies its processes, whatever group or parent they have.
TASK_MARK = "HYDRA_LOCALMARATHON_TASK"
_COALESCING_S = 0.01


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, distinguished from a later one with the same pid."""

    pid: int
    started_at_s: float


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
        self._rows: Mapping[int, ProcessRow] = {row.identity.pid: row for row in rows}
        self._children: dict[int, list[int]] = {}
        self._by_group: dict[int, list[int]] = {}
        self._by_mark: dict[str, list[int]] = {}
        for row in self._rows.values():
            self._children.setdefault(row.parent_pid, []).append(row.identity.pid)
            self._by_group.setdefault(row.group_id, []).append(row.identity.pid)
            if row.mark:
                self._by_mark.setdefault(row.mark, []).append(row.identity.pid)

    def task_processes(self, leader_pid: int, mark: str) -> set[ProcessIdentity]:
        """The processes of a task: found by its mark and its group, and all their descendants."""
        waiting = [leader_pid, *self._by_group.get(leader_pid, ()), *self._by_mark.get(mark, ())]
        found: set[int] = set()
        while waiting:
            pid = waiting.pop()
            if pid not in found:
                found.add(pid)
                waiting.extend(self._children.get(pid, ()))
        return {self._rows[pid].identity for pid in found if pid in self._rows}

    def marked(self, prefix: str) -> set[ProcessIdentity]:
        """The processes whose mark begins with a prefix."""
        return {row.identity for row in self._rows.values() if row.mark.startswith(prefix)}


def read_process_table() -> ProcessTable:
    """The processes that exist now."""
    rows = []
    for process in psutil.process_iter(["ppid", "create_time", "environ", "status"]):
        known = process.info
        if known["status"] == psutil.STATUS_ZOMBIE:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            rows.append(
                ProcessRow(
                    identity=ProcessIdentity(process.pid, known["create_time"] or 0.0),
                    parent_pid=known["ppid"] or 0,
                    group_id=os.getpgid(process.pid),
                    mark=(known["environ"] or {}).get(TASK_MARK, ""),
                )
            )
    return ProcessTable(rows)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        process = psutil.Process(identity.pid)
        return process.create_time() == identity.started_at_s and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def send_signal(identities: Iterable[ProcessIdentity], signal_number: signal.Signals) -> None:
    """Signal those that still exist."""
    for identity in identities:
        if is_alive(identity):
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
        return await asyncio.to_thread(read_process_table)
