"""The addresses of brokers by their names, for the connections of a driver."""

from __future__ import annotations

import socket
import time

from hydra.endpoints import Endpoint

Address = tuple[int, tuple[object, ...]]
"""(address family, socket address)."""

_ASK_AGAIN_S = 1.0
"""How long the addresses of a name are good for: hundreds of clients connect at once."""


class Addresses:
    """The addresses of the endpoints of a driver, asked for again and again: a broker may come back at another one."""

    __slots__ = ("_found", "_turns")

    def __init__(self) -> None:
        self._found: dict[Endpoint, tuple[float, list[Address]]] = {}
        self._turns: dict[Endpoint, int] = {}
        """Which address of an endpoint is the first to try: the one after the last that did not connect."""

    def of(self, endpoint: Endpoint) -> list[Address]:
        """All of them, in the order in which to try them; raises OSError, UnicodeError where there is none."""
        now_s = time.monotonic()
        asked_s, found = self._found.get(endpoint, (float("-inf"), []))
        if now_s - asked_s >= _ASK_AGAIN_S:
            infos = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys((info[0], info[4]) for info in infos))
            self._found[endpoint] = now_s, found
        turn = self._turns.get(endpoint, 0) % len(found)
        return found[turn:] + found[:turn]

    def failed(self, endpoint: Endpoint, address: Address) -> None:
        """This one did not connect: it is the last to be tried next time."""
        found = self._found.get(endpoint, (0.0, []))[1]
        if address in found:
            self._turns[endpoint] = found.index(address) + 1
