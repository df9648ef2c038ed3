"""One client of the wire driver: its connections to the leaders of its partitions, one each, shared with nobody."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.clients import wire_protocol as protocol
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_channel import Channel, ConnectionLostError
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError, CapacityError

BACK_OFF_FIRST_S = 0.05
BACK_OFF_LAST_S = 1.0


class Surroundings(Protocol):
    """What a client asks of the driver that it belongs to."""

    topic: str
    fetch_min_bytes: int
    fetch_wait_max_ms: int
    max_bytes: int
    counter: BatchCounter

    def leader(self, partition: int) -> Endpoint | None:
        """The partition's leader as far as it is known."""
        ...

    def mark_stale(self) -> None:
        """A leader was not what it should be: have them looked up again."""
        ...

    def channel(self, link: LeaderLink) -> Channel:
        """A new connection for the link."""
        ...

    def idle(self, link: LeaderLink) -> None:
        """The link may fetch again: at once, or with the next round."""
        ...

    def retry(self, client: WireClient, delay_s: float) -> None:
        """Have ``connect`` of the client called again in so many seconds."""
        ...


class WireClient:
    """A client and what it is connected to.

    Args:
        tally: what it counts into, and its position in each partition.
        around: the driver.
    """

    def __init__(self, tally: ClientTally, around: Surroundings) -> None:
        self.tally = tally
        self.around = around
        self.links: dict[Endpoint, LeaderLink] = {}
        self.unconfirmed = set(tally.partitions)
        """Partitions whose fetch at the start offset was not answered yet."""
        self.displaced: set[int] = set()
        """Those of them that cannot be: their start offset is not in the log, and they are read from another one."""
        self.group_trouble = ""
        """What keeps it from its consumer group; empty when nothing does, and for one that is no member of any."""
        self._unassigned = list(tally.partitions.values())
        self._back_off_s = BACK_OFF_FIRST_S
        self._lasting_trouble = ""

    def connect(self) -> None:
        """Begin to connect to the leaders of all partitions that are read by no connection.

        Raises:
            CapacityError: when no file descriptor is left; it is tried again all the same.
        """
        by_leader: dict[Endpoint, list[PartitionTally]] = {}
        leaderless = []
        for part in self._unassigned:
            leader = self.around.leader(part.partition)
            if leader is None:
                leaderless.append(part)
            else:
                by_leader.setdefault(leader, []).append(part)
        self._unassigned = leaderless
        if leaderless:
            self._trouble(f"partition {leaderless[0].partition} of {self.around.topic} has no leader")
        for leader, adrift in by_leader.items():
            parts = adrift
            before = self.links.pop(leader, None)
            if before is not None:
                # One connection a leader: the one that is there gives its partitions to a new one.
                before.channel.close()
                parts = [*before.parts, *adrift]
            link = self.links[leader] = LeaderLink(self, leader, parts)
            try:
                link.channel.connect()
            except ConnectionLostError as error:
                self.lost(link, str(error))
            except CapacityError as error:
                self.lost(link, str(error))
                raise

    def lost(self, link: LeaderLink, reason: str) -> None:
        """A connection is gone; its partitions are taken up again after a while."""
        link.channel.close()
        if self.links.get(link.leader) is link:
            del self.links[link.leader]
        self._unassigned += link.parts
        self._trouble(reason)

    def _trouble(self, reason: str) -> None:
        self.tally.error = reason
        self.around.mark_stale()
        self.around.retry(self, self._back_off_s)
        self._back_off_s = min(BACK_OFF_LAST_S, 2 * self._back_off_s)

    def well(self) -> None:
        """A fetch went well; with nothing adrift all is."""
        if not self._unassigned:
            self._back_off_s = BACK_OFF_FIRST_S
            self.tally.error = self.group_trouble or self._lasting_trouble

    def note(self, trouble: str) -> None:
        """Trouble that no later fetch undoes: records that are gone, or broken in the log."""
        self._lasting_trouble = self.tally.error = trouble

    def hold(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset that its group is at, or where it has been itself."""
        self._unassigned = self.tally.hold(offsets)
        self.unconfirmed = set(offsets)
        self.displaced.clear()
        try:
            self.connect()
        except CapacityError:
            return  # it stands in the tally, and the next try is arranged

    def release(self) -> None:
        """Read nothing until the group has dealt its partitions out again."""
        self.close()
        self._unassigned = []
        self.tally.release()

    def close(self) -> None:
        """Let go of all connections."""
        for link in self.links.values():
            link.channel.close()
        self.links.clear()


class LeaderLink:
    """A client's connection to one leader, and what it asks there.

    It goes through: connect, ApiVersions, then Fetch for ever. When a fetch says that an offset is out of range, the
    log's ends are asked for in between.

    Args:
        client: whose it is.
        leader: the broker.
        parts: the partitions that are read there.
    """

    __slots__ = (
        "_asked_end",
        "_expect",
        "_fetch",
        "_lost_place",
        "_version",
        "asked_s",
        "channel",
        "client",
        "leader",
        "parts",
    )

    def __init__(self, client: WireClient, leader: Endpoint, parts: Sequence[PartitionTally]) -> None:
        self.client = client
        self.leader = leader
        self.parts = list(parts)
        self.asked_s = time.monotonic()
        """When the request under way was sent, or the connection was begun; for the driver's look at the clock."""
        self._fetch: protocol.FetchRequest | None = None
        self._version = 0
        self._lost_place: PartitionTally | None = None
        self._asked_end = protocol.EARLIEST
        self._expect = protocol.API_VERSIONS
        self.channel = client.around.channel(self)

    def connected(self) -> None:
        """The connection stands: ask what the broker speaks."""
        self.asked_s = time.monotonic()
        self.channel.ask(protocol.api_versions_request())

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        self.client.lost(self, reason)

    def fetch(self) -> None:
        """Ask for what comes next in each partition."""
        request = self._fetch
        if request is None:
            return
        request.set_offsets()
        self.asked_s = time.monotonic()
        self.channel.ask(request.frame)

    def answered(self, buffer: bytearray, start: int, stop: int) -> None:
        """Take in an answer."""
        try:
            if self._expect == protocol.FETCH:
                self._take_fetch(buffer, start, stop)
            elif self._expect == protocol.LIST_OFFSETS:
                self._take_offsets(buffer, start)
            else:
                self._take_versions(buffer, start)
        except protocol.MALFORMED as error:
            self.lost(f"{self.leader}: an answer that cannot be read: {error}")
        except BrokerError as error:
            self.lost(f"{self.leader}: {error}")

    def _take_versions(self, buffer: bytearray, start: int) -> None:
        error, versions = protocol.read_api_versions(buffer, start)
        version = protocol.fetch_version(versions)
        if error or version is None:
            raise BrokerError(
                f"the broker takes Fetch {versions.get(protocol.FETCH, 'of no version')}, the wire driver speaks"
                f" {' and '.join(str(known) for known in sorted(protocol.FETCH_VERSIONS))}",
                hint="use Kafka 0.11 or later, or --sub_driver=kafka-python",
            )
        around = self.client.around
        self._version = version
        self._fetch = protocol.FetchRequest(version, around.topic, self.parts, around.max_bytes)
        self._expect = protocol.FETCH
        self._settle_wait()
        self.fetch()

    def _settle_wait(self) -> None:
        """The first fetch is answered at once: the start of a run waits for it."""
        around = self.client.around
        waited_for = self.client.unconfirmed - self.client.displaced
        unconfirmed = any(part.partition in waited_for for part in self.parts)
        if self._fetch is not None:
            self._fetch.set_wait(0 if unconfirmed else around.fetch_wait_max_ms, around.fetch_min_bytes)

    def _take_fetch(self, buffer: bytearray, start: int, stop: int) -> None:
        # Hot path: once for every response.
        client = self.client
        tally = client.tally
        error, found = protocol.read_fetch_response(self._version, buffer, start, stop)
        tally.fetches += 1
        now_s = time.monotonic()
        failed = error
        size = 0
        for partition, code, first, end in found:
            part = tally.partitions.get(partition)
            if code or part is None:
                failed = failed or code
                if code == protocol.OFFSET_OUT_OF_RANGE:
                    self._lost_place = part
                continue
            if end > first:
                size += end - first
                trouble = client.around.counter.count(buffer, first, end, part, tally, now_s)
                if trouble:
                    client.note(trouble)
        if size:
            tally.arrived(now_s, size)
        if failed:
            self._refused(failed)
            return
        if client.unconfirmed:
            self._proven(partition for partition, _, _, _ in found)
        if tally.error:
            client.well()
        client.around.idle(self)

    def _proven(self, partitions: Iterable[int]) -> None:
        client = self.client
        client.unconfirmed -= set(partitions) - client.displaced
        client.tally.positioned = not client.unconfirmed
        self._settle_wait()

    def _refused(self, code: int) -> None:
        part = self._lost_place
        if code != protocol.OFFSET_OUT_OF_RANGE or part is None:
            self.lost(f"{self.leader}: {protocol.error_name(code)} for topic {self.client.around.topic}")
            return
        self._ask_offset(part, protocol.EARLIEST)

    def _ask_offset(self, part: PartitionTally, end: int) -> None:
        # A broker leaves the log's start out of the answer to a fetch that it refuses, so it is asked for.
        self._expect = protocol.LIST_OFFSETS
        self._asked_end = end
        self.asked_s = time.monotonic()
        self.channel.ask(protocol.list_offsets_request(self.client.around.topic, part.partition, end))

    def _take_offsets(self, buffer: bytearray, start: int) -> None:
        part = self._lost_place
        error, offset = protocol.read_list_offsets(buffer, start)
        if error or part is None:
            self.lost(f"{self.leader}: {protocol.error_name(error)} for topic {self.client.around.topic}")
            return
        if offset > part.next_offset and self._asked_end == protocol.EARLIEST:
            self._jump(part, offset, "the log now starts at")
        elif self._asked_end == protocol.EARLIEST:
            self._ask_offset(part, protocol.LATEST)
            return
        elif offset < part.next_offset:
            self._jump(part, offset, "the log was cut off and ends at")
        self._lost_place = None
        self._expect = protocol.FETCH
        self.fetch()

    def _jump(self, part: PartitionTally, offset: int, where: str) -> None:
        """Read on where there is something to read, and say so: what lies between shows as missing sequences."""
        client = self.client
        client.note(f"offset {part.next_offset} of partition {part.partition} is out of range: {where} {offset}")
        if part.partition in client.unconfirmed:
            client.displaced.add(part.partition)
        part.jump(offset)
