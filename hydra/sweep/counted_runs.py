"""Which runs of a result count, and by which metrics: the same in a comparison and in a trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from hydra.accounting.result import Result
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

RATES = frozenset({"tx_rate", "rx_rate"})

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


def absent_clients(run: RunRecord) -> int:
    """Clients of which nobody knows what they received."""
    if run.result is None:
        return 0
    return run.result.totals.clients_missing + run.result.totals.clients_never_started


def unjudged_reason(run: RunRecord) -> str:
    """Why a run says nothing about what the broker does; empty if it does say something.

    A run in which the broker gave way does, whatever its verdict: what was left unread, or was not sent in time, is
    what the broker did not carry.
    """
    if run.result is None:
        return "no result"
    limit = run.result.bottleneck.limit
    if run.result.bottleneck.harness_limited:
        return "the limit was the harness"
    if limit not in {"none", "broker"}:
        return "who was the limit is not known" if limit == "unknown" else f"the limit was {limit}"
    return "clients are missing" if absent_clients(run) and run.result.verdict == "indeterminate" else ""


def left_out_reason(run: RunRecord, metric: str) -> str:
    """Why this metric of a run is not judged; empty if it is.

    Whoever was the limit, a loss that was proven is a fact, and so is that nothing was lost where every client told
    what it received and had read all of it. Rates are facts where nothing but latencies gave way.
    """
    if run.result is not None and metric in RATES and _only_latencies_gave_way(run.result):
        return "clients are missing" if absent_clients(run) else ""
    if run.result is None or metric not in LOSSES:
        return unjudged_reason(run)
    limit, totals = run.result.bottleneck.limit, run.result.totals
    if run.result.verdict == "fail" and metric_value("loss", totals, run.result.latency):
        return ""
    if limit == "unknown":
        return unjudged_reason(run)
    if absent_clients(run):
        return "clients are missing"
    proven = not totals.records_unread or (metric == "failing_clients" and limit == "broker")
    return "" if proven else "deliveries were unread"


def _only_latencies_gave_way(result: Result) -> bool:
    """Whether each symptom is a broken threshold of a latency: then all was sent, and received, as it was asked for."""
    late = [item for item in result.thresholds if item.broken and item.unit == "ms" and item.metric[:4] != "pub_"]
    return result.bottleneck.limit != "unknown" and 0 < len(late) == len(result.bottleneck.symptoms)


def counts(run: RunRecord, metric: str) -> bool:
    """Whether this metric of a run is judged."""
    return not left_out_reason(run, metric)


def at_best(run: RunRecord, metric: str) -> bool:
    """Whether the broker would have been no better than this value, and maybe worse.

    So it is with latencies where deliveries were unread, which took longer than all others, and with losses where
    something else kept the load away from the broker.
    """
    if run.result is None:
        return False
    if metric in LOSSES:
        return bool(unjudged_reason(run))
    return metric.startswith("e2e_") and run.result.totals.records_unread > 0


def metric_values(runs: Sequence[RunRecord], metric: str) -> list[float]:
    """The metric in each run that measured it."""
    results = [run.result for run in runs if run.result is not None]
    found = (metric_value(metric, result.totals, result.latency) for result in results)
    return [value for value in found if value is not None]
