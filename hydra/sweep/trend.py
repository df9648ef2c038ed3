"""Results of one plan over time: a series for each point and metric, and where it changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from hydra.errors import UsageError
from hydra.options.thresholds import METRICS
from hydra.run.record import RunRecord
from hydra.sweep.change_points import beside, change_points, level_of, min_results
from hydra.sweep.comparison import unlike_runs
from hydra.sweep.counted_runs import COMPARED_METRICS, FLOORS, counts, metric_values, points_by_name
from hydra.sweep.folder import SWEEP_FILE, load_several
from hydra.sweep.judgement import shift_interval
from hydra.sweep.record import PointRecord, SavedRecord


@dataclass(frozen=True)
class Change:
    """Where a series changed."""

    at: str
    """When the first result after the change was started."""
    before: float
    """The median of the results before, back to the change before."""
    after: float
    state: Literal["worse", "better"]
    interval: tuple[float, float] | None = None
    """Of 95 % of the difference, in the unit: over results, by bootstrap; None below 6 of them on a side."""


@dataclass(frozen=True)
class Series:
    """One metric of one point over all results, in order of time."""

    point: str
    metric: str
    unit: str
    times: tuple[str, ...]
    values: tuple[float, ...]
    """The median over the runs of a result that say something about the broker."""
    changes: tuple[Change, ...]
    ranges: tuple[tuple[float, float], ...] = ()
    """The lowest and the highest of the runs that each value is the median of."""
    newest: bool = True
    """Whether the newest of all results has a value of it that counts."""
    tolerance_percent: float = 10.0
    """By which it was judged."""
    needed: int = min_results()
    """Results with which a change could be shown, among as many series as were looked at."""

    @property
    def too_few(self) -> bool:
        """Whether no change could be shown, whatever the values."""
        return len(self.values) < self.needed and not self.changes

    @property
    def worse(self) -> bool:
        """Whether it is worse now than it was: a change that was mended since is history."""
        return self.worsening is not None

    @property
    def worsening(self) -> Change | None:
        """From before it became worse to now, with all that changed since; None where it is as good as it was."""
        first: Change | None = None
        for change in self.changes:
            if first is None:
                first = change if change.state == "worse" else None
            elif not self._is_worse(change.after, first.before):
                first = None
        if first is None or first is self.changes[-1]:
            return first
        return Change(first.at, first.before, self.changes[-1].after, "worse")

    def _is_worse(self, value: float, before: float) -> bool:
        less = before - value if COMPARED_METRICS[self.metric] == "high" else value - before
        return less > _least(self, before)


def started_at(saved: SavedRecord) -> str:
    """When a result was begun; ISO 8601, UTC."""
    return saved.runs[0].started_at if isinstance(saved, PointRecord) else saved.started_at


def named_results(paths: Sequence[str]) -> list[str]:
    """The files and folders of sweeps that paths name; of any other folder those in it.

    Raises:
        UsageError: a folder has none in it, or cannot be read.
    """
    named: list[str] = []
    for path in map(Path, paths):
        if not path.is_dir() or (path / SWEEP_FILE).is_file():
            named.append(str(path))
            continue
        try:
            within = sorted(path.iterdir())
        except OSError as error:
            raise UsageError(f"{str(path)!r} cannot be read ({error.strerror})", hint="see its rights") from error
        results = [str(each) for each in within if each.suffix == ".json" or (each / SWEEP_FILE).is_file()]
        if not results:
            raise UsageError(
                f"{str(path)!r} holds no results", hint="name a folder of result files or of sweep folders"
            )
        named += results
    return named


def load_history(paths: Sequence[str]) -> list[SavedRecord]:
    """The results that paths name, the oldest first: files, folders of sweeps, and folders of either.

    Raises:
        UsageError: a path is not a result, or one of another plan, or a folder has none in it, or one is there twice.
    """
    found = load_several(named_results(paths))
    _see_that_they_are_of_one_plan(found)
    return sorted((saved for _, saved in found), key=started_at)


def _see_that_they_are_of_one_plan(found: Sequence[tuple[str, SavedRecord]]) -> None:
    points = [(path, points_by_name(saved).keys()) for path, saved in found]
    measured = [(path, names) for path, names in points if names]
    for path, names in measured:
        if len(measured) > 1 and all(other is names or not names & other for _, other in measured):
            raise UsageError(
                f"{path} has no point in common with the other results", hint="name results of one plan only"
            )


def trend(history: Sequence[SavedRecord], *, tolerance_percent: float) -> list[Series]:
    """The series of all points and metrics; a change counts beyond the tolerance and the floor of its unit.

    The chance of any false one is held for all of them together. Those that keep within what counts have no change,
    in whatever order their values are: they are not among those that were looked at.
    """
    gathered: dict[tuple[str, str], list[tuple[str, list[float]]]] = {}
    for saved in history:
        for point, runs in points_by_name(saved).items():
            for metric in COMPARED_METRICS:
                if values := metric_values([run for run in runs if counts(run, metric)], metric):
                    gathered.setdefault((point, metric), []).append((started_at(saved), values))
    newest = max(map(started_at, history), default="")
    series = [_steady(point, metric, found, tolerance_percent) for (point, metric), found in gathered.items()]
    could_change = [_could_change(each) for each in series]
    level = level_of(sum(could_change))
    changed = [_with_changes(each, level) if could else each for each, could in zip(series, could_change, strict=True)]
    return [dataclasses.replace(each, newest=each.times[-1] == newest) for each in changed]


def unlike_over_time(history: Sequence[SavedRecord]) -> list[str]:
    """Options, machine facts and versions that differ from those of the result before, each with its time.

    Where a figure changes just then, that may be why.
    """
    lines: list[str] = []
    before: Mapping[str, Sequence[RunRecord]] = {}
    for saved in history:
        points = points_by_name(saved)
        common = next((name for name in points if name in before), None)
        if common is not None:
            found = unlike_runs(before[common][0], points[common][0])
            lines += [f"unlike since {started_at(saved)[:16]}: {told}" for told in found]
        before = points or before
    return lines


def trend_exit_code(found: Sequence[Series]) -> int:
    """1: a metric is worse than it was; 3: nobody can say; 0: nothing is worse.

    Nobody can say where every series of latencies is too short to show a change, or none counts in the newest result:
    that nothing was lost says nothing of how fast it was.
    """
    if any(series.worse for series in found):
        return 1
    timed = [series for series in found if series.metric.startswith("e2e_")]
    return 0 if any(series.newest and not series.too_few for series in timed) else 3


def _steady(point: str, metric: str, found: Sequence[tuple[str, list[float]]], tolerance_percent: float) -> Series:
    times, values = tuple(at for at, _ in found), tuple(median(runs) for _, runs in found)
    ranges = tuple((min(runs), max(runs)) for _, runs in found)
    unit = METRICS[metric].unit
    return Series(point, metric, unit, times, values, (), ranges, tolerance_percent=tolerance_percent)


def _could_change(series: Series) -> bool:
    """Whether its values could be a change in some order of them."""
    least = _least(series, min(map(abs, series.values)))
    return len(series.values) >= min_results() and max(series.values) - min(series.values) > least


def _least(series: Series, before: float) -> float:
    """What a change from this value has to exceed, to count."""
    return max(FLOORS.get(series.unit, 0.0), abs(before) * series.tolerance_percent / 100)


def _with_changes(series: Series, level: float) -> Series:
    changes = []
    indices = change_points(series.values, level=level)
    for index in indices:
        parts = beside(series.values, index, indices)
        before, after = map(median, parts)
        if abs(after - before) > _least(series, before):
            better = (after > before) == (COMPARED_METRICS[series.metric] == "high")
            state: Literal["worse", "better"] = "better" if better else "worse"
            changes.append(Change(series.times[index], before, after, state, shift_interval(*parts)))
    return dataclasses.replace(series, changes=tuple(changes), needed=min_results(level))
