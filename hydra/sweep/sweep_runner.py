"""A sweep's points one after the other, each kept as soon as it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hydra.errors import InfrastructureError
from hydra.options.durations import duration
from hydra.options.options import Options
from hydra.run.clock import Clock
from hydra.run.progress import Progress
from hydra.run.record import RunRecord
from hydra.sweep.plan import Point, SweepPlan, seconds_left
from hydra.sweep.record import PointRecord, point_record

BROKEN_IN_A_ROW = 2
"""Points in a row that the stack was unusable for: a third one would tell nothing new."""


class PointRunner(Protocol):
    """Makes one run. Not in the contract: what is started for it, and whether that stays up between runs."""

    def measure(self, options: Options) -> RunRecord:
        """One run with these options. A run that failed is a record with its error; an interruption is raised."""
        ...


class PointStore(Protocol):
    """Keeps points that have ended. A point is kept whole, or it is not there."""

    def finished(self) -> Mapping[int, PointRecord]:
        """All that are kept, by number."""
        ...

    def keep(self, record: PointRecord) -> None:
        """Keep a point; one of the same number is replaced."""
        ...


@dataclass(frozen=True)
class SweepContext:
    """Everything outside that a sweep or a search needs."""

    runner: PointRunner
    store: PointStore
    clock: Clock
    progress: Progress


class Session:
    """One stretch of work on a sweep or a search, from its start (or its resumption) to its end.

    Args:
        world: everything outside.
        repeats: runs of each point.
    """

    def __init__(self, world: SweepContext, *, repeats: int) -> None:
        self.world = world
        self.finished = {number: kept for number, kept in world.store.finished().items() if not kept.unmeasured}
        """Points that are not measured again: all that were, whatever came of them."""
        self._repeats = repeats
        self._broken = 0

    def measure(self, point: Point, *, where: str) -> PointRecord:
        """Measure a point with all its repeats, and keep it.

        Args:
            point: what to measure.
            where: the point's place among all others, for whoever is watching.

        Raises:
            InfrastructureError: this is the second point in a row that the stack was unusable for.
        """
        world = self.world
        began_s = world.clock.now_s()
        runs: list[RunRecord] = []
        while len(runs) < self._repeats and not (runs and runs[-1].exit_code == InfrastructureError.exit_code):
            of = f" (run {len(runs) + 1} of {self._repeats})" if self._repeats > 1 else ""
            world.progress.note(f"{where}: {point.name}{of}")
            runs.append(world.runner.measure(point.options))
        record = point_record(point, tuple(runs), world.clock.now_s() - began_s)
        world.store.keep(record)
        self.finished[point.number] = record
        self._broken = self._broken + 1 if record.unmeasured else 0
        if self._broken >= BROKEN_IN_A_ROW:
            raise InfrastructureError(
                f"{self._broken} points in a row could not be measured: {runs[-1].error}",
                hint="mend that, and go on with --resume",
            )
        return record


def run_sweep(plan: SweepPlan, world: SweepContext) -> tuple[PointRecord, ...]:
    """Measure the points of a plan that have not been measured yet, in order.

    Returns:
        All points of the plan, in its order.

    Raises:
        InfrastructureError: two points in a row could not be measured at all.
    """
    session = Session(world, repeats=plan.repeats)
    if session.finished:
        world.progress.note(f"{len(session.finished)} of {len(plan.points)} points are there already")
    for point in plan.points:
        if point.number not in session.finished:
            session.measure(point, where=_where(plan, point, session.finished))
    return tuple(session.finished[point.number] for point in plan.points)


def _where(plan: SweepPlan, point: Point, finished: Mapping[int, PointRecord]) -> str:
    left_s = seconds_left(plan, {number: record.took_s for number, record in finished.items()})
    left = "" if left_s is None else f", about {duration(left_s)} left"
    return f"point {point.number} of {len(plan.points)}{left}"
