"""The whole distribution of a latency in some tens of numbers: what its percentile curve is drawn from.

A curve has a latency for each *step*. A step of 1,000 is the 99.9th percentile: one in 1,000 takes longer. Steps are
the preferred numbers R10 (ISO 3), ten a decade, with the 50th, 75th, 90th, 95th, 99th and 99.9th percentile among them.
So they are even on the axis of HdrHistogram's percentile plots, which is 1 / (1 - p).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile

from hydra.accounting.latency import LatencyHistogram

MIN_LONGER = 10
"""So many latencies at least are longer than that of the last step: fewer are the luck of a few records."""

_R10 = (100, 125, 160, 200, 250, 320, 400, 500, 630, 800)
"""The preferred numbers of a decade, in hundredths: ranks follow from them without a rounding error."""


@dataclass(frozen=True)
class LatencyCurves:
    """By what was timed: the latency of each step (``curve_steps`` of how many there were) in ms, with four digits.

    Empty where nothing was timed, or too little for a single step.
    """

    e2e: tuple[float, ...] = ()
    service: tuple[float, ...] = ()
    unpaced: tuple[float, ...] = ()
    publisher_lag: tuple[float, ...] = ()
    ack: tuple[float, ...] = ()


def curve_steps(latencies: int) -> list[float]:
    """The steps that so many latencies support, rising from 1: the lowest latency of all."""
    return [hundredths / 100 for hundredths in _steps(latencies)]


def percentile_curve(histogram: LatencyHistogram) -> tuple[float, ...]:
    """The latency of each step in milliseconds, with four digits: buckets keep three."""
    total = len(histogram)
    ranks = (max(1, total - 100 * total // hundredths) for hundredths in _steps(total))
    return tuple(float(f"{value_us / 1000:.4g}") for value_us in histogram.at_ranks_us(ranks))


def _steps(latencies: int) -> list[int]:
    """The same in hundredths."""
    numbers = (number * 10**decade for decade in count() for number in _R10)
    return list(takewhile(lambda hundredths: MIN_LONGER * hundredths <= 100 * latencies, numbers))
