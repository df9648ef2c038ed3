"""The auditor: reads a run's whole log once more, after all clients have read it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from hydra.accounting.evidence import Audit, AuditedPartition, OffsetRange
from hydra.clients.protocols import SubscriberDriver
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.errors import BrokerError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder

_POLL_S = 0.1


class WireAuditor:
    """Reads with the wire driver, many times as fast as the log was written; an Auditor."""

    records_per_s = 1_000_000

    def __init__(self, access: KafkaAccess = NO_SECURITY) -> None:
        self._access = access

    def audit(self, order: RunOrder, log: Mapping[int, OffsetRange], timeout_s: float) -> Audit:
        """Read every partition from its start to its end.

        Raises:
            BrokerError: that took longer, or the log cannot be read.
        """
        deadline_s = time.monotonic() + timeout_s
        subscriber = self._reader(_auditors_order(order, log))
        (tally,) = subscriber.tallies
        ends = {partition: offsets.end for partition, offsets in log.items()}
        try:
            subscriber.open()
            while not tally.reached(ends):
                if time.monotonic() >= deadline_s:
                    throttled = f"a quota held it back for {tally.throttled_s:.1f} s" if tally.throttled_s else ""
                    reason = tally.reason or throttled
                    reason = f" ({reason})" if reason else ""
                    raise BrokerError(f"the auditor timed out after {timeout_s:g} s{reason}")
                subscriber.poll(_POLL_S)
        finally:
            subscriber.close()
        stats = tally.stats()
        partitions = {
            part.partition: AuditedPartition(part.start_offset, part.next_offset, part.spans, part.jumps)
            for part in stats.partitions
        }
        return Audit(partitions, foreign=stats.foreign, corrupt=stats.corrupt)

    def _reader(self, order: RunOrder) -> SubscriberDriver:
        return WireSubscriber(order, self._access)


class OldKafkaAuditor(WireAuditor):
    """Reads logs of brokers before 0.11, which the wire driver does not speak to, with kafka-python."""

    records_per_s = 10_000

    def _reader(self, order: RunOrder) -> SubscriberDriver:
        from hydra.clients.kafka_python import KafkaPythonSubscriber

        return KafkaPythonSubscriber(order, self._access)


def _auditors_order(order: RunOrder, log: Mapping[int, OffsetRange]) -> RunOrder:
    """The same run, read by one client that reads all there is."""
    starts = tuple(PartitionStart(partition, offsets.start) for partition, offsets in sorted(log.items()))
    options = replace(
        order.options, group_mode="assign", fetch_min_bytes=1, fetch_wait_max_ms=100, consumer_max_buffer_size=0
    )
    auditor = ClientAssignment("auditor", f"{order.run_id}-auditor", starts)
    return replace(order, options=options, clients=(auditor,), pace_ms=0.0)
