"""The cache of what Hydra can have again, and how a folder of it is written: by one process, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = ".partial-"


def cache_folder() -> Path:
    """Where Hydra keeps what it can have again: ``hydra-scaletest`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if Path(asked).is_absolute():
        return Path(asked) / "hydra-scaletest"
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    return Path(home) / ".cache" / "hydra-scaletest"


@contextlib.contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock file; False when another process does, at once.

    The kernel frees it when its holder ends, however it ends.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def staging_dir(folder: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, on the same file system; for the sole writer only.

    Those of writers that were killed go first: nobody else is at work while the lock is held.
    """
    for left_over in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    # A thread that has not seen yet that all is over may still write into the folder that is being removed.
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder, ignore_cleanup_errors=True) as partial:
        yield Path(partial)
