"""Somebody else's command: bounded in time and in what it prints, and nothing that it started is left."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hydra.environment import for_other_programs

POLL_S = 0.05
CHUNK_BYTES = 64 * 1024
END_TIMEOUT_S = 5.0
"""After SIGKILL; only a process that hangs in the kernel lives that long."""


@dataclass(frozen=True)
class EndedCommand:
    """What a command said."""

    status: int
    """Its exit status; -N after signal N, as after it has printed too much."""
    output: bytes
    errors: bytes


def run_bounded(
    command: str | Sequence[str], *, timeout_s: float, most_bytes: int, variables: Mapping[str, str] | None = None
) -> EndedCommand:
    """Run a command (a text: by the shell) without input, in a session of its own, which ends with it.

    What it has started in the background may hold its pipes open for ever: that is neither waited for nor left. It has
    these environment variables beside our own, of which the controller's secrets are kept from it.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
        OSError: it cannot be started; or ValueError, for a name that can be none.
    """
    process = subprocess.Popen(
        command,
        shell=isinstance(command, str),  # the user's own command line, from the user's own file
        env={**for_other_programs(os.environ), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    end = partial(_end_session, process)
    atexit.register(end)  # a daemon thread does not live to the end of its block
    try:
        output, errors = _until_it_ends(process, timeout_s, most_bytes)
    finally:
        end()
        atexit.unregister(end)
    status = process.returncode
    return EndedCommand(-signal.SIGKILL if status is None else status, output, errors)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter: macOS has it where all have ended
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_TIMEOUT_S)


def _until_it_ends(process: subprocess.Popen[bytes], timeout_s: float, most_bytes: int) -> tuple[bytes, bytes]:
    """What it prints to stdout and stderr until it ends, or has printed more than that to one of them."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline_s = time.monotonic() + timeout_s
    printed = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    with process.stdout, process.stderr, selectors.DefaultSelector() as open_pipes:
        for pipe in printed:
            open_pipes.register(pipe, selectors.EVENT_READ)
        while open_pipes.get_map() and max(map(len, printed.values())) <= most_bytes:
            # Before the pipes are read: all that it has printed is in there by then.
            ended = process.poll() is not None
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 and not ended:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            ready = open_pipes.select(0.0 if ended else min(left_s, POLL_S))
            if ended and not ready:
                break
            for key, _ in ready:
                chunk = os.read(key.fd, CHUNK_BYTES)
                printed[key.fd] += chunk
                if not chunk:
                    open_pipes.unregister(key.fd)
        if not open_pipes.get_map():
            process.wait(max(0.0, deadline_s - time.monotonic()))
    output, errors = printed.values()
    return output, errors
