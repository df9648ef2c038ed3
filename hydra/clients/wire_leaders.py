"""Looks up which brokers lead the partitions, on a connection of its own, without stopping the loop that fetches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from functools import partial

from hydra.clients.wire_connection import Connection, EventLoop
from hydra.clients.wire_protocol import metadata_request, read_metadata
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError

_PAUSE_S = 0.1
_TIMEOUT_S = 2.0


class LeaderLookup:
    """The known leaders of a topic's partitions, shared by all clients of a task.

    It looks them up when they are stale, and only then. It sends the one request itself: importing kafka-python for it
    would cost each of a hundred tasks 150 ms of CPU at the very moment when a broker comes back. It asks ``servers``
    and the leaders that it knows, which are ``leaders`` at the start.
    """

    def __init__(
        self, client_id: str, topic: str, leaders: dict[int, Endpoint], servers: Iterable[Endpoint], loop: EventLoop
    ) -> None:
        self.leaders = leaders
        self.nodes: dict[int, Endpoint] = {}
        """All brokers by their node id, once they were looked up."""
        self.error = ""
        """Why the last look-up brought nothing; empty when it brought something."""
        self._client_id = client_id
        self._request = metadata_request(client_id, topic)
        self._servers = list(dict.fromkeys([*servers, *leaders.values()]))
        self._loop = loop
        self._attempts = 0
        self._begun_s = float("-inf")
        self._stale = False
        self._connection: Connection | None = None

    def mark_stale(self) -> None:
        """Look the leaders up again, until some broker knows them."""
        if not self._stale:
            self._stale = True
            self._loop.call_at(self._begun_s + _PAUSE_S, self._begin)

    def close(self) -> None:
        """Close the connection and look nothing up any more."""
        self._stale = False
        self._disconnect()

    def _begin(self) -> None:
        if not self._stale:
            return
        server = self._servers[self._attempts % len(self._servers)]
        self._attempts += 1
        self._begun_s = time.monotonic()
        connection = self._connection = self._loop.connection(
            server, self._client_id, on_open=self._ask, on_lost=self._fail
        )
        self._loop.call_at(self._begun_s + _TIMEOUT_S, partial(self._time_out, connection))
        with contextlib.suppress(CapacityError):
            connection.connect()

    def _ask(self) -> None:
        if self._connection is not None:
            self._connection.request(self._request, self._take_metadata)

    def _take_metadata(self, buffer: bytearray, start: int, _stop: int) -> None:
        nodes, leaders = read_metadata(buffer, start)
        if not leaders:
            self._fail("no partition has a leader")
            return
        self._disconnect()
        self._stale = False
        self.error = ""
        self.nodes.update(nodes)
        self.leaders.update(leaders)
        self._servers = list(dict.fromkeys([*self._servers, *leaders.values()]))

    def _time_out(self, connection: Connection) -> None:
        if connection is self._connection:
            self._fail(f"{connection.endpoint}: no reply for {_TIMEOUT_S:g} s")

    def _fail(self, reason: str) -> None:
        self.error = reason
        self._disconnect()
        self._loop.call_at(self._begun_s + _PAUSE_S, self._begin)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
