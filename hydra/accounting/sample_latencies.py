"""The latencies of a task's samples: coarse, and folded as late as possible, as that takes time from what it does."""

from __future__ import annotations

from collections.abc import Callable

from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram, SpacedLatencies, bucket_end

MAX_UNFOLDED, MAX_UNFOLDED_ARRIVALS = 120, 131_072
"""Samples, and different arrivals in them, that are kept as they came."""


class UnfoldedSamples:
    """Keeps the arrivals of samples by their numbers.

    Args:
        put: takes the number of a sample, and its latencies once they are folded.
    """

    def __init__(self, put: Callable[[int, LatencyCounts], None]) -> None:
        self._put = put
        self._samples: dict[int, SpacedLatencies] = {}
        """The oldest first."""
        self.arrivals = 0
        """Different arrivals in all of them."""

    def __contains__(self, number: object) -> bool:
        """Whether a sample is still as it came."""
        return number in self._samples

    def clear(self) -> None:
        """Forget all that is not folded."""
        self._samples.clear()
        self.arrivals = 0

    def add(self, number: int, latencies: SpacedLatencies) -> None:
        """Keep those of another sample."""
        self._samples[number] = latencies
        self.arrivals += len(latencies)

    def bound(self) -> None:
        """Fold the oldest sample if there are very many: about as much as comes in a second."""
        if len(self._samples) > MAX_UNFOLDED or self.arrivals > MAX_UNFOLDED_ARRIVALS:
            self.fold(next(iter(self._samples)))

    def fold(self, number: int) -> None:
        """Fold one sample."""
        latencies = self._samples.pop(number)
        self.arrivals -= len(latencies)
        self._put(number, latencies.fold(SAMPLE_BITS).fact())

    def fold_all(self) -> None:
        """Fold what is left."""
        for number in tuple(self._samples):
            self.fold(number)


def coarser(histogram: LatencyCounts, bits: int) -> LatencyCounts:
    """The same latencies in the wider buckets of fewer bits: each of them holds whole buckets of more."""
    found = LatencyHistogram(bits)
    for bucket, count in zip(histogram.buckets, histogram.counts, strict=True):
        found.add(bucket_end(bucket, histogram.bits) - 1, count)
    found.max_us, found.negative = histogram.max_us, histogram.negative
    return found.fact()
