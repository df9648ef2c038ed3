"""How late a delivery is: against the plan, and against the moment at which its record was handed to the library.

Both are counted for whole arrivals (``accounting/latency.py``), with no loop over records:

- *end to end*: from the **intended** send time, which follows from the plan (a stalled publisher is charged for);
- *service*: from the actual send time, which the producer's library writes into every record batch, in whole
  milliseconds of its clock rounded down: a service latency reads up to 1 ms too high. Large batches carry only
  the first and last timestamp; those in between are interpolated, which can be off by a few ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from hydra.accounting.latency import (
    PERCENTS,
    LatencyCounts,
    LatencyHistogram,
    LatencySummary,
    SpacedLatencies,
    Spacing,
)
from hydra.records.send_plan import Partitioner, SendPlan

STEADY_MS = 3.0
"""Records whose timestamps differ from the plan's spacing by no more than this count as sent evenly."""

EVEN_SPREAD_MS = 50.0
"""In a batch that spans no more the records count as evenly spread over it; in a longer one each is read."""

NEARLY_EVEN_MS = 20.0
"""A batch that was due over more than that, at a low rate, is still spread where it is off by no more than this: to
read its records, for each of thousands of clients, would cost more than all the rest."""

PART_MS = 12
"""Such a batch is cut into parts of about this."""

TIMESTAMP_ERROR_S = 0.010
"""By how much a record's timestamp, as it is told here from those of its batch, may be off."""

SET_BACK_MS = 50.0
"""As it is told here, no percentile of service latencies is above that of the end-to-end ones by more."""

SPREAD_PARTS = 4
"""Into so many parts at most is such a batch cut: a latency is then off by 7 ms at most."""


Sent = tuple[int, int, float, float]
"""A batch, or several that were sent evenly: first offset, records, timestamp (ms) of the first and the last."""


class SentTimes(NamedTuple):
    """When the records of some batches were sent, in seconds since 1970: the same for all clients that receive them."""

    even: Sequence[tuple[float, int]]
    """(when the last one was sent, records) of those that were sent one plan interval apart."""
    uneven: Sequence[tuple[float, int]]
    """(when they were sent, records) of those that were not."""
    unread: Sequence[int] = ()
    """First offsets of the batches of which two timestamps do not tell enough: each of their records is to be read."""


def sent_times(batches: Iterable[Sent], interval_ms: float) -> SentTimes:
    """When the records of these batches were sent; most batches continue evenly from the one before."""
    even: list[tuple[float, int]] = []
    uneven: list[tuple[float, int]] = []
    unread: list[int] = []
    even_ms, even_phase_ms, even_records, even_stop = 0.0, 0.0, 0, -1
    for offset, records, first_ms, last_ms in batches:
        if not is_steady(records, first_ms, last_ms, interval_ms):
            parts = _parts(int(first_ms), int(last_ms), records, interval_ms)
            uneven += parts
            if not parts:
                unread.append(offset)
            continue
        phase_ms = first_ms - offset * interval_ms
        if offset == even_stop and -STEADY_MS < phase_ms - even_phase_ms < STEADY_MS:
            even_records += records
        else:
            if even_records:
                even.append(((even_ms + (even_records - 1) * interval_ms) / 1000, even_records))
            even_ms, even_phase_ms, even_records = first_ms, phase_ms, records
        even_stop = offset + records
    if even_records:
        even.append(((even_ms + (even_records - 1) * interval_ms) / 1000, even_records))
    return SentTimes(even, uneven, unread)


def sent_before_planned(service: LatencySummary, e2e: LatencySummary) -> bool:
    """Whether records bear timestamps from before they were due: the clock that stamps them was set back in mid-run.

    No record is sent before it is due, so no service latency is longer than the same delivery's end to end.
    """
    pairs = [(getattr(service, name), getattr(e2e, name)) for name in (*PERCENTS, "max_ms")]
    above = any(since_sent_ms > 1.01 * since_due_ms + SET_BACK_MS for since_sent_ms, since_due_ms in pairs)
    return above and e2e.deliveries > 0


def is_steady(records: int, first_ms: float, last_ms: float, interval_ms: float) -> bool:
    """Whether the records of a batch were sent as evenly as the plan says, as far as its timestamps tell."""
    return -STEADY_MS < last_ms - first_ms - (records - 1) * interval_ms < STEADY_MS


class DeliveryTiming:
    """Counts how late the deliveries of one task are.

    The plan starts at ``start_s`` on the clock that arrivals are told by, which is ``start_wall_s`` on the clock that
    stamps the records (seconds since 1970).
    """

    __slots__ = (
        "_even", "_interval_s", "_one_partition", "_partitioner", "_planned", "_sample", "_start_s", "_start_wall_s",
        "_uneven", "_whole", "interval_ms", "spacing",
    )  # fmt: skip

    def __init__(self, plan: SendPlan, partitioner: Partitioner, start_s: float, start_wall_s: float) -> None:
        self._interval_s = plan.interval_s
        self.interval_ms = 1000 * plan.interval_s
        self._partitioner = partitioner
        self._one_partition = partitioner.partitions == 1
        self._planned = {part: partitioner.share(part, plan.records) for part in range(partitioner.partitions)}
        """Records of the plan, by partition."""
        self._start_s = start_s
        self._start_wall_s = start_wall_s
        self.spacing = Spacing(self._interval_s)
        self._whole = SpacedLatencies(self.spacing)
        self._sample = SpacedLatencies(self.spacing)
        self._even = SpacedLatencies(self.spacing)
        self._uneven = LatencyHistogram()

    def arrived(self, client: SpacedLatencies, partition: int, sequence: int, records: int, now_s: float) -> None:
        """Count the end-to-end latencies of records that arrived together, for their client and for the task.

        What is beyond the plan is somebody else's, and was never due.
        """
        # Hot path: once for every answer to a fetch.
        since_s = now_s - self._start_s
        if sequence + records > (stop := self._planned.get(partition, 0)):
            records = stop - sequence
            if records <= 0:
                return
        if self._one_partition:
            lowest_s = since_s - (sequence + records - 1) * self._interval_s
            self._sample.add_to_both(client, lowest_s, records)
            return
        block_records = self._partitioner.block_records
        while records > 0:
            count = min(records, block_records - sequence % block_records)
            last = self._partitioner.index(partition, sequence + count - 1)
            lowest_s = since_s - last * self._interval_s
            self._sample.add_to_both(client, lowest_s, count)
            sequence += count
            records -= count

    def sent(self, now_s: float, times: SentTimes) -> None:
        """Count the service latencies of records that arrived together; nothing of those that are to be read."""
        # Hot path: once for every answer to a fetch, with a turn for each group of batches or part of one.
        since_s = now_s - self._start_s + self._start_wall_s
        add = self._even.add
        for sent_s, records in times.even:
            latency_s = since_s - sent_s
            add(latency_s if latency_s >= 0 else _plausible(latency_s), records)
        add_uneven = self._uneven.add
        for sent_s, records in times.uneven:
            latency_s = since_s - sent_s
            if latency_s < 0:
                latency_s = _plausible(latency_s)
            add_uneven(int(latency_s * 1_000_000) if latency_s >= 0 else -1, records)

    def sent_at(self, now_s: float, sent_ms: int, records: int) -> None:
        """Count the service latency of records that were sent in the same millisecond."""
        latency_s = _plausible(now_s - self._start_s + self._start_wall_s - sent_ms / 1000)
        self._uneven.add(int(latency_s * 1_000_000) if latency_s >= 0 else -1, records)

    def take_sample(self) -> SpacedLatencies:
        """The end-to-end latencies since the last call, not folded yet: that takes longer than to count them."""
        sample, self._sample = self._sample, SpacedLatencies(self.spacing)
        self._whole.take(sample)
        return sample

    def settle(self, kept: int, most: int | None = None) -> None:
        """Have arrivals go into buckets where there are more than ``kept`` (``SpacedLatencies.settle``)."""
        for latencies in (self._whole, self._even):
            latencies.settle(kept, most)

    def e2e(self) -> LatencyCounts:
        """The end-to-end latencies up to the last sample."""
        return self._whole.fold().fact()

    def service(self) -> LatencyCounts:
        """The service latencies so far."""
        histogram = self._even.fold()
        histogram.merge(self._uneven.fact())
        return histogram.fact()


def _parts(first_ms: int, last_ms: int, records: int, interval_ms: float) -> Sequence[tuple[float, int]]:
    """(when it was sent, in seconds; records) of each part of a batch that was not sent evenly.

    Empty where its two timestamps do not tell enough.
    """
    span_ms = last_ms - first_ms
    off_ms = abs(span_ms - (records - 1) * interval_ms)
    if span_ms < 0 or (span_ms > EVEN_SPREAD_MS and off_ms > NEARLY_EVEN_MS):
        return ()
    parts = min(records, span_ms + 1, max(SPREAD_PARTS, span_ms // PART_MS))
    bounds = [records * number // parts for number in range(parts + 1)]
    return tuple(
        ((first_ms + round(span_ms * (first + stop - 1) / 2 / max(1, records - 1))) / 1000, stop - first)
        for first, stop in pairwise(bounds)
    )


def _plausible(latency_s: float) -> float:
    """A latency that came out below zero by no more than its timestamps may be off is zero, and no sign of clocks."""
    return 0.0 if -TIMESTAMP_ERROR_S < latency_s < 0 else latency_s
