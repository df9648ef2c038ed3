"""The wire publisher's connection to one broker, and what is asked there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hydra.clients import wire_produce as produce
from hydra.clients import wire_protocol as protocol
from hydra.clients.publisher_batches import PendingBatch
from hydra.clients.wire_pipeline import PipelinedChannel
from hydra.endpoints import Endpoint

IN_FLIGHT_LIMIT = 5
"""Kafka's default of max.in.flight.requests.per.connection, and the most that idempotence allows."""


class Asked(NamedTuple):
    """A request that has no answer yet."""

    api_key: int
    batches: Sequence[PendingBatch]
    end_bytes: int
    """It is sent whole when the channel has sent so many bytes."""
    asked_s: float


class LinkOwner(Protocol):
    """What a link tells the publisher."""

    topic: str
    acks: str
    timeout_ms: int

    def channel(self, link: ProduceLink) -> PipelinedChannel:
        """A new connection for the link."""
        ...

    def opened(self, link: ProduceLink) -> None:
        """The link is ready."""
        ...

    def refused(self, reason: str) -> None:
        """The broker cannot be worked with at all."""
        ...

    def numbered(self, error: int, producer_id: int) -> None:
        """A producer id was asked for, and this is the answer."""
        ...

    def settle(self, batch: PendingBatch, code: int, leader: Endpoint) -> None:
        """The broker said what became of a batch; ``code`` is Kafka's error code, 0 for an ack."""
        ...

    def sent(self, batch: PendingBatch) -> None:
        """A batch that no answer will come for has gone out."""
        ...

    def lost(self, link: ProduceLink, reason: str, batches: Sequence[PendingBatch]) -> None:
        """The connection is gone; these batches have no answer, and ``doubt`` says whether they may be in the log."""
        ...


class ProduceLink:
    """A connection to one broker. It goes through: connect, ApiVersions, then Produce for ever.

    Args:
        leader: the broker.
        owner: the publisher.
    """

    def __init__(self, leader: Endpoint, owner: LinkOwner) -> None:
        self.leader = leader
        self.ready = False
        self._owner = owner
        self._silent = owner.acks == "0"
        self._version = 0
        self._request: produce.ProduceRequest | None = None
        self._asked: deque[Asked] = deque()
        self._begun_s = time.monotonic()
        self.channel = owner.channel(self)

    @property
    def has_room(self) -> bool:
        """Whether one more Produce request may be sent."""
        return self.ready and len(self._asked) < IN_FLIGHT_LIMIT

    @property
    def silent_since_s(self) -> float | None:
        """Since when it owes an answer, or the connection; None when it owes nothing."""
        if not self.ready:
            return self._begun_s
        return self._asked[0].asked_s if self._asked else None

    def connected(self) -> None:
        """The connection stands: ask what the broker speaks."""
        self._ask(protocol.API_VERSIONS, protocol.api_versions_request())

    def ask_producer_id(self) -> None:
        """Ask for what makes batches recognisable."""
        self._ask(produce.INIT_PRODUCER_ID, produce.init_producer_id_request())

    def ask_for_an_answer(self) -> None:
        """Ask for anything: when the answer is there, the broker is through with all that was sent before."""
        self._ask(protocol.API_VERSIONS, protocol.api_versions_request())

    def produce(self, batches: Sequence[PendingBatch], records: Sequence[bytearray]) -> None:
        """Send batches, one for each of some partitions."""
        if self._request is None:
            return
        frame = self._request.frame(
            [(batch.queue.partition, each) for batch, each in zip(batches, records, strict=True)]
        )
        self._ask(produce.PRODUCE, frame, batches)

    def take_sent(self) -> None:
        """With acks=0: what was sent whole is done with."""
        sent_bytes = self.channel.sent_bytes
        while self._asked and self._asked[0].api_key == produce.PRODUCE and self._asked[0].end_bytes <= sent_bytes:
            for batch in self._asked.popleft().batches:
                self._owner.sent(batch)

    def answered(self, buffer: bytearray, start: int, _stop: int) -> None:
        """Take in an answer."""
        if self._silent:
            self.take_sent()
        asked = self._asked.popleft()
        try:
            if asked.api_key == produce.PRODUCE:
                self._take_outcomes(asked.batches, produce.read_produce_response(self._version, buffer, start))
            elif asked.api_key == produce.INIT_PRODUCER_ID:
                error, producer_id, _epoch = produce.read_init_producer_id(buffer, start)
                self._owner.numbered(error, producer_id)
            else:
                self._take_versions(*protocol.read_api_versions(buffer, start))
        except protocol.MALFORMED as error:
            self._asked.appendleft(asked)
            self.channel.close()
            self.lost(f"{self.leader}: an answer that cannot be read: {error}")

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if self._silent:
            self.take_sent()
        self.ready = False
        unanswered = []
        for asked in self._asked:
            whole = asked.end_bytes <= self.channel.sent_bytes
            for batch in asked.batches:
                batch.doubt = batch.doubt or whole
                unanswered.append(batch)
        self._asked.clear()
        self._owner.lost(self, reason, unanswered)

    def abort(self) -> None:
        """Let go of the connection and of what is on its way out."""
        self.ready = False
        self._asked.clear()
        self.channel.abort()

    def close(self) -> None:
        """Let go of the connection."""
        self.ready = False
        self.channel.close()

    def _ask(self, api_key: int, frame: bytearray, batches: Sequence[PendingBatch] = ()) -> None:
        # Noted before it is sent: sending may find out that the connection is gone.
        channel = self.channel
        self._asked.append(Asked(api_key, batches, channel.handed_bytes + len(frame), time.monotonic()))
        channel.ask(frame, silent=self._silent and api_key == produce.PRODUCE)

    def _take_outcomes(self, batches: Sequence[PendingBatch], outcomes: Sequence[tuple[int, int]]) -> None:
        # Hot path: once for every request.
        settle, leader = self._owner.settle, self.leader
        if len(batches) == 1 and len(outcomes) == 1 and outcomes[0][0] == batches[0].queue.partition:
            settle(batches[0], outcomes[0][1], leader)
            return
        codes = dict(outcomes)
        if codes.keys() != {batch.queue.partition for batch in batches}:
            raise IndexError("it is not about the partitions that were written to")
        for batch in batches:
            settle(batch, codes[batch.queue.partition], leader)

    def _take_versions(self, error: int, versions: dict[int, tuple[int, int]]) -> None:
        if self.ready:
            return
        version = produce.produce_version(versions)
        if error or version is None or (self._owner.acks == "all" and produce.INIT_PRODUCER_ID not in versions):
            self._owner.refused(
                f"{self.leader} takes Produce {versions.get(produce.PRODUCE, 'of no version')}, the wire driver speaks"
                f" {' and '.join(str(known) for known in sorted(produce.PRODUCE_VERSIONS))}"
            )
            return
        self._version = version
        self._request = produce.ProduceRequest(version, self._owner.topic, self._owner.acks, self._owner.timeout_ms)
        self.ready = True
        self._owner.opened(self)
