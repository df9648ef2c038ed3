"""Facts that tests of several packages need: totals of nothing, and what a partition's tally amounts to."""

from __future__ import annotations

import dataclasses

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.intervals import received
from hydra.accounting.latency import LatencySummary
from hydra.accounting.result import Result
from hydra.accounting.totals import Latencies, Totals

NO_TOTALS = Totals(**{item.name: 0 for item in dataclasses.fields(Totals)})
NO_LATENCY = Latencies(
    e2e=LatencySummary(),
    service=LatencySummary(),
    publisher_lag=LatencySummary(),
    client_p99_min_ms=0.0,
    client_p99_median_ms=0.0,
    client_p99_max_ms=0.0,
    slowest_client="",
    clock_error_ms=0.0,
)


def made_result(verdict="pass", reasons=("all is well",), notes=(), totals=NO_TOTALS, **fields):
    """A result with these totals and nothing else."""
    whole = Result(
        verdict=verdict,
        reasons=tuple(reasons),
        notes=tuple(notes),
        totals=totals,
        latency=NO_LATENCY,
        bottleneck=Bottleneck("none", harness_limited=False),
        thresholds=(),
        points=(),
        clients=(),
    )
    return dataclasses.replace(whole, **fields)


def sequences(part):
    """The distinct sequences that a partition's tally holds, as intervals."""
    return list(received(part.stats().spans).sequences)


def duplicates(part):
    """How many records of a partition's tally had come before."""
    return received(part.stats().spans).duplicates
