"""Reads files that others may have put there: never without end, never blocked, never what a stranger planted."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path

from hydra.files.own_descriptor import descriptor_of

SILENT_S = 20.0
"""How long whoever writes to a descriptor may write nothing."""

PIECE_BYTES = 1024 * 1024

KEPT_BYTES = 1024 * 1024
"""What a descriptor gave is kept up to this: a command reads settings several times, a pipe only once."""

_given: dict[tuple[int, int, int], bytes] = {}
"""By descriptor, device and inode."""


def read_bounded(path: Path, max_bytes: int, *, own: bool = False) -> bytes:
    """The content of a regular file, or of a descriptor that this process was given, such as /dev/stdin.

    What such a descriptor gave the first time it gives each time.

    Args:
        path: the file. A link is followed, unless the file has to be our own.
        max_bytes: what it may hold at most.
        own: it has to belong to this user, and may not be a link. Without it a file of anybody is read, except
            in a folder that everyone may write to (see ``refuse_foreign``).

    Raises:
        OSError: it cannot be read, is no regular file (a device or a pipe, which is not waited for), is larger, or
            belongs to somebody else; or whoever writes to the descriptor keeps silent.
        ValueError: the path has a NUL.
    """
    descriptor = None if own else descriptor_of(path)
    if descriptor is not None:
        return _read_descriptor(path, descriptor, max_bytes)
    if not own:
        refuse_foreign(path)
    # Looked at before it is opened, since opening a device may do something; and again after it, since it may change.
    _check(path, path.lstat() if own else path.stat(), own=own)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (os.O_NOFOLLOW if own else 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check(path, os.fstat(file.fileno()), own=own)
        return _checked(path, file.read(max_bytes + 1), max_bytes)


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


def _read_descriptor(path: Path, descriptor: int, max_bytes: int) -> bytes:
    status = os.fstat(descriptor)
    key = (descriptor, status.st_dev, status.st_ino)
    if key in _given:
        return _checked(path, _given[key], max_bytes)
    content = _all_of_descriptor(path, descriptor, max_bytes)
    if len(content) <= KEPT_BYTES:
        _given[key] = content
    return content


def _all_of_descriptor(path: Path, descriptor: int, max_bytes: int) -> bytes:
    content = bytearray()
    while len(content) <= max_bytes:
        if not select.select([descriptor], [], [], SILENT_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"nothing was written to it for {SILENT_S:g} s", str(path))
        if not (piece := os.read(descriptor, min(PIECE_BYTES, max_bytes + 1 - len(content)))):
            break
        content += piece
    return _checked(path, bytes(content), max_bytes)


def _checked(path: Path, content: bytes, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes", str(path))
    return content


def _check(path: Path, status: os.stat_result, *, own: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if own and status.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "it belongs to another user", str(path))
