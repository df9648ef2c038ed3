"""The publisher that speaks the Kafka protocol itself, on plain sockets and on the thread of whoever calls it.

It behaves as Kafka's own producer does with its defaults: batches by ``batch.size`` and ``linger.ms``, at most five
requests in flight to a broker, tries again with back-off until the delivery time-out; with acks=all it is idempotent,
so that a try more never makes a record more. With acks=1 a try more may, as it may there. It differs in what it makes
of a full queue (``send`` takes fewer and never waits), and in that a request carries the ready batches only, not also
those whose linger is not over.

Outcomes are exact: *acked* is what the broker acked; *failed* what it refused with a proof, in the first try that can
have reached it; everything else is unknown.

There is no thread: who has nothing else to do calls ``pause``, and the sockets are served meanwhile.
"""

from __future__ import annotations

import heapq
import selectors
import time
from collections import deque
from collections.abc import Sequence

from hydra.accounting.stats import PartitionOutcomes
from hydra.clients import wire_produce as produce
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger
from hydra.clients.protocols import AckCount
from hydra.clients.publisher_batches import PartitionQueue, PendingBatch
from hydra.clients.record_batch import HEADER_BYTES
from hydra.clients.record_writer import RecordWriter
from hydra.clients.wire_channel import ConnectionLostError, ReceiveBuffer
from hydra.clients.wire_leaders import LeaderLookup
from hydra.clients.wire_pipeline import PipelinedChannel
from hydra.clients.wire_produce_link import ProduceLink
from hydra.clients.wire_protocol import error_name
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import BrokerError, CapacityError
from hydra.options.order import RunOrder

MAX_REQUEST_BYTES = 1024 * 1024
"""Kafka's default of max.request.size; a single batch may be larger."""

BACK_OFF_FIRST_S, BACK_OFF_LAST_S = 0.1, 1.0
"""Kafka's defaults of retry.backoff.ms and retry.backoff.max.ms."""

RECONNECT_FIRST_S, RECONNECT_LAST_S = 0.05, 1.0
"""Kafka's defaults of reconnect.backoff.ms and reconnect.backoff.max.ms."""

_QUEUE_SECONDS = 5
_QUEUE_FIRST_RECORDS, _QUEUE_LAST_RECORDS = 100_000, 2_000_000
_QUEUE_BYTES, _BATCH_OBJECT_BYTES = 1 << 29, 512
_PREPARED_RECORDS = 100_000
_REQUEST_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_CARE_ROUND_S = 0.1
_FORGET_S = 5.0
_LOOK_S = 0.05
_SELECTOR_TICK_S = 0.001
_TROUBLED_LOOK_S = 0.01


class WirePublisher:
    """One producer; a PublisherDriver that works during pauses.

    Args:
        order: what to send, and how.

    Raises:
        UsageError: for bootstrap servers that are none.
    """

    def __init__(self, order: RunOrder) -> None:
        self.topic = order.topic
        self.acks = order.options.acks
        self.timeout_ms = round(min(_REQUEST_TIMEOUT_S, order.delivery_timeout_s) * 1000)
        self._order = order
        self._linger_s = order.options.linger_ms / 1000
        self._batch_bytes = order.options.batch_size_bytes
        self._idempotent = order.options.acks == "all"
        self._ledger = DeliveryLedger(order.options.partitions)
        prefix = order.identity_prefix
        self._writer = RecordWriter(prefix, order.options.msg_size)
        self._queues = [
            PartitionQueue(number, idempotent=self._idempotent) for number in range(order.options.partitions)
        ]
        self._selector = selectors.DefaultSelector()
        self._scratch = ReceiveBuffer()
        servers = parse_endpoints(order.bootstrap_servers)
        self._lookup = LeaderLookup(self.topic, {}, servers, self._selector, self._scratch)
        self._links: dict[Endpoint, ProduceLink] = {}
        self._is_suspended: dict[Endpoint, tuple[float, float]] = {}
        """Brokers that were lost: until when they are left alone, and for how long."""
        self._ready: dict[int, PartitionQueue] = {}
        """Queues whose first batch may be sent as soon as its leader takes it."""
        self._lingering: deque[tuple[float, PendingBatch]] = deque()
        self._retries: list[tuple[float, int]] = []
        self._producer_id = -1
        self._ask_producer_id_s = 0.0
        self._refusal = ""
        self._waiting = 0
        self._queue_records = queue_records(order, self._writer)
        self._next_care_s = 0.0
        self._closed = False

    def open(self, deadline_s: float) -> None:
        """Connect to the leaders of all partitions; with acks=all also get a producer id.

        Raises:
            BrokerError: when it took longer than ``deadline_s``, or the broker refused.
        """
        where = f"topic {self.topic} at {self._order.bootstrap_servers}"
        deadline = time.monotonic() + deadline_s
        self._writer.prepare(min(_PREPARED_RECORDS, self._writer.fit(self._batch_bytes, 1 << 31, 0, 0)[0] + 1))
        while not self._opened():
            if self._refusal:
                raise BrokerError(
                    f"{where}: {self._refusal}", hint="use Kafka 0.11 or later, or --pub_driver=kafka-python"
                )
            if time.monotonic() > deadline:
                trouble = self._ledger.error or self._lookup.trouble or "no connection"
                raise BrokerError(f"{where}: {trouble} after {deadline_s:g} s")
            self._step(_TROUBLED_LOOK_S)
        self._ledger.error = ""

    def _opened(self) -> bool:
        """Whether all is there to send; does the next thing towards it."""
        now_s = time.monotonic()
        leaders = [self._lookup.leaders.get(queue.partition) for queue in self._queues]
        if None in leaders:
            self._lookup.doubt()
            return False
        links = [self._link(leader, now_s) for leader in dict.fromkeys(leaders) if leader is not None]
        ready = [link for link in links if link is not None and link.ready]
        if ready and self._idempotent and self._producer_id < 0 and now_s >= self._ask_producer_id_s:
            self._ask_producer_id_s = now_s + BACK_OFF_LAST_S
            ready[0].ask_producer_id()
        return len(ready) == len(links) and (not self._idempotent or self._producer_id >= 0)

    def send(self, partition: int, first_sequence: int, records: int) -> int:
        """Take records in; fewer than asked when too many wait for their outcome."""
        if self._closed:
            return 0
        count = max(0, min(records, self._queue_records - self._waiting))
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        queue = self._queues[partition]
        sequence, stop = first_sequence, first_sequence + count
        while sequence < stop:
            batch = queue.open_batch(sequence)
            if batch is None:
                batch = PendingBatch(queue, sequence, now_s, ready=not self._linger_s)
                queue.waiting.append(batch)
                if self._linger_s:
                    self._lingering.append((now_s + self._linger_s, batch))
            sequence += batch.add(self._writer, stop - sequence, now_ms, self._batch_bytes)
        self._waiting += count
        if count:
            self._ledger.attempt(partition, stop)
            self._wake(queue)
        return count

    def poll(self) -> AckCount:
        """Take in what the brokers said, and send what may be sent."""
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
            # The selector would wait for a whole millisecond, and the plan be late by what is too much of it.
            nap_s = self._select_timeout_s(time.monotonic(), left_s)
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
        self._step_until(deadline)
        if self.acks == "0" and not self._waiting:
            # No ack says that the broker has it all; an answer to whatever comes behind it does.
            for link in self._links.values():
                if link.ready:
                    link.ask_for_an_answer()
            self._step_until(deadline)
        if self._waiting or any(link.silent_since_s is not None for link in self._links.values()):
            self._give_up(timeout_s)
        return self._ledger.count()

    def _step_until(self, deadline: float) -> None:
        """Go on until nothing is under way, or the deadline has passed."""
        while not self._closed and (
            self._waiting or any(link.ready and link.silent_since_s is not None for link in self._links.values())
        ):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._step(left_s)

    def _give_up(self, timeout_s: float) -> None:
        if self._waiting:
            self._ledger.error = self._ledger.error or f"{self._waiting} records had no ack after {timeout_s:g} s"
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            link.abort()
        for queue in self._queues:
            queue.drop_all()
        self._ready.clear()
        self._lingering.clear()
        self._retries.clear()
        self._waiting = 0

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far."""
        return self._ledger.outcomes()

    def close(self) -> None:
        """Let go of all connections; harmless the second time."""
        if self._closed:
            return
        self._closed = True
        for link in self._links.values():
            if self._waiting:
                link.abort()
            else:
                link.close()
        self._links.clear()
        self._lookup.close()
        self._selector.close()

    def _step(self, timeout_s: float) -> None:
        """Serve the sockets, waiting ``timeout_s`` at most for them, and send what may be sent."""
        now_s = time.monotonic()
        for key, mask in self._selector.select(self._select_timeout_s(now_s, timeout_s) if timeout_s > 0 else 0):
            key.data(mask)
        now_s = time.monotonic()
        self._ripen(now_s)
        if self._ready:
            self._send_ready(now_s)
        if self.acks == "0":
            for link in self._links.values():
                link.take_sent()
        if self._lookup.busy:
            self._lookup.step()
        if now_s >= self._next_care_s:
            self._next_care_s = now_s + _CARE_ROUND_S
            self._housekeeping(now_s)

    def _select_timeout_s(self, now_s: float, timeout_s: float) -> float:
        """How long the selector may wait before something else is due."""
        due_s = now_s + min(timeout_s, _TROUBLED_LOOK_S if self._is_suspended or self._lookup.busy else _LOOK_S)
        if self._lingering:
            due_s = min(due_s, self._lingering[0][0])
        if self._retries:
            due_s = min(due_s, self._retries[0][0])
        return max(0.0, due_s - now_s)

    def _ripen(self, now_s: float) -> None:
        """Note whose linger or back-off is over."""
        lingering = self._lingering
        while lingering and (lingering[0][0] <= now_s or lingering[0][1].closed):
            batch = lingering.popleft()[1]
            if not batch.closed:
                batch.ready = True
                self._ready[batch.queue.partition] = batch.queue
        while self._retries and self._retries[0][0] <= now_s:
            self._wake(self._queues[heapq.heappop(self._retries)[1]])

    def _wake(self, queue: PartitionQueue) -> None:
        """Have the queue looked at if something of it may be sent."""
        for lost in queue.mend() if queue.broken else ():
            self._drop(lost)
        if queue.waiting and queue.waiting[0].ready:
            self._ready[queue.partition] = queue

    def _send_ready(self, now_s: float) -> None:
        """Send requests, one batch of a partition in each, as long as there are batches and brokers that take them."""
        # Hot path: a turn for every request.
        ready = self._ready
        while ready:
            loads: dict[ProduceLink, list[PendingBatch]] = {}
            sizes: dict[ProduceLink, int] = {}
            for queue in list(ready.values()):
                batch = queue.sendable(now_s)
                if batch is None:
                    del ready[queue.partition]
                    continue
                leader = self._lookup.leaders.get(queue.partition)
                link = self._link(leader, now_s)
                if link is None or not link.has_room:
                    continue
                size_bytes = sizes.get(link, 0) + batch.size_bytes
                if link in loads and size_bytes > MAX_REQUEST_BYTES:
                    continue
                sizes[link] = size_bytes
                loads.setdefault(link, []).append(queue.take())
            if not loads:
                return
            for link, load in loads.items():
                link.produce(load, [batch.encode(self._writer, self._producer_id) for batch in load])

    def _link(self, leader: Endpoint | None, now_s: float) -> ProduceLink | None:
        """The connection to a leader, which may be on its way; None while there can be none."""
        if leader is None:
            self._lookup.doubt()
            return None
        link = self._links.get(leader)
        if link is None and self._is_suspended.get(leader, (0.0, 0.0))[0] <= now_s:
            link = self._links[leader] = ProduceLink(leader, self)
            try:
                link.channel.connect()
            except (ConnectionLostError, CapacityError) as error:
                link.lost(str(error))
                return None
        return link

    def _housekeeping(self, now_s: float) -> None:
        """Notice brokers that stay silent and batches whose time is over."""
        limit_s = self.timeout_ms / 1000
        for link in list(self._links.values()):
            since_s = link.silent_since_s
            if since_s is not None and now_s - since_s > (limit_s if link.ready else min(limit_s, _CONNECT_TIMEOUT_S)):
                link.channel.abort()
                link.lost(f"{link.leader}: no answer for {now_s - since_s:.0f} s")
        for leader, (until_s, _) in list(self._is_suspended.items()):
            if until_s < now_s - _FORGET_S:
                del self._is_suspended[leader]
        for queue in self._queues:
            while queue.waiting and self._expired(queue.waiting[0], now_s):
                self._drop(queue.waiting.popleft())
                self._wake(queue)

    def _expired(self, batch: PendingBatch, now_s: float) -> bool:
        timeout_s = self._order.delivery_timeout_s
        if now_s - batch.created_s <= max(timeout_s, self._linger_s):
            return False
        self._ledger.error = self._ledger.error or f"records had no ack after {timeout_s:g} s"
        return True

    def _drop(self, batch: PendingBatch) -> None:
        """Give up a batch that waits no more; unless it was acked or failed its records are unknown."""
        self._waiting -= batch.count
        batch.queue.gave_up(batch)

    def _retry(self, batch: PendingBatch) -> None:
        """Have it sent again after a while."""
        now_s = time.monotonic()
        if self._expired(batch, now_s):
            self._drop(batch)
            return
        back_off_s = BACK_OFF_FIRST_S * 2 ** min(max(0, batch.tries - 1), 10)
        batch.not_before_s = now_s + min(BACK_OFF_LAST_S, back_off_s)
        batch.queue.put_back(batch)
        heapq.heappush(self._retries, (batch.not_before_s, batch.queue.partition))

    def channel(self, link: ProduceLink) -> PipelinedChannel:
        """A new connection for the link."""
        return PipelinedChannel(
            link.leader,
            self._selector,
            self._scratch,
            connected=link.connected,
            answered=link.answered,
            lost=link.lost,
        )

    def opened(self, link: ProduceLink) -> None:
        """The link is ready."""
        self._is_suspended.pop(link.leader, None)

    def refused(self, reason: str) -> None:
        """The broker cannot be worked with at all."""
        self._refusal = self._ledger.error = reason

    def numbered(self, error: int, producer_id: int) -> None:
        """A producer id was asked for, and this is the answer."""
        self._ask_producer_id_s = time.monotonic() + BACK_OFF_FIRST_S
        if not error:
            self._producer_id = producer_id
            return
        self._ledger.error = f"no producer id: {error_name(error)}"

    def sent(self, batch: PendingBatch) -> None:
        """A batch that no answer will come for has gone out."""
        batch.queue.in_flight.remove(batch)
        self._waiting -= batch.count
        self._wake(batch.queue)

    def settle(self, batch: PendingBatch, code: int, leader: Endpoint) -> None:
        """The broker said what became of a batch."""
        # Hot path: once for every batch.
        queue = batch.queue
        queue.in_flight.remove(batch)
        if code in {0, produce.DUPLICATE_SEQUENCE}:
            self._waiting -= batch.count
            self._ledger.ack(queue.partition, batch.first, batch.stop)
        else:
            self._ledger.error = f"{leader}: {error_name(code)} for partition {queue.partition} of topic {self.topic}"
            self._take_refusal(batch, code)
        self._wake(queue)

    def _take_refusal(self, batch: PendingBatch, code: int) -> None:
        queue = batch.queue
        if code in produce.OUT_OF_ORDER:
            # Behind a batch that is to be sent again that is as it should be; else the broker has lost count.
            queue.broken = queue.broken or queue.is_next(batch)
            if queue.broken and batch.doubt:
                self._drop(batch)
            else:
                self._retry(batch)
        elif code == produce.MESSAGE_TOO_LARGE and batch.count > 1 and not batch.doubt:
            queue.put_back(*batch.split(self._writer))
        elif code in produce.RETRIABLE:
            batch.doubt = True  # some of these codes are given after the append, too
            if code in produce.STALE_LEADER:
                self._lookup.doubt()
            self._retry(batch)
        else:
            if code in PROOFS_OF_REFUSAL and not batch.doubt:
                self._ledger.fail(queue.partition, batch.first, batch.stop)
            self._drop(batch)

    def lost(self, link: ProduceLink, reason: str, batches: Sequence[PendingBatch]) -> None:
        """A connection is gone; its batches are sent again, but for those with acks=0 that went out."""
        if self._links.get(link.leader) is link:
            del self._links[link.leader]
        before_s = self._is_suspended.get(link.leader, (0.0, 0.0))[1]
        rest_s = min(RECONNECT_LAST_S, max(RECONNECT_FIRST_S, 2 * before_s))
        self._is_suspended[link.leader] = (time.monotonic() + rest_s, rest_s)
        self._ledger.error = reason
        self._lookup.doubt()
        for batch in batches:
            batch.queue.in_flight.remove(batch)
        for batch in batches:
            if batch.queue.broken and batch.doubt:
                self._drop(batch)
            else:
                self._retry(batch)
        for batch in batches:
            self._wake(batch.queue)


def queue_records(order: RunOrder, writer: RecordWriter) -> int:
    """How many records may wait for their outcome: some seconds' worth, within 512 MiB of batches that wait."""
    wanted = max(_QUEUE_FIRST_RECORDS, round(_QUEUE_SECONDS * order.options.msg_rate))
    records_a_batch = max(1, writer.fit(order.options.batch_size_bytes - HEADER_BYTES, 1 << 31, 0, 0)[0])
    return min(wanted, records_a_batch * _QUEUE_BYTES // _BATCH_OBJECT_BYTES, _QUEUE_LAST_RECORDS)
