"""The subscriber that speaks the Kafka protocol itself: hundreds of clients on plain sockets in one process.

To the broker each client is a real consumer: it has its own connection to each leader and its own position, and shares
neither with another. What the clients share is the event loop and the look-up of leaders. Partitions are assigned, as
they are with ``assign`` in any client library, and no offsets are committed; or, with ``group_mode`` "group", each
client is a member of its consumer group (``wire_group.py``) and reads what the group assigns to it.
"""

from __future__ import annotations

import time

from hydra.clients.protocols import DEFAULT_MAX_BYTES, LOOKUP_CLIENT_ID, client_tallies
from hydra.clients.proven_log import ProvenLog
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_client import Fetcher, FetchSettings, WireClient
from hydra.clients.wire_connection import MAX_REPLY_BYTES, loop_for
from hydra.clients.wire_entrance import Entrance
from hydra.clients.wire_group import GroupMember, leave_groups, new_membership
from hydra.clients.wire_leaders import LeaderLookup
from hydra.clients.wire_membership import Group
from hydra.endpoints import parse_endpoints
from hydra.kafka_errors import NOT_LET_IN
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.order import RunOrder

_SILENCE_CHECK_S = 1.0
_SILENCE_S = 3.0
_REQUEST_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 10.0


class WireSubscriber:
    """All clients of a task; a SubscriberDriver.

    Raises:
        BrokerError: this driver does not speak the mechanism of the access.
        UsageError: a bootstrap server is invalid, or a certificate of the access.
    """

    def __init__(self, order: RunOrder, access: KafkaAccess = NO_SECURITY) -> None:
        self.tallies = client_tallies(order)
        self.settings = FetchSettings(
            order.topic,
            order.options.fetch_min_bytes,
            order.options.fetch_wait_max_ms,
            min(order.options.consumer_max_buffer_size or DEFAULT_MAX_BYTES, MAX_REPLY_BYTES // 2),
            BatchCounter(order.identity_prefix, _shared_log(order)),
            order.options.client_id_prefix,
            order.options.client_rack or "",
        )
        self._pace_s = order.pace_ms / 1000
        self._loop = loop_for(access)
        leaders = {leader.partition: leader.endpoint for leader in order.leaders}
        self._partitions = tuple(sorted(leaders))
        self._servers = parse_endpoints(order.bootstrap_servers)
        self._lookup = LeaderLookup(order.client_id(LOOKUP_CLIENT_ID), order.topic, leaders, self._servers, self._loop)
        self._order = order
        self._clients: list[WireClient] = []
        self._members: list[GroupMember] = []
        self._idle: list[Fetcher] = []
        """Those that wait for the next round."""
        self._unpaced: list[Fetcher] = []
        """Those that wait for no round."""
        self._next_round_s = 0.0
        self._entrance = Entrance(len(order.clients) / order.options.client_count)
        self._closed = False

    def open(self) -> None:
        """Begin to connect all clients.

        Raises:
            CapacityError: the process may not open so many sockets.
        """
        self._clients = [
            WireClient(
                tally,
                self.settings,
                self._lookup,
                self._loop,
                on_idle=self._idle.append if assignment.paced else self._unpaced.append,
            )
            for tally, assignment in zip(self.tallies, self._order.clients, strict=True)
        ]
        self._check_for_silence()
        if self.settings.rack:
            self._lookup.mark_stale()  # a leader tells of the closest replica by its node id alone
        if self._order.options.group_mode == "group":
            self._join_groups()
            return
        self._entrance.open(self._clients, self._lookup.leaders)

    def _join_groups(self) -> None:
        for number, (client, assignment) in enumerate(zip(self._clients, self._order.clients, strict=True)):
            client.release(client.reading)
            group = Group(
                client.client_id, assignment.group_id, self.settings.topic, self._partitions,
                shared=not assignment.starts, begin_offsets=self._order.begin_offsets, rack=self.settings.rack,
            )  # fmt: skip
            membership = new_membership(group, self._order.options.group_protocol)
            start_deadline_s = self._order.options.start_deadline_s
            member = GroupMember(client, membership, number, servers=self._servers, start_deadline_s=start_deadline_s)
            self._members.append(member)
        for member in self._members:
            member.connect()

    def poll(self, timeout_s: float) -> None:
        """Move all clients on; waits ``timeout_s`` at most when there is nothing to do."""
        if self._closed:
            return
        if self._idle and not self._entrance.crowded:
            timeout_s = min(timeout_s, self._next_round_s - time.monotonic())
        self._loop.run_once(timeout_s)
        if self._entrance.crowded and self._entrance.go_on():
            return
        if self._unpaced:
            _fetch_all(self._unpaced)
        if self._idle:
            self._fetch_round()

    def close(self) -> None:
        """Leave the groups and close all connections; harmless the second time."""
        if self._closed:
            return
        self._closed = True
        leave_groups(self._members, self._loop)
        self._entrance.close()
        for client in self._clients:
            client.close()
        self._lookup.close()
        self._loop.close()
        self._idle.clear()
        self._unpaced.clear()

    def _fetch_round(self) -> None:
        """All clients that may fetch do so together: one wake-up then serves many replies, which costs least."""
        if self._pace_s:
            now_s = time.monotonic()
            if now_s < self._next_round_s:
                return
            self._next_round_s = now_s + self._pace_s
        _fetch_all(self._idle)

    def _check_for_silence(self) -> None:
        """Name the brokers that owe a reply for long, and give them up in the end."""
        now_s = time.monotonic()
        self._loop.call_at(now_s + _SILENCE_CHECK_S, self._check_for_silence)
        for client in self._clients:
            for fetcher in list(client.fetchers.values()):
                since_s = fetcher.connection.waiting_since_s
                if since_s is None:
                    continue
                silent_s = now_s - max(since_s, fetcher.throttled_until_s) - self.settings.wait_max_ms / 1000
                # Before the start, another try would go to the end of the queue of a broker that lets few in.
                waits_to_get_in = client.tally.timing is None and not fetcher.let_in
                starting_s = self._order.options.start_deadline_s if waits_to_get_in else 0.0
                if not fetcher.connection.reached:
                    if silent_s > _CONNECT_TIMEOUT_S:
                        client.lost(fetcher, f"{fetcher.leader}: no connection after {silent_s:.0f} s")
                    continue
                silence = "no reply" if fetcher.let_in else NOT_LET_IN
                if silent_s > max(_REQUEST_TIMEOUT_S, starting_s):
                    client.lost(fetcher, f"{fetcher.leader}: {silence} for {silent_s:.0f} s")
                elif silent_s > _SILENCE_S:
                    client.tally.error = f"{fetcher.leader}: {silence} for {silent_s:.0f} s"


def _fetch_all(idle: list[Fetcher]) -> None:
    """Have all of these fetch, and take them off the list; a fetch may put one back."""
    fetchers = idle.copy()
    idle.clear()
    for fetcher in fetchers:
        fetcher.fetch()


def _shared_log(order: RunOrder) -> ProvenLog | None:
    """What the clients of the task prove for one another; None where no two of them read the same partition."""
    read = [start.partition for client in order.clients for start in client.starts]
    distinct = len(set(read))
    return ProvenLog(distinct) if len(read) > distinct else None
