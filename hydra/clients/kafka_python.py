"""The publisher and the subscriber on kafka-python."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.net.compat import KafkaNetClient
from kafka.protocol.metadata import MetadataRequest

from hydra.accounting.stats import PartitionOutcomes
from hydra.accounting.tally import ClientTally
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger, RecordValues, timed_out
from hydra.clients.library_access import kafka_python_settings
from hydra.clients.library_log import LibrarySink, listen_to_kafka_python
from hydra.clients.protocols import DEFAULT_MAX_BYTES, MOST_BYTES, PUBLISHER_CLIENT_ID, AckCount
from hydra.clients.round_robin import PolledClient, RoundRobinSubscriber
from hydra.errors import BrokerError
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import ClientAssignment, RunOrder

_QUEUE_RECORDS = 50_000
"""A future takes about 1 KB; the library itself sets no limit."""

_WAIT_S = 0.005
_CLOSE_S = 2.0
_CONNECT_S = 2.0
_TRY_AGAIN_S = 0.5
_OFFSETS_TIMEOUT_S = 2.0
_REST_S = 0.02
"""Between two polls of a client. A poll costs 0.5 to 0.8 ms of CPU, since it goes to the library's thread and back
three times: ten clients polled all the time would take a whole core. The library fetches ahead meanwhile."""

_RECORDS_PER_POLL = 500

_OLD_KAFKA = {"api_version": (0, 9)}
"""Brokers before 0.10 cannot be asked which requests they take."""


def _connected(  # the library has no types
    kind: Callable[..., Any], settings: Mapping[str, Any], sink: LibrarySink
) -> tuple[Any, KafkaNetClient]:
    """A KafkaProducer or KafkaConsumer that has reached a broker within ``bootstrap_timeout_ms``, and its connections.

    ``sink`` is told of what it logs.

    Raises:
        KafkaError: (kafka-python's) no broker was reached. The library starts a thread before it tries and then
            forgets it; here it is ended.
    """
    listen_to_kafka_python(settings["client_id"], sink)
    clients: list[Any] = []

    def remember(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  passed through
        clients.append(KafkaNetClient(*arguments, **named))
        return clients[-1]

    try:
        return kind(**settings, kafka_client=remember), clients[0]
    except BaseException:
        for client in clients:
            client.close()
        raise


class KafkaPythonPublisher:
    """One KafkaProducer; a PublisherDriver.

    Only the futures of the single records are trusted: the library's ``flush`` logs what failed and returns normally.
    """

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        self._order = order
        self._access = access
        self._topic = order.topic
        self._values = RecordValues(order)
        self._ledger = DeliveryLedger(order.options.partitions)
        self.take_ack_latencies = self._ledger.take_ack_latencies
        self._acks = order.options.acks != "0"
        self._producer: Any = None
        self._connections: KafkaNetClient | None = None
        self._waiting = 0
        # The library's own thread adds to it, poll takes from it; a deque needs no lock for that.
        self._settled: deque[tuple[int, int, BaseException | None, float, float]] = deque()

    def open(self, deadline_s: float) -> None:
        """Connect and learn the topic's leaders.

        Raises:
            BrokerError: it took longer than ``deadline_s``, or the broker refused.
        """
        deadline = time.monotonic() + deadline_s
        where = f"topic {self._topic} at {self._order.bootstrap_servers}"
        try:
            self._producer, self._connections = _connected(
                KafkaProducer,
                publisher_settings(self._order, deadline_s) | kafka_python_settings(self._access),
                self._ledger,
            )
            partitions = self._producer.partitions_for(self._topic) or ()
            while len(partitions) < self._order.options.partitions and time.monotonic() < deadline:
                time.sleep(_WAIT_S)
                partitions = self._producer.partitions_for(self._topic) or ()
        except (KafkaError, ValueError) as error:
            raise BrokerError(f"{where}: {error}") from error
        if len(partitions) < self._order.options.partitions:
            raise BrokerError(f"{where}: {len(partitions)} partitions are known after {deadline_s:g} s")

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Hand records to the library; fewer than ``records`` when too many wait for their acks already."""
        self._take_in()
        count = min(records, _QUEUE_RECORDS - self._waiting)
        if self._producer is None or count <= 0:
            return 0
        sent_s = time.monotonic()
        for taken, value in enumerate(self._values.values(first_sequence, count)):
            sequence = first_sequence + taken
            try:
                future = self._producer.send(self._topic, value, partition=partition)
            except KafkaError as error:
                # It is in no batch, so it may be offered again, unless the record itself is refused.
                self._ledger.error = str(error)
                if getattr(error, "errno", 0) not in PROOFS_OF_REFUSAL:
                    self._ledger.attempt(partition, sequence)
                    return taken
                self._ledger.fail(partition, sequence)
                self._blame(error)
                continue
            self._waiting += 1
            future.add_callback(partial(self._on_ack, partition, sequence, sent_s))
            future.add_errback(partial(self._on_error, partition, sequence))
        self._ledger.attempt(partition, first_sequence + count)
        return count

    def poll(self) -> AckCount:
        """Take in the futures that are done."""
        self._take_in()
        return self._ledger.count()

    def flush(self, timeout_s: float) -> AckCount:
        """Send what is held back and wait for all futures; after ``timeout_s`` the other records are given up."""
        deadline = time.monotonic() + timeout_s
        self._take_in()
        while self._producer is not None and self._waiting and time.monotonic() < deadline:
            # The library's flush applies its timeout to each batch, so it gets little at a time.
            with contextlib.suppress(KafkaError):
                self._producer.flush(_WAIT_S)
            self._take_in()
        if self._waiting:
            self._ledger.error = self._ledger.error or f"{self._waiting} records had no ack after {timeout_s:g} s"
            self.close()
        elif not self._acks:
            self._await_leaders(deadline)
        return self._ledger.count()

    def _await_leaders(self, deadline: float) -> None:
        """Have every leader answer one request more, before which it has appended all that was sent without acks.

        A broker starts a connection's next request only after the one before; one of Kafka 0.9 throws away what it has
        not started when a connection is closed.
        """
        connections = self._connections
        if self._producer is None or connections is None:
            return
        call_soon = connections._manager.call_soon  # noqa: SLF001  the library's thread has to send it
        nodes = {leader.node_id for leader in self._order.leaders}
        answers = [call_soon(connections.send, node_id, MetadataRequest(topics=[])) for node_id in sorted(nodes)]
        while not all(answer.is_done for answer in answers) and time.monotonic() < deadline:
            time.sleep(_WAIT_S)

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far."""
        return self._ledger.outcomes()

    def close(self) -> None:
        """End threads and connections; harmless the second time."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._waiting:
            # close would wait for the records first, and leave its thread behind when they are not acked.
            sender = producer._sender  # noqa: SLF001  there is no public way to give up records that wait
            sender.force_close()
            sender.join(_CLOSE_S)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=_CLOSE_S)
        self._take_in()

    def _on_ack(self, partition: int, sequence: int, sent_s: float, _metadata: object) -> None:
        self._settled.append((partition, sequence, None, sent_s, time.monotonic()))

    def _on_error(self, partition: int, sequence: int, error: BaseException) -> None:
        self._settled.append((partition, sequence, error, 0.0, 0.0))

    def _blame(self, error: BaseException) -> None:
        """Note why one record will not be acked."""
        code = getattr(error, "errno", None)
        self._ledger.blame(timed_out(self._order, type(error).__name__) if code is None else code, 1)

    def _take_in(self) -> None:
        """Count what has settled; consecutive records that were handed over together, with the last one's ack."""
        ledger = self._ledger
        run_partition, run_start, run_stop, run_sent_s, run_acked_s = 0, 0, 0, 0.0, 0.0
        while self._settled:
            partition, sequence, error, sent_s, acked_s = self._settled.popleft()
            self._waiting -= 1
            if error is not None:
                ledger.error = str(error)
                self._blame(error)
                if getattr(error, "errno", 0) in PROOFS_OF_REFUSAL and not ledger.maybe_appended:
                    ledger.fail(partition, sequence)
            elif self._acks and (partition, sequence, sent_s) == (run_partition, run_stop, run_sent_s):
                run_stop, run_acked_s = run_stop + 1, acked_s
            elif self._acks:
                self._ack(run_partition, run_start, run_stop, run_acked_s - run_sent_s)
                run_partition, run_start, run_stop = partition, sequence, sequence + 1
                run_sent_s, run_acked_s = sent_s, acked_s
        self._ack(run_partition, run_start, run_stop, run_acked_s - run_sent_s)

    def _ack(self, partition: int, start: int, stop: int, waited_s: float) -> None:
        if stop > start:
            self._ledger.ack(partition, start, stop)
            self._ledger.time_acks([(waited_s, stop - start)])


def publisher_settings(order: RunOrder, deadline_s: float) -> dict[str, Any]:
    """The settings of kafka-python for an order."""
    delivery_ms = max(round(order.options.delivery_timeout_s * 1000), order.options.linger_ms + 1000)
    return {
        "bootstrap_servers": order.bootstrap_servers.split(","),
        "client_id": order.client_id(PUBLISHER_CLIENT_ID),
        "allow_auto_create_topics": False,
        "acks": "all" if order.options.acks == "all" else int(order.options.acks),
        # Kafka's producer is idempotent by default where acks allows it; the library would switch it off silently.
        "enable_idempotence": order.is_idempotent,
        "max_in_flight_requests_per_connection": 5,
        "compression_type": None if order.options.compression == "none" else order.options.compression,
        "linger_ms": order.options.linger_ms,
        "batch_size": order.batch_bytes,
        "max_request_size": max(1_048_576, order.batch_bytes + 1024),
        "delivery_timeout_ms": delivery_ms,
        # The library requires delivery_timeout_ms to cover linger_ms and one request.
        "request_timeout_ms": min(30_000, delivery_ms - order.options.linger_ms),
        "max_block_ms": round(deadline_s * 1000),
        "bootstrap_timeout_ms": round(deadline_s * 1000),
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
        "receive_message_max_bytes": MOST_BYTES,
        **_version(order),
    }


def _version(order: RunOrder) -> dict[str, Any]:
    return dict(_OLD_KAFKA) if order.options.is_old_kafka else {}


@dataclass
class ConnectBackoff:
    """Keeps all clients of a task from connecting for a while after one failed: its try may have taken seconds."""

    until_s: float = 0.0
    reason: str = ""


class KafkaPythonClient(PolledClient):
    """One client on one KafkaConsumer, which is made by the first poll: its constructor waits for a broker."""

    def __init__(
        self,
        tally: ClientTally,
        assignment: ClientAssignment,
        order: RunOrder,
        backoff: ConnectBackoff,
        access: KafkaAccess = NO_SECURITY,
    ) -> None:
        super().__init__(tally)
        self._assignment = assignment
        self._order = order
        self._backoff = backoff
        self._access = access
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
            self.tally.note_error(str(error))
            self._next_try_s = time.monotonic() + _TRY_AGAIN_S
            return False
        arrived_s = time.monotonic()
        self.confirm()
        if sum(len(records) for records in found.values()) < _RECORDS_PER_POLL:
            self._next_try_s = now_s + _REST_S
        if not found:
            for place, state in self._consumer._subscription.assignment.items():  # noqa: SLF001  asks no broker
                self.go_past(place.partition, state.position.offset if state.position else 0)
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
            settings = subscriber_settings(self._assignment, self._order) | kafka_python_settings(self._access)
            consumer, _ = _connected(KafkaConsumer, settings, self.tally)
        except KafkaError as error:
            self._backoff.until_s, self._backoff.reason = time.monotonic() + _TRY_AGAIN_S, str(error)
            raise
        places = [TopicPartition(self._order.topic, start.partition) for start in self._assignment.starts]
        consumer.assign(places)
        for place, start in zip(places, self._assignment.starts, strict=True):
            consumer.seek(place, start.offset)
        self._consumer = consumer
        self.clear_error()
        return True

    def has_high_watermark(self, partition: int) -> bool:
        """Whether a fetch was answered."""
        return self._consumer.highwater(TopicPartition(self._order.topic, partition)) is not None

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

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        super().__init__(order, access)
        self._backoff = ConnectBackoff()

    def make_client(self, tally: ClientTally, assignment: ClientAssignment) -> PolledClient:
        """A client that makes its consumer when it is polled."""
        return KafkaPythonClient(tally, assignment, self.order, self._backoff, self.access)


def subscriber_settings(assignment: ClientAssignment, order: RunOrder) -> dict[str, Any]:
    """The settings of kafka-python for a client."""
    max_bytes = order.options.consumer_max_buffer_size or DEFAULT_MAX_BYTES
    request_timeout_ms = max(30_000, order.options.fetch_wait_max_ms + 5000)
    return {
        "bootstrap_servers": order.bootstrap_servers.split(","),
        "client_id": order.client_id(assignment.name),
        # A topic that somebody else deletes is not to come back by this.
        "allow_auto_create_topics": False,
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
        "receive_message_max_bytes": MOST_BYTES,
        **_version(order),
    }
