"""The send plan: when each record is due, and which partition it goes to. It reads no clock and never sleeps.

Records go to the partitions in blocks, as with Kafka's sticky partitioner, and each partition counts its own sequence
from 0. A batch of a partition's log is then one unbroken interval of sequences, which lets a reader prove a
whole batch from its first and last record, and the send time of any sequence follows from the plan: it is not stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class SendPlan:
    """An open loop: record k is due ``k / msg_rate`` seconds after the start, whatever became of the ones before it."""

    msg_rate: float
    test_duration: float

    @property
    def interval_s(self) -> float:
        """From one record to the next."""
        return 1 / self.msg_rate

    @property
    def records(self) -> int:
        """How many records the whole plan has; at least one."""
        return max(1, round(self.msg_rate * self.test_duration))

    def due(self, elapsed_s: float) -> int:
        """How many records should have been sent ``elapsed_s`` after the start."""
        if elapsed_s < 0:
            return 0
        due = math.floor(elapsed_s * self.msg_rate) + 1
        if self.intended_s(due) <= elapsed_s:
            due += 1  # the product was rounded down past the moment at which this one is due
        return min(self.records, due)

    def intended_s(self, index: int) -> float:
        """When record ``index`` is due, in seconds after the start."""
        return index / self.msg_rate


@dataclass(frozen=True)
class Partitioner:
    """Record ``index`` of the plan <-> (partition, sequence in that partition).

    With block ``b = index // block_records``: partition is ``b % partitions`` and the sequence is
    ``(b // partitions) * block_records + index % block_records``.
    """

    partitions: int
    block_records: int

    def locate(self, index: int) -> tuple[int, int]:
        """(partition, sequence) of the plan's record ``index``."""
        block, within = divmod(index, self.block_records)
        turn, partition = divmod(block, self.partitions)
        return partition, turn * self.block_records + within

    def index(self, partition: int, sequence: int) -> int:
        """The place in the plan of a partition's ``sequence``; the inverse of :meth:`locate`."""
        turn, within = divmod(sequence, self.block_records)
        return (turn * self.partitions + partition) * self.block_records + within

    def share(self, partition: int, records: int) -> int:
        """How many of the plan's first ``records`` go to a partition."""
        turns, rest = divmod(records, self.block_records * self.partitions)
        within = min(self.block_records, max(0, rest - partition * self.block_records))
        return turns * self.block_records + within

    def runs(self, first_index: int, count: int) -> Iterator[tuple[int, int, int]]:
        """``count`` records from ``first_index`` on, as (partition, first sequence, records), in the plan's order."""
        if self.partitions == 1:
            yield 0, first_index, count
            return
        stop = first_index + count
        while first_index < stop:
            partition, sequence = self.locate(first_index)
            records = min(self.block_records - sequence % self.block_records, stop - first_index)
            yield partition, sequence, records
            first_index += records
