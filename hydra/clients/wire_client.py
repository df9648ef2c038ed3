"""One client of the wire driver, and its connections to the leaders of its partitions, shared with no other client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.clients import wire_protocol as protocol
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_connection import EventLoop, OnReply
from hydra.clients.wire_leaders import LeaderLookup
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, CapacityError
from hydra.kafka_errors import NOT_KNOWN_YET, error_name

REPLICA_LEASE_S = 300.0
"""For how long a replica is read before the leader is asked anew which one is closest: Kafka's metadata.max.age.ms."""

BACK_OFF_FIRST_S = 0.05
BACK_OFF_LAST_S = 1.0


@dataclass(frozen=True)
class FetchSettings:
    """What the fetches of all clients of a task have in common."""

    topic: str
    min_bytes: int
    wait_max_ms: int
    max_bytes: int
    counter: BatchCounter
    client_id_prefix: str = ""
    rack: str = ""
    """Where the clients stand: leaders may send them to a replica there (KIP-392)."""


class WireClient:
    """A client: what it reads, where, and what keeps it from reading.

    Its tally counts what it receives, and has its position in each partition. ``on_idle`` is called with a Fetcher that
    may fetch again: at once, or with the next round.
    """

    def __init__(
        self, tally: ClientTally, settings: FetchSettings, lookup: LeaderLookup, loop: EventLoop,
        *, on_idle: Callable[[Fetcher], None],
    ) -> None:  # fmt: skip
        self.tally = tally
        self.client_id = settings.client_id_prefix + tally.name
        self.settings = settings
        self.loop = loop
        self.on_idle = on_idle
        self.fetchers: dict[Endpoint, Fetcher] = {}
        self.unconfirmed = set(tally.partitions)
        """Partitions from which no fetch at the start offset was answered yet."""
        self.displaced: set[int] = set()
        """Those of them that never will be: their start offset is not in the log, they are read from another one."""
        self.replicas: dict[int, int] = {}
        """Partitions that it reads from a replica which does not lead them, and the node id of that."""
        self.group_error = ""
        """What keeps it from its consumer group; empty when nothing does, or when it is in no group."""
        self.reading = tally.partitions
        """What is counted: a member stops reading some partitions while fetches of them are under way."""
        self._lookup = lookup
        self._unassigned = list(tally.partitions.values())
        """Partitions that no connection reads."""
        self._back_off_s = BACK_OFF_FIRST_S
        self._lasting_error = ""

    def connect(self) -> None:
        """Begin to connect to the leaders of all partitions that no connection reads.

        Raises:
            CapacityError: no file descriptor is left; it is tried again all the same.
        """
        by_leader: dict[Endpoint, list[PartitionTally]] = {}
        leaderless = []
        for part in self._unassigned:
            leader = self._reads_from(part.partition)
            if leader is None:
                leaderless.append(part)
            else:
                by_leader.setdefault(leader, []).append(part)
        self._unassigned = leaderless
        if leaderless:
            self._retry(f"partition {leaderless[0].partition} of {self.settings.topic} has no leader")
        # Until the start, nobody waits for a fetch under way; from then on, a group disturbs nothing that is read.
        in_midrun = self.tally.held is not None and self.tally.timing is not None
        capacity_error = None
        for leader, parts in by_leader.items():
            # One connection to each leader: one that is there takes them on, or hands its own to the new one.
            before = self.fetchers.get(leader)
            if before is not None and in_midrun:
                before.take_on(parts)
                continue
            if before is not None:
                before.connection.close()
                parts[:0] = before.parts
            fetcher = self.fetchers[leader] = Fetcher(self, leader, parts)
            try:
                fetcher.connection.connect()
            except CapacityError as error:
                capacity_error = error
        if capacity_error is not None:
            raise capacity_error

    def _reads_from(self, partition: int) -> Endpoint | None:
        node_id = self.replicas.get(partition)
        return self._lookup.leaders.get(partition) if node_id is None else self._lookup.nodes[node_id]

    def reconnect(self) -> None:
        """``connect`` again; an error is in the tally, and the next try is scheduled."""
        with contextlib.suppress(CapacityError):
            self.connect()

    def lost(self, fetcher: Fetcher, reason: str) -> None:
        """A connection cannot be used any more; its partitions are taken up again after the back-off."""
        fetcher.connection.close()
        if self.fetchers.get(fetcher.leader) is fetcher:
            del self.fetchers[fetcher.leader]
        self._unassigned += fetcher.parts
        for part in fetcher.parts:
            self.replicas.pop(part.partition, None)
        self._retry(reason)

    def move(self, fetcher: Fetcher, moved: Mapping[int, int], reason: str = "") -> None:
        """Read these partitions from the replicas of these node ids, -1: from the leader again.

        With a reason, after the back-off.
        """
        for partition, node_id in moved.items():
            if node_id in self._lookup.nodes:
                self.replicas[partition] = node_id
            else:
                self.replicas.pop(partition, None)
                if node_id >= 0:
                    reason = f"broker {node_id}, which has the closest replica, {NOT_KNOWN_YET}"
        self._unassigned += fetcher.drop(moved)
        if not fetcher.parts:
            fetcher.connection.close()
            if self.fetchers.get(fetcher.leader) is fetcher:
                del self.fetchers[fetcher.leader]
        if reason:
            self._retry(reason)
        else:
            self.reconnect()

    def _retry(self, reason: str) -> None:
        self.tally.note_error(reason)
        self._lookup.mark_stale()
        self.loop.call_at(time.monotonic() + self._back_off_s, self.reconnect)
        self._back_off_s = min(BACK_OFF_LAST_S, 2 * self._back_off_s)

    def clear_error(self) -> None:
        """A fetch succeeded: where all partitions are read from brokers that answer, only lasting errors remain."""
        if not self._unassigned and all(fetcher.let_in for fetcher in self.fetchers.values()):
            self._back_off_s = BACK_OFF_FIRST_S
            self.tally.error = self.group_error or self._lasting_error

    def set_lasting_error(self, error: str) -> None:
        """Note what no later fetch makes good: records that are gone, or corrupt in the log."""
        self._lasting_error = self.tally.error = error

    def hold(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions beside those that it reads, as a member of a group.

        Each from its group's offset, or from the client's own position if that is further. Without any, it now has all
        that it gets.
        """
        self._hold({**self._positions(), **offsets})
        self._unassigned += [self.reading[partition] for partition in offsets]
        self.displaced -= set(offsets)
        self.unconfirmed |= set(offsets)
        self.tally.positioned = not self.unconfirmed
        self.reconnect()

    def release(self, partitions: Collection[int]) -> None:
        """Read these partitions no more: its position in them stays what it is, whatever fetches under way bring."""
        for fetcher in list(self.fetchers.values()):
            fetcher.drop(partitions)
            if not fetcher.parts:
                fetcher.connection.close()
                del self.fetchers[fetcher.leader]
        self._unassigned = [part for part in self._unassigned if part.partition not in partitions]
        for partition in partitions:
            self.replicas.pop(partition, None)
        self.unconfirmed.difference_update(partitions)
        self.displaced.difference_update(partitions)
        left = {partition: offset for partition, offset in self._positions().items() if partition not in partitions}
        self.tally.release()
        self.reading = {}
        if left:
            self._hold(left)
            self.tally.positioned = not self.unconfirmed

    def _positions(self) -> dict[int, int]:
        """The partitions that its group has given to it, and where it is in them."""
        return {partition: self.tally.partitions[partition].next_offset for partition in self.tally.held or ()}

    def _hold(self, offsets: Mapping[int, int]) -> None:
        self.reading = {part.partition: part for part in self.tally.hold(offsets)}

    def close(self) -> None:
        """Close all connections."""
        for fetcher in self.fetchers.values():
            fetcher.connection.close()
        self.fetchers.clear()


class Fetcher:
    """A client's connection to one leader, and what it fetches there.

    Once connected it asks for the broker's API versions, then it fetches for ever. When a fetch says that an offset is
    out of range, it asks where the log begins and ends, and goes on there. A partition may have been moved here from
    its leader, which then is asked first: a follower knows less of the log.
    """

    __slots__ = (
        "_client", "_leased_until_s", "_out_of_range", "_request", "_version", "connection", "leader", "parts",
        "throttled_until_s",
    )  # fmt: skip

    def __init__(self, client: WireClient, leader: Endpoint, parts: Sequence[PartitionTally]) -> None:
        self.leader = leader
        self.parts = list(parts)
        self.throttled_until_s = float("-inf")
        """Until then a quota keeps the broker from reading the next request: it owes no reply."""
        self._client = client
        self._leased_until_s = time.monotonic() + REPLICA_LEASE_S
        self._version = 0
        self._request: protocol.FetchRequest | None = None
        self._out_of_range: PartitionTally | None = None
        self.connection = client.loop.connection(
            leader, client.tally.name, on_open=self._ask_versions, on_lost=lambda reason: client.lost(self, reason)
        )

    @property
    def let_in(self) -> bool:
        """Whether the broker has answered on this connection."""
        return self._request is not None

    def fetch(self) -> None:
        """Ask for what comes next in each partition."""
        request = self._request
        if request is not None:
            request.set_offsets()
            self.connection.request(request.frame, self._take_fetch)

    def _ask_versions(self) -> None:
        self.connection.request(protocol.api_versions_request(self._client.client_id), self._take_versions)

    def _take_versions(self, buffer: bytearray, start: int, _stop: int) -> None:
        self._version = protocol.choose_version(protocol.FETCH, protocol.read_api_versions(buffer, start))
        self._compose()
        self.fetch()

    def _compose(self) -> None:
        name, settings = self._client.client_id, self._client.settings
        self._request = protocol.FetchRequest(
            name, self._version, settings.topic, self.parts, settings.max_bytes, rack=settings.rack
        )
        self._set_wait()

    def take_on(self, parts: Iterable[PartitionTally]) -> None:
        """Fetch these partitions, too, from the next fetch on."""
        self.parts += parts
        if self._request is not None:
            self._compose()

    def drop(self, partitions: Container[int]) -> list[PartitionTally]:
        """Fetch these of its partitions no more, from the next fetch on. Returns them."""
        dropped = [part for part in self.parts if part.partition in partitions]
        self.parts = [part for part in self.parts if part.partition not in partitions]
        if self._out_of_range in dropped:
            self._out_of_range = None
        if self._request is not None:
            self._compose()
        return dropped

    def _set_wait(self) -> None:
        """The first fetch is answered at once, since the start of a run waits for it; the others may wait for data."""
        client = self._client
        awaited = (client.unconfirmed - client.displaced).intersection(part.partition for part in self.parts)
        if self._request is not None:
            self._request.set_wait(0 if awaited else client.settings.wait_max_ms, client.settings.min_bytes)

    def _take_fetch(self, buffer: bytearray, start: int, stop: int) -> None:
        # Hot path: once for every reply.
        client, request, tally = self._client, self._request, self._client.tally
        assert request is not None  # this is the reply to it
        throttled_ms, error, found = request.read_reply(buffer, start, stop)
        tally.fetches += 1
        now_s = time.monotonic()
        if throttled_ms:
            tally.throttled_s += throttled_ms / 1000
            self.throttled_until_s = now_s + throttled_ms / 1000
        size, last = 0, None
        for partition, code, first, end, _ in found:
            part = client.reading.get(partition)
            if code or part is None:
                error = error or self._not_read(code, part)
                continue
            if end > first:
                size, last = size + end - first, part
                batch_error = client.settings.counter.count(buffer, first, end, part, tally, now_s)
                if batch_error:
                    client.set_lasting_error(batch_error)
        if size:
            tally.arrived(now_s, size)
        if last is not None and len(found) > 1:
            request.begin_behind(last)
        if error:
            self._refused(error)
            return
        if client.unconfirmed:
            self._confirm(partition for partition, *_, replica in found if replica < 0)
        if client.settings.rack and (moved := self._moved(found, now_s)):
            client.move(self, moved)
        elif tally.error:
            client.clear_error()
        client.on_idle(self)

    def _not_read(self, code: int, part: PartitionTally | None) -> int:
        if part is None:
            return 0  # the group took it away while the fetch was under way
        if code == protocol.OFFSET_OUT_OF_RANGE:
            self._out_of_range = part
        return code

    def _moved(self, found: Sequence[tuple[int, int, int, int, int]], now_s: float) -> dict[int, int]:
        """Partition -> node id of the replica to read it from, by a reply without errors; -1: ask the leader anew."""
        replicas = self._client.replicas
        for partition, _, first, end, _ in found:
            if end > first and partition in replicas:
                self._client.tally.followers.add(replicas[partition])
        leased = {part.partition: -1 for part in self.parts if part.partition in replicas}
        if leased and now_s >= self._leased_until_s:
            self._client.clear_error()  # the replica has served it until now
            return leased
        return {number: replica for number, *_, replica in found if replica >= 0 and number in self._client.reading}

    def _confirm(self, partitions: Iterable[int]) -> None:
        """The broker has answered a fetch at the positions of these partitions."""
        client = self._client
        client.unconfirmed -= set(partitions) - client.displaced
        client.tally.positioned = not client.unconfirmed
        self._set_wait()

    def _refused(self, code: int) -> None:
        client, part = self._client, self._out_of_range
        if code != protocol.OFFSET_OUT_OF_RANGE or part is None:
            raise BrokerError(f"{error_name(code)} for topic {client.settings.topic}")
        if part.partition in client.replicas:
            client.move(self, {part.partition: -1}, f"{self.leader}: {error_name(code)} from a follower")
            client.on_idle(self)
            return
        self._ask_offset(part, protocol.EARLIEST, self._take_earliest)

    def _ask_offset(self, part: PartitionTally, timestamp: int, on_reply: OnReply) -> None:
        # A broker that refuses a fetch does not say where the log starts.
        client = self._client
        request = protocol.list_offsets_request(client.client_id, client.settings.topic, part.partition, timestamp)
        self.connection.request(request, on_reply)

    def _take_earliest(self, buffer: bytearray, start: int, _stop: int) -> None:
        part, offset = self._read_offset(buffer, start)
        if part is None:
            self.fetch()
        elif offset > part.next_offset:
            self._jump(part, offset, "the log now starts at")
        else:
            self._ask_offset(part, protocol.LATEST, self._take_latest)

    def _take_latest(self, buffer: bytearray, start: int, _stop: int) -> None:
        part, offset = self._read_offset(buffer, start)
        if part is not None and offset < part.next_offset:
            self._jump(part, offset, "the log was truncated and ends at")
        else:
            self.fetch()

    def _read_offset(self, buffer: bytearray, start: int) -> tuple[PartitionTally | None, int]:
        """(the partition that was asked about, None where it is read no more; the offset)."""
        error, offset = protocol.read_list_offsets(buffer, start)
        if error and self._out_of_range is not None:
            raise BrokerError(f"{error_name(error)} for topic {self._client.settings.topic}")
        return self._out_of_range, offset

    def _jump(self, part: PartitionTally, offset: int, where: str) -> None:
        """Go on where there is something to read, and say so: what lies between shows as missing sequences."""
        client = self._client
        client.set_lasting_error(
            f"offset {part.next_offset} of partition {part.partition} is out of range: {where} {offset}"
        )
        if part.partition in client.unconfirmed:
            client.displaced.add(part.partition)
        part.jump(offset)
        self.fetch()
