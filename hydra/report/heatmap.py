"""Latency over time as a heatmap: how many deliveries of each second had which latency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydra.accounting.latency import LatencyCounts, bucket_end
from hydra.accounting.stats import SubscriberStats

ROWS_PER_DECADE = 6
LOWEST_US = 100
"""Lower latencies are counted in the lowest row."""


@dataclass(frozen=True)
class Heatmap:
    """Counts by time and latency."""

    edges_s: tuple[float, ...]
    """Of the columns; one more than there are columns."""
    edges_ms: tuple[float, ...]
    """Of the rows; one more than there are rows."""
    counts: tuple[tuple[int, ...], ...]
    """Rows of columns."""


def latency_heatmap(subscribers: Sequence[SubscriberStats], columns: int) -> Heatmap | None:
    """The heatmap of a run.

    Args:
        subscribers: with their samples, about one a second.
        columns: most columns; in a longer run a column covers several seconds.

    Returns:
        None if nothing was delivered.
    """
    samples = [sample for subscriber in subscribers for sample in subscriber.samples if sample.e2e.counts]
    if not samples:
        return None
    end_s = max(sample.at_s for sample in samples)
    width_s = max(1, math.ceil(end_s / columns))
    cells: dict[tuple[int, int], int] = {}
    for sample in samples:
        # A sample is taken as a second ends, or a little later.
        column = max(0, math.ceil(sample.at_s - 0.5) - 1) // width_s
        for row, count in _rows(sample.e2e):
            cells[row, column] = cells.get((row, column), 0) + count
    rows = [row for row, _ in cells]
    first, last = min(rows), max(rows)
    count = max(column for _, column in cells) + 1
    return Heatmap(
        edges_s=tuple(float(index * width_s) for index in range(count + 1)),
        edges_ms=tuple(_edge_ms(row) for row in range(first, last + 2)),
        counts=tuple(tuple(cells.get((row, column), 0) for column in range(count)) for row in range(first, last + 1)),
    )


def _rows(counts: LatencyCounts) -> Iterable[tuple[int, int]]:
    for bucket, count in zip(counts.buckets, counts.counts, strict=True):
        end_us = max(LOWEST_US, bucket_end(bucket, counts.bits) - 1)
        yield math.floor(math.log10(end_us) * ROWS_PER_DECADE), count


def _edge_ms(row: int) -> float:
    return float(f"{10 ** (row / ROWS_PER_DECADE) / 1000:.4g}")
