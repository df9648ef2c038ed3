"""Which commands of this user measure on this machine at the moment, and where their live pages are.

Each has a file in the state folder for as long as it lives, that its owner alone may read: the link of a page has the
token that lets in. docs/decisions/0015-a-page-only-where-it-was-asked-for.md says why there is not a page for each.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra.codec import DecodeError, decode, encode
from hydra.errors import HydraError
from hydra.files.atomic_write import write_secret
from hydra.files.bounded_read import read_bounded
from hydra.files.folders import state_folder
from hydra.files.process_identity import ProcessIdentity, this_process

MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class RunUnderWay:
    """A command that measures now."""

    process: ProcessIdentity
    command: str
    """As its user typed it."""
    started_s: float
    """Since 1970."""
    url: str = ""
    """The link of its page; empty where none was asked for."""
    results: str = ""
    """The folder of a sweep or search, with the points so far."""


@contextlib.contextmanager
def announced(command: str, started_s: float, *, url: str = "", results: str = "") -> Iterator[None]:
    """Within this block ``hydra watch`` finds this process. A folder that cannot be written is no reason not to run."""
    file = None
    with contextlib.suppress(OSError, HydraError):
        file = _folder() / f"{secrets.token_hex(8)}.json"
        write_secret(file, encode(RunUnderWay(this_process(), command[:1000], started_s, url, results)))
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def runs_under_way() -> list[RunUnderWay]:
    """Those that live, the earliest first; what others have left is removed."""
    found = []
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, DecodeError):
            run = decode(read_bounded(file, MAX_BYTES, own=True), RunUnderWay)
            if run.process.alive():
                found.append(run)
            else:
                file.unlink(missing_ok=True)
    return sorted(found, key=lambda run: run.started_s)


def is_announced(run: RunUnderWay) -> bool:
    """Whether its file is still there: a command that ends, however it ends, removes it, and one that died does not."""
    for file in _folder().glob("*.json"):
        with contextlib.suppress(OSError, DecodeError):
            if decode(read_bounded(file, MAX_BYTES, own=True), RunUnderWay) == run:
                return True
    return False


def _folder() -> Path:
    folder = state_folder() / "watch"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder
