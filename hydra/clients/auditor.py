"""The auditor: one fresh reader of a run's whole log, after everyone else has read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from hydra.accounting.partition_log import Audit, AuditedPartition, OffsetRange
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.errors import BrokerError
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder

_POLL_S = 0.1
_FETCH_WAIT_MAX_MS = 100


class WireAuditor:
    """Reads with the wire driver, which goes over a log many times as fast as it was written; an Auditor."""

    def audit(self, order: RunOrder, log: Mapping[int, OffsetRange], timeout_s: float) -> Audit:
        """Read every partition from its start to its end.

        Raises:
            BrokerError: when that took longer, or the log cannot be read.
        """
        deadline_s = time.monotonic() + timeout_s
        subscriber = WireSubscriber(_auditors_order(order, log))
        (tally,) = subscriber.tallies
        ends = {partition: offsets.end for partition, offsets in log.items()}
        try:
            subscriber.open()
            while not tally.reached(ends):
                if time.monotonic() >= deadline_s:
                    raise BrokerError(f"the auditor was not through after {timeout_s:g} s{_trouble(tally.error)}")
                subscriber.poll(_POLL_S)
        finally:
            subscriber.close()
        stats = tally.stats()
        return Audit(
            {
                part.partition: AuditedPartition(part.start_offset, part.next_offset, part.spans, part.jumps)
                for part in stats.partitions
            },
            foreign=stats.foreign,
            corrupt=stats.corrupt,
        )


def _auditors_order(order: RunOrder, log: Mapping[int, OffsetRange]) -> RunOrder:
    """The same run, read by one client that reads all there is."""
    starts = tuple(PartitionStart(partition, offsets.start) for partition, offsets in sorted(log.items()))
    return replace(
        order,
        options=replace(
            order.options,
            sub_driver="wire",
            group_mode="assign",
            fetch_min_bytes=1,
            fetch_wait_max_ms=_FETCH_WAIT_MAX_MS,
            consumer_max_buffer_size=0,
        ),
        clients=(ClientAssignment("auditor", f"{order.run_id}-auditor", starts),),
        pace_ms=0.0,
    )


def _trouble(error: str) -> str:
    return f" ({error})" if error else ""
