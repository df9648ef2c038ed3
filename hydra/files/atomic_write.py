"""Files and folders that are written whole or not at all, and a lock between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hydra.codec import to_builtins
from hydra.errors import OutputError
from hydra.files.bounded_read import refuse_foreign
from hydra.files.own_descriptor import descriptor_of
from hydra.files.write_in_place import STDOUT, write_in_place, write_stdout

_STAGING_PREFIX = ".partial-"

_HINTS = {
    errno.ENOSPC: "make room on that disk (see 'df' and 'df -i'), or choose another one (TMPDIR, XDG_CACHE_HOME)",
    errno.EDQUOT: "this user's quota on that disk is used up",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
_FILE_SYSTEM_ERRORS = {
    *_HINTS, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE,
}  # fmt: skip


def atomic_write(path: Path, content: bytes, *, origin: str = "") -> None:
    """Write a file. Readers see either the old content or all of the new one.

    A link is followed: its target is replaced, and the link stays. A file that is there keeps its mode. What is no
    regular file, such as a device or a pipe, cannot be replaced: it is opened and written. ``-`` is stdout.

    Raises:
        OutputError: it could not be written; the old content is still there. It names the ``origin`` (such as
            ``--csv=out.csv``), or the path if that is empty.
    """
    try:
        if str(path) == STDOUT:
            write_stdout(content)
            return
        refuse_foreign(path)
        before = _status(path)
        if descriptor_of(path) is not None or (before is not None and not stat.S_ISREG(before.st_mode)):
            write_in_place(path, content)
        else:
            _replace(Path(os.path.realpath(path)), content, before)
    except (OSError, ValueError) as error:
        raise OutputError(f"{origin or path} cannot be written ({reason_of(error)})") from error


def reason_of(error: OSError | ValueError) -> str:
    """What the system says of an error, without the path."""
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def file_errors(folder: Path | None = None) -> Iterator[None]:
    """Within this block errors of the file system are raised as errors that a user can act on.

    Args:
        folder: where the file is that an error does not name, as one of a write does not.

    Raises:
        OutputError: names the path and the reason.
    """
    try:
        yield
    except OSError as error:
        told = _file_error(error, folder)
        if told is None:
            raise
        raise told from error


def _file_error(error: OSError, folder: Path | None) -> OutputError | None:
    """An error of the file system that nothing else has told the user of, in one line; None if it is none of these."""
    if error.filename is None and error.errno not in _FILE_SYSTEM_ERRORS:
        return None
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    unnamed = "a file" if folder is None else f"a file in {folder}"
    text = f"{' -> '.join(names) or unnamed} cannot be used ({reason_of(error)})"
    return OutputError(text, hint=_HINTS.get(error.errno or 0, ""))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _replace(target: Path, content: bytes, before: os.stat_result | None) -> None:
    """Write a draft beside the target and move it there; ``before`` is the file that is there, if there is one."""
    # A random name, made exclusively: nobody can put a link in its place.
    draft = target.with_name(f".hydra-{secrets.token_hex(8)}.draft")
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            if before is not None:
                with contextlib.suppress(OSError):  # only root may give a file to somebody else
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read; what is there, be it a link, is never written to.

    Raises:
        OSError: the file cannot be made.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def write_json(path: Path, fact: object, *, origin: str = "") -> None:
    """Write a dataclass or a mapping as indented JSON, in ASCII; see ``atomic_write``.

    Raises:
        OutputError: as ``atomic_write``.
        ValueError: a float is infinite or NaN, which JSON cannot express.
    """
    text = json.dumps(to_builtins(fact), allow_nan=False)
    atomic_write(path, msgspec.json.format(text.encode(), indent=1) + b"\n", origin=origin)


def check_output(path: str, flag: str) -> None:
    """Check, before anything is started, that the file which an option names can be written; ``-`` is stdout.

    Raises:
        OutputError: it cannot; names the flag (given without dashes) and the path.
    """
    if path == STDOUT:
        return
    if not path or "\0" in path:
        raise OutputError(f"--{flag}={path!r} is an invalid path")
    target = Path(path)
    if target.is_symlink() and descriptor_of(target) is None:
        target = Path(os.path.realpath(path))  # where a link leads is what is written
    if target.is_dir():
        raise OutputError(f"--{flag}={path} is a folder", hint="name a file in it")
    if not target.parent.is_dir():
        raise OutputError(f"--{flag}={path}: the folder {str(target.parent)!r} does not exist", hint="create it first")
    try:
        refuse_foreign(Path(path))
        _check_access(target)
    except (OSError, ValueError) as error:
        text = f"--{flag}={path} cannot be written ({reason_of(error)})"
        raise OutputError(text, hint="choose another place") from error


def _check_access(target: Path) -> None:
    exists = target.exists()
    if len(os.fsencode(target.name)) > os.pathconf(target.parent, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    replaced = target.is_file() or not exists
    for place in [target.parent] * replaced + [target] * exists:
        if not os.access(place, os.W_OK):
            number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def staging_dir(folder: Path) -> Iterator[Path]:
    """A temporary folder inside ``folder``, whose files can be renamed into it once they are whole.

    The caller holds the lock of ``folder``: staging folders that killed writers have left are removed first.
    """
    for left_over in folder.glob(f"{_STAGING_PREFIX}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    # A download thread that has not noticed the end yet may still write into the folder while it is removed.
    with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=folder, ignore_cleanup_errors=True) as staging:
        yield Path(staging)


def _is_at(path: Path, descriptor: int) -> bool:
    now = _status(path)
    return now is not None and os.path.samestat(now, os.fstat(descriptor))


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for as long as the block lasts, without waiting for it; the kernel releases it at last.

    Yields:
        Whether we hold it; False while another holder does. The file is made if it is missing, and stays; only its
        holder may remove it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            # A holder that removed the file meanwhile leaves us with the lock of one that nobody else finds.
            yield _is_at(path, descriptor)
    finally:
        os.close(descriptor)
