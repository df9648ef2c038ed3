"""Where results are saved: the folder of a sweep, and the file or folder that a user names.

A sweep's folder holds ``sweep.json`` (plan or search, and answers) and ``points/NNNN.json`` (one for each finished
point). Each file is written whole: a controller may be killed at any moment, and the sweep is resumed from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.codec import encode
from hydra.errors import OutputError, UsageError
from hydra.files.atomic_write import atomic_write, try_lock
from hydra.files.bounded_read import read_bounded
from hydra.run.record import RunRecord
from hydra.sweep.plan import changes_text
from hydra.sweep.record import PointRecord, SavedRecord, SweepRecord, read_saved

SWEEP_FILE = "sweep.json"
POINTS = "points"
LOCK_FILE = ".lock"
MAX_RESULT_BYTES = 1024**3


class SweepFolder:
    """The folder of a sweep (without its points), locked: one Hydra at a time works on it."""

    def __init__(self, path: Path, sweep: SweepRecord, lock: contextlib.ExitStack) -> None:
        self.path = path
        self.sweep = sweep
        self._lock = lock

    @classmethod
    def begin(cls, path: Path, sweep: SweepRecord) -> SweepFolder:
        """Make the folder of a new sweep, whose points are not saved.

        Raises:
            OutputError: the folder cannot be created.
            UsageError: it is not empty.
        """
        try:
            if path.exists() and any(path.iterdir()):
                raise UsageError(f"{str(path)!r} is not empty", hint="use --resume, or choose another --results")
            (path / POINTS).mkdir(parents=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{str(path)!r} cannot be created ({reason})") from error
        folder = cls(path, sweep, _lock(path))
        folder.save(sweep)
        return folder

    @classmethod
    def resume(cls, path: Path) -> SweepFolder:
        """Open the folder of a sweep that was begun earlier.

        Raises:
            UsageError: not a sweep's folder, or another Hydra is using it.
            OutputError: it cannot be written to.
        """
        sweep = _read_sweep_file(path)
        if sweep.points:
            raise UsageError(
                f"{str(path)!r} holds a whole result, which cannot be continued", hint="name the folder of --results"
            )
        folder = cls(path, sweep, _lock(path))
        for draft in (path / POINTS).glob(".*.draft"):
            draft.unlink(missing_ok=True)
        return folder

    def finished(self) -> Mapping[int, PointRecord]:
        """All finished points, by number."""
        return read_points(self.path)

    def keep(self, record: PointRecord) -> None:
        """Save a finished point; replaces an earlier one of the same number."""
        atomic_write(self.path / POINTS / f"{record.number:04}.json", encode(record))

    def save(self, sweep: SweepRecord) -> None:
        """Save the sweep without its points, again after each answer of a search."""
        self.sweep = dataclasses.replace(sweep, points=())
        atomic_write(self.path / SWEEP_FILE, encode(self.sweep))

    def whole(self) -> SweepRecord:
        """The sweep with all finished points."""
        return _with_points(self.sweep, self.path)

    def close(self) -> None:
        """Release the lock; harmless the second time."""
        self._lock.close()


def read_points(path: Path) -> dict[int, PointRecord]:
    """The finished points in a sweep's folder, by number.

    Raises:
        UsageError: a file is damaged.
    """
    found = {}
    for file in sorted((path / POINTS).glob("[0-9]*.json")):
        record = load_results(str(file))
        if not isinstance(record, PointRecord):
            raise UsageError(f"{file} does not hold a point")
        found[record.number] = record
    return found


def is_file_of(file: Path, result: Path) -> bool:
    """Whether a file is that result, or one that the folder of that sweep keeps."""
    return file in {result, result / SWEEP_FILE, result / LOCK_FILE} or file.parent == result / POINTS


def load_results(path: str) -> SavedRecord:
    """What a path holds: the file of a run, a point or a sweep, or the folder of a sweep.

    Raises:
        UsageError: the path does not exist, cannot be read, or is not a result of a known version.
    """
    place = Path(path)
    try:
        if place.is_dir():
            return _with_points(_read_sweep_file(place), place)
        _see_size(place)
        return read_saved(read_bounded(place, MAX_RESULT_BYTES), name=path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "name a file that --output wrote, or a sweep's folder"
        raise UsageError(f"{path} cannot be read ({reason})", hint=hint) from error


def _see_size(place: Path) -> None:
    """See that a file is not too large, before it is in memory."""
    if place.is_file() and place.stat().st_size > MAX_RESULT_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_RESULT_BYTES:,} bytes")


def load_several(paths: Sequence[str], *, copies: bool = False) -> list[tuple[str, SavedRecord]]:
    """What each of several paths holds, with its path.

    Args:
        paths: files and folders.
        copies: whether two of them may hold the same result, which then counts twice; never the same path.

    Raises:
        UsageError: as ``load_results``, or one is there twice.
    """
    found: list[tuple[str, SavedRecord]] = []
    seen: dict[tuple[str, ...], str] = {}
    for path in paths:
        saved = load_results(path)
        key = (str(Path(path).resolve()),) if copies else _identity(saved)
        if key in seen:
            raise UsageError(f"{seen[key]} and {path} hold the same result", hint="name it once")
        seen[key] = path
        found.append((path, saved))
    return found


def _identity(saved: SavedRecord) -> tuple[str, ...]:
    """What two results have in common only if they are of the same run, point or sweep."""
    if isinstance(saved, SweepRecord):
        return saved.format, saved.kind, saved.command, saved.started_at
    runs = (saved,) if isinstance(saved, RunRecord) else saved.runs
    changes = changes_text(saved.changes) if isinstance(saved, PointRecord) else ""
    return saved.format, changes, *(f"{run.order.run_id} {run.started_at}" for run in runs)


def _with_points(sweep: SweepRecord, path: Path) -> SweepRecord:
    if sweep.points:
        return sweep  # the whole of it, from --output: the file of a sweep's own folder has no points
    return dataclasses.replace(sweep, points=tuple(record for _, record in sorted(read_points(path).items())))


def _read_sweep_file(path: Path) -> SweepRecord:
    if not (path / SWEEP_FILE).is_file():
        raise UsageError(f"{str(path)!r} is not the folder of a sweep", hint=f"it holds no {SWEEP_FILE}")
    record = load_results(str(path / SWEEP_FILE))
    if not isinstance(record, SweepRecord):
        raise UsageError(f"{path / SWEEP_FILE} does not hold a sweep")
    return record


def _lock(path: Path) -> contextlib.ExitStack:
    with contextlib.ExitStack() as lock:
        try:
            held = lock.enter_context(try_lock(path / LOCK_FILE))
        except OSError as error:
            raise OutputError(f"{str(path)!r} cannot be written to ({error.strerror or error})") from error
        if not held:
            raise UsageError(
                f"another Hydra is using {str(path)!r}", hint="wait until it ends, or choose another folder"
            )
        return lock.pop_all()
