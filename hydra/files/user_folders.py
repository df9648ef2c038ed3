"""The folders of this user in which Hydra keeps files between runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from hydra.errors import InfrastructureError

_NAME = "hydra-scaletest"


def cache_folder() -> Path:
    """Where Hydra keeps what it can fetch or make again; on Linux in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        InfrastructureError: this user has no home folder; names the variable to set.
    """
    return _folder(platformdirs.user_cache_path, "XDG_CACHE_HOME")


def state_folder() -> Path:
    """Where Hydra notes which stack is up; on Linux in ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Where that cannot be written it is a folder in the temporary folder. It exists and belongs to this user alone.
    """
    folders = [Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"]
    with contextlib.suppress(InfrastructureError):
        folders.insert(0, _folder(platformdirs.user_state_path, "XDG_STATE_HOME"))
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
                return folder
    return Path(tempfile.mkdtemp(prefix="hydra-state-"))


def _folder(find: Callable[[str], Path], variable: str) -> Path:
    with contextlib.suppress(RuntimeError):  # what platformdirs raises for a user without a home folder
        folder = find(_NAME)
        if folder.is_absolute():
            return folder
    raise InfrastructureError(
        f"user {os.getuid()} has no home folder: HOME is not set, and the system does not know this user",
        hint=f"set HOME, or set {variable} to a folder that can be written",
    )
