"""The publisher that speaks the Kafka protocol itself, on plain sockets and on the thread of whoever calls it.

It behaves as Kafka's own producer does with its defaults: batches by ``batch.size`` and ``linger.ms``, retries with
back-off until the delivery timeout; where it is idempotent (with acks=all, unless told otherwise) at most five requests
are in flight to a broker, and a retry never duplicates a record. It differs in that it has more requests in flight
where it is not idempotent, as librdkafka does, in what it does when its queue is full (``send`` takes fewer records and
never waits), and in that a request carries only batches that are ready, not also those that still linger.

Outcomes are exact: *acked* is what the broker acked; *failed* is what it refused, with proof, in the first try that can
have reached it; everything else is unknown. There is no thread: a caller who has nothing else to do calls ``pause``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients import wire_produce as produce
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger
from hydra.clients.protocols import PUBLISHER_CLIENT_ID, AckCount
from hydra.clients.wire_batches import PartitionQueue, PendingBatch, queue_records, record_writer
from hydra.clients.wire_connection import loop_for
from hydra.clients.wire_leaders import LeaderLookup
from hydra.clients.wire_produce import Sender
from hydra.clients.wire_protocol import api_versions_request
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError
from hydra.kafka_errors import NOT_LET_IN, error_name, final_error_in
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import RunOrder

MAX_REQUEST_BYTES = 1024 * 1024
"""Kafka's default of max.request.size; a single batch may be larger."""

BACK_OFF_FIRST_S, BACK_OFF_LAST_S = 0.1, 1.0
RECONNECT_FIRST_S, RECONNECT_LAST_S = 0.05, 1.0
"""Kafka's defaults of retry.backoff.ms and reconnect.backoff.ms, and of their maximums."""

_REQUEST_TIMEOUT_S, _CONNECT_TIMEOUT_S = 30.0, 10.0
_HOUSEKEEPING_S = 0.1
_SELECTOR_TICK_S = 0.001


class WirePublisher:
    """One producer; a PublisherDriver that works in its caller's pauses.

    Raises:
        BrokerError: this driver does not speak the mechanism of the access.
        UsageError: a bootstrap server is invalid, or a certificate of the access.
    """

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        self.topic = order.topic
        self._client_id = order.client_id(PUBLISHER_CLIENT_ID)
        self.acks = order.options.acks
        self.timeout_ms = round(min(_REQUEST_TIMEOUT_S, order.options.delivery_timeout_s) * 1000)
        self._order = order
        self._linger_s = order.options.linger_ms / 1000
        self._batch_bytes = order.batch_bytes
        self._idempotent = order.is_idempotent
        self._ledger = DeliveryLedger(order.options.partitions)
        self.take_ack_latencies = self._ledger.take_ack_latencies
        self._writer = record_writer(order)
        self._queues = [
            PartitionQueue(number, idempotent=self._idempotent) for number in range(order.options.partitions)
        ]
        self._loop = loop_for(access)
        self._lookup = LeaderLookup(
            self._client_id, self.topic, {}, parse_endpoints(order.bootstrap_servers), self._loop
        )
        self._senders: dict[Endpoint, Sender] = {}
        self._suspended: set[Endpoint] = set()
        """Brokers that were lost, until their reconnect back-off is over."""
        self._reconnect_s: dict[Endpoint, float] = {}
        """The last reconnect back-off of each broker that was lost."""
        self._ready: dict[int, PartitionQueue] = {}
        """Queues whose first batch may be sent as soon as its leader takes it."""
        self._lingering: deque[tuple[float, PendingBatch]] = deque()
        self._producer_id = -1
        self._ask_producer_id_s = 0.0
        self._unsupported: BrokerError | None = None
        self._waiting = 0
        """Records without an outcome."""
        self._queue_records = queue_records(order, self._writer)
        self._closed = False
        self._connect_timeout_s = order.options.start_deadline_s
        """While everybody connects, another try would go to the end of the queue of a broker that lets few in."""

    def open(self, deadline_s: float) -> None:
        """Connect to the leaders of all partitions; with acks=all also get a producer id.

        Raises:
            BrokerError: it took longer than ``deadline_s``, or the broker refused.
        """
        where = f"topic {self.topic} at {self._order.bootstrap_servers}"
        deadline = time.monotonic() + deadline_s
        self._writer.prepare(self._batch_bytes)
        self._housekeeping()
        while not self._opened():
            if self._unsupported is not None:
                raise BrokerError(f"{where}: {self._unsupported.message}", hint=self._unsupported.hint)
            if final_error_in(self._ledger.error) is not None:
                raise BrokerError(f"{where}: {self._ledger.error}")
            if time.monotonic() > deadline:
                reason = self._ledger.error or self._lookup.error or "no connection"
                raise BrokerError(f"{where}: {reason} after {deadline_s:g} s")
            self._step(_HOUSEKEEPING_S)
        self._ledger.error = ""
        self._connect_timeout_s = min(self.timeout_ms / 1000, _CONNECT_TIMEOUT_S)

    def _opened(self) -> bool:
        """Whether everything is there to send; does the next thing towards it."""
        now_s = time.monotonic()
        leaders = [self._lookup.leaders.get(queue.partition) for queue in self._queues]
        if None in leaders:
            self._lookup.mark_stale()
            return False
        senders = [self._sender(leader) for leader in dict.fromkeys(leaders)]
        ready = [sender for sender in senders if sender is not None and sender.ready]
        if ready and self._idempotent and self._producer_id < 0 and now_s >= self._ask_producer_id_s:
            self._ask_producer_id_s = now_s + BACK_OFF_LAST_S
            ready[0].connection.request(produce.init_producer_id_request(self._client_id), self._take_producer_id)
        return len(ready) == len(senders) and (not self._idempotent or self._producer_id >= 0)

    def _take_producer_id(self, buffer: bytearray, start: int, _stop: int) -> None:
        error, producer_id, _epoch = produce.read_init_producer_id(buffer, start)
        self._ask_producer_id_s = time.monotonic() + BACK_OFF_FIRST_S
        if error:
            self._ledger.error = f"no producer id: {error_name(error)}"
        else:
            self._producer_id = producer_id

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Take records in; fewer than ``records`` when too many wait for their outcome."""
        count = min(records, self._queue_records - self._waiting)
        if self._closed or count <= 0:
            return 0
        queue, now_s, now_ms = self._queues[partition], time.monotonic(), time.time_ns() // 1_000_000
        for batch in queue.add(self._writer, self._batch_bytes, first_sequence, count, now_s=now_s, at_ms=now_ms):
            if self._linger_s:
                self._lingering.append((now_s + self._linger_s, batch))
            else:
                batch.ready = True
        self._waiting += count
        self._ledger.attempt(partition, first_sequence + count)
        self._wake(queue)
        return count

    def poll(self) -> AckCount:
        """Take in what the brokers replied, and send what may be sent."""
        if not self._closed:
            self._step(0)
        return self._ledger.count()

    def pause(self, seconds: float) -> None:
        """Let time pass, and go on with what is under way meanwhile."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            if self._closed:
                time.sleep(left_s)
                return
            if left_s > _SELECTOR_TICK_S or self._ready:
                self._step(left_s)
                continue
            # The selector would wait for a whole millisecond, which would make the plan late.
            nap_s = max(0.0, min(left_s, self._due_s() - time.monotonic()))
            time.sleep(nap_s)
            if nap_s < left_s:
                self._step(0)

    def flush(self, timeout_s: float) -> AckCount:
        """Send what is held back and wait for all outcomes; what has none after ``timeout_s`` is given up."""
        deadline = time.monotonic() + timeout_s
        for queue in self._queues:
            if queue.waiting:
                queue.waiting[-1].ready = queue.waiting[-1].closed = True
                self._wake(queue)
        self._step_until_settled(deadline)
        if self.acks == "0" and not self._waiting:
            # No ack says that the broker has everything; the reply to a later request does.
            for sender in self._senders.values():
                if sender.ready:
                    sender.connection.request(api_versions_request(self._client_id), lambda *_: None)
            self._step_until_settled(deadline)
        if self._busy:
            self._give_up(timeout_s)
        return self._ledger.count()

    @property
    def _busy(self) -> bool:
        """Whether a record has no outcome, or a broker owes a reply."""
        return self._waiting > 0 or any(
            sender.ready and sender.waiting_since_s is not None for sender in self._senders.values()
        )

    def _step_until_settled(self, deadline: float) -> None:
        while not self._closed and self._busy and (left_s := deadline - time.monotonic()) > 0:
            self._step(left_s)

    def _give_up(self, timeout_s: float) -> None:
        if self._waiting:
            self._ledger.error = self._ledger.error or f"{self._waiting} records had no ack after {timeout_s:g} s"
        for sender in self._senders.values():
            sender.abort()
        self._senders.clear()
        for queue in self._queues:
            for batch in queue.take_all():
                self._drop(batch)
        self._ready.clear()
        self._lingering.clear()

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far."""
        return self._ledger.outcomes()

    def close(self) -> None:
        """Close all connections; harmless the second time."""
        if self._closed:
            return
        self._closed = True
        for sender in self._senders.values():
            if self._waiting:
                sender.abort()
            else:
                sender.connection.close()
        self._senders.clear()
        self._lookup.close()
        self._loop.close()

    def _step(self, timeout_s: float) -> None:
        """Serve the sockets, waiting ``timeout_s`` at most for them, and send what may be sent."""
        if timeout_s > 0:
            timeout_s = min(timeout_s, self._due_s() - time.monotonic())
        self._loop.run_once(timeout_s)
        self._end_linger()
        if self._ready:
            self._send_ready()
        if self.acks == "0":
            for sender in self._senders.values():
                sender.settle_sent()

    def _due_s(self) -> float:
        """When there is something to do, whatever the sockets bring."""
        return min(self._loop.due_s, self._lingering[0][0]) if self._lingering else self._loop.due_s

    def _end_linger(self) -> None:
        """Mark the batches ready whose linger is over."""
        lingering, now_s = self._lingering, time.monotonic()
        while lingering and (lingering[0][0] <= now_s or lingering[0][1].closed):
            batch = lingering.popleft()[1]
            if not batch.closed:
                batch.ready = True
                self._ready[batch.queue.partition] = batch.queue

    def _wake(self, queue: PartitionQueue) -> None:
        """Look at the queue with the next ``_send_ready`` if its first batch may be sent."""
        for lost in queue.start_next_epoch() if queue.broken else ():
            self._drop(lost)
        if queue.waiting and queue.waiting[0].ready:
            self._ready[queue.partition] = queue

    def _send_ready(self) -> None:
        """Send requests, each with one batch of some partitions, while there are batches and brokers that take them."""
        # Hot path: once for every request.
        ready, now_s = self._ready, time.monotonic()
        while ready:
            loads: dict[Sender, list[PendingBatch]] = {}
            sizes: dict[Sender, int] = {}
            for queue in list(ready.values()):
                batch = queue.sendable(now_s)
                if batch is None:
                    del ready[queue.partition]
                    continue
                sender = self._sender(self._lookup.leaders.get(queue.partition))
                if sender is None or not sender.has_room:
                    continue
                size_bytes = sizes.get(sender, 0) + batch.size_bytes
                if sender in loads and size_bytes > MAX_REQUEST_BYTES:
                    continue
                sizes[sender] = size_bytes
                loads.setdefault(sender, []).append(queue.take())
            if not loads:
                return
            for sender, load in loads.items():
                sender.produce(load, [batch.encode(self._writer, self._producer_id) for batch in load])

    def _sender(self, leader: Endpoint | None) -> Sender | None:
        """The connection to a leader, which may not be established yet; None while there can be none."""
        if leader is None:
            self._lookup.mark_stale()
            return None
        if leader not in self._senders and leader not in self._suspended:
            sender = self._senders[leader] = Sender(
                leader, self._loop, self.topic, self.acks, self.timeout_ms,
                client_id=self._client_id, idempotent=self._idempotent,
                on_settled=self._settle, on_lost=self._sender_lost, on_throttled=self._ledger.hold_back,
            )  # fmt: skip
            sender.connect()
        return self._senders.get(leader)

    def _housekeeping(self) -> None:
        """Give up brokers that stay silent and batches whose delivery timeout is over; calls itself again."""
        now_s = time.monotonic()
        self._loop.call_at(now_s + _HOUSEKEEPING_S, self._housekeeping)
        for sender in list(self._senders.values()):
            limit_s = min(self.timeout_ms / 1000, _REQUEST_TIMEOUT_S) if sender.ready else self._connect_timeout_s
            if (since_s := sender.waiting_since_s) is not None and now_s - since_s > limit_s:
                silence = "no reply" if sender.ready else NOT_LET_IN
                sender.lost(f"{sender.leader}: {silence} for {now_s - since_s:.0f} s")
        for queue in self._queues:
            while queue.waiting and self._expired(queue.waiting[0], now_s):
                self._drop(queue.waiting.popleft())
                self._wake(queue)

    def _expired(self, batch: PendingBatch, now_s: float) -> bool:
        timeout_s = self._order.options.delivery_timeout_s
        if now_s - batch.created_s <= max(timeout_s, self._linger_s):
            return False
        self._ledger.error = self._ledger.error or f"records had no ack after {timeout_s:g} s"
        return True

    def _drop(self, batch: PendingBatch) -> None:
        """Give up a batch; unless it was acked or failed, its records stay unknown."""
        self._waiting -= batch.count
        self._ledger.blame(batch.error, batch.count)
        batch.queue.gave_up(batch)

    def _retry(self, batch: PendingBatch) -> None:
        """Send the batch again after its back-off."""
        now_s = time.monotonic()
        if self._expired(batch, now_s):
            self._drop(batch)
            return
        back_off_s = BACK_OFF_FIRST_S * 2 ** min(max(0, batch.tries - 1), 10)
        batch.not_before_s = now_s + min(BACK_OFF_LAST_S, back_off_s)
        batch.queue.put_back(batch)
        self._loop.call_at(batch.not_before_s, partial(self._wake, batch.queue))

    def _settle(self, batch: PendingBatch, code: int | None, leader: Endpoint) -> None:
        """The outcome of a batch, as ``Sender`` calls it."""
        # Hot path: once for every batch.
        queue = batch.queue
        queue.in_flight.remove(batch)
        if code is None:
            self._waiting -= batch.count
        elif code in {0, produce.DUPLICATE_SEQUENCE}:
            self._waiting -= batch.count
            self._ledger.ack(queue.partition, batch.first, batch.stop)
            self._ledger.time_acks(batch.waits(time.monotonic()))
        else:
            self._settle_error(batch, code, leader)
        self._wake(queue)

    def _settle_error(self, batch: PendingBatch, code: int, leader: Endpoint) -> None:
        queue = batch.queue
        if code == produce.MESSAGE_TOO_LARGE and batch.count > 1 and not batch.maybe_appended:
            queue.put_back(*batch.split(self._writer))  # nothing is refused for good yet: each half may go in
            return
        batch.error = code
        self._ledger.error = f"{leader}: {error_name(code)} for partition {queue.partition} of topic {self.topic}"
        if code in produce.OUT_OF_ORDER:
            # Expected after a batch that will be retried; otherwise broker and client disagree on the sequence.
            queue.broken = queue.broken or queue.is_next(batch)
            if queue.broken and batch.maybe_appended:
                self._drop(batch)
            else:
                self._retry(batch)
        elif code in produce.RETRIABLE:
            batch.maybe_appended = True  # some of these codes are also given after the append
            if code in produce.STALE_LEADER:
                self._lookup.mark_stale()
            self._retry(batch)
        else:
            if code in PROOFS_OF_REFUSAL and not batch.maybe_appended:
                self._ledger.fail(queue.partition, batch.first, batch.stop)
            self._drop(batch)

    def _sender_lost(self, sender: Sender, reason: str, batches: Sequence[PendingBatch]) -> None:
        """A connection failed; its batches are sent again, except those with acks=0 that were sent."""
        self._senders.pop(leader := sender.leader, None)
        self._unsupported = sender.unsupported
        self._ledger.note_error(reason)
        self._lookup.mark_stale()
        # The back-off doubles until a connection was ready for requests.
        back_off_s = 0.0 if sender.ready else 2 * self._reconnect_s.get(leader, 0.0)
        back_off_s = self._reconnect_s[leader] = min(RECONNECT_LAST_S, max(RECONNECT_FIRST_S, back_off_s))
        self._suspended.add(leader)
        self._loop.call_at(time.monotonic() + back_off_s, partial(self._suspended.discard, leader))
        for batch in batches:
            batch.queue.in_flight.remove(batch)
            if batch.queue.broken and batch.maybe_appended:
                self._drop(batch)
            else:
                self._retry(batch)
        for batch in batches:
            self._wake(batch.queue)
