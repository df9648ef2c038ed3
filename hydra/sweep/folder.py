"""The folder of a sweep: ``sweep.json`` (its plan), ``points/NNNN.json`` (a point each), and nothing half written.

A controller may be killed at any moment: what a folder holds is always a sweep as far as it got.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from hydra.codec import encode
from hydra.errors import OutputError, UsageError
from hydra.files.atomic_write import atomic_write
from hydra.sweep.record import PointRecord, SweepRecord, read_saved

PLAN = "sweep.json"
POINTS = "points"
LOCK = ".lock"


class SweepFolder:
    """A ``PointStore`` of files, and the sweep that they belong to. One Hydra at a time works on it.

    Args:
        path: the folder.
        sweep: what ``sweep.json`` holds.
        lock: descriptor of the lock on the folder.
    """

    def __init__(self, path: Path, sweep: SweepRecord, lock: int) -> None:
        self.path = path
        self.sweep = sweep
        self._lock = lock

    @classmethod
    def begin(cls, path: Path, sweep: SweepRecord) -> SweepFolder:
        """A new folder.

        Args:
            path: must be empty, or not be there yet.
            sweep: what is begun; its points are not looked at.

        Raises:
            OutputError: it cannot be made.
            UsageError: it holds something already.
        """
        try:
            if path.exists() and any(path.iterdir()):
                raise UsageError(f"{str(path)!r} is not empty", hint="go on with --resume, or choose another --results")
            (path / POINTS).mkdir(parents=True)
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(path)!r} cannot be made ({getattr(error, 'strerror', None) or error})") from error
        folder = cls(path, dataclasses.replace(sweep, points=()), _locked(path))
        atomic_write(path / PLAN, encode(folder.sweep))
        return folder

    @classmethod
    def resume(cls, path: Path) -> SweepFolder:
        """A folder that was begun earlier.

        Raises:
            UsageError: it is no sweep's folder, or another Hydra works on it.
            OutputError: it cannot be written to.
        """
        folder = cls(path, _plan(path), _locked(path))
        for draft in (path / POINTS).glob(".*.draft"):
            draft.unlink(missing_ok=True)
        return folder

    def finished(self) -> Mapping[int, PointRecord]:
        """All points that have ended, by number."""
        return read_points(self.path)

    def keep(self, record: PointRecord) -> None:
        """Write the point's file, whole."""
        atomic_write(self.path / POINTS / f"{record.number:04}.json", encode(record))

    def answer(self, sweep: SweepRecord) -> None:
        """Write the sweep's file again, with the answers of a search."""
        self.sweep = dataclasses.replace(sweep, points=())
        atomic_write(self.path / PLAN, encode(self.sweep))

    def whole(self) -> SweepRecord:
        """The sweep with all points that have ended."""
        return dataclasses.replace(self.sweep, points=tuple(record for _, record in sorted(self.finished().items())))

    def close(self) -> None:
        """Let another Hydra work on it; harmless the second time."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def read_sweep(path: Path) -> SweepRecord:
    """What a sweep's folder holds.

    Raises:
        UsageError: it is no sweep's folder, or a file in it is broken.
    """
    return dataclasses.replace(_plan(path), points=tuple(record for _, record in sorted(read_points(path).items())))


def read_points(path: Path) -> dict[int, PointRecord]:
    """The points of a sweep's folder by number.

    Raises:
        UsageError: a file is broken.
    """
    found = {}
    for file in sorted((path / POINTS).glob("[0-9]*.json")):
        record = read_saved(_content(file), name=str(file))
        if not isinstance(record, PointRecord):
            raise UsageError(f"{str(file)!r} holds no point")
        found[record.number] = record
    return found


def _plan(path: Path) -> SweepRecord:
    if not (path / PLAN).is_file():
        raise UsageError(f"{str(path)!r} is no folder of a sweep", hint=f"there is no {PLAN} in it")
    record = read_saved(_content(path / PLAN), name=str(path / PLAN))
    if not isinstance(record, SweepRecord):
        raise UsageError(f"{str(path / PLAN)!r} holds no sweep")
    return record


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(file)!r} cannot be read ({error.strerror or error})") from error


def _locked(path: Path) -> int:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be written to ({error.strerror or error})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.close(lock)
        raise UsageError(
            f"another Hydra works on {str(path)!r}", hint="wait for it, or choose another folder"
        ) from error
    return lock
