"""stdout and stderr of a command: closed, full, or read by nobody, they change what is shown and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class TolerantStream:
    """A stream that keeps its first failure to itself, and drops what is written after it.

    Args:
        stream: of text or of bytes; None where Python found it closed.
        failures: where to note them, where several streams write to one place.
    """

    def __init__(self, stream: Any, failures: list[OSError] | None = None) -> None:  # noqa: ANN401  # text or bytes
        self._stream = stream
        self._failures = [] if failures is None else failures
        if stream is None:  # as Python has it where it was closed
            self._failures.append(OSError(errno.EBADF, os.strerror(errno.EBADF)))

    @property
    def failure(self) -> OSError | None:
        """Why what was written did not arrive."""
        return self._failures[0] if self._failures else None

    @property
    def reader_has_gone(self) -> bool:
        """Whether nobody wanted to read on, as behind a pipe to ``head``."""
        return self.failure is not None and self.failure.errno in {errno.EPIPE, errno.EBADF}

    @property
    def buffer(self) -> TolerantStream:
        """The stream of bytes below this one."""
        return TolerantStream(self._stream.buffer, self._failures)

    def write(self, text: Any) -> int:  # noqa: ANN401  # as above
        """Write, or drop. Returns the length of the text."""
        if self.failure is None:
            with self._tolerating():
                self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:  # noqa: ANN401  # as above
        """Write all of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        if self.failure is None:
            with self._tolerating():
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal that is still there."""
        return self.failure is None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever else a stream has
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _tolerating(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            self._failures.append(error if isinstance(error, OSError) else OSError(errno.EBADF, str(error)))
            # What is left in the buffer goes nowhere; else the interpreter tries again at its end, and exits with 120.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(nowhere, self._stream.fileno())
                finally:
                    os.close(nowhere)
                self._stream.flush()


@contextlib.contextmanager
def tolerant_streams() -> Iterator[TolerantStream]:
    """Within this block stdout and stderr are tolerant, and take every character; yields stdout."""
    _occupy_standard_descriptors()
    before = sys.stdout, sys.stderr
    for stream in before:
        with contextlib.suppress(AttributeError, ValueError, OSError):  # closed, or a stand-in of the caller
            cast("Any", stream).reconfigure(errors="backslashreplace")
    out, err = TolerantStream(before[0]), TolerantStream(before[1])
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _occupy_standard_descriptors() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr.

    Otherwise the next socket or file would get its number, and a library's message to stderr would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
