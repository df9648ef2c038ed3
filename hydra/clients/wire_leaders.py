"""Looks up who leads the partitions, on a connection of its own, without stopping the loop that fetches."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterable

from hydra.clients import wire_protocol as protocol
from hydra.clients.wire_channel import Channel, ConnectionLostError, ReceiveBuffer
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError

_PAUSE_S = 0.1
_TIMEOUT_S = 2.0


class LeaderLookup:
    """The leaders of a topic's partitions as far as they are known, shared by all clients of a task.

    Nothing is asked while nobody doubts them. It speaks the one request itself: importing kafka-python for it would
    cost each of a hundred tasks 150 ms of CPU in the very moment when a broker comes back.

    Args:
        topic: whose partitions.
        leaders: the leaders at the start.
        servers: brokers that can be asked.
        selector: as for a Channel.
        scratch: as for a Channel.
    """

    def __init__(
        self,
        topic: str,
        leaders: dict[int, Endpoint],
        servers: Iterable[Endpoint],
        selector: selectors.BaseSelector,
        scratch: ReceiveBuffer,
    ) -> None:
        self.leaders = leaders
        self._request = protocol.metadata_request(topic)
        self._servers = list(dict.fromkeys([*servers, *leaders.values()]))
        self._selector = selector
        self._scratch = scratch
        self._turn = 0
        self._channel: Channel | None = None
        self._begun_s = float("-inf")
        self._doubted = False
        self.trouble = ""
        """Why the last look-up brought nothing; empty when it brought something."""

    def doubt(self) -> None:
        """Have them looked up again soon."""
        self._doubted = True

    @property
    def busy(self) -> bool:
        """Whether ``step`` has something to do."""
        return self._doubted or self._channel is not None

    def step(self) -> None:
        """Begin a look-up that is wanted, give up one that takes too long."""
        now_s = time.monotonic()
        if self._channel is not None and now_s - self._begun_s > _TIMEOUT_S:
            self._failed(f"{self._channel.endpoint}: no answer after {_TIMEOUT_S:g} s")
        if not self._doubted or self._channel is not None or now_s - self._begun_s < _PAUSE_S:
            return
        server = self._servers[self._turn % len(self._servers)]
        self._turn += 1
        self._begun_s = now_s
        channel = self._channel = Channel(
            server,
            self._selector,
            self._scratch,
            connected=self._connected,
            answered=self._answered,
            lost=self._failed,
        )
        try:
            channel.connect()
        except (ConnectionLostError, CapacityError) as error:
            self._failed(str(error))

    def close(self) -> None:
        """Let go of the connection."""
        self._doubted = False
        self._stop()

    def _failed(self, reason: str) -> None:
        self.trouble = reason
        self._stop()

    def _stop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connected(self) -> None:
        if self._channel is not None:
            self._channel.ask(self._request)

    def _answered(self, buffer: bytearray, start: int, _stop: int) -> None:
        try:
            leaders = protocol.read_metadata(buffer, start)
        except protocol.MALFORMED:
            leaders = {}
        self._stop()
        self.trouble = "" if leaders else "no partition has a leader"
        if leaders:
            self._doubted = False
            self.leaders.update(leaders)
            self._servers = list(dict.fromkeys([*self._servers, *leaders.values()]))
