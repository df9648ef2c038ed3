"""What is kept of a sweep or a search: a file for its plan, one for each point, and its answers.

The formats are versioned; a reader refuses a version that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from hydra.errors import InfrastructureError, UsageError
from hydra.options.options import Options
from hydra.run import record as run_record
from hydra.run.record import RunRecord
from hydra.sweep.compact import condensed
from hydra.sweep.plan import Axis, Point, SweepPlan
from hydra.sweep.search import Answer
from hydra.sweep.tuning import Tuned

SWEEP_FORMAT = "hydra-sweep"
POINT_FORMAT = "hydra-point"
FORMAT_VERSION = run_record.FORMAT_VERSION
"""A point holds runs: it is read by whoever reads those."""

SweepKind = Literal["sweep", "batchsize", "maxrate", "maxclients", "frontier", "tune"]


@dataclass(frozen=True)
class PointRecord:
    """A point that has ended: what its file holds."""

    number: int
    changes: dict[str, object]
    runs: tuple[RunRecord, ...]
    """One for each repeat, condensed (sweep/compact.py); a run that ended with an error has no result."""
    took_s: float
    """With everything that belongs to it, waiting for its clients among it."""
    format: str = POINT_FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def exit_code(self) -> int:
        """The gravest of its runs."""
        return worst_exit_code([run.exit_code for run in self.runs])

    @property
    def unmeasured(self) -> bool:
        """Whether the stack was unusable: such a point is measured anew when its sweep is resumed."""
        return any(run.exit_code == InfrastructureError.exit_code for run in self.runs)


@dataclass(frozen=True)
class FoundAnswer:
    """What a search found for one question."""

    question: str
    """Such as ``highest good rate for 50 clients``."""
    unit: str
    answer: Answer
    clients: int | None = None
    """Of a frontier's point."""


@dataclass(frozen=True)
class SearchAsked:
    """What a search was asked for."""

    start: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    precision: float = 0.05
    max_trials: int = 12
    """For each question."""
    clients: tuple[int, ...] = ()
    """Of a frontier: its questions."""
    axes: tuple[Axis, ...] = ()
    """Of a tuning: what it may change."""


@dataclass(frozen=True)
class SweepRecord:
    """A whole sweep or search."""

    kind: SweepKind
    started_at: str
    """ISO 8601, UTC."""
    command: str
    """The command line that it began with."""
    options: Options
    """What all points have in common."""
    plan: SweepPlan | None = None
    """None for a search: it finds its points as it goes."""
    search: SearchAsked | None = None
    """None for a sweep: its plan says it all."""
    points: tuple[PointRecord, ...] = ()
    answers: tuple[FoundAnswer, ...] = ()
    """Of a search, once it has any."""
    tuned: Tuned | None = None
    format: str = SWEEP_FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Every run of every point."""
        return tuple(run for point in self.points for run in point.runs)

    @property
    def exit_code(self) -> int:
        """A sweep's is the gravest of its points; a search's says whether it has an answer."""
        if self.tuned is not None:
            return 0 if self.tuned.best_costs else 1
        if self.answers:
            return worst_exit_code([_answer_code(found.answer) for found in self.answers])
        return worst_exit_code([point.exit_code for point in self.points])


def _answer_code(answer: Answer) -> int:
    """0: the broker's limit, or all of the range is good; 1: nothing is good; 3: something else was the limit."""
    if answer.limited_by in {"harness", "unknown", "trials"} or (answer.best is not None and not answer.confirmed):
        return 3
    return 0 if answer.best is not None else 1


def worst_exit_code(codes: list[int]) -> int:
    """The exit code of several: what kept Hydra from measuring, then loss, then what gave no answer."""
    for code in (143, 130, 70, 4, 2, 1, 3):
        if code in codes:
            return code
    return 0


def read_saved(data: bytes, *, name: str) -> RunRecord | PointRecord | SweepRecord:
    """What a file of Hydra's holds.

    Args:
        data: its content.
        name: the file's, for errors.

    Raises:
        UsageError: it is none of Hydra's, or of a version that is not known here, or broken.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        kinds: dict[str, tuple[type[RunRecord | PointRecord | SweepRecord], int]] = {
            run_record.FORMAT: (RunRecord, run_record.FORMAT_VERSION),
            POINT_FORMAT: (PointRecord, FORMAT_VERSION),
            SWEEP_FORMAT: (SweepRecord, FORMAT_VERSION),
        }
        if head.format not in kinds:
            raise UsageError(
                f"{name} is not a result file of Hydra (format {head.format[:40]!r})",
                hint="--output=FILE writes one",
            )
        kind, version = kinds[head.format]
        if head.format_version != version:
            raise UsageError(
                f"{name} has {head.format} version {head.format_version}, this Hydra reads version {version}",
                hint="use the Hydra that wrote it",
            )
        saved = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not a result file of Hydra ({error})") from error
    return saved


class _Head(msgspec.Struct):
    format: str
    format_version: int


def point_record(point: Point, runs: tuple[RunRecord, ...], took_s: float) -> PointRecord:
    """What is kept of a point."""
    return PointRecord(point.number, point.changes, tuple(map(condensed, runs)), round(took_s, 3))
