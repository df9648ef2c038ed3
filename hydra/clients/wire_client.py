"""One client of the wire driver, and its connections to the leaders of its partitions, shared with no other client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.clients import wire_protocol as protocol
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_connection import EventLoop, OnReply
from hydra.clients.wire_leaders import LeaderLookup
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, CapacityError
from hydra.kafka_errors import error_name

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
        self.settings = settings
        self.loop = loop
        self.on_idle = on_idle
        self.fetchers: dict[Endpoint, Fetcher] = {}
        self.unconfirmed = set(tally.partitions)
        """Partitions from which no fetch at the start offset was answered yet."""
        self.displaced: set[int] = set()
        """Those of them that never will be: their start offset is not in the log, they are read from another one."""
        self.group_error = ""
        """What keeps it from its consumer group; empty when nothing does, or when it is in no group."""
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
            leader = self._lookup.leaders.get(part.partition)
            if leader is None:
                leaderless.append(part)
            else:
                by_leader.setdefault(leader, []).append(part)
        self._unassigned = leaderless
        if leaderless:
            self._retry(f"partition {leaderless[0].partition} of {self.settings.topic} has no leader")
        capacity_error = None
        for leader, parts in by_leader.items():
            # One connection to each leader: one that is there hands its partitions to the new one.
            before = self.fetchers.pop(leader, None)
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
        self._retry(reason)

    def _retry(self, reason: str) -> None:
        self.tally.note_error(reason)
        self._lookup.mark_stale()
        self.loop.call_at(time.monotonic() + self._back_off_s, self.reconnect)
        self._back_off_s = min(BACK_OFF_LAST_S, 2 * self._back_off_s)

    def clear_error(self) -> None:
        """A fetch succeeded: unless a partition is still unassigned, only lasting errors remain."""
        if not self._unassigned:
            self._back_off_s = BACK_OFF_FIRST_S
            self.tally.error = self.group_error or self._lasting_error

    def set_lasting_error(self, error: str) -> None:
        """Note what no later fetch makes good: records that are gone, or corrupt in the log."""
        self._lasting_error = self.tally.error = error

    def hold(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from its group's offset, or from the client's own position if that is further."""
        self._unassigned = self.tally.hold(offsets)
        self.unconfirmed = set(offsets)
        self.displaced.clear()
        self.reconnect()

    def release(self) -> None:
        """Read nothing until the group has assigned partitions again."""
        self.close()
        self._unassigned = []
        self.tally.release()

    def close(self) -> None:
        """Close all connections."""
        for fetcher in self.fetchers.values():
            fetcher.connection.close()
        self.fetchers.clear()


class Fetcher:
    """A client's connection to one leader, and what it fetches there.

    Once connected it asks for the broker's API versions, then it fetches for ever. When a fetch says that an offset is
    out of range, it asks where the log begins and ends, and goes on there.
    """

    __slots__ = (
        "_client",
        "_out_of_range",
        "_request",
        "_version",
        "connection",
        "leader",
        "parts",
        "throttled_until_s",
    )

    def __init__(self, client: WireClient, leader: Endpoint, parts: Sequence[PartitionTally]) -> None:
        self.leader = leader
        self.parts = list(parts)
        self.throttled_until_s = float("-inf")
        """Until then a quota keeps the broker from reading the next request: it owes no reply."""
        self._client = client
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
        self.connection.request(protocol.api_versions_request(self._client.tally.name), self._take_versions)

    def _take_versions(self, buffer: bytearray, start: int, _stop: int) -> None:
        name, settings = self._client.tally.name, self._client.settings
        self._version = protocol.choose_version(protocol.FETCH, protocol.read_api_versions(buffer, start))
        self._request = protocol.FetchRequest(name, self._version, settings.topic, self.parts, settings.max_bytes)
        self._set_wait()
        self.fetch()

    def _set_wait(self) -> None:
        """The first fetch is answered at once, since the start of a run waits for it; the others may wait for data."""
        client = self._client
        awaited = (client.unconfirmed - client.displaced).intersection(part.partition for part in self.parts)
        if self._request is not None:
            self._request.set_wait(0 if awaited else client.settings.wait_max_ms, client.settings.min_bytes)

    def _take_fetch(self, buffer: bytearray, start: int, stop: int) -> None:
        # Hot path: once for every reply.
        client = self._client
        tally = client.tally
        throttled_ms, error, found = protocol.read_fetch_reply(self._version, buffer, start, stop)
        tally.fetches += 1
        now_s = time.monotonic()
        if throttled_ms:
            tally.throttled_s += throttled_ms / 1000
            self.throttled_until_s = now_s + throttled_ms / 1000
        size, last = 0, None
        for partition, code, first, end in found:
            part = tally.partitions.get(partition)
            if code or part is None:
                error = error or code
                if code == protocol.OFFSET_OUT_OF_RANGE:
                    self._out_of_range = part
                continue
            if end > first:
                size, last = size + end - first, part
                batch_error = client.settings.counter.count(buffer, first, end, part, tally, now_s)
                if batch_error:
                    client.set_lasting_error(batch_error)
        if size:
            tally.arrived(now_s, size)
        if last is not None and len(found) > 1 and self._request is not None:
            self._request.begin_behind(last)
        if error:
            self._refused(error)
            return
        if client.unconfirmed:
            self._confirm(partition for partition, _, _, _ in found)
        if tally.error:
            client.clear_error()
        client.on_idle(self)

    def _confirm(self, partitions: Iterable[int]) -> None:
        """The broker has answered a fetch at the positions of these partitions."""
        client = self._client
        client.unconfirmed -= set(partitions) - client.displaced
        client.tally.positioned = not client.unconfirmed
        self._set_wait()

    def _refused(self, code: int) -> None:
        if code != protocol.OFFSET_OUT_OF_RANGE or self._out_of_range is None:
            raise BrokerError(f"{error_name(code)} for topic {self._client.settings.topic}")
        self._ask_offset(self._out_of_range, protocol.EARLIEST, self._take_earliest)

    def _ask_offset(self, part: PartitionTally, timestamp: int, on_reply: OnReply) -> None:
        # A broker that refuses a fetch does not say where the log starts.
        client = self._client
        request = protocol.list_offsets_request(client.tally.name, client.settings.topic, part.partition, timestamp)
        self.connection.request(request, on_reply)

    def _take_earliest(self, buffer: bytearray, start: int, _stop: int) -> None:
        part, offset = self._read_offset(buffer, start)
        if offset > part.next_offset:
            self._jump(part, offset, "the log now starts at")
        else:
            self._ask_offset(part, protocol.LATEST, self._take_latest)

    def _take_latest(self, buffer: bytearray, start: int, _stop: int) -> None:
        part, offset = self._read_offset(buffer, start)
        if offset < part.next_offset:
            self._jump(part, offset, "the log was truncated and ends at")
        else:
            self.fetch()

    def _read_offset(self, buffer: bytearray, start: int) -> tuple[PartitionTally, int]:
        error, offset = protocol.read_list_offsets(buffer, start)
        if error or self._out_of_range is None:
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
