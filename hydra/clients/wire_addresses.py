"""The addresses of brokers by their names, for the connections of a driver."""

from __future__ import annotations

import socket
import time

from hydra.endpoints import Endpoint

Address = tuple[int, tuple[object, ...]]
"""(address family, socket address)."""

_ASK_AGAIN_S = 1.0
"""How long an answer is good for, or that there is none: hundreds of clients connect at once, on one thread."""


class Addresses:
    """The addresses of the endpoints of a driver, asked for again and again: a broker may come back at another one."""

    __slots__ = ("_found", "_turns")

    def __init__(self) -> None:
        self._found: dict[Endpoint, tuple[float, list[Address] | OSError | UnicodeError]] = {}
        """When a name was last looked up, and what came of it."""
        self._turns: dict[Endpoint, int] = {}
        """Which address of an endpoint is the first to try: the one after the last that did not connect."""

    def of(self, endpoint: Endpoint) -> list[Address]:
        """All of them, in the order in which to try them; raises OSError, UnicodeError where there is none."""
        asked_s, found = self._found.get(endpoint, (float("-inf"), []))
        if time.monotonic() - asked_s >= _ASK_AGAIN_S:
            found = _look_up(endpoint)
            # From the answer on: a name server that stays silent takes longer than that.
            self._found[endpoint] = time.monotonic(), found
        if not isinstance(found, list):
            raise found.with_traceback(None)
        turn = self._turns.get(endpoint, 0) % len(found)
        return found[turn:] + found[:turn]

    def failed(self, endpoint: Endpoint, address: Address) -> None:
        """This one did not connect: it is the last to be tried next time."""
        found = self._found.get(endpoint, (0.0, []))[1]
        if isinstance(found, list) and address in found:
            self._turns[endpoint] = found.index(address) + 1


def _look_up(endpoint: Endpoint) -> list[Address] | OSError | UnicodeError:
    try:
        infos = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return error
    return list(dict.fromkeys((info[0], info[4]) for info in infos))
