"""Files with secrets: their owner alone may read them."""

from __future__ import annotations

import stat
from pathlib import Path

from hydra.errors import UsageError
from hydra.files.atomic_write import reason_of
from hydra.files.bounded_read import read_bounded

MAX_BYTES = 1024 * 1024


def read_file(path: str, origin: str) -> bytes:
    """The content of a file that ``origin`` (such as ``--flag=PATH``) names.

    Raises:
        UsageError: it cannot be read; names the origin.
    """
    try:
        return read_bounded(Path(path), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(f"{origin} cannot be read ({reason_of(error)})") from error


def check_private(path: str, origin: str) -> None:
    """See that nobody but the owner may read a file.

    Raises:
        UsageError: somebody may; says how to change that.
    """
    if stat.S_IMODE(Path(path).stat().st_mode) & 0o077:
        raise UsageError(f"{origin} may be read by others", hint=f"chmod 600 {path}")
