"""The publisher on librdkafka, through confluent-kafka.

Measured for 14-byte records, CPU over all threads: ``produce`` without accounting costs 1.0 us a record,
``produce_batch`` 0.8, ``produce_batch`` with a callback for every record, as here, 1.0 (over 1,000,000 records/s).
To decode each acked record's value in the callback would cost another 0.2, so a block counts its reports instead: when
all its records have reported without an error, the whole block is acked. Only records that failed are decoded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, ThrottleEvent

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger, RecordValues, queue_limit, sequence_of, timed_out
from hydra.clients.library_access import librdkafka_settings
from hydra.clients.library_log import librdkafka_logger
from hydra.clients.protocols import PUBLISHER_CLIENT_ID, AckCount
from hydra.errors import BrokerError
from hydra.kafka_errors import UNKNOWN_SERVER_ERROR, error_name, is_final
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import RunOrder

_BLOCK_RECORDS = 1000
_QUEUE_BYTES = 1 << 30
_RECORD_OVERHEAD_BYTES = 512
_PURGE_S = 1.0
_QUEUE_FULL = int(KafkaError._QUEUE_FULL)  # noqa: SLF001  librdkafka names its own codes so
_UNKNOWN_PARTITION = int(KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001  as above
_CONNECTION_ERRORS = frozenset(
    (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001  as above
)


class _Block:
    """Consecutive records of one partition that wait for their reports."""

    __slots__ = ("_publisher", "count", "errors", "first", "left", "partition", "refused", "sent_s")

    def __init__(self, publisher: ConfluentPublisher, partition: int, first: int, count: int) -> None:
        self._publisher = publisher
        self.sent_s = time.monotonic()
        self.left = count
        """How many reports are still to come."""
        self.partition = partition
        self.first = first
        self.count = count
        self.errors: dict[int, int] = {}
        """Sequence -> error code of the records that were not acked."""
        self.refused: set[int] = set()
        """Those of them that librdkafka did not even take, which are counted already."""

    def reported(self, error: KafkaError | None, message: Message) -> None:
        """Take in one record's report. Hot path: called for every record."""
        if error is not None:
            self.errors[sequence_of(message.value() or b"")] = error.code()
        self.left -= 1
        if not self.left:
            self._publisher.settle(self)


class ConfluentPublisher:
    """One librdkafka producer; a PublisherDriver."""

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        self._order = order
        self._access = access
        self._topic = order.topic
        self._values = RecordValues(order)
        self._ledger = DeliveryLedger(order.options.partitions)
        self.take_ack_latencies = self._ledger.take_ack_latencies
        self._queue_records = queue_records(order)
        self._reports = order.options.acks != "0"
        self._producer: Producer | None = None

    def open(self, deadline_s: float) -> None:
        """Connect and learn the topic's leaders.

        Raises:
            BrokerError: it took longer than ``deadline_s``, or the broker refused.
        """
        deadline = time.monotonic() + deadline_s
        callbacks = {"error_cb": self._on_error, "throttle_cb": self._on_throttle}
        try:
            producer = self._producer = Producer(
                {**settings(self._order), **librdkafka_settings(self._access), **callbacks},
                logger=librdkafka_logger(self._ledger),
            )
        except (KafkaException, ValueError) as error:
            raise BrokerError(f"librdkafka refused the publisher's settings: {error}") from error
        where = f"topic {self._topic} at {self._order.bootstrap_servers}"
        reason = ""
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                topic = producer.list_topics(self._topic, timeout=left_s).topics[self._topic]
            except KafkaException as error:
                raise BrokerError(f"{where}: {self._ledger.error or error.args[0].str()}") from error
            leaders = [part.leader for part in topic.partitions.values() if part.leader >= 0]
            if topic.error is None and len(leaders) >= self._order.options.partitions:
                return
            if topic.error and is_final(topic.error.code()):
                raise BrokerError(f"{where}: {error_name(topic.error.code())}")
            reason = topic.error.str() if topic.error else f"{len(leaders)} partitions have a leader"
            producer.poll(min(0.05, left_s))
        raise BrokerError(f"{where}: {reason} after {deadline_s:g} s")

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Hand records to librdkafka; fewer than ``records`` when its queue is full."""
        producer = self._producer
        if producer is None:
            return 0
        taken = 0
        while taken < records:
            # Only this thread fills the queue, so a block that has room now is accepted as a whole.
            count = min(_BLOCK_RECORDS, records - taken, self._queue_records - len(producer))
            if count <= 0:
                break
            accepted = self._send_block(producer, partition, first_sequence + taken, count)
            taken += accepted
            if accepted < count:
                break
        self._ledger.attempt(partition, first_sequence + taken)
        return taken

    def _send_block(self, producer: Producer, partition: int, first: int, count: int) -> int:
        messages: list[dict[str, Any]] = [{"value": value} for value in self._values.values(first, count)]
        block = _Block(self, partition, first, count)
        report = {"on_delivery": block.reported} if self._reports else {}
        accepted = producer.produce_batch(self._topic, messages, partition=partition, **report)
        return count if accepted == count else self._take_back(block, messages)

    def _take_back(self, block: _Block, messages: Sequence[dict[str, Any]]) -> int:
        """Librdkafka refused some records of a block at once. Returns how many count as taken."""
        refused = [(at, message["_error"]) for at, message in enumerate(messages) if "_error" in message]
        block.left = block.count - len(refused)
        first_refused = refused[0][0]
        if refused[0][1].code() == _QUEUE_FULL and first_refused + len(refused) == block.count:
            block.count = first_refused
            return first_refused
        for at, error in refused:
            # They never left this process: that proves that they failed.
            block.errors[block.first + at] = error.code()
            block.refused.add(block.first + at)
            self._blame(error.code())
            self._ledger.error = error.str()
            self._ledger.fail(block.partition, block.first + at)
        if len(refused) == block.count and refused[0][1].code() == _UNKNOWN_PARTITION:
            self._ledger.error = f"topic {self._topic} has no partition {block.partition}"
        return block.count

    def settle(self, block: _Block) -> None:
        """Count a block whose records have all reported."""
        start = block.first
        for sequence in sorted(block.errors):
            self._ledger.ack(block.partition, start, sequence)
            start = sequence + 1
            code = block.errors[sequence]
            if sequence not in block.refused:
                self._blame(code)
            # After a lost connection an earlier try of the record may be in the log, whatever became of the last try.
            if code in PROOFS_OF_REFUSAL and not self._ledger.maybe_appended:
                self._ledger.fail(block.partition, sequence)
        self._ledger.ack(block.partition, start, block.first + block.count)
        # They were handed over together; the last report stands for all of them.
        self._ledger.time_acks([(time.monotonic() - block.sent_s, block.count - len(block.errors))])
        if block.errors:
            self._ledger.error = KafkaError(block.errors[max(block.errors)]).str()

    def _blame(self, code: int) -> None:
        """Note why one record will not be acked; below -1 are librdkafka's own codes."""
        words = code if code >= UNKNOWN_SERVER_ERROR else timed_out(self._order, KafkaError(code).str())
        self._ledger.blame(words, 1)

    def poll(self) -> AckCount:
        """Take in the reports that are there."""
        if self._producer is not None:
            self._producer.poll(0)
        return self._ledger.count()

    def flush(self, timeout_s: float) -> AckCount:
        """Send what is held back and wait for all reports; after ``timeout_s`` the other records are given up."""
        if self._producer is not None and self._producer.flush(timeout_s):
            self._purge(self._producer)
        return self._ledger.count()

    @staticmethod
    def _purge(producer: Producer) -> None:
        producer.purge(in_queue=True, in_flight=True, blocking=False)
        producer.flush(_PURGE_S)

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record; the records of a block are unknown until all of them have reported."""
        return self._ledger.outcomes()

    def close(self) -> None:
        """End threads and connections; harmless the second time."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if len(producer):
            self._purge(producer)
        producer.close()

    def _on_error(self, error: KafkaError) -> None:
        self._ledger.error = error.str()
        if error.code() in _CONNECTION_ERRORS:
            self._ledger.maybe_appended = True

    def _on_throttle(self, event: ThrottleEvent) -> None:
        self._ledger.throttled_s += event.throttle_time


def queue_records(order: RunOrder) -> int:
    """How many records may wait for their acks, within 1 GiB."""
    return queue_limit(order.options.msg_rate, _QUEUE_BYTES // (order.options.msg_size + _RECORD_OVERHEAD_BYTES))


def settings(order: RunOrder) -> dict[str, Any]:
    """The settings of librdkafka for an order."""
    timeout_ms = max(round(order.options.delivery_timeout_s * 1000), order.options.linger_ms + 1)
    return {
        "bootstrap.servers": order.bootstrap_servers,
        "client.id": order.client_id(PUBLISHER_CLIENT_ID),
        "acks": order.options.acks,
        # Kafka's producer is idempotent by default where acks allows it; without, a retry may duplicate records.
        "enable.idempotence": order.is_idempotent,
        # Kafka's default, and the most that idempotence allows; librdkafka's own default is a million.
        "max.in.flight.requests.per.connection": 5,
        "compression.type": order.options.compression,
        "linger.ms": order.options.linger_ms,
        "batch.size": order.batch_bytes,
        # Only batch.size is to limit a batch: no record takes less than 20 bytes in it.
        "batch.num.messages": min(1_000_000, max(10_000, order.batch_bytes // 20)),
        "message.timeout.ms": timeout_ms,
        "request.timeout.ms": min(30_000, timeout_ms),
        "message.max.bytes": max(1_000_000, order.batch_bytes) + 1024,
        "queue.buffering.max.messages": queue_records(order),
        "queue.buffering.max.kbytes": 2 * _QUEUE_BYTES // 1024 - 1,
        "reconnect.backoff.max.ms": 1000,
        "socket.nagle.disable": True,
    }
