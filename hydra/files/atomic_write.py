"""A file that is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.errors import OutputError


def atomic_write(path: Path, content: bytes, *, origin: str = "") -> None:
    """Write a file; whoever looks finds what was there before, or all of the new content.

    Args:
        path: where.
        content: what.
        origin: how the error names it; the path where it is empty.

    Raises:
        OutputError: it could not be written; what was there before is still there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"{origin or path} cannot be written ({error.strerror or error})") from error
