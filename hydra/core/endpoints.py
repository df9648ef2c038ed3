"""The addresses in a ``bootstrap_servers``."""

from __future__ import annotations

import re

from hydra.core.configuration import Endpoint
from hydra.core.errors import UsageError

_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\],]+)):(?P<port>\d{1,5})")


def parse_endpoints(bootstrap_servers: str) -> tuple[Endpoint, ...]:
    """The addresses of ``host:port[,host:port...]``; an IPv6 address stands in square brackets.

    Raises:
        UsageError: one is not of that form.
    """
    endpoints = []
    for part in bootstrap_servers.split(","):
        match = _ENDPOINT.fullmatch(part.strip())
        if match is None or not 0 < int(match["port"]) < 65536:
            raise UsageError(f"the bootstrap server {part.strip()!r} is no host:port", way_out="such as kafka1:9092")
        endpoints.append(Endpoint(match["v6"] or match["host"], int(match["port"])))
    return tuple(endpoints)
