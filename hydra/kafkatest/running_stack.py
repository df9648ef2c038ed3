"""The record of the stack that was left up, so that the next run finds it and ``hydra local down`` ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hydra.broker.settings import BrokerSettings
from hydra.codec import DecodeError, decode, encode
from hydra.files.process_identity import ProcessIdentity


@dataclass(frozen=True)
class RunningStack:
    """A stack that stays up between runs."""

    process: ProcessIdentity
    run_id: str
    folder: str
    marathon_url: str
    bootstrap_servers: str
    """Empty when it has no Kafka."""
    version: str
    since: str
    """ISO 8601, UTC."""
    kafka_pid: int = 0
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    """Of its Kafka."""


def state_folder() -> Path:
    """Where the record lies: the user's state folder, or one in the temporary folder where that cannot be written."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    for folder in (Path(home) / "hydra-scaletest", Path(tempfile.gettempdir()) / f"hydra-scaletest-{os.getuid()}"):
        with contextlib.suppress(OSError, RuntimeError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
                return folder
    return Path(tempfile.mkdtemp(prefix="hydra-state-"))


def find() -> RunningStack | None:
    """The stack that was left up, if it still is."""
    try:
        kept = decode((state_folder() / "stack.json").read_bytes(), RunningStack)
    except (OSError, DecodeError):
        return None
    return kept if kept.process.alive() else None


def remember(kept: RunningStack) -> None:
    """Write the record, whole or not at all."""
    path = state_folder() / "stack.json"
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(encode(kept))
    draft.replace(path)


def forget(pid: int) -> None:
    """Remove the record, if it is that process's."""
    path = state_folder() / "stack.json"
    with contextlib.suppress(OSError, DecodeError):
        if decode(path.read_bytes(), RunningStack).process.pid == pid:
            path.unlink()


@contextlib.contextmanager
def in_use() -> Iterator[bool]:
    """Hold the kept stack for oneself; False when another run holds it."""
    with (state_folder() / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
