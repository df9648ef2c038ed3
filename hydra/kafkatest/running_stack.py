"""The stack that was left up: its record, by which the next run finds it and ``hydra local down`` ends it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hydra.broker.server_properties import BrokerSettings
from hydra.codec import DecodeError, decode, encode
from hydra.engine.marathon_access import MarathonAccess, given_access, local_access
from hydra.errors import InfrastructureError, UsageError
from hydra.files.atomic_write import atomic_write, try_lock
from hydra.files.bounded_read import read_bounded
from hydra.files.folders import remove_run_folder, state_folder
from hydra.files.process_identity import ProcessIdentity
from hydra.options.options import Options
from hydra.run.clock import MonotonicClock, poll_until

END_TIMEOUT_S = 20.0
POLL_S = 0.05
LOCK_TIMEOUT_S = 3.0
"""Whoever changes the record reads and writes a small file."""

MAX_RECORD_BYTES = 1024 * 1024
DEATH_NOTE = "kafka-died"


@dataclass(frozen=True)
class RunningStack:
    """A stack that stays up between runs."""

    process: ProcessIdentity
    run_id: str
    folder: str
    marathon_url: str
    bootstrap_servers: str
    """Empty if it has no Kafka."""
    version: str
    since: str
    """ISO 8601, UTC."""
    kafka_pids: tuple[int, ...] = ()
    """Of its brokers, by node id."""
    zookeeper: str = ""
    """Where its Kafka's ZooKeeper is, if it has one."""
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    """Of its Kafka."""


def find() -> RunningStack | None:
    """The stack that was left up, if it still runs."""
    try:
        running = _read_record()
    except (OSError, DecodeError):
        return None
    return running if running.process.alive() else None


def note_death(folder: Path, reason: str) -> None:
    """Note in a stack's folder why a broker is not there any more, for whoever uses the stack now or later.

    Raises:
        OSError: the note cannot be written.
    """
    atomic_write(folder / DEATH_NOTE, "\n".join((*_deaths(folder), reason.replace("\n", " "))).encode())


def deaths(running: RunningStack) -> tuple[str, ...]:
    """Why brokers of the stack are not there any more, a text for each; empty while all are."""
    return _deaths(Path(running.folder))


def _deaths(folder: Path) -> tuple[str, ...]:
    with contextlib.suppress(OSError):
        noted = read_bounded(folder / DEATH_NOTE, MAX_RECORD_BYTES, own=True).decode(errors="replace")
        return tuple(noted.split("\n"))
    return ()


def access_to_marathon(options: Options) -> MarathonAccess:
    """The access to the Marathon that a command is about: the one that the options name, or the running stack's.

    Raises:
        UsageError: there is neither, or the secrets cannot be used.
    """
    if options.marathon_url is not None:
        return given_access(options)
    if (running := find()) is not None:
        return local_access(running.marathon_url, Path(running.folder))
    raise UsageError(
        "no Marathon is named, and no local stack is up", hint="give --marathon_url, or run 'hydra local up'"
    )


def remember(running: RunningStack) -> None:
    """Write the record. There is one: a second stack would have nobody find the first one again.

    Raises:
        UsageError: another stack is up.
        InfrastructureError: others hold the record for so long.
        OutputError: it cannot be written.
    """

    def write() -> None:
        if (other := find()) is not None and other.process != running.process:
            raise stack_is_up(other)
        atomic_write(_record(), encode(running))

    if not _alone(write):
        raise InfrastructureError(f"the record of the local stack, {_record()}, is locked", hint="see who holds it")


def stack_is_up(other: RunningStack) -> UsageError:
    """Why no other one can be left up."""
    text = f"a local stack is up already (process {other.process.pid})"
    return UsageError(text, hint="see 'hydra local status', 'hydra local down'")


def forget(stack: ProcessIdentity) -> None:
    """Remove the record if it is that process's. One that stays is harmless: its process has ended."""

    def remove() -> None:
        if _read_record().process == stack:
            _record().unlink()

    with contextlib.suppress(OSError, DecodeError):
        _alone(remove)


def _alone(change: Callable[[], None]) -> bool:
    """Change the record while nobody else does; False if that could not be for ``LOCK_TIMEOUT_S``."""

    def changed() -> bool:
        with try_lock(state_folder() / "stack-record.lock") as locked:
            if locked:
                change()
            return locked

    return poll_until(MonotonicClock(), changed, LOCK_TIMEOUT_S, every_s=POLL_S)


def exclusive_use() -> contextlib.AbstractContextManager[bool]:
    """Use the running stack exclusively while the block lasts; False if another run does."""
    return try_lock(state_folder() / "stack.lock")


def in_use() -> bool:
    """Whether a run uses the running stack at this moment."""
    with exclusive_use() as free:
        return not free


def end_running_stack(running: RunningStack) -> None:
    """End a stack that was left up, with everything that it started, whoever uses it; one that has ended is tidied up.

    Raises:
        InfrastructureError: a process of it does not end.
    """
    _end_processes(running.process)
    forget(running.process)
    folder = Path(running.folder)

    def folder_is_gone() -> bool:
        remove_run_folder(folder)
        return not folder.exists()

    poll_until(MonotonicClock(), folder_is_gone, END_TIMEOUT_S, every_s=POLL_S)


def _end_processes(stack: ProcessIdentity) -> None:
    import psutil

    processes = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(stack.pid)
        # In this order: from now on psutil itself sees whether the pid becomes another one's.
        if not stack.alive():
            return
        processes = [process, *process.children(recursive=True)]
        process.terminate()
    _ended, alive = psutil.wait_procs(processes, timeout=END_TIMEOUT_S)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    _ended, alive = psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
    if alive:
        raise InfrastructureError(f"process {alive[0].pid} of the local stack does not end")


def _read_record() -> RunningStack:
    return decode(read_bounded(_record(), MAX_RECORD_BYTES, own=True), RunningStack)


def _record() -> Path:
    return state_folder() / "stack.json"
