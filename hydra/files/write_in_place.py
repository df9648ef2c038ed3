"""Writes to what cannot be replaced: devices, pipes, the descriptors of this process, and ``-``, which is stdout."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from pathlib import Path

from hydra.errors import OutputError
from hydra.files.bounded_read import refuse_foreign
from hydra.files.own_descriptor import descriptor_of

STDOUT = "-"
WAIT_S = 20.0
"""How long a reader may take nothing before we give up."""

LINE_WAIT_S = 0.1
"""The same for a line of a run that goes on."""


class Lines:
    """Lines that are added to a file while others may read it. The first one that fails is the last one."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Add a line, if it is taken at once."""
        with contextlib.suppress(OSError):
            if self._descriptor is not None:
                _write_all(self._descriptor, line, LINE_WAIT_S)
                return
        self.close()

    def close(self) -> None:
        """No more lines; harmless the second time."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def open_lines(path: Path, *, origin: str) -> Lines:
    """Open a file that lines are added to; ``-`` is stdout.

    Raises:
        OutputError: it cannot be opened; names the origin.
    """
    try:
        refuse_foreign(path)
        if str(path) == STDOUT:
            return Lines(os.dup(1))
        return Lines(_open(path, os.O_APPEND | os.O_CREAT))
    except OSError as error:
        raise OutputError(f"{origin} cannot be written ({error.strerror or error})") from error


def write_in_place(path: Path, content: bytes) -> None:
    """Write to a device, a pipe that has a reader, or a descriptor of this process.

    Raises:
        OSError: it cannot be opened or written, or nobody reads it.
    """
    descriptor = _open(path)
    try:
        _write_all(descriptor, content, WAIT_S)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int = 0) -> int:
    own = descriptor_of(path)
    if own is not None:
        if own == 1:
            flush_stdout()
        return os.dup(own)
    try:
        # Without O_NONBLOCK the open would wait for a reader of a pipe.
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads it", str(path)) from error
        raise


def write_stdout(content: bytes) -> None:
    """Write to stdout, after what was printed there.

    Raises:
        OSError: it is closed, or cannot be written.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    sys.stdout.write(content.decode("utf-8", errors="backslashreplace"))
    flush_stdout()


def flush_stdout() -> None:
    """Hand on what was printed, and hear what became of it.

    Raises:
        OSError: it could not be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
        # The command line's stdout keeps its failure to itself (cli/streams.py).
        failure = getattr(sys.stdout, "failure", None)
        if isinstance(failure, OSError):
            raise failure


def _write_all(descriptor: int, content: bytes, wait_s: float) -> None:
    """Write it in pieces that a pipe with room takes without blocking; wait for room, but not for ever."""
    rest = memoryview(content)
    deadline_s = time.monotonic() + wait_s
    while rest:
        if not select.select([], [descriptor], [], max(0.0, deadline_s - time.monotonic()))[1]:
            raise TimeoutError(errno.ETIMEDOUT, f"its reader took nothing for {wait_s:g} s")
        try:
            written = os.write(descriptor, rest[: select.PIPE_BUF])
        except BlockingIOError:
            continue
        rest = rest[written:]
        deadline_s = time.monotonic() + wait_s
