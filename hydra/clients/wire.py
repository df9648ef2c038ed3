"""The subscriber that speaks the Kafka protocol itself: hundreds of clients on plain sockets in one process.

Each client is a real consumer to the broker: it has its own connection to each leader and its own position, and shares
neither with another. What they share is one selector, one receive buffer and the look-up of leaders. Partitions are
assigned, as they are with ``assign`` in any client library, and no offsets are committed; or, where it is asked for,
each client is a member of its consumer group (``wire_group.py``) and reads what that gives to it.
"""

from __future__ import annotations

import heapq
import selectors
import time
from collections.abc import Sequence

from hydra.accounting.tally import ClientTally
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_channel import Channel, ReceiveBuffer
from hydra.clients.wire_client import LeaderLink, WireClient
from hydra.clients.wire_leaders import LeaderLookup
from hydra.clients.wire_memberships import Memberships
from hydra.endpoints import Endpoint, parse_endpoints
from hydra.errors import CapacityError
from hydra.options.order import RunOrder

DEFAULT_MAX_BYTES = 50 * 1024 * 1024
"""Kafka's default of fetch.max.bytes."""

_LOOK_ROUND_S = 1.0
_SILENCE_S = 3.0
_REQUEST_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 10.0


class WireSubscriber:
    """All clients of a task; a SubscriberDriver.

    Args:
        order: what to read.

    Raises:
        UsageError: for bootstrap servers that are none.
    """

    def __init__(self, order: RunOrder) -> None:
        prefix = order.identity_prefix
        self.topic = order.topic
        self.fetch_min_bytes = order.options.fetch_min_bytes
        self.fetch_wait_max_ms = order.options.fetch_wait_max_ms
        self.max_bytes = order.options.consumer_max_buffer_size or DEFAULT_MAX_BYTES
        self.counter = BatchCounter(prefix)
        self._pace_s = order.pace_ms / 1000
        self._selector = selectors.DefaultSelector()
        self._scratch = ReceiveBuffer()
        leaders = {leader.partition: leader.endpoint for leader in order.leaders}
        servers = parse_endpoints(order.bootstrap_servers)
        self._lookup = LeaderLookup(self.topic, leaders, servers, self._selector, self._scratch)
        self._tallies = tuple(
            ClientTally(client.name, prefix, ((start.partition, start.offset) for start in client.starts))
            for client in order.clients
        )
        self._clients = [WireClient(tally, self) for tally in self._tallies]
        self._memberships = Memberships(
            self.topic, sorted(leaders), servers=servers, selector=self._selector, scratch=self._scratch
        )
        self._in_groups = order.options.group_mode == "group"
        if self._in_groups:
            for client, assignment in zip(self._clients, order.clients, strict=True):
                self._memberships.add(client, assignment.group_id, shared=not assignment.starts)
        self._idle: list[LeaderLink] = []
        self._retries: list[tuple[float, int, WireClient]] = []
        self._retry_number = 0
        self._next_round_s = 0.0
        self._next_look_s = 0.0
        self._closed = False

    @property
    def tallies(self) -> Sequence[ClientTally]:
        """One for each client, in the sequence of ``order.clients``."""
        return self._tallies

    def open(self) -> None:
        """Begin to connect all clients.

        Raises:
            CapacityError: when the process may not open so many sockets.
        """
        if self._in_groups:
            self._memberships.open()
            return
        for number, client in enumerate(self._clients):
            try:
                client.connect()
            except CapacityError as error:
                raise CapacityError(
                    f"no file descriptor is left after {number} of {len(self._clients)} clients",
                    hint="raise the limit (ulimit -n), or use fewer clients per app",
                ) from error

    def poll(self, timeout_s: float) -> None:
        """Move all clients on; waits ``timeout_s`` at most when nothing is there."""
        if self._closed:
            return
        now_s = time.monotonic()
        self._housekeeping(now_s)
        ready = self._selector.select(self._select_timeout_s(now_s, timeout_s))
        for key, mask in ready:
            key.data(mask)
        if self._idle:
            self._round()

    def close(self) -> None:
        """Let go of all connections; harmless the second time."""
        if self._closed:
            return
        self._closed = True
        for client in self._clients:
            client.close()
        self._lookup.close()
        self._memberships.close()
        self._idle.clear()
        self._retries.clear()
        self._selector.close()

    def leader(self, partition: int) -> Endpoint | None:
        """The partition's leader as far as it is known."""
        return self._lookup.leaders.get(partition)

    def mark_stale(self) -> None:
        """Have the leaders looked up again."""
        self._lookup.doubt()

    def channel(self, link: LeaderLink) -> Channel:
        """A new connection for the link."""
        return Channel(
            link.leader,
            self._selector,
            self._scratch,
            connected=link.connected,
            answered=link.answered,
            lost=link.lost,
        )

    def idle(self, link: LeaderLink) -> None:
        """The link may fetch again with the next round."""
        self._idle.append(link)

    def retry(self, client: WireClient, delay_s: float) -> None:
        """Have the client connect again in so many seconds."""
        self._retry_number += 1
        heapq.heappush(self._retries, (time.monotonic() + delay_s, self._retry_number, client))

    def _round(self) -> None:
        """All clients that may fetch do so together: one wake-up then serves many answers, which costs least."""
        if self._pace_s:
            now_s = time.monotonic()
            if now_s < self._next_round_s:
                return
            self._next_round_s = now_s + self._pace_s
        links, self._idle = self._idle, []
        for link in links:
            link.fetch()

    def _select_timeout_s(self, now_s: float, timeout_s: float) -> float:
        """How long the selector may wait before something else is due."""
        due_s = now_s + timeout_s
        if self._idle:
            due_s = min(due_s, self._next_round_s)
        if self._retries:
            due_s = min(due_s, self._retries[0][0])
        if self._lookup.busy:
            due_s = min(due_s, now_s + 0.05)
        due_s = min(due_s, self._memberships.due_s)
        return max(0.0, due_s - now_s)

    def _housekeeping(self, now_s: float) -> None:
        """What a run without trouble hardly needs: reconnect, look up leaders, notice brokers that stay silent."""
        while self._retries and self._retries[0][0] <= now_s:
            _, _, client = heapq.heappop(self._retries)
            try:
                client.connect()
            except CapacityError:
                continue  # it stands in the client's tally, and the next try is arranged
        if self._lookup.busy:
            self._lookup.step()
        if self._memberships.due_s <= now_s:
            self._memberships.step(now_s)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_ROUND_S
            for client in self._clients:
                self._look_after(client, now_s)

    def _look_after(self, client: WireClient, now_s: float) -> None:
        wait_s = self.fetch_wait_max_ms / 1000
        for link in list(client.links.values()):
            silent_s = now_s - link.asked_s - wait_s
            if link.channel.connecting and silent_s > _CONNECT_TIMEOUT_S:
                client.lost(link, f"{link.leader}: no connection after {silent_s:.0f} s")
            elif link.channel.asked and silent_s > _REQUEST_TIMEOUT_S:
                client.lost(link, f"{link.leader}: no answer for {silent_s:.0f} s")
            elif link.channel.asked and silent_s > _SILENCE_S:
                client.tally.error = f"{link.leader}: no answer for {silent_s:.0f} s"
