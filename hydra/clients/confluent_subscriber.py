"""The subscriber on librdkafka, through confluent-kafka: one Consumer for each client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, ThrottleEvent, TopicPartition

from hydra.accounting.tally import ClientTally
from hydra.clients.library_access import librdkafka_settings
from hydra.clients.library_log import librdkafka_logger
from hydra.clients.protocols import DEFAULT_MAX_BYTES, MOST_BYTES
from hydra.clients.round_robin import PolledClient, RoundRobinSubscriber
from hydra.errors import CapacityError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import ClientAssignment, RunOrder

_RECORDS_PER_POLL = 1000
_STATISTICS_MS = 1000
_LOOK_AGAIN_S = 1.0
_LEADER_TIMEOUT_S = 0.05
_COMMITTED_TIMEOUT_S = 3.0
_END_REACHED = int(KafkaError._PARTITION_EOF)  # noqa: SLF001  librdkafka names its own codes so
_OUT_OF_RANGE_ERRORS = frozenset(
    (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001  as above
)


class ConfluentClient(PolledClient):
    """One client on one librdkafka consumer.

    Raises:
        CapacityError: the consumer's threads cannot be started.
    """

    def __init__(
        self, tally: ClientTally, assignment: ClientAssignment, order: RunOrder, access: KafkaAccess = NO_SECURITY
    ) -> None:
        super().__init__(tally)
        self._topic = order.topic
        self._begin_offsets = order.begin_offsets
        self._out_of_range: set[int] = set()
        """Partitions whose position is out of the log's range: librdkafka does not fetch them any more."""
        self._next_look_s = 0.0
        self._without_start = False
        """Whether the group assigned partitions, but their committed offsets could not be read."""
        callbacks = {"error_cb": self._on_error, "throttle_cb": self._on_throttle, "stats_cb": self._on_stats}
        try:
            self._consumer = Consumer(
                {**settings(assignment, order), **librdkafka_settings(access), **callbacks},
                logger=librdkafka_logger(tally),
            )
        except KafkaException as error:
            raise CapacityError(
                f"client {assignment.name} cannot be started: {error}",
                hint="a confluent client takes three threads; use fewer clients per app, or --sub_driver=wire",
            ) from error
        self._in_group = order.options.group_mode == "group"
        self._step_by_step = order.options.group_protocol == "consumer"
        """Whether the group tells what it adds and takes away (KIP-848), and not each time all that it assigns."""
        if self._in_group:
            self._join()
        else:
            self._consumer.assign(
                [TopicPartition(self._topic, start.partition, start.offset) for start in assignment.starts]
            )

    def _join(self) -> None:
        self._without_start = False
        self._release()
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """The group assigned partitions: read from its offsets, or from this client's positions if they are further."""
        try:
            committed = consumer.committed(places, timeout=_COMMITTED_TIMEOUT_S) if places else []
        except KafkaException as error:
            # Without start offsets nothing is read: an offset that the library chose would look like loss.
            self.tally.error = str(error)
            self._without_start = True
            self._assign(consumer, [])
            return
        # A partition that nobody has committed is read from where it ended before the run.
        begin = self._begin_offsets
        starts = ((place.partition, place.offset) for place in committed)
        added = {part: offset if offset >= 0 else begin.get(part, 0) for part, offset in starts}
        self._hold({**(self._held() if self._step_by_step else {}), **added}, self.unconfirmed | set(added))
        self._assign(consumer, self._positions(added))

    def _revoked(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        """The group revoked the partitions; the library commits what was counted."""
        unconfirmed, held = self.unconfirmed, self._held() if self._step_by_step else {}
        self._release()
        gone = {place.partition for place in places}
        if left := {number: offset for number, offset in held.items() if number not in gone}:
            self._hold(left, unconfirmed - gone)

    def _assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if self._step_by_step:
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)

    def _held(self) -> dict[int, int]:
        """The partitions that the group has given to it, and its positions in them."""
        return {number: self.tally.partitions[number].next_offset for number in self.tally.held or ()}

    def _hold(self, offsets: Mapping[int, int], unconfirmed: set[int]) -> None:
        self.tally.hold(offsets)
        self.unconfirmed = unconfirmed
        self.tally.positioned = not unconfirmed

    def _release(self) -> None:
        self.unconfirmed = set()
        self._out_of_range = set()
        self.tally.release()

    def _positions(self, partitions: Iterable[int]) -> list[TopicPartition]:
        parts = self.tally.partitions
        return [TopicPartition(self._topic, number, parts[number].next_offset) for number in partitions]

    def poll(self, now_s: float) -> bool:
        """Count what is there."""
        if self._without_start and now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_AGAIN_S
            self._consumer.unsubscribe()
            self._join()
        messages = self._consumer.consume(_RECORDS_PER_POLL, 0)
        arrived_s = time.monotonic()
        self.confirm()
        if self._out_of_range and now_s >= self._next_look_s:
            self._read_on(now_s)
        if not messages:
            if self.tally.error != self.lasting_error:
                self._check_recovery(now_s)
            return False
        size = 0
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_event(message, error)
                continue
            value = message.value()
            size += len(value) if value else 0
            self.count(message.partition() or 0, message.offset() or 0, value, message.timestamp()[1])
        if size:
            self.tally.fetches += 1
            self.arrived(arrived_s, size)
            self.clear_error()
        return True

    def close(self, _timeout_s: float) -> None:
        """Close the consumer; a member of a group commits and leaves."""
        self._consumer.close()

    def has_high_watermark(self, partition: int) -> bool:
        """Whether one is cached; nothing else fetches one as long as this client is unconfirmed."""
        place = TopicPartition(self._topic, partition)
        return bool(self._consumer.get_watermark_offsets(place, cached=True)[1] >= 0)

    def _check_recovery(self, now_s: float) -> None:
        """The library does not report that an error is over, so while there is one, ask the leaders."""
        if now_s < self._next_look_s or self.unconfirmed or self._out_of_range:
            return
        self._next_look_s = now_s + _LOOK_AGAIN_S
        try:
            for partition, part in self.tally.partitions.items():
                place = TopicPartition(self._topic, partition)
                _, end_offset = self._consumer.get_watermark_offsets(place, timeout=_LEADER_TIMEOUT_S)
                if self.tally.own_errors.count and part.next_offset < end_offset:
                    return  # the leader answers, and yet the library does not read
        except KafkaException:
            return
        self.clear_error()

    def _take_event(self, message: Message, error: KafkaError) -> None:
        """What comes in the place of a record: an error, or that the partition's end is reached."""
        partition = message.partition()
        if error.code() == _END_REACHED:
            if partition is not None:
                self.go_past(partition, message.offset() or 0)
            return
        self.tally.error = error.str()
        if partition is not None and error.code() in _OUT_OF_RANGE_ERRORS:
            self._out_of_range.add(partition)

    def _read_on(self, now_s: float) -> None:
        self._next_look_s = now_s + _LOOK_AGAIN_S
        for partition in list(self._out_of_range):
            place = TopicPartition(self._topic, partition)
            try:
                start_offset, end_offset = self._consumer.get_watermark_offsets(place, timeout=_LOOK_AGAIN_S)
                place.offset = self.jump(partition, start_offset, end_offset)
                # In this state librdkafka refuses a seek.
                if self._in_group and not self._step_by_step:
                    self._consumer.assign(self._positions(self._held()))
                else:
                    self._consumer.incremental_unassign([place])
                    self._consumer.incremental_assign([place])
            except KafkaException as error:
                self.tally.error = str(error)
                return
            self._out_of_range.discard(partition)

    def _on_error(self, error: KafkaError) -> None:
        self.tally.error = error.str()

    def _on_stats(self, statistics: str) -> None:
        """Asked for with a rack only: the library tells nowhere else which broker it reads from."""
        topic = json.loads(statistics)["topics"].get(self._topic)
        for partition in topic["partitions"].values() if topic else ():
            if (
                partition["rxmsgs"]
                and partition["broker"] >= 0
                and partition["leader"] not in {-1, partition["broker"]}
            ):
                self.tally.followers.add(partition["broker"])

    def _on_throttle(self, event: ThrottleEvent) -> None:
        self.tally.throttled_s += event.throttle_time


class ConfluentSubscriber(RoundRobinSubscriber):
    """All clients of a task on librdkafka, which connects in its own threads; a SubscriberDriver."""

    def make_client(self, tally: ClientTally, assignment: ClientAssignment) -> PolledClient:
        """A client and its consumer."""
        return ConfluentClient(tally, assignment, self.order, self.access)


def settings(assignment: ClientAssignment, order: RunOrder) -> dict[str, Any]:
    """The settings of librdkafka for a client."""
    max_bytes = order.options.consumer_max_buffer_size or DEFAULT_MAX_BYTES
    in_group = order.options.group_mode == "group"
    # librdkafka requires message.max.bytes <= fetch.max.bytes < receive.message.max.bytes.
    message_max_bytes = min(1_000_000, max(1000, max_bytes))
    return {
        "bootstrap.servers": order.bootstrap_servers,
        "client.id": order.client_id(assignment.name),
        "group.id": assignment.group_id,
        # Hydra tracks the offsets; commits of hundreds of groups would load the broker, so only group members commit.
        "enable.auto.commit": in_group,
        "enable.auto.offset.store": in_group,
        "auto.commit.interval.ms": 5000,
        **_membership(order),
        # A jump to the log's start or end would look like loss by the broker.
        "auto.offset.reset": "error",
        # Kafka's default, and that of the other drivers; librdkafka's own waits for the open transactions of others.
        "isolation.level": "read_uncommitted",
        # Told with the first fetch that brings nothing: else a client cannot know that it has come past a marker.
        "enable.partition.eof": True,
        "fetch.min.bytes": max(1, order.options.fetch_min_bytes),
        "fetch.wait.max.ms": order.options.fetch_wait_max_ms,
        "fetch.max.bytes": min(max(max_bytes, message_max_bytes), MOST_BYTES - 512),
        "max.partition.fetch.bytes": min(max_bytes, 1_000_000_000),
        "message.max.bytes": message_max_bytes,
        "receive.message.max.bytes": MOST_BYTES,
        # Its default buffers up to 64 MiB for each client.
        "queued.max.messages.kbytes": max(1, min(max_bytes, 1024 * 1024) // 1024),
        "queued.min.messages": 1000,
        # Its default stops fetching for 1 s whenever that queue is full.
        "fetch.queue.backoff.ms": 5,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "socket.nagle.disable": True,
        "check.crcs": True,
        **_rack(order),
    }


def _membership(order: RunOrder) -> dict[str, Any]:
    if order.options.group_protocol == "consumer":
        return {"group.protocol": "consumer"}  # the rest is the brokers' to say, and librdkafka refuses it
    return {
        "session.timeout.ms": 45_000,
        "heartbeat.interval.ms": 3000,
        "partition.assignment.strategy": "range",
    }


def _rack(order: RunOrder) -> dict[str, Any]:
    rack = order.options.client_rack
    return {} if rack is None else {"client.rack": rack, "statistics.interval.ms": _STATISTICS_MS}
