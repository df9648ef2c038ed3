"""The publisher on kafka-python.

Only the futures of the single records are trusted: the library's ``flush`` logs what failed and returns normally.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients.kafka_python_connect import connected
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger, RecordValues
from hydra.clients.protocols import AckCount
from hydra.errors import BrokerError
from hydra.options.order import RunOrder

_QUEUE_RECORDS = 50_000
"""A future takes about 1 KB; the library itself sets no limit."""

_WAIT_S = 0.005
_CLOSE_S = 2.0


class KafkaPythonPublisher:
    """One KafkaProducer; a PublisherDriver.

    Args:
        order: what to send, and how.
    """

    def __init__(self, order: RunOrder) -> None:
        self._order = order
        self._topic = order.topic
        self._values = RecordValues(order)
        self._ledger = DeliveryLedger(order.options.partitions)
        self._acks = order.options.acks != "0"
        self._producer: Any = None
        self._waiting = 0
        # The library's own thread adds to these, poll takes from them; a deque needs no lock for that.
        self._done: deque[tuple[int, int]] = deque()
        self._errors: deque[tuple[int, int, BaseException]] = deque()

    def open(self, deadline_s: float) -> None:
        """Connect and learn the topic's leaders.

        Raises:
            BrokerError: it took longer than ``deadline_s``, or the broker refused.
        """
        deadline = time.monotonic() + deadline_s
        where = f"topic {self._topic} at {self._order.bootstrap_servers}"
        try:
            self._producer = connected(KafkaProducer, settings(self._order, deadline_s))
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
                continue
            self._waiting += 1
            future.add_callback(partial(self._on_ack, partition, sequence))
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
        return self._ledger.count()

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

    def _on_ack(self, partition: int, sequence: int, _metadata: object) -> None:
        self._done.append((partition, sequence))

    def _on_error(self, partition: int, sequence: int, error: BaseException) -> None:
        self._errors.append((partition, sequence, error))

    def _take_in(self) -> None:
        done, ledger = self._done, self._ledger
        run_partition, run_start, run_stop = 0, 0, 0
        while done:
            partition, sequence = done.popleft()
            self._waiting -= 1
            if not self._acks:
                continue
            if partition == run_partition and sequence == run_stop:
                run_stop += 1
                continue
            ledger.ack(run_partition, run_start, run_stop)
            run_partition, run_start, run_stop = partition, sequence, sequence + 1
        ledger.ack(run_partition, run_start, run_stop)
        while self._errors:
            partition, sequence, error = self._errors.popleft()
            self._waiting -= 1
            ledger.error = str(error)
            if getattr(error, "errno", 0) in PROOFS_OF_REFUSAL:
                ledger.fail(partition, sequence)


def settings(order: RunOrder, deadline_s: float) -> dict[str, Any]:
    """The settings of kafka-python for an order."""
    delivery_ms = max(round(order.options.delivery_timeout_s * 1000), order.options.linger_ms + 1000)
    return {
        "bootstrap_servers": order.bootstrap_servers.split(","),
        "client_id": "hydra-pub",
        "acks": "all" if order.options.acks == "all" else int(order.options.acks),
        # Kafka's producer is idempotent by default where acks allows it; the library would switch it off silently.
        "enable_idempotence": order.options.acks == "all",
        "max_in_flight_requests_per_connection": 5,
        "linger_ms": order.options.linger_ms,
        "batch_size": order.options.batch_size_bytes,
        "max_request_size": max(1_048_576, order.options.msg_size + 1024),
        "delivery_timeout_ms": delivery_ms,
        # The library requires delivery_timeout_ms to cover linger_ms and one request.
        "request_timeout_ms": min(30_000, delivery_ms - order.options.linger_ms),
        "max_block_ms": round(deadline_s * 1000),
        "bootstrap_timeout_ms": round(deadline_s * 1000),
        "reconnect_backoff_max_ms": 1000,
        "metrics_enabled": False,
    }
