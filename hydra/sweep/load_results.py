"""Results of all kinds, read from where a user says: a run's file, a sweep's file or folder, or a point's file."""

from __future__ import annotations

from pathlib import Path

from hydra.errors import HydraError, UsageError
from hydra.run.record import RunRecord
from hydra.sweep.folder import read_sweep
from hydra.sweep.record import PointRecord, SweepRecord, read_saved


def load_results(path: str) -> RunRecord | PointRecord | SweepRecord:
    """What a path holds.

    Raises:
        UsageError: it is not there, cannot be read, or is no result of a version that is known here.
    """
    place = Path(path)
    try:
        if place.is_dir():
            return read_sweep(place)
        return read_saved(place.read_bytes(), name=path)
    except HydraError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read ({reason})") from error
