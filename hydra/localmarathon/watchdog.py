"""The watchdog: a process that outlives a killed server just long enough to leave nothing of it behind.

The server holds the other end of its standard input. A server that ends in good order says so; one that is killed
closes the pipe without a word, and then every process with the server's mark gets SIGKILL and the server's folder is
removed.

This, and not PR_SET_PDEATHSIG: that needs code between fork and exec, is unknown outside Linux, fires when the thread
that started the task ends, and does not reach grandchildren.
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

from hydra.localmarathon.process_table import read_process_table, send_signal

_FAREWELL = b"."
_DEADLINE_S = 10.0
_POLL_S = 0.02


class Watchdog:
    """The server's end.

    Args:
        framework_id: what the marks of the server's tasks begin with.
        folder: what is removed after the death of the server.
        environment: the environment of the watchdog; must be enough to run Python.
    """

    def __init__(self, framework_id: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, framework_id, str(folder)],
            # The package may have been found through a path that the environment does not name.
            env={**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the watchdog's process."""
        return self._process.pid

    def dismiss(self, *, timeout_s: float = 5.0) -> None:
        """Say that nothing is left to be done, and wait for its end."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(_FAREWELL, timeout=timeout_s)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=timeout_s)


def watch(framework_id: str, folder: Path) -> None:
    """Wait for the end of the server; clean up after it unless it took its leave."""
    if os.read(sys.stdin.fileno(), 1) == _FAREWELL:
        return
    give_up_at_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < give_up_at_s:
        left = read_process_table().marked(f"{framework_id}/")
        if not left:
            break
        send_signal(left, signal.SIGKILL)
        time.sleep(_POLL_S)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(sys.argv[1], Path(sys.argv[2]))
