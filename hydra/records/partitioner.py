"""Which partition each record of a plan goes to.

Records go to the partitions in blocks, as with Kafka's sticky partitioner, and each partition counts its own sequence
from 0. A batch of a partition's log is then one unbroken interval of sequences, which lets a reader prove a
whole batch from its first and last record, and the send time of any sequence follows from the plan: it is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
