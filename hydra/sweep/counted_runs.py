"""Which runs of a result count, and by which metrics: the same in a comparison and in a trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from hydra.accounting.totals import metric_value
from hydra.run.record import RunRecord
from hydra.sweep.plan import changes_text
from hydra.sweep.record import PointRecord, SavedRecord

COMPARED_METRICS: Mapping[str, Literal["high", "low"]] = {
    "tx_rate": "high", "rx_rate": "high", "loss": "low", "failing_clients": "low",
    "e2e_p50": "low", "e2e_p99": "low", "e2e_p999": "low",
}  # fmt: skip
"""Which way is better, by metric."""

LOSSES = frozenset({"loss", "failing_clients"})
"""Metrics that are worse as soon as one run has any where no run had before, however few the runs."""

FLOORS: Mapping[str, float] = {"ms": 1.0}
"""Differences up to this never count, by unit: the pace of fetches alone moves latencies by a millisecond."""


def points_by_name(saved: SavedRecord) -> dict[str, tuple[RunRecord, ...]]:
    """The runs of each point of a result; trials of a search that repeat a point are its repeats."""
    if isinstance(saved, RunRecord):
        return {"run": (saved,)}
    found: dict[str, tuple[RunRecord, ...]] = {}
    for point in (saved,) if isinstance(saved, PointRecord) else saved.points:
        name = changes_text(point.changes) or "run"
        found[name] = (*found.get(name, ()), *point.runs)
    return {name: runs for name, runs in found.items() if runs}


def unjudged_reason(run: RunRecord) -> str:
    """Why a run says nothing about what the broker does; empty if it does say something."""
    if run.result is None:
        return "no result"
    limit = run.result.bottleneck.limit
    if run.result.bottleneck.harness_limited or limit not in {"none", "broker"}:
        return f"the limit was {'the harness' if run.result.bottleneck.harness_limited else limit}"
    return "indeterminate" if run.result.verdict == "indeterminate" else ""


def counts(run: RunRecord, metric: str) -> bool:
    """Whether this metric of a run is judged. Loss is, unless nobody can say where it came from."""
    if metric in LOSSES:
        return run.result is not None and run.result.verdict in {"pass", "fail"}
    return not unjudged_reason(run)


def metric_values(runs: Sequence[RunRecord], metric: str) -> list[float]:
    """The metric in each run that measured it."""
    results = [run.result for run in runs if run.result is not None]
    found = (metric_value(metric, result.totals, result.latency) for result in results)
    return [value for value in found if value is not None]
