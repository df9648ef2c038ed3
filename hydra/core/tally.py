"""What one client received, counted as it arrives. The drivers write into a tally; statistics are read off it.

This is on the path of every fetch: a call a *batch* in the wire driver, a call a record in the other two.
"""

from __future__ import annotations

from collections.abc import Iterable

from hydra.core.identity import IDENTITY, IDENTITY_BYTES
from hydra.core.intervals import IntervalSet
from hydra.core.stats import ClientStats, PartitionStats


class PartitionTally:
    """What one client received from one partition.

    Args:
        partition: its number.
        start_offset: where the client begins to read.
    """

    __slots__ = (
        "duplicates",
        "highest",
        "next_offset",
        "partition",
        "received",
        "reordered",
        "sequences",
        "start_offset",
    )

    def __init__(self, partition: int, start_offset: int) -> None:
        self.partition = partition
        self.start_offset = start_offset
        self.next_offset = start_offset
        """The client's position: the offset that it asks for next."""
        self.received = 0
        self.duplicates = 0
        self.reordered = 0
        self.highest = -1
        """The highest sequence seen: one that comes below it, and is new, came out of order."""
        self.sequences = IntervalSet()

    def add(self, first_sequence: int, records: int) -> None:
        """Count ``records`` records with the sequences from ``first_sequence`` on, in that order."""
        fresh = self.sequences.add(first_sequence, first_sequence + records)
        self.received += records
        last = first_sequence + records - 1
        if first_sequence > self.highest:
            self.highest = last
            return
        self.duplicates += records - fresh
        beyond = max(0, last - self.highest)
        self.reordered += fresh - beyond
        self.highest += beyond

    def stats(self) -> PartitionStats:
        """The counts so far, as a fact."""
        return PartitionStats(
            partition=self.partition,
            start_offset=self.start_offset,
            next_offset=self.next_offset,
            received=self.received,
            duplicates=self.duplicates,
            reordered=self.reordered,
            sequences=tuple(self.sequences),
        )


class ClientTally:
    """What one client received.

    Args:
        name: the client's name, unique in the run.
        tag: the run's tag; a record without it is foreign.
        starts: (partition, start offset) of every partition that the client reads.
    """

    __slots__ = (
        "corrupt", "error", "fetches", "first_arrival_records", "first_received_s", "foreign", "last_received_s",
        "name", "partitions", "positioned", "received_bytes", "tag",
    )  # fmt: skip

    def __init__(self, name: str, tag: int, starts: Iterable[tuple[int, int]]) -> None:
        self.name = name
        self.tag = tag
        self.partitions = {partition: PartitionTally(partition, offset) for partition, offset in starts}
        self.positioned = not self.partitions
        """True once every partition is known to be read from its start offset; at once where there is no partition."""
        self.fetches = 0
        self.received_bytes = 0
        self.foreign = 0
        self.corrupt = 0
        self.first_received_s: float | None = None
        self.first_arrival_records = 0
        self.last_received_s = 0.0
        self.error = ""
        """The last trouble that this client had, in words; empty when all is well again."""

    def arrived(self, now_s: float, size_bytes: int) -> None:
        """Note, once they are counted, that records of ``size_bytes`` came in at ``now_s`` (monotonic clock)."""
        if self.first_received_s is None:
            self.first_received_s = now_s
            self.first_arrival_records = self.received
        self.last_received_s = now_s
        self.received_bytes += size_bytes

    def record(self, partition: int, value: bytes | memoryview) -> None:
        """Count one record by the identity in its value; what carries none, or another run's, is foreign."""
        if len(value) < IDENTITY_BYTES:
            self.foreign += 1
            return
        tag, _incarnation, sequence = IDENTITY.unpack_from(value)
        if tag != self.tag:
            self.foreign += 1
            return
        self.partitions[partition].add(sequence, 1)

    @property
    def received(self) -> int:
        """Records of this run over all partitions, duplicates included."""
        return sum(part.received for part in self.partitions.values())

    def reached(self, end_offsets: dict[int, int]) -> bool:
        """Whether the client has read up to the given end offset in every partition that it reads."""
        return all(part.next_offset >= end_offsets.get(number, 0) for number, part in self.partitions.items())

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
            foreign=self.foreign,
            corrupt=self.corrupt,
            error=self.error,
        )
