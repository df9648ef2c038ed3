"""The temporary folder of a run: named, made, marked with its owner, and removed later if its owner was killed.

It has a name before it is made, so that whoever is interrupted while making it knows what to remove.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hydra.codec import DecodeError, decode, encode
from hydra.files.atomic_write import atomic_write
from hydra.files.process_identity import ProcessIdentity, this_process

PREFIX = "hydra-"
OWNER = "owner.json"


def new_run_folder(run_id: str) -> Path:
    """The path of a new folder in the temporary folder; nothing is there yet."""
    return Path(tempfile.gettempdir()) / f"{run_id}-{secrets.token_hex(8)}"


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


def reap_orphans() -> None:
    """Remove this user's run folders whose owner was killed before it could remove them itself."""
    for mark in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError, DecodeError):
            if mark.stat().st_uid == os.getuid() and not decode(mark.read_bytes(), ProcessIdentity).alive():
                remove_run_folder(mark.parent)
