"""Facts that tests of several packages need: figures of nothing, and what a partition's tally amounts to."""

from __future__ import annotations

import dataclasses

from hydra.core.bottleneck import Bottleneck
from hydra.core.figures import Figures, LatencyFigures
from hydra.core.latency import LatencySummary
from hydra.core.result import Result
from hydra.core.spans import receipt

NO_FIGURES = Figures(**{item.name: 0 for item in dataclasses.fields(Figures)})
NO_LATENCY = LatencyFigures(
    e2e=LatencySummary(),
    service=LatencySummary(),
    publisher_lag=LatencySummary(),
    client_p99_min_ms=0.0,
    client_p99_median_ms=0.0,
    client_p99_max_ms=0.0,
    slowest_client="",
    clock_error_ms=0.0,
    fetch_pace_ms=0.0,
    linger_ms=0,
)


def made_result(verdict="pass", reasons=("all is well",), notes=(), figures=NO_FIGURES, **fields):
    """A result with these figures and nothing else."""
    whole = Result(
        verdict=verdict,
        reasons=tuple(reasons),
        notes=tuple(notes),
        figures=figures,
        latency=NO_LATENCY,
        bottleneck=Bottleneck("none", harness_limited=False),
        thresholds=(),
        points=(),
        clients=(),
    )
    return dataclasses.replace(whole, **fields)


def sequences(part):
    """The distinct sequences that a partition's tally holds, as intervals."""
    return list(receipt(part.stats().spans).sequences)


def duplicates(part):
    """How many records of a partition's tally had come before."""
    return receipt(part.stats().spans).duplicates
