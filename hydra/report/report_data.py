"""What a report is made of: points with their runs, gathered from one run, a sweep, a search, or several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hydra.accounting.metrics import metric_value
from hydra.accounting.result import Result
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord
from hydra.sweep.plan import CLIENTS, format_value
from hydra.sweep.record import FoundAnswer, PointRecord, SweepRecord
from hydra.sweep.tuning import Tuned

Saved = RunRecord | PointRecord | SweepRecord


@dataclass(frozen=True)
class ReportPoint:
    """A point with all its runs."""

    source: str
    """Where it comes from: a file's name; empty where there is only one."""
    changes: Mapping[str, object]
    """What tells it from the other points of its sweep."""
    runs: tuple[RunRecord, ...]
    took_s: float | None = None

    @property
    def order(self) -> RunOrder:
        """What its runs measure."""
        return self.runs[0].order

    @property
    def options(self) -> Mapping[str, object]:
        """The options of its runs, by name."""
        return vars(self.order.options)

    @property
    def clients(self) -> int:
        """Clients asked for."""
        return self.order.options.client_count

    @property
    def asked_rate_per_s(self) -> float:
        """Records a second asked for."""
        return self.order.options.msg_rate

    @property
    def results(self) -> tuple[Result, ...]:
        """Of the runs that have one."""
        return tuple(run.result for run in self.runs if run.result is not None)

    @property
    def verdict(self) -> str:
        """The gravest of its runs: ``error``, ``fail``, ``indeterminate`` or ``pass``."""
        verdicts = {run.result.verdict if run.result is not None else "error" for run in self.runs}
        return next(word for word in ("error", "fail", "indeterminate", "pass") if word in verdicts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the runs are not passes, or why they are; each reason once."""
        found = [
            reason
            for run in self.runs
            for reason in (run.result.reasons if run.result is not None else (run.error,))
            if run.result is None or run.result.verdict == self.verdict
        ]
        return tuple(dict.fromkeys(found))

    @property
    def label(self) -> str:
        """The point in a line."""
        words = {CLIENTS: f"{self.clients:,} clients", "msg_rate": f"{self.asked_rate_per_s:,.10g} records/s"}
        others = [f"{name}={format_value(value)}" for name, value in self.changes.items() if name not in words]
        return ", ".join([*words.values(), *others, *([self.source] if self.source else [])])

    def mean(self, key: str) -> float | None:
        """The mean of one of the seed's keys over the runs that have a result."""
        values = self.values(key)
        return fmean(values) if values else None

    def metric(self, name: str) -> float | None:
        """The mean of a metric (accounting/metrics.py) over the runs that have a result."""
        found = [metric_value(name, result.totals, result.latency) for result in self.results]
        return fmean(found) if found else None

    def values(self, key: str) -> list[float]:
        """One of the seed's keys, of each run that has a result."""
        return [float(result.seed_keys()[key]) for result in self.results]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows."""

    kind: str
    """``run``, or the command that found the points; ``several`` where more than one file was given."""
    points: tuple[ReportPoint, ...]
    answers: tuple[FoundAnswer, ...] = ()
    tuned: Tuned | None = None
    command: str = ""
    started_at: str = ""

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Of all points."""
        return tuple(run for point in self.points for run in point.runs)

    @property
    def clients(self) -> list[int]:
        """The numbers of clients that occur, rising."""
        return sorted({point.clients for point in self.points})


def gather(saved: Sequence[tuple[str, Saved]]) -> ReportData:
    """Make one of several.

    Args:
        saved: (name, what the file of that name holds); the names are shown where there is more than one.
    """
    several = len(saved) > 1
    parts = [_measured(name if several else "", record) for name, record in saved]
    if not several:
        return parts[0]
    return ReportData(
        kind="several",
        points=tuple(point for part in parts for point in part.points),
        answers=tuple(answer for part in parts for answer in part.answers),
        tuned=next((part.tuned for part in parts if part.tuned is not None), None),
        started_at=min(part.started_at for part in parts),
    )


def _measured(source: str, record: Saved) -> ReportData:
    if isinstance(record, RunRecord):
        return ReportData("run", (ReportPoint(source, {}, (record,)),), started_at=record.started_at)
    if isinstance(record, PointRecord):
        return ReportData("point", (_point(source, record),), started_at=record.runs[0].started_at)
    return ReportData(
        kind=record.kind,
        points=tuple(_point(source, point) for point in record.points if point.runs),
        answers=record.answers,
        tuned=record.tuned,
        command=record.command,
        started_at=record.started_at,
    )


def _point(source: str, record: PointRecord) -> ReportPoint:
    return ReportPoint(source, record.changes, record.runs, record.took_s)
