"""Whose turn it is, among the workers of one test run: any number of tests side by side, or one alone."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for the turn and hold it. Locks of files, so a worker that dies gives its turn back.

    Everyone passes the gate. One that wants to be alone stays in it: those who are inside finish, and nobody new comes.
    """
    with (folder / "gate").open("w") as gate, (folder / "inside").open("w") as inside:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(inside, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
