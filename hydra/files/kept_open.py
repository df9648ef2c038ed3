"""Files of the kernel's that a process reads again and again, over descriptors that it keeps open.

Whoever opens connections to a task may take all descriptors that it may have; then nothing can be opened, and what is
open can still be read.
"""

from __future__ import annotations

import os

_PIECE_BYTES = 65536


class KeptOpen:
    """Reads files as they are now. Each is opened at its first read; a process that was forked opens its own.

    Only for the kernel's own files: one that is replaced by another of its name would be read as it was.
    """

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._process_id = os.getpid()

    def __call__(self, path: str) -> str | None:
        """The text of a file; None where it cannot be read."""
        if self._process_id != os.getpid():
            self.close()
        try:
            return self._read(path).decode("utf-8", errors="replace")
        except (OSError, ValueError):
            if (descriptor := self._descriptors.pop(path, None)) is not None:
                os.close(descriptor)
            return None

    def _read(self, path: str) -> bytes:
        if (descriptor := self._descriptors.get(path)) is None:
            descriptor = self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = b""
        while piece := os.pread(descriptor, _PIECE_BYTES, len(content)):
            content += piece
        return content

    def close(self) -> None:
        """Let go of all files; the next read opens its file again."""
        descriptors, self._descriptors = self._descriptors, {}
        self._process_id = os.getpid()
        for descriptor in descriptors.values():
            os.close(descriptor)
