"""Files and folders that are written whole or not at all, and a lock between processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hydra.codec import to_builtins
from hydra.errors import OutputError

_STAGING_PREFIX = ".partial-"


def atomic_write(path: Path, content: bytes, *, origin: str = "") -> None:
    """Write a file. Readers see either the old content or all of the new one.

    Raises:
        OutputError: it could not be written; the old content is still there. It names the ``origin`` (such as
            ``--csv=out.csv``), or the path if that is empty.
    """
    # A random name, made exclusively: nobody can put a link in its place.
    draft = path.with_name(f".hydra-{secrets.token_hex(8)}.draft")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{origin or path} cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_json(path: Path, fact: object, *, origin: str = "") -> None:
    """Write a dataclass or a mapping as indented JSON, in ASCII; see ``atomic_write``.

    Raises:
        OutputError: as ``atomic_write``.
        ValueError: a float is infinite or NaN, which JSON cannot express.
    """
    text = json.dumps(to_builtins(fact), allow_nan=False)
    atomic_write(path, msgspec.json.format(text.encode(), indent=1) + b"\n", origin=origin)


def check_output(path: str, flag: str) -> None:
    """Check, before anything is started, that the file which an option names can be written.

    Raises:
        OutputError: it cannot; names the flag (given without dashes) and the path.
    """
    target = Path(path)
    if not path or "\0" in path:
        raise OutputError(f"--{flag}={path!r} is an invalid path")
    if target.is_dir():
        raise OutputError(f"--{flag}={path} is a folder", hint="name a file in it")
    if not target.parent.is_dir():
        raise OutputError(f"--{flag}={path}: the folder {str(target.parent)!r} does not exist", hint="create it first")
    if not os.access(target.parent, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(f"--{flag}={path} cannot be written", hint="choose another place")


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


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for as long as the block lasts, without waiting for it; the kernel releases it at last.

    Yields:
        Whether we hold it; False while another holder does. The file is made if it is missing, and stays.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
