"""What one run says about a broker's limit: the step from a result to a search's trial."""

from __future__ import annotations

from hydra.accounting.metrics import metric_value
from hydra.errors import CapacityError
from hydra.run.record import RunRecord
from hydra.sweep.search import Outcome

KEPT_SHARE = 0.95
"""A rate counts as carried when the publisher reached this share of it."""


def judge(run: RunRecord, *, asked_rate_per_s: float) -> tuple[Outcome, str]:
    """The outcome of a trial, and why it is no good.

    Args:
        run: the trial's run.
        asked_rate_per_s: the rate that was asked for.
    """
    result = run.result
    if result is None:
        return "harness" if run.exit_code == CapacityError.exit_code else "unknown", run.error
    reason = result.reasons[0] if result.reasons else ""
    totals = result.totals
    if result.bottleneck.harness_limited:
        return "harness", reason
    if result.verdict == "indeterminate" and totals.clients_missing + totals.clients_never_started:
        return "unknown", reason
    if result.verdict != "pass":
        # Also without proven loss: everyone was there, and yet something was not delivered, acked, or sent in time.
        return "bad", reason
    if totals.tx_rate_per_s < KEPT_SHARE * asked_rate_per_s:
        return "bad", f"{totals.tx_rate_per_s:,.1f} of {asked_rate_per_s:,.10g} records/s were sent"
    return "good", ""


TUNING_METRIC = "e2e_p99"


def tuning_cost(run: RunRecord) -> float | None:
    """What a tuning wants to be low: the 99th percentile of the latency from the plan, in ms; None without a pass."""
    if run.result is None or run.result.verdict != "pass":
        return None
    return metric_value(TUNING_METRIC, run.result.totals, run.result.latency)
