"""TCP addresses, the list of them in ``bootstrap_servers``, and the local address on the way to one."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from hydra.errors import UsageError

_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\],]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Endpoint:
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoints(bootstrap_servers: str) -> tuple[Endpoint, ...]:
    """The addresses of ``host:port[,host:port...]``, IPv6 ones in square brackets; raises UsageError."""
    endpoints = []
    for part in bootstrap_servers.split(","):
        match = _ENDPOINT.fullmatch(part.strip())
        if match is None or not 0 < int(match["port"]) < 65536:
            raise UsageError(
                f"invalid host:port {part.strip()!r} in bootstrap_servers", hint="write it such as kafka1:9092"
            )
        endpoints.append(Endpoint(match["v6"] or match["host"], int(match["port"])))
    return tuple(endpoints)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, without brackets, is one of this machine that no other reaches."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def local_address_towards(peer: Endpoint) -> str:
    """The address of this machine that the system would use to send to ``peer``; nothing is sent.

    Raises:
        OSError: the peer's name does not resolve (UnicodeError: is none), or there is no route to it.
    """
    family, kind, _protocol, _name, address = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
