"""The folder of a local stack: made, marked with its owner, and reaped by a later start when its owner was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from hydra.core.signals import SignalError, decode, encode
from hydra.kafkatest.process_mark import ProcessMark, this_process

PREFIX = "hydra-"
OWNER = "owner.json"


def make_run_folder(run_id: str) -> Path:
    """A new folder in the temporary folder, for this user alone; owned by this process until another one takes it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{run_id}-"))
    own(folder)
    return folder


def own(folder: Path) -> None:
    """Make this process the folder's owner: as long as it lives, nobody reaps the folder."""
    draft = folder / f"{OWNER}.{os.getpid()}"
    draft.write_bytes(encode(this_process()))
    draft.replace(folder / OWNER)


def reap_orphans() -> None:
    """Remove the folders of this user's stacks that were killed before they could do it themselves."""
    for mark in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError, SignalError):
            if mark.stat().st_uid == os.getuid() and not decode(mark.read_bytes(), ProcessMark).alive():
                shutil.rmtree(mark.parent, ignore_errors=True)
