"""Latencies: counted in buckets whose histograms can be added up, and folded in without a look at each record.

**Buckets.** A latency is a whole number of microseconds, v. Up to ``2 ** bits`` every v has a bucket of its own; above
that each doubling of v is cut into ``2 ** (bits - 1)`` buckets of one width. With ``s = max(0, v.bit_length() - bits)``
the bucket of v is ``(s << bits - 1) + (v >> s)``. This is the layout of HdrHistogram: a bucket is never wider than
``2 ** (1 - bits)`` of what it holds, so 11 bits keep three significant digits, from 1 us to as long as anyone waits.

**Folding.** The records that arrive together were due one plan interval apart, so their latencies are evenly spaced,
and a whole arrival is two numbers: the lowest latency, and how many records. The spacing is cut into ``2 ** k`` ticks
of at most a microsecond; in ticks the latencies of an arrival are ``low, low + 2 ** k, low + 2 * 2 ** k, ...``, whole
numbers without a rounding error that grows. Arrivals are only counted by (lowest, records) while the run goes on; the
buckets are filled from these counts afterwards, over the distinct latencies instead of over the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hydra.options.thresholds import PERCENTILES

FINE_BITS = 11
"""Three significant digits."""

CLIENT_BITS = 8
"""Within 1 %, or half a millisecond: for what there is one of for each client."""

SAMPLE_BITS = 6
"""Within 4 %, or half a millisecond: for what there is one of for each second and task."""

_COARSE_TICKS_BITS = 10
"""Where less than ``FINE_BITS`` are kept, lowest latencies are rounded to whole intervals, or to 1024 ticks (1 ms)."""

TICKS_PER_S = 1_000_000
"""Buckets count microseconds."""

_RECORDS_BITS = 24
_RECORDS_MASK = (1 << _RECORDS_BITS) - 1


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
        self.max_us = max(self.max_us, latency_us)
        bucket = bucket_of(latency_us, self.bits)
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
        total = len(self)
        found: list[int] = []
        reached, buckets, end_us = 0, iter(sorted(self.counts)), 1
        for percent in percents:
            wanted = rank_of(percent, total)
            while reached < wanted:
                bucket = next(buckets)
                reached += self.counts[bucket]
                end_us = bucket_end(bucket, self.bits)
            found.append(min(end_us - 1, self.max_us))
        return found

    def summary(self) -> LatencySummary:
        """What the histogram says, in milliseconds."""
        values = [value / 1000 for value in self.percentiles_us(PERCENTS.values())]
        return LatencySummary(
            deliveries=len(self),
            **dict(zip(PERCENTS, values, strict=True)),
            max_ms=self.max_us / 1000,
            negative=self.negative,
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

    __slots__ = ("_arrivals", "_bits", "_highest", "_interval_ticks", "_spacing", "_ticks_per_s", "negative")

    def __init__(self, spacing: Spacing, bits: int = FINE_BITS) -> None:
        self._spacing = spacing
        self._interval_ticks = spacing.interval_ticks
        self._ticks_per_s = spacing.ticks_per_s
        self._bits = bits
        self._arrivals: dict[int, int] = {}
        """How often, by the lowest latency (ticks) and, in the lower bits, the number of records."""
        self._highest = 0
        self.negative = 0

    def add(self, lowest_s: float, records: int) -> None:
        """Count an arrival; ``lowest_s`` is the latency of its newest record, each older one's an interval more."""
        # Hot path: a few times for every answer to a fetch.
        low = int(lowest_s * self._ticks_per_s)
        if lowest_s < 0 or records > _RECORDS_MASK:
            self._add_slowly(math.floor(lowest_s * self._ticks_per_s), records)
            return
        high = low + (records - 1) * self._interval_ticks
        self._highest = max(self._highest, high)
        shift = low.bit_length() - self._bits
        if shift > 0:
            low = low >> shift << shift
        key = low << _RECORDS_BITS | records
        arrivals = self._arrivals
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
            part = min(records, _RECORDS_MASK)
            self.add((low + 0.5) / spacing.ticks_per_s, part)
            low += part * spacing.interval_ticks
            records -= part

    def take(self, other: SpacedLatencies) -> None:
        """Count the arrivals of another one of the same spacing and bits, too."""
        arrivals = self._arrivals
        for key, times in other._arrivals.items():  # one of its own kind
            arrivals[key] = arrivals.get(key, 0) + times
        self._highest = max(self._highest, other._highest)
        self.negative += other.negative

    def summary(self) -> LatencySummary:
        """What a histogram of all latencies would say; percentiles are exact but for the bits that were not kept.

        Takes time for each arrival, and none for its records.
        """
        times = self._arrivals.items()
        progressions = [_Progression(key, occurs, self._bits, self._interval_ticks) for key, occurs in times]
        deliveries = sum(each.records * each.occurs for each in progressions)
        ranks = [rank_of(percent, deliveries) for percent in PERCENTS.values()]
        us_per_tick = self._spacing.us_per_tick
        highest_us = int(self._highest * us_per_tick)
        values_us = [int(tick * us_per_tick) for tick in _ticks_at(ranks, progressions, self._interval_ticks)]
        return LatencySummary(
            deliveries=deliveries,
            **{name: min(us, highest_us) / 1000 for name, us in zip(PERCENTS, values_us, strict=False)},
            max_ms=highest_us / 1000,
            negative=self.negative,
        )

    def fold(self, bits: int | None = None) -> LatencyHistogram:
        """The histogram of all latencies, in buckets of so many bits: of all that were kept unless given."""
        kept = self._bits if bits is None else bits
        histogram = LatencyHistogram(kept)
        interval = self._spacing.interval_ticks
        # Latencies meet where their lowest ones differ by whole intervals, so each remainder is a row of its own: along
        # it an arrival begins, and ends so many records later.
        rows: dict[int, dict[int, int]] = {}
        least = 0 if kept >= FINE_BITS else min(_COARSE_TICKS_BITS, interval.bit_length() - 1)
        half = 1 << least >> 1
        for key, times in self._arrivals.items():
            low, records = key >> _RECORDS_BITS, key & _RECORDS_MASK
            shift = max(least, low.bit_length() - kept)
            low = low + half >> shift << shift
            first, remainder = divmod(low, interval)
            row = rows.get(remainder)
            if row is None:
                row = rows[remainder] = {}
            row[first] = row.get(first, 0) + times
            end = first + records
            row[end] = row.get(end, 0) - times
        for remainder, row in rows.items():
            places = max(row) - min(row)
            # A place of the dense list costs a sixteenth of a step from one mark, or bucket, to the next.
            fill = self._fill_densely if places <= 16 * (len(row) + (1 << kept - 1)) else self._fill
            fill(histogram, remainder, row)
        histogram.max_us = int(self._highest * self._spacing.us_per_tick)
        histogram.negative = self.negative
        return histogram

    def _fill_densely(self, histogram: LatencyHistogram, remainder: int, row: Mapping[int, int]) -> None:
        """Count the latencies of one remainder, from a list that has how often each of them occurs."""
        first = min(row)
        changes = [0] * (max(row) - first + 1)
        for place, change in row.items():
            changes[place - first] = change
        occurs = list(accumulate(changes))
        bits, counts = histogram.bits, histogram.counts
        step_us = self._spacing.interval_ticks * self._spacing.us_per_tick
        base_us = remainder * self._spacing.us_per_tick
        at, stop = 0, len(occurs)
        while at < stop:
            bucket = bucket_of(int(base_us + (first + at) * step_us), bits)
            end = max(at + 1, -int((base_us - bucket_end(bucket, bits)) // step_us) - first)
            if found := sum(occurs[at:end]):
                counts[bucket] = counts.get(bucket, 0) + found
            at = end

    def _fill(self, histogram: LatencyHistogram, remainder: int, row: Mapping[int, int]) -> None:
        """The same where the latencies are few and far between: between two marks of the row each occurs as often."""
        bits, counts = histogram.bits, histogram.counts
        us_per_tick = self._spacing.us_per_tick
        step_us = self._spacing.interval_ticks * us_per_tick
        base_us = remainder * us_per_tick
        times, place = 0, 0
        for mark in sorted(row):
            while times and place < mark:
                bucket = bucket_of(int(base_us + place * step_us), bits)
                # As many of them at once as fall into the same bucket.
                until = min(mark, max(place + 1, -int((base_us - bucket_end(bucket, bits)) // step_us)))
                counts[bucket] = counts.get(bucket, 0) + times * (until - place)
                place = until
            times += row[mark]
            place = mark


class _Progression:
    """Latencies one interval apart, in ticks, as an arrival that occurred so many times has them."""

    __slots__ = ("end", "low", "occurs", "records")

    def __init__(self, key: int, occurs: int, bits: int, interval: int) -> None:
        low, self.records = key >> _RECORDS_BITS, key & _RECORDS_MASK
        # In the middle of what the bits that were cut off may have been.
        self.low = low + (1 << max(0, low.bit_length() - bits) >> 1)
        self.end = self.low + self.records * interval
        self.occurs = occurs


def _ticks_at(ranks: Sequence[int], progressions: Sequence[_Progression], interval: int) -> list[int]:
    """The latencies of these ranks (rising, counted from 1) among those of all progressions.

    Between two ticks at which no progression begins or ends, each interval holds one latency of each progression that
    goes on there. So how many latencies are below a tick is known but for one of each, without a look at any of them.
    """
    marks: dict[int, list[_Progression]] = {}
    for each in progressions:
        marks.setdefault(each.low, []).append(each)
        marks.setdefault(each.end, []).append(each)
    found: list[int] = []
    active: dict[_Progression, None] = {}
    width, whole, done, begin = 0, 0, 0, 0
    for tick in sorted(marks):
        while len(found) < len(ranks) and done + width * (tick // interval + 1) - whole >= ranks[len(found)]:
            below = [done + sum(_below(at, each, interval) for each in active) for at in (begin, tick)]
            if below[1] < ranks[len(found)]:
                break
            turn, place = divmod(ranks[len(found)] - below[0] - 1, width)
            found.append(begin + turn * interval + _phase(place, begin, active, interval))
        for each in marks[tick]:
            sign = -1 if each in active else 1
            if sign < 0:
                del active[each]
                done += each.records * each.occurs
            else:
                active[each] = None
            width += sign * each.occurs
            whole += sign * each.occurs * (each.low // interval)
        begin = tick
    return found


def _below(tick: int, progression: _Progression, interval: int) -> int:
    """How many latencies of a progression are below a tick that is neither before its first one nor after its end."""
    return progression.occurs * -((progression.low - tick) // interval)


def _phase(place: int, begin: int, active: Iterable[_Progression], interval: int) -> int:
    """How far behind ``begin`` the latency is that so many others of its interval come before."""
    for phase, occurs in sorted(((each.low - begin) % interval, each.occurs) for each in active):
        if place < occurs:
            return phase
        place -= occurs
    raise AssertionError("an interval holds one latency of each")
