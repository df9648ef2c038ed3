"""What a report shows: points with their runs, collected from a run, a sweep, a search, or several of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hydra.accounting.result import Result
from hydra.accounting.totals import metric_value
from hydra.options.options import Options
from hydra.run.record import RunRecord
from hydra.sweep.comparison import SidesCompared, compare_sides
from hydra.sweep.plan import CLIENTS, format_value
from hydra.sweep.record import PointRecord, SavedRecord, SearchResult, run_verdict, worst_verdict
from hydra.sweep.tuning import TuningResult

MEASURED_AS: Mapping[str, str] = {
    "average_tx_rate": "tx_rate", "average_rate": "rx_rate", "average_packets": "duplicates",
    "average_packet_loss": "loss_percent", "failing_clients_rate": "rx_rate",
    "pub_cpu": "pub_cpu", "pub_net_txrate": "pub_cpu", "pub_net_rxrate": "pub_cpu",
}  # fmt: skip
"""Those of the seed's keys that are zero also where nobody measured them: a metric that is then not measured either."""


def measured_keys(result: Result) -> dict[str, float | None]:
    """The seed's keys of a run; None for what nobody measured."""
    totals, latency = result.totals, result.latency
    found = {
        key: value if key not in MEASURED_AS or metric_value(MEASURED_AS[key], totals, latency) is not None else None
        for key, value in result.seed_keys().items()
    }
    if not totals.records_counted and metric_value("tx_rate", totals, latency) is None:
        found["packet_tx"] = None
    return found


@dataclass(frozen=True)
class ReportPoint:
    """A point with all its runs."""

    source: str
    """The name of its file; empty if there is only one file."""
    changes: Mapping[str, object]
    """The options in which it differs from the other points of its sweep, and ``clients``."""
    runs: tuple[RunRecord, ...]
    took_s: float | None = None

    @property
    def options(self) -> Options:
        """The options of its runs."""
        return self.runs[0].order.options

    @property
    def clients(self) -> int:
        """Clients that were asked for."""
        return self.options.client_count

    @property
    def msg_rate(self) -> float:
        """Records/s that were asked for."""
        return self.options.msg_rate

    @property
    def results(self) -> tuple[Result, ...]:
        """Of the runs that have one."""
        return tuple(run.result for run in self.runs if run.result is not None)

    @property
    def shown_run(self) -> RunRecord:
        """The run that stands for the point: the last one that has a result, else the last one."""
        return next((run for run in reversed(self.runs) if run.result is not None), self.runs[-1])

    @property
    def verdict(self) -> str:
        """The worst of its runs."""
        return worst_verdict(map(run_verdict, self.runs))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is what it is; each reason once."""
        shown = [run for run in self.runs if run_verdict(run) in {"error", self.verdict}]
        found = [reason for run in shown for reason in (run.result.reasons if run.result is not None else (run.error,))]
        return tuple(dict.fromkeys(found))

    @property
    def label(self) -> str:
        """The point in a line."""
        words = {CLIENTS: f"{self.clients:,} clients", "msg_rate": f"{self.msg_rate:,.10g} records/s"}
        others = [f"{name}={format_value(value)}" for name, value in self.changes.items() if name not in words]
        return ", ".join([*words.values(), *others, *([self.source] if self.source else [])])

    def option(self, name: str) -> str:
        """The value of an option, or of another change of the point, as it is written in a flag; else ``unset``."""
        return format_value(getattr(self.options, name, self.changes.get(name)))

    def mean(self, key: str) -> float | None:
        """The mean of one of the seed's keys over the runs that measured it; None where none did."""
        values = self.values(key)
        return fmean(values) if values else None

    def metric(self, name: str) -> float | None:
        """The mean of a metric (accounting/totals.py) over the runs that measured it."""
        measured = self.measured(name)
        return fmean(measured) if measured else None

    def measured(self, name: str) -> list[float]:
        """A metric, of each run that measured it."""
        found = (metric_value(name, result.totals, result.latency) for result in self.results)
        return [value for value in found if value is not None]

    def values(self, key: str) -> list[float]:
        """One of the seed's keys, of each run that measured it."""
        found = (measured_keys(result)[key] for result in self.results)
        return [value for value in found if value is not None]


@dataclass(frozen=True)
class ReportContents:
    """Everything that a report shows."""

    kind: str
    """``run``, ``point``, the command of the sweep, or ``several`` if there is more than one file."""
    points: tuple[ReportPoint, ...]
    answers: tuple[SearchResult, ...] = ()
    tuned: TuningResult | None = None
    command: str = ""
    started_at: str = ""
    sides: SidesCompared | None = None
    """Of ``hydra kafka ab``: what it judged."""
    tolerance_percent: float = 0.0
    """By what."""
    missing: str = ""
    """What of the plan or search was not measured, in words; empty where nothing is missing."""
    source: str = ""
    """The name of its file; empty if there is only one file."""
    parts: tuple[ReportContents, ...] = ()
    """Of several files what each of them holds: their commands judge by rules of their own."""

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs of all points."""
        return tuple(run for point in self.points for run in point.runs)

    @property
    def changed_options(self) -> list[str]:
        """The options that differ between the points; clients and rate are shown anyway."""
        return sorted({name for point in self.points for name in point.changes} - {CLIENTS, "msg_rate"})


def collect(saved: Sequence[tuple[str, SavedRecord]]) -> ReportContents:
    """The contents of a report on results, each with its file's name, which is shown if there is more than one."""
    if len(saved) == 1:
        return _contents("", saved[0][1])
    parts = [dataclasses.replace(_contents(name, record), source=name) for name, record in saved]
    return ReportContents(
        kind="several",
        points=tuple(point for part in parts for point in part.points),
        answers=tuple(answer for part in parts for answer in part.answers),
        tuned=next((part.tuned for part in parts if part.tuned is not None), None),
        started_at=min(part.started_at for part in parts),
        parts=tuple(parts),
        missing="; ".join(
            f"{name}: {part.missing}" for (name, _), part in zip(saved, parts, strict=True) if part.missing
        ),
    )


def _contents(source: str, record: SavedRecord) -> ReportContents:
    if isinstance(record, RunRecord):
        return ReportContents("run", (ReportPoint(source, {}, (record,)),), started_at=record.started_at)
    saved = (record,) if isinstance(record, PointRecord) else record.points
    points = tuple(ReportPoint(source, point.changes, point.runs, point.took_s) for point in saved if point.runs)
    if isinstance(record, PointRecord):
        return ReportContents("point", points, started_at=record.runs[0].started_at)
    contents = ReportContents(
        record.kind, points, record.answers, record.tuned, record.command, record.started_at, missing=record.missing
    )
    if record.kind != "ab" or record.plan is None:
        return contents
    tolerance = record.plan.tolerance_percent
    return dataclasses.replace(contents, sides=compare_sides(record), tolerance_percent=tolerance)
