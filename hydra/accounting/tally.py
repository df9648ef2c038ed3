"""What one client received, counted as it arrives. The drivers write into a tally; statistics are read off it.

This is on the path of every fetch: a call a *batch* in the wire driver, a call a record in the other two. So it only
notes what came, in the order in which it came, as spans; what is missing, double or out of order is found afterwards
(``accounting/intervals.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.intervals import Span
from hydra.accounting.latency import CLIENT_BITS, LatencySummary, SpacedLatencies
from hydra.accounting.stats import ClientStats, OwnErrors, PartitionStats
from hydra.kafka_errors import is_turned_away
from hydra.records.identity import IDENTITY_BYTES, SEQUENCE, SEQUENCE_OFFSET


class PartitionTally:
    """What one client received from one partition, which it reads from ``start_offset`` on."""

    __slots__ = (
        "_end_offset", "_end_sequence", "_first_offset", "_first_sequence", "_marked_sequence", "_marked_span",
        "_spans", "handed_over", "jumps", "next_offset", "partition", "received", "start_offset",
    )  # fmt: skip

    def __init__(self, partition: int, start_offset: int) -> None:
        self.partition = partition
        self.start_offset = start_offset
        self.next_offset = start_offset
        """The client's position: the offset that it asks for next."""
        self.received = 0
        self.jumps: list[tuple[int, int]] = []
        """(from, to) of each time that the position was out of the log's range and moved to where the log is."""
        self.handed_over: list[tuple[int, int]] = []
        """(from, to) of each time that its group was further than the client: another member has read on."""
        self._spans: list[Span] = []
        # The span that grows now, and how far its records have been given out by ``take_fresh``.
        self._first_offset = self._end_offset = -1
        self._first_sequence = self._end_sequence = -1
        self._marked_span = 0
        self._marked_sequence = -1

    def add(self, offset: int, sequence: int, records: int) -> None:
        """Count records with rising sequences from ``sequence`` on, at as many offsets from ``offset`` on."""
        if offset == self._end_offset and sequence == self._end_sequence:
            self._end_offset = offset + records
            self._end_sequence = sequence + records
        else:
            self._begin(offset, sequence, records)
        self.received += records

    def _begin(self, offset: int, sequence: int, records: int) -> None:
        if self._first_offset < 0:
            self._marked_sequence = sequence
        else:
            self._spans.append(self._growing)
        self._first_offset, self._end_offset = offset, offset + records
        self._first_sequence, self._end_sequence = sequence, sequence + records

    @property
    def _growing(self) -> Span:
        return self._first_offset, self._first_sequence, self._end_sequence - self._first_sequence

    def take_fresh(self) -> Sequence[tuple[int, int]]:
        """(first sequence, records) of everything that was counted since the last call, in the order of arrival."""
        end = self._end_sequence
        if self._marked_span == len(self._spans):
            first, self._marked_sequence = self._marked_sequence, end
            return ((first, end - first),) if end > first else ()
        _, first, records = self._spans[self._marked_span]
        fresh = [(self._marked_sequence, first + records - self._marked_sequence)]
        fresh += [(first, records) for _, first, records in self._spans[self._marked_span + 1 :]]
        fresh.append((self._first_sequence, end - self._first_sequence))
        self._marked_span, self._marked_sequence = len(self._spans), end
        return [part for part in fresh if part[1]]

    def jump(self, offset: int) -> None:
        """Go on at another offset, since the log does not hold the position."""
        self.jumps.append((self.next_offset, offset))
        self.next_offset = offset

    def hand_over(self, offset: int) -> None:
        """Take the partition over from another member of the group, which is further."""
        self.handed_over.append((self.next_offset, offset))
        self.next_offset = offset

    def stats(self) -> PartitionStats:
        """The counts so far, as a fact."""
        return PartitionStats(
            partition=self.partition,
            start_offset=self.start_offset,
            next_offset=self.next_offset,
            spans=(*self._spans, self._growing) if self._first_offset >= 0 else (),
            jumps=tuple(self.jumps),
            handed_over=tuple(self.handed_over),
        )


class ClientTally:
    """What one client received; its name is unique in the run.

    ``prefix`` is what the value of each record of this run begins with (``records/identity.py``); others are foreign.
    ``starts`` are (partition, start offset) of every partition that the client reads.
    """

    __slots__ = (
        "corrupt", "error", "fetches", "first_arrival_records", "first_received_s", "followers", "foreign", "held",
        "last_received_s", "latencies", "name", "own_errors", "partitions", "positioned", "prefix", "rebalances",
        "received_bytes", "throttled_s", "timing", "turned_away",
    )  # fmt: skip

    def __init__(self, name: str, prefix: bytes, starts: Iterable[tuple[int, int]]) -> None:
        self.name = name
        self.prefix = prefix
        self.partitions = {partition: PartitionTally(partition, offset) for partition, offset in starts}
        self.positioned = not self.partitions
        """True once every partition is known to be read from its start offset; at once where there is no partition."""
        self.held: frozenset[int] | None = None
        """The partitions that its group has given to it; None for a client that was assigned what it reads."""
        self.rebalances = 0
        """How often its group took its partitions away after the run's start was known."""
        self.fetches = 0
        self.received_bytes = 0
        self.foreign = 0
        self.corrupt = 0
        self.first_received_s: float | None = None
        self.first_arrival_records = 0
        self.last_received_s = 0.0
        self.error = ""
        """The last error that this client had, in words; empty once it is over."""
        self.own_errors = OwnErrors()
        """Those of them that were no broker's doing; they stay."""
        self.throttled_s = 0.0
        """For how long the broker said that a quota held this client back, summed over its replies."""
        self.turned_away = 0
        """How often a broker closed a connection before it had answered anything on it."""
        self.followers: set[int] = set()
        """Node ids of the brokers that it read from while others led the partition (KIP-392)."""
        self.timing: DeliveryTiming | None = None
        """Knows the plan, once the start is known; shared by the clients of a task."""
        self.latencies: SpacedLatencies | None = None

    def note_error(self, text: str) -> None:
        """Note an error, and count it where it is the client's own, or where it was not let in."""
        self.error = text
        self.own_errors = self.own_errors.with_noted(text)
        self.turned_away += is_turned_away(text)

    @property
    def reason(self) -> str:
        """What keeps the client from reading: the last error of its own, if there was any; empty while nothing does."""
        return self.own_errors.instead_of(self.error)

    def hold(self, offsets: Mapping[int, int]) -> list[PartitionTally]:
        """Its group has given it these partitions, and is at these offsets; where it has been further it stays there.

        Returns the partitions that are read now.
        """
        for partition, offset in offsets.items():
            part = self.partitions.get(partition)
            if part is None:
                self.partitions[partition] = PartitionTally(partition, offset)
            elif offset > part.next_offset:
                part.hand_over(offset)
        self.held = frozenset(offsets)
        self.positioned = not offsets
        return [self.partitions[partition] for partition in offsets]

    def release(self) -> None:
        """Its group has taken all partitions away: it is positioned again when it has others, and reads them."""
        if (self.held or (self.held is not None and self.positioned)) and self.timing is not None:
            self.rebalances += 1
        self.held = frozenset()
        self.positioned = False

    def time_by(self, timing: DeliveryTiming) -> None:
        """From now on, know how late what arrives is."""
        self.timing = timing
        self.latencies = SpacedLatencies(timing.spacing, CLIENT_BITS)

    def arrived(self, now_s: float, size_bytes: int) -> None:
        """Note, once they are counted, that records of ``size_bytes`` came in at ``now_s`` (monotonic clock)."""
        if self.first_received_s is None and (received := self.received):
            self.first_received_s = now_s
            self.first_arrival_records = received
        self.received_bytes += size_bytes
        timing, latencies = self.timing, self.latencies
        if timing is None or latencies is None:
            self.last_received_s = now_s
        else:
            for part in self.partitions.values():
                for sequence, records in part.take_fresh():
                    self.last_received_s = now_s  # where all that came is somebody else's, nothing did
                    timing.arrived(latencies, part.partition, sequence, records, now_s)

    def record(self, partition: int, offset: int, value: bytes | memoryview) -> bool:
        """Count one record by the identity in its value. Returns whether it is this run's: others are foreign."""
        if len(value) < IDENTITY_BYTES or value[:SEQUENCE_OFFSET] != self.prefix:
            self.foreign += 1
            return False
        self.partitions[partition].add(offset, SEQUENCE.unpack_from(value, SEQUENCE_OFFSET)[0], 1)
        return True

    @property
    def received(self) -> int:
        """Records of this run over all partitions, duplicates included."""
        return sum(part.received for part in self.partitions.values())

    def reached(self, end_offsets: dict[int, int]) -> bool:
        """Whether the client has read up to the given end offset in every partition that it reads."""
        if self.held is not None and not self.positioned:
            return False
        read = self.partitions if self.held is None else self.held
        return all(self.partitions[number].next_offset >= end_offsets.get(number, 0) for number in read)

    def stats(self) -> ClientStats:
        """The counts so far, as a fact."""
        window_s = 0.0 if self.first_received_s is None else self.last_received_s - self.first_received_s
        return ClientStats(
            name=self.name,
            partitions=tuple(part.stats() for part in self.partitions.values()),
            positioned=self.positioned,
            fetches=self.fetches,
            received_bytes=self.received_bytes,
            receive_window_s=window_s,
            first_arrival_records=self.first_arrival_records,
            e2e=self.latencies.summary() if self.latencies is not None else LatencySummary(),
            foreign=self.foreign,
            corrupt=self.corrupt,
            error=self.reason,
            rebalances=self.rebalances,
            throttled_s=self.throttled_s,
            own_errors=self.own_errors,
            turned_away=self.turned_away,
            followers=tuple(sorted(self.followers)),
        )
