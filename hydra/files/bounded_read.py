"""Reads files that others may have put there: never without end, never blocked, never what a stranger planted."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_bounded(path: Path, max_bytes: int, *, own: bool = False) -> bytes:
    """The content of a regular file.

    Args:
        path: the file. A link is followed, unless the file has to be our own.
        max_bytes: what it may hold at most.
        own: it has to belong to this user, and may not be a link. Without it a file of anybody is read, except
            in a folder that everyone may write to (see ``refuse_foreign``).

    Raises:
        OSError: it cannot be read, is no regular file (a device or a pipe, which is not waited for), is larger, or
            belongs to somebody else.
        ValueError: the path has a NUL.
    """
    if not own:
        refuse_foreign(path)
    # Looked at before it is opened, since opening a device may do something; and again after it, since it may change.
    _check(path, path.lstat() if own else path.stat(), own=own)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NOFOLLOW if own else 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check(path, os.fstat(file.fileno()), own=own)
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes", str(path))
    return content


def refuse_foreign(path: Path) -> None:
    """Refuse what somebody else put into a folder that everyone may write to, such as /tmp; also a link.

    What the folder's owner put there is as good as the folder.

    Raises:
        PermissionError: it is somebody else's; names the path.
    """
    try:
        folder, found = path.parent.stat(), path.lstat()
    except OSError:
        return  # whoever opens it hears why
    if folder.st_mode & stat.S_IWOTH and found.st_uid not in {os.geteuid(), folder.st_uid}:
        raise PermissionError(errno.EACCES, "it belongs to another user, in a folder of everyone", str(path))


def _check(path: Path, status: os.stat_result, *, own: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if own and status.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "it belongs to another user", str(path))
