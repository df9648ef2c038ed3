"""The subscriber on kafka-python: one KafkaConsumer a client."""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from hydra.accounting.tally import ClientTally
from hydra.clients.kafka_python_connect import connected
from hydra.clients.round_robin import DEFAULT_MAX_BYTES, PolledClient, RoundRobinSubscriber
from hydra.options.order import ClientAssignment, RunOrder

_CONNECT_S = 2.0
_TRY_AGAIN_S = 0.5
_ASK_S = 2.0
_REST_S = 0.02
"""Between two polls of a client: each costs 0.5 to 0.8 ms of CPU, for it goes to the library's thread and back three
times, and ten clients that are polled all the time take a whole core. The library fetches ahead meanwhile."""

_RECORDS_PER_POLL = 500


class Door:
    """Shut for a while for all clients of a task once one found nobody behind it: its try may have taken seconds."""

    def __init__(self) -> None:
        self.shut_until_s = 0.0
        self.reason = ""

    def shut(self, reason: str) -> None:
        """Nobody was there."""
        self.shut_until_s = time.monotonic() + _TRY_AGAIN_S
        self.reason = reason


class KafkaPythonClient(PolledClient):
    """One client on one KafkaConsumer, which is made by the first poll: its constructor waits for a broker.

    Args:
        tally: what it counts into.
        assignment: its group and where it starts.
        order: of the task.
        door: shared by the clients of the task.
    """

    def __init__(self, tally: ClientTally, assignment: ClientAssignment, order: RunOrder, door: Door) -> None:
        super().__init__(tally)
        self._assignment = assignment
        self._order = order
        self._unproven = set(tally.partitions)
        self._door = door
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
        if self._unproven:
            self._prove()
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
        self.well()
        return True

    def close(self, timeout_s: float) -> None:
        """Let go of the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=round(timeout_s * 1000))

    def _connect(self) -> bool:
        if time.monotonic() < self._door.shut_until_s:
            self.tally.error = self._door.reason
            return False
        try:
            consumer = connected(KafkaConsumer, settings(self._assignment, self._order))
        except KafkaError as error:
            self._door.shut(str(error))
            raise
        places = [TopicPartition(self._order.topic, start.partition) for start in self._assignment.starts]
        consumer.assign(places)
        for place, start in zip(places, self._assignment.starts, strict=True):
            consumer.seek(place, start.offset)
        self._consumer = consumer
        self.well()
        return True

    def _prove(self) -> None:
        """The library knows a partition's high watermark once it has taken in an answer to a fetch at the position."""
        for partition in list(self._unproven):
            if self._consumer.highwater(TopicPartition(self._order.topic, partition)) is not None:
                self._unproven.discard(partition)
        self.tally.positioned = not self._unproven

    def _read_on(self, error: OffsetOutOfRangeError) -> None:
        try:
            for place in error.args[0]:
                start = self._consumer.beginning_offsets([place], timeout_ms=_ASK_S * 1000)[place]
                end = self._consumer.end_offsets([place], timeout_ms=_ASK_S * 1000)[place]
                self._consumer.seek(place, self.jump(place.partition, start, end))
        except KafkaError as failed:
            self.tally.error = f"{error}; {failed}"
            self._next_try_s = time.monotonic() + _TRY_AGAIN_S


class KafkaPythonSubscriber(RoundRobinSubscriber):
    """All clients of a task on kafka-python; a SubscriberDriver."""

    def make_clients(self) -> list[PolledClient]:
        """A client for each tally; it connects when it is polled."""
        door = Door()
        return [
            KafkaPythonClient(tally, assignment, self.order, door)
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
        # Offsets are counted by the harness; hundreds of groups that commit would load the broker with work of its own.
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
