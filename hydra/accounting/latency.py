"""Latencies: counted in buckets whose histograms can be added up, and folded in without a look at each record.

**Buckets.** A latency is a whole number of microseconds, v. Up to ``2 ** bits`` every v has a bucket of its own; above
that each doubling of v is cut into ``2 ** (bits - 1)`` buckets of one width. With ``s = max(0, v.bit_length() - bits)``
the bucket of v is ``(s << bits - 1) + (v >> s)``. This is the layout of HdrHistogram: a bucket is never wider than
``2 ** (1 - bits)`` of what it holds, so 11 bits keep three significant digits, from 1 us to as long as anyone waits.

**Arrivals.** The records that arrive together were due one plan interval apart, so their latencies are evenly spaced,
and a whole arrival is two numbers: the lowest latency, and how many records. The spacing is cut into ``2 ** k`` ticks
of at most a microsecond; in ticks the latencies of an arrival are ``low, low + 2 ** k, low + 2 * 2 ** k, ...``, whole
numbers without a rounding error that grows. While the run goes on arrivals are only counted by (lowest, records).

**Settling.** How many different arrivals there are grows with the run, so what is more than a few of them is moved into
a table of buckets of ticks (``accounting/tick_table.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat

from hydra.accounting.tick_table import RECORDS_BITS, RECORDS_MASK, TickTable
from hydra.options.thresholds import PERCENTILES

FINE_BITS = 11
"""Three significant digits."""

CLIENT_BITS = 8
"""Within 1 %: for what there is one of for each client."""

SAMPLE_BITS = 6
"""Within 4 %: for what there is one of for each second and task."""

_MORE_BITS = 2
"""So many bits more than are asked for has the table in which arrivals settle."""

_LEAST_SETTLED = 512
"""So many arrivals settle at a time, or a fourth of them: some milliseconds in which nothing is received."""

TICKS_PER_S = 1_000_000
"""Buckets count microseconds."""


def bucket_of(latency_us: int, bits: int) -> int:
    """The bucket of a latency of zero or more."""
    shift = latency_us.bit_length() - bits
    return (shift << bits - 1) + (latency_us >> shift) if shift > 0 else latency_us


def bucket_end(bucket: int, bits: int) -> int:
    """The lowest latency, in microseconds, that is above the bucket."""
    shift = max(0, (bucket >> bits - 1) - 1)
    return (bucket - (shift << bits - 1) + 1) << shift


@dataclass(frozen=True)
class LatencyCounts:
    """A histogram as a fact: how many latencies each bucket holds. Travels as JSON."""

    bits: int = FINE_BITS
    """What the buckets' layout follows from; see the module."""
    buckets: tuple[int, ...] = ()
    """Rising."""
    counts: tuple[int, ...] = ()
    """One for each bucket; none is zero."""
    max_us: int = 0
    """The highest latency, exactly."""
    negative: int = 0
    """Latencies below zero: they stand in bucket 0, and mean that two clocks do not agree."""

    def __post_init__(self) -> None:
        """Raises ValueError for what is no histogram: it comes from files and from other hosts."""
        if not 0 < self.bits <= FINE_BITS or len(self.buckets) != len(self.counts):
            raise ValueError(f"no histogram: {self.bits} bits, {len(self.buckets)} buckets, {len(self.counts)} counts")
        if self.buckets and not 0 <= min(self.buckets) <= max(self.buckets) <= bucket_of(2**63 - 1, self.bits):
            raise ValueError("no histogram: a bucket that no latency has")


@dataclass(frozen=True)
class LatencySummary:
    """What a histogram says. A percentile is the upper end of its bucket, and never more than the highest latency."""

    deliveries: int = 0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    p9999_ms: float = 0.0
    max_ms: float = 0.0
    negative: int = 0
    """Deliveries whose latency came out below zero (clocks that do not agree); counted as zero."""
    mean_ms: float | None = None
    """Each latency taken for the middle of its bucket; None without any, and in results from before it was noted."""


PERCENTS: Mapping[str, float] = {
    f"{name}_ms": float(f"{name[1:3]}.{name[3:]}0") for name in PERCENTILES if name != "max"
}
"""Percent by the field of LatencySummary."""


def rank_of(percent: float, total: int) -> int:
    """Which of so many latencies, counted from 1, is that percentile; 0 of none.

    It is rounded up: the 50th percentile of three latencies is the second one.
    """
    # In whole thousandths of a percent: 99.9 is none that a float holds, and 21 million times it are too many.
    return -(-total * round(percent * 1000) // 100_000)


class LatencyHistogram:
    """Counts of latencies by bucket; histograms of the same significant bits can be added up."""

    __slots__ = ("bits", "counts", "max_us", "negative")

    def __init__(self, bits: int = FINE_BITS) -> None:
        self.bits = bits
        self.counts: dict[int, int] = {}
        self.max_us = 0
        self.negative = 0

    def __len__(self) -> int:
        """How many latencies were counted."""
        return sum(self.counts.values())

    def add(self, latency_us: int, records: int = 1) -> None:
        """Count so many records of this latency; one below zero is counted as zero, and as negative."""
        if latency_us < 0:
            self.negative += records
            latency_us = 0
        # Hot path: some times for an answer to a fetch, where the publisher's machine is busy. This is bucket_of.
        self.max_us = max(self.max_us, latency_us)
        shift = latency_us.bit_length() - (bits := self.bits)
        bucket = (shift << bits - 1) + (latency_us >> shift) if shift > 0 else latency_us
        self.counts[bucket] = self.counts.get(bucket, 0) + records

    def merge(self, other: LatencyCounts) -> None:
        """Add another histogram's counts; raises ValueError when its buckets are others."""
        if other.bits != self.bits:
            raise ValueError(f"a histogram of {other.bits} bits cannot be added to one of {self.bits}")
        counts = self.counts
        for bucket, count in zip(other.buckets, other.counts, strict=True):
            counts[bucket] = counts.get(bucket, 0) + count
        self.max_us = max(self.max_us, other.max_us)
        self.negative += other.negative

    def percentiles_us(self, percents: Iterable[float]) -> list[int]:
        """For each percent, in rising order, the lowest latency that so many of all are not above; 0 where none is."""
        return self.at_ranks_us(map(rank_of, percents, repeat(len(self))))

    def mean_us(self) -> float | None:
        """The mean, each latency taken for the middle of its bucket; None without any."""
        bits, total = self.bits, len(self)
        # Both ends of a bucket are latencies that it holds: twice its middle is their sum.
        twice_us = sum((bucket_end(at - 1, bits) + bucket_end(at, bits) - 1) * n for at, n in self.counts.items())
        return min(twice_us / 2 / total, self.max_us) if total else None

    def at_ranks_us(self, ranks: Iterable[int]) -> list[int]:
        """The latencies of these ranks, counted from 1 and rising; 0 for a rank of 0."""
        found: list[int] = []
        reached, buckets, end_us = 0, iter(sorted(self.counts)), 1
        for wanted in ranks:
            while reached < wanted:
                bucket = next(buckets)
                reached += self.counts[bucket]
                end_us = bucket_end(bucket, self.bits)
            found.append(min(end_us - 1, self.max_us))
        return found

    def summary(self) -> LatencySummary:
        """What the histogram says, in milliseconds."""
        values = [value / 1000 for value in self.percentiles_us(PERCENTS.values())]
        mean_us = self.mean_us()
        return LatencySummary(
            deliveries=len(self),
            **dict(zip(PERCENTS, values, strict=True)),
            max_ms=self.max_us / 1000,
            negative=self.negative,
            mean_ms=None if mean_us is None else mean_us / 1000,
        )

    def fact(self) -> LatencyCounts:
        """The counts so far."""
        buckets = tuple(sorted(self.counts))
        return LatencyCounts(
            self.bits, buckets, tuple(self.counts[bucket] for bucket in buckets), self.max_us, self.negative
        )


def merged(histograms: Iterable[LatencyCounts]) -> LatencyHistogram:
    """The sum of histograms of ``FINE_BITS``."""
    whole = LatencyHistogram()
    for histogram in histograms:
        whole.merge(histogram)
    return whole


class Spacing:
    """The plan's interval, cut into ticks."""

    __slots__ = ("interval_ticks", "ticks_per_s", "us_per_tick")

    def __init__(self, interval_s: float) -> None:
        interval_us = interval_s * TICKS_PER_S
        self.interval_ticks = 1
        while self.interval_ticks < interval_us:
            self.interval_ticks *= 2
        self.us_per_tick = interval_us / self.interval_ticks
        """At most 1."""
        self.ticks_per_s = TICKS_PER_S / self.us_per_tick


class SpacedLatencies:
    """Counts arrivals of records that were due one interval apart.

    So many significant bits are kept of an arrival's lowest latency.
    """

    __slots__ = (
        "_arrivals", "_bits", "_highest", "_interval_ticks", "_settled", "_spacing", "_ticks_per_s", "negative",
    )  # fmt: skip

    def __init__(self, spacing: Spacing, bits: int = FINE_BITS) -> None:
        self._spacing = spacing
        self._interval_ticks = spacing.interval_ticks
        self._ticks_per_s = spacing.ticks_per_s
        self._bits = bits
        self._arrivals: dict[int, int] = {}
        """How often, by the lowest latency (ticks) and, in the lower bits, the number of records."""
        self._settled: TickTable | None = None
        self._highest = 0
        self.negative = 0

    def add(self, lowest_s: float, records: int) -> None:
        """Count an arrival; ``lowest_s`` is the latency of its newest record, each older one's an interval more."""
        # Hot path: a few times for every answer to a fetch.
        low = int(lowest_s * self._ticks_per_s)
        if lowest_s < 0 or records > RECORDS_MASK:
            self._add_slowly(math.floor(lowest_s * self._ticks_per_s), records)
            return
        high = low + (records - 1) * self._interval_ticks
        if high > self._highest:  # noqa: PLR1730  # max would be a call more
            self._highest = high
        shift = low.bit_length() - self._bits
        if shift > 0:
            low = low >> shift << shift
        key = low << RECORDS_BITS | records
        arrivals = self._arrivals
        arrivals[key] = arrivals.get(key, 0) + 1

    def add_to_both(self, other: SpacedLatencies, lowest_s: float, records: int) -> None:
        """Count an arrival here and in another one of the same spacing, as ``add`` does."""
        # Hot path: once for every answer to a fetch.
        low = int(lowest_s * self._ticks_per_s)
        if lowest_s < 0 or records > RECORDS_MASK:
            self.add(lowest_s, records)
            other.add(lowest_s, records)
            return
        high = low + (records - 1) * self._interval_ticks
        if high > self._highest:  # noqa: PLR1730
            self._highest = high
        if high > other._highest:  # noqa: PLR1730
            other._highest = high
        length = low.bit_length()
        shift = length - self._bits
        key = (low >> shift << shift if shift > 0 else low) << RECORDS_BITS | records
        arrivals = self._arrivals
        arrivals[key] = arrivals.get(key, 0) + 1
        shift = length - other._bits
        key = (low >> shift << shift if shift > 0 else low) << RECORDS_BITS | records
        arrivals = other._arrivals
        arrivals[key] = arrivals.get(key, 0) + 1

    def _add_slowly(self, low: int, records: int) -> None:
        spacing = self._spacing
        if low < 0:
            below = min(records, -(low // spacing.interval_ticks))
            self.negative += below
            zero = 1
            self._arrivals[zero] = self._arrivals.get(zero, 0) + below
            low += below * spacing.interval_ticks
            records -= below
        while records > 0:
            part = min(records, RECORDS_MASK)
            self.add((low + 0.5) / spacing.ticks_per_s, part)
            low += part * spacing.interval_ticks
            records -= part

    def __len__(self) -> int:
        """How many different arrivals are kept, beside those that have settled."""
        return len(self._arrivals)

    def take(self, other: SpacedLatencies) -> None:
        """Count the arrivals of another one of the same spacing and bits, of which none has settled, too."""
        arrivals = self._arrivals
        for key, times in other._arrivals.items():  # one of its own kind
            arrivals[key] = arrivals.get(key, 0) + times
        self._highest = max(self._highest, other._highest)
        self.negative += other.negative

    def settle(self, kept: int, most: int | None = None) -> None:
        """Have arrivals settle if there are more than ``kept``: ``most`` of them, at some microseconds each.

        Unless given, 512 of them or a fourth: enough for what came in a second if it is called once a second.
        """
        more = len(self._arrivals) - kept
        if more <= 0:
            return
        if self._settled is None:
            self._settled = self._table(self._bits)
        pop, count = self._arrivals.popitem, max(_LEAST_SETTLED, more // 4) if most is None else most
        self._settled.add((pop() for _ in range(min(more, count))), self._cut_to)

    @property
    def _cut_to(self) -> int | None:
        """Bits that are kept of an arrival's lowest latency, where those that were cut off are to be guessed."""
        return self._bits if self._bits < FINE_BITS else None

    def _table(self, bits: int) -> TickTable:
        return TickTable(bits + _MORE_BITS, self._interval_ticks)

    def _counts(self, bits: int) -> Iterator[tuple[int, int, int]]:
        """(lowest tick, ticks, latencies) of each bucket of the table that has any; the table has so many bits."""
        table = self._table(bits) if self._settled is None else self._settled.copy()
        table.add(self._arrivals.items(), self._cut_to)
        return table.counts()

    def summary(self) -> LatencySummary:
        """What all latencies come to; each is taken for the middle of its bucket, and for no more than the highest."""
        us_per_tick = self._spacing.us_per_tick
        highest_us = int(self._highest * us_per_tick)
        buckets = list(self._counts(self._bits))
        deliveries = sum(count for _, _, count in buckets)
        twice_ticks = sum((2 * tick + ticks) * count for tick, ticks, count in buckets)
        found_us: list[int] = []
        reached, remaining, at_us = 0, iter(buckets), 0
        for percent in PERCENTS.values():
            wanted = rank_of(percent, deliveries)
            while reached < wanted:
                tick, ticks, count = next(remaining)
                reached += count
                at_us = int((tick + ticks // 2) * us_per_tick)
            found_us.append(min(at_us, highest_us))
        return LatencySummary(
            deliveries=deliveries,
            **{name: us / 1000 for name, us in zip(PERCENTS, found_us, strict=True)},
            max_ms=highest_us / 1000,
            negative=self.negative,
            mean_ms=min(twice_ticks / 2 / deliveries * us_per_tick, highest_us) / 1000 if deliveries else None,
        )

    def fold(self, bits: int | None = None) -> LatencyHistogram:
        """The histogram of all latencies, in buckets of so many bits: of all that were kept unless given."""
        histogram = LatencyHistogram(self._bits if bits is None else bits)
        kept, counts, us_per_tick = histogram.bits, histogram.counts, self._spacing.us_per_tick
        for tick, _, count in self._counts(kept):
            bucket = bucket_of(int(tick * us_per_tick), kept)
            counts[bucket] = counts.get(bucket, 0) + count
        histogram.max_us = int(self._highest * us_per_tick)
        histogram.negative = self.negative
        return histogram
