"""Hydra's folders: the temporary one of a run, and those of this user in which files are kept between runs.

The folder of a run is marked with its owner, and removed later if its owner was killed. It has a name before it is
made, so that whoever is interrupted while making it knows what to remove.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from hydra.codec import DecodeError, decode, encode
from hydra.errors import InfrastructureError
from hydra.files.atomic_write import atomic_write
from hydra.files.bounded_read import read_bounded
from hydra.files.process_identity import ProcessIdentity, this_process

PREFIX = "hydra-"
OWNER = "owner.json"
MAX_OWNER_BYTES = 4096
_TEMPORARY_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/usr/tmp"))  # noqa: S108
_NAME = "hydra-scaletest"


def temporary_folder() -> Path:
    """The system's folder for temporary files, as ``tempfile`` chooses it.

    That one writes a file into each to try it, which stays behind where the process is ended meanwhile.

    Raises:
        InfrastructureError: there is none that can be written.
    """
    if tempfile.tempdir is not None:
        return Path(tempfile.tempdir)
    named = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    for folder in [*(Path(name).absolute() for name in named if name), *_TEMPORARY_FOLDERS]:
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InfrastructureError("no folder for temporary files can be written", hint="set TMPDIR")


def write_bug_log(error: BaseException, what: str) -> str:
    """Keep the traceback of a bug of Hydra's own in a file, which stays; returns a line that names ``what`` and it."""
    text = f"a bug of Hydra's own{what} ({type(error).__name__}: {error})"
    try:
        handle, path = tempfile.mkstemp(prefix="hydra-bug-", suffix=".log", dir=temporary_folder())
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exception(error, file=log)
    except (OSError, InfrastructureError) as unwritten:
        return f"{text}, whose log cannot be written ({getattr(unwritten, 'strerror', None) or unwritten})"
    return f"{text}: see {path}"


def new_run_folder(run_id: str) -> Path:
    """The path of a new folder in the temporary folder; nothing is there yet."""
    return temporary_folder() / f"{run_id}-{secrets.token_hex(8)}"


def make_run_folder(folder: Path) -> None:
    """Make it, for this user alone; this process owns it until another one takes it over."""
    folder.mkdir(mode=0o700)
    own(folder)


@contextlib.contextmanager
def run_folder(run_id: str) -> Iterator[Path]:
    """A folder of this process for as long as the block lasts."""
    folder = new_run_folder(run_id)
    try:
        make_run_folder(folder)
        yield folder
    finally:
        remove_run_folder(folder)


def own(folder: Path) -> None:
    """Make this process the folder's owner: while it lives, ``reap_orphans`` leaves the folder alone."""
    atomic_write(folder / OWNER, encode(this_process()))


def remove_run_folder(folder: Path) -> None:
    """Remove it with all that is in it; harmless if it is gone or was never made."""
    shutil.rmtree(folder, ignore_errors=True)


def orphans() -> Iterator[Path]:
    """This user's run folders whose owner was killed before it could remove them itself."""
    for mark in temporary_folder().glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError, DecodeError):
            # Whatever anybody else has put there under such a name is neither read nor followed.
            if not _is_own_folder(mark.parent):
                continue
            if not decode(read_bounded(mark, MAX_OWNER_BYTES, own=True), ProcessIdentity).alive():
                yield mark.parent


def reap_orphans() -> None:
    """Remove them."""
    for folder in list(orphans()):
        remove_run_folder(folder)


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
    folders = []
    with contextlib.suppress(InfrastructureError):
        folders.append(_folder(platformdirs.user_state_path, "XDG_STATE_HOME"))
    with contextlib.suppress(InfrastructureError):
        folders.append(temporary_folder() / f"{_NAME}-{os.getuid()}")
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK) and _is_own_folder(folder, through_own_link=True):
                return folder
    return Path(tempfile.mkdtemp(prefix="hydra-state-", dir=temporary_folder()))


def _is_own_folder(folder: Path, *, through_own_link: bool = False) -> bool:
    """Whether a path is a folder of this user, in which nobody else may write; a link only where that may be."""
    link = folder.lstat()
    status = folder.stat() if through_own_link else link
    mine = {link.st_uid, status.st_uid} == {os.getuid()}
    return mine and stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWOTH


def _folder(find: Callable[[str], Path], variable: str) -> Path:
    with contextlib.suppress(RuntimeError):  # what platformdirs raises for a user without a home folder
        folder = find(_NAME)
        if folder.is_absolute():
            return folder
    raise InfrastructureError(
        f"user {os.getuid()} has no home folder: HOME is not set, and the system does not know this user",
        hint=f"set HOME, or set {variable} to a folder that can be written",
    )
