"""Connections whose peer has not asked for anything that it may ask for: few at a time, and none for long.

Whoever reaches the port can open connections. Each takes a descriptor, which the server needs for its tasks and for the
requests of those who have its token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST_REQUEST_S = 10.0
"""From the connection to the end of the first request's head, however often a byte of it comes."""

MOST_NEWCOMERS = 256
"""If there are more, the one that came first is ended: who has the token shows it within milliseconds."""


class Newcomers:
    """Those connections of a server; it ends the ones that come to nothing."""

    def __init__(self) -> None:
        self._there: dict[asyncio.BaseProtocol, _Connection] = {}
        """By what serves it; the one that came first is the first."""

    def connection(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """The protocol of a new connection, which what ``make`` makes will serve."""
        return _Connection(make(), self._there)

    def welcome(self, protocol: asyncio.BaseProtocol) -> None:
        """What this protocol serves was accepted: its connection may stay."""
        if (connection := self._there.pop(protocol, None)) is not None:
            connection.forget()


class _Connection(asyncio.Protocol):
    """Hands everything on to what serves the connection."""

    def __init__(self, serves: asyncio.Protocol, there: dict[asyncio.BaseProtocol, _Connection]) -> None:
        self._serves = serves
        self._there = there
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is one more."""
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(FIRST_REQUEST_S, self.end)
        self._there[self._serves] = self
        self._serves.connection_made(transport)
        if len(self._there) > MOST_NEWCOMERS:
            next(iter(self._there.values())).end()

    def end(self) -> None:
        """Hang up."""
        self._there.pop(self._serves, None)
        self.forget()
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()

    def forget(self) -> None:
        """Let it stay for as long as it likes."""
        if self._timer is not None:
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._there.pop(self._serves, None)
        self.forget()
        self._serves.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        self._serves.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self._serves.eof_received()

    def pause_writing(self) -> None:
        """Hand it on."""
        self._serves.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._serves.resume_writing()
