"""Become another program that cannot outlive its parent: ``python exec_with_pdeathsig.py PARENT_PID PROGRAM [ARGUMENT...]``.

A program of its own, and not a function that subprocess calls between fork and exec: that is not safe in a process with
threads, and newer Pythons warn of it. Imports nothing of hydra, so that Python may start it without site packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NOT_STARTED = 127  # as a shell says it


def main(parent_pid: int, command: list[str]) -> int:
    """Bind to the parent, take all file descriptors that are allowed, become ``command``; returns only if it cannot.

    Args:
        parent_pid: who started us.
        command: absolute path of the program, and its arguments.

    Returns:
        The exit status: the parent is gone, or the program cannot be started.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before that call; then nobody would send the signal any more.
    if os.getppid() != parent_pid:
        return _NOT_STARTED
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # ValueError: macOS has a lower limit of its own
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return _NOT_STARTED


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
