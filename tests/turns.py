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


class Turns:
    """The turns of one worker, test after test.

    Neighbours that are alone share one turn: to wait for all the others before each of them would be to wait for
    whatever long test those have begun in between.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = contextlib.ExitStack()
        self._goes_on = False

    @contextlib.contextmanager
    def turn(self, *, alone: bool, next_alone: bool) -> Iterator[None]:
        """Hold a turn for a test, and for the next one, too, where both want to be alone."""
        if not self._goes_on:
            self._held.enter_context(turn(self._folder, alone=alone))
        self._goes_on = alone and next_alone
        try:
            yield
        finally:
            if not self._goes_on:
                self._held.close()
