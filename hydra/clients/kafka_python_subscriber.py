"""The subscriber on kafka-python: one KafkaConsumer a client."""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from hydra.accounting.tally import ClientTally
from hydra.clients.kafka_python_connect import connected
from hydra.clients.protocols import DEFAULT_MAX_BYTES
from hydra.clients.round_robin import PolledClient, RoundRobinSubscriber
from hydra.options.order import ClientAssignment, RunOrder

_CONNECT_S = 2.0
_TRY_AGAIN_S = 0.5
_OFFSETS_TIMEOUT_S = 2.0
_REST_S = 0.02
"""Between two polls of a client. A poll costs 0.5 to 0.8 ms of CPU, since it goes to the library's thread and back
three times: ten clients polled all the time would take a whole core. The library fetches ahead meanwhile."""

_RECORDS_PER_POLL = 500


class ConnectBackoff:
    """Keeps all clients of a task from connecting for a while after one failed: its try may have taken seconds."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self.reason = ""

    def start(self, reason: str) -> None:
        """A client found no broker."""
        self.until_s = time.monotonic() + _TRY_AGAIN_S
        self.reason = reason


class KafkaPythonClient(PolledClient):
    """One client on one KafkaConsumer, which is made by the first poll: its constructor waits for a broker.

    Args:
        tally: what it counts into.
        assignment: its group and where it starts.
        order: of the task.
        backoff: shared by the clients of the task.
    """

    def __init__(
        self,
        tally: ClientTally,
        assignment: ClientAssignment,
        order: RunOrder,
        backoff: ConnectBackoff,
    ) -> None:
        super().__init__(tally)
        self._assignment = assignment
        self._order = order
        self._unconfirmed = set(tally.partitions)
        self._backoff = backoff
        self._consumer: Any = None
        self._next_try_s = 0.0

    def poll(self, now_s: float) -> bool:
        """Connect, or count what is there."""
        if now_s < self._next_try_s:
            return False
        try:
            if self._consumer is None:
                return self._connect()
            found = self._consumer.poll(timeout_ms=0, max_records=_RECORDS_PER_POLL)
        except OffsetOutOfRangeError as error:
            self._read_on(error)
            return False
        except KafkaError as error:
            self.tally.error = str(error)
            self._next_try_s = time.monotonic() + _TRY_AGAIN_S
            return False
        arrived_s = time.monotonic()
        if self._unconfirmed:
            self._confirm()
        if sum(len(records) for records in found.values()) < _RECORDS_PER_POLL:
            self._next_try_s = now_s + _REST_S
        if not found:
            return False
        size = 0
        for place, records in found.items():
            for record in records:
                size += len(record.value or b"")
                self.count(place.partition, record.offset, record.value, record.timestamp)
        self.tally.fetches += 1
        self.arrived(arrived_s, size)
        self.clear_error()
        return True

    def close(self, timeout_s: float) -> None:
        """Close the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=round(timeout_s * 1000))

    def _connect(self) -> bool:
        if time.monotonic() < self._backoff.until_s:
            self.tally.error = self._backoff.reason
            return False
        try:
            consumer = connected(KafkaConsumer, settings(self._assignment, self._order))
        except KafkaError as error:
            self._backoff.start(str(error))
            raise
        places = [TopicPartition(self._order.topic, start.partition) for start in self._assignment.starts]
        consumer.assign(places)
        for place, start in zip(places, self._assignment.starts, strict=True):
            consumer.seek(place, start.offset)
        self._consumer = consumer
        self.clear_error()
        return True

    def _confirm(self) -> None:
        """The library knows a partition's high watermark once a fetch at the position was answered."""
        for partition in list(self._unconfirmed):
            if self._consumer.highwater(TopicPartition(self._order.topic, partition)) is not None:
                self._unconfirmed.discard(partition)
        self.tally.positioned = not self._unconfirmed

    def _read_on(self, error: OffsetOutOfRangeError) -> None:
        try:
            for place in error.args[0]:
                start = self._consumer.beginning_offsets([place], timeout_ms=_OFFSETS_TIMEOUT_S * 1000)[place]
                end = self._consumer.end_offsets([place], timeout_ms=_OFFSETS_TIMEOUT_S * 1000)[place]
                self._consumer.seek(place, self.jump(place.partition, start, end))
        except KafkaError as failed:
            self.tally.error = f"{error}; {failed}"
            self._next_try_s = time.monotonic() + _TRY_AGAIN_S


class KafkaPythonSubscriber(RoundRobinSubscriber):
    """All clients of a task on kafka-python; a SubscriberDriver."""

    def make_clients(self) -> list[PolledClient]:
        """A client for each tally; it connects when it is polled."""
        backoff = ConnectBackoff()
        return [
            KafkaPythonClient(tally, assignment, self.order, backoff)
            for tally, assignment in zip(self.tallies, self.order.clients, strict=True)
        ]


def settings(assignment: ClientAssignment, order: RunOrder) -> dict[str, Any]:
    """The settings of kafka-python for a client."""
    max_bytes = order.options.consumer_max_buffer_size or DEFAULT_MAX_BYTES
    request_timeout_ms = max(30_000, order.options.fetch_wait_max_ms + 5000)
    return {
        "bootstrap_servers": order.bootstrap_servers.split(","),
        "client_id": assignment.name,
        "group_id": assignment.group_id,
        # Hydra tracks the offsets; commits of hundreds of groups would load the broker.
        "enable_auto_commit": False,
        # A jump to the log's start or end would look like loss by the broker.
        "auto_offset_reset": "none",
        "fetch_min_bytes": order.options.fetch_min_bytes,
        "fetch_max_wait_ms": order.options.fetch_wait_max_ms,
        "fetch_max_bytes": max_bytes,
        "max_partition_fetch_bytes": max_bytes,
        "request_timeout_ms": request_timeout_ms,
        "connections_max_idle_ms": max(540_000, 2 * request_timeout_ms),
        "bootstrap_timeout_ms": round(_CONNECT_S * 1000),
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
    }
