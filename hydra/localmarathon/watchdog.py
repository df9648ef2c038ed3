"""The watchdog: a process that cleans up after a killed server.

Its standard input is a pipe from the server. A server that stops normally writes a byte into it first. If the pipe
closes without one, the server was killed: the watchdog kills every process with the server's mark and removes the
server's folder.

Not PR_SET_PDEATHSIG: that needs code between fork and exec, exists on Linux only, fires when the thread that started
the task ends, and does not reach grandchildren.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hydra.localmarathon.processes import read_process_table, send_signal

_DISMISSAL = b"."
_DEADLINE_S = 10.0
_POLL_S = 0.02


class Watchdog:
    """The server's end.

    Args:
        framework_id: the prefix of the marks of the server's tasks.
        folder: removed if the server is killed.
        environment: of the watchdog; must be enough to run Python.
    """

    def __init__(self, framework_id: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, framework_id, str(folder)],
            # The package may come from a path that is not in the environment.
            env={**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self, *, timeout_s: float = 5.0) -> None:
        """Tell the watchdog that there is nothing to clean up, and wait until it ends; after the timeout, kill it."""
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._process.communicate(_DISMISSAL, timeout=timeout_s)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=timeout_s)


def watch(framework_id: str, folder: Path) -> None:
    """Wait until the server ends; clean up after it unless it has sent the dismissal."""
    if os.read(sys.stdin.fileno(), 1) == _DISMISSAL:
        return
    give_up_at_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < give_up_at_s:
        with contextlib.suppress(OSError):  # a machine that has no descriptors left for a moment
            remaining = read_process_table().marked(f"{framework_id}/")
            if not remaining:
                break
            send_signal(remaining, signal.SIGKILL)
        time.sleep(_POLL_S)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(sys.argv[1], Path(sys.argv[2]))
