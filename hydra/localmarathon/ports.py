"""Ports: the host ports of tasks, and the service ports in app definitions."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Sequence
from dataclasses import replace

from hydra.localmarathon.app_definition import AppDefinition, PortDefinition

# Mesos' default range, 31000-32000, extended downwards because several servers may share one machine. It ends below the
# range that Linux uses for outgoing connections (32768 and up), and begins above the service ports.
HOST_PORTS = range(21000, 32001)
SERVICE_PORTS = range(10000, 20001)


class HostPorts:
    """The ports of one host: each belongs to one task at a time, and is not reused soon after.

    A UDP socket of the same number reserves a TCP port: TCP and UDP ports are independent, so the task can listen, but
    a second server of this kind cannot choose the port before the task has bound it. The reservation ends with the
    process that holds it. A port that a task uses for UDP has no such reservation.

    Args:
        host: the address on which tasks listen.
        numbers: the ports to choose from.
        shared: the chosen ports of all hosts of a server: no port is chosen on two hosts.
    """

    def __init__(self, host: str, numbers: range = HOST_PORTS, shared: set[int] | None = None) -> None:
        self._host = host
        self._numbers = numbers
        # Servers on one machine start at different numbers, so that they seldom try the same port.
        self._next = random.randrange(len(numbers))  # noqa: S311  # no secret
        self._shared = set() if shared is None else shared
        self._claims: dict[int, socket.socket | None] = {}

    def claim(self, app: AppDefinition) -> tuple[int, ...] | None:
        """Host ports for one more task of an app, None while there are too few."""
        claimed: list[int] = []
        for definition in app.ports:
            try:
                port = self._claim_one(definition, fixed=app.require_ports)
            except OSError:  # no more file descriptors
                port = None
            if port is None:
                self.release(claimed)
                return None
            claimed.append(port)
        return tuple(claimed)

    def release(self, ports: Collection[int]) -> None:
        """Free the ports of a task that has ended."""
        for port in ports:
            claim = self._claims.pop(port, None)
            self._shared.discard(port)
            if claim is not None:
                claim.close()

    def _claim_one(self, definition: PortDefinition, *, fixed: bool) -> int | None:
        if fixed and definition.port:
            return definition.port if self._hold(definition.port, definition.protocol) else None
        for _ in range(len(self._numbers)):
            port = self._numbers[self._next]
            self._next = (self._next + 1) % len(self._numbers)
            if port not in self._shared and self._hold(port, definition.protocol):
                self._shared.add(port)
                return port
        return None

    def _hold(self, port: int, protocol: str) -> bool:
        if port in self._claims:
            return False
        probe = _bound(socket.SOCK_STREAM, self._host, port)
        if probe is None:
            return False
        with probe:
            claim = _bound(socket.SOCK_DGRAM, self._host, port)
        if claim is None:
            return False
        if "udp" in protocol:
            claim.close()
            self._claims[port] = None
        else:
            self._claims[port] = claim
        return True


def with_service_ports(app: AppDefinition, taken: Collection[int]) -> AppDefinition:
    """The app with a free service port in place of each 0.

    Args:
        app: the definition as it was requested.
        taken: service ports of the other apps.
    """
    used = {*taken, *(port.port for port in app.ports)}
    free = (number for number in SERVICE_PORTS if number not in used)
    return replace(app, ports=tuple(port if port.port else replace(port, port=next(free, 0)) for port in app.ports))


def kept_service_ports(app: AppDefinition, previous: Sequence[PortDefinition]) -> AppDefinition:
    """The app with its previous service port wherever it asks for 0 again."""
    if len(app.ports) != len(previous):
        return app
    pairs = zip(app.ports, previous, strict=True)
    return replace(app, ports=tuple(new if new.port else replace(new, port=old.port) for new, old in pairs))


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket | None:
    """A socket bound to the port, None if the port is taken."""
    probe = socket.socket(socket.AF_INET, kind)
    try:
        probe.bind((host, port))
    except OSError:
        probe.close()
        return None
    return probe
