"""How the clients of a task come to their brokers: a few at a time, while those that are in hold still.

Thousands of clients that connect at once do not fit into the queue in which a system keeps connections until a program
takes them (4,096 on Linux, for all tasks together). What finds no place there is tried again by the clients' systems
after 1, 3, 7 and 15 seconds, in which a broker may have nothing to do; so is the connection of whoever asks meanwhile
whether the broker is well. And a broker that has just started lets in few clients a second, and fewer still while those
that are in have it say again and again that there is nothing to read yet.

From the start of a run on nobody waits for another.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence

from hydra.clients.wire_client import WireClient
from hydra.endpoints import Endpoint
from hydra.errors import CapacityError

AT_A_TIME, LEAST_AT_A_TIME = 2048, 16
"""So many clients of all tasks are on their way in together, and so many of a task at least."""


class Entrance:
    """Where the clients of a task wait until it is their turn to connect; ``share`` is the task's of all clients."""

    def __init__(self, share: float) -> None:
        self._at_a_time = max(LEAST_AT_A_TIME, int(AT_A_TIME * share))
        self._outside: deque[WireClient] = deque()
        self._entering: list[WireClient] = []
        """Those that have begun to connect and may still wait for their first answer."""

    def open(self, clients: Sequence[WireClient], leaders: Mapping[int, Endpoint]) -> None:
        """Have the first clients begin to connect.

        Raises:
            CapacityError: the process may not open so many sockets as all of them need. Those that have begun go on.
        """
        self._outside.extend(clients)
        _check_descriptors(clients, leaders)
        while self._outside and len(self._entering) < self._at_a_time:
            self._entering.append(self._outside.popleft())
            try:
                self._entering[-1].connect()
            except CapacityError as error:
                raise _no_descriptor(len(self._entering) - 1, len(clients)) from error

    @property
    def crowded(self) -> bool:
        """Whether somebody may be on the way in, as far as ``go_on`` has seen."""
        return bool(self._entering)

    def go_on(self) -> bool:
        """Have the next ones connect for those that are in. Returns whether others are to hold still."""
        self._entering = [client for client in self._entering if _is_entering(client)]
        while self._outside and len(self._entering) < self._at_a_time:
            client = self._outside.popleft()
            client.reconnect()
            if _is_entering(client):
                self._entering.append(client)
        return bool(self._entering)

    def close(self) -> None:
        """Let nobody in any more."""
        self._outside.clear()
        self._entering.clear()


def _is_entering(client: WireClient) -> bool:
    """Whether a run has not started, and not all connections that the client has begun have been answered a fetch.

    One that was lost, and will be tried again, is not waited for.
    """
    tally = client.tally
    return tally.timing is None and not tally.positioned and tally.fetches < len(client.fetchers)


def _check_descriptors(clients: Sequence[WireClient], leaders: Mapping[int, Endpoint]) -> None:
    """Raise CapacityError unless there is a descriptor for each connection of these clients."""
    reserved = []
    try:
        for number, client in enumerate(clients):
            for _ in {leaders.get(partition) for partition in client.tally.partitions}:
                try:
                    reserved.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
                except OSError as error:
                    raise _no_descriptor(number, len(clients)) from error
    finally:
        for descriptor in reserved:
            os.close(descriptor)


def _no_descriptor(number: int, clients: int) -> CapacityError:
    return CapacityError(
        f"no file descriptor is left after {number} of {clients} clients",
        hint="raise the limit (ulimit -n), or use fewer clients per app",
    )
