"""TCP addresses, and the list of them in ``bootstrap_servers``."""

from __future__ import annotations

import re
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
    """The addresses of ``host:port[,host:port...]``; an IPv6 address stands in square brackets.

    Raises:
        UsageError: one is not of that form.
    """
    endpoints = []
    for part in bootstrap_servers.split(","):
        match = _ENDPOINT.fullmatch(part.strip())
        if match is None or not 0 < int(match["port"]) < 65536:
            raise UsageError(f"the bootstrap server {part.strip()!r} is no host:port", hint="such as kafka1:9092")
        endpoints.append(Endpoint(match["v6"] or match["host"], int(match["port"])))
    return tuple(endpoints)
