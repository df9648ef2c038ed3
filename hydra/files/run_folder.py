"""The folder of what runs here: named, made, marked with its owner, and reaped later when its owner was killed.

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
from hydra.files.process_identity import ProcessIdentity, this_process

PREFIX = "hydra-"
OWNER = "owner.json"


def new_run_folder(run_id: str) -> Path:
    """Where a folder can be made, in the temporary folder; nothing is there yet."""
    return Path(tempfile.gettempdir()) / f"{run_id}-{secrets.token_hex(8)}"


def make_run_folder(folder: Path) -> None:
    """Make it, for this user alone; owned by this process until another one takes it."""
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
    """Make this process the folder's owner: as long as it lives, nobody reaps the folder."""
    draft = folder / f"{OWNER}.{os.getpid()}"
    draft.write_bytes(encode(this_process()))
    draft.replace(folder / OWNER)


def remove_run_folder(folder: Path) -> None:
    """Remove it with all that is in it; harmless when it is gone or was never made."""
    shutil.rmtree(folder, ignore_errors=True)


def reap_orphans() -> None:
    """Remove the folders of this user's that were left by a process that was killed before it could do it itself."""
    for mark in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError, DecodeError):
            if mark.stat().st_uid == os.getuid() and not decode(mark.read_bytes(), ProcessIdentity).alive():
                remove_run_folder(mark.parent)
