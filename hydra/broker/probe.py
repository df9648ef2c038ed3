"""Whether the broker is still there, as seen from the controller: a TCP connection now and then."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from hydra.endpoints import Endpoint, parse_endpoints

PROBE_EVERY_S = 1.0
CONNECT_TIMEOUT_S = 0.5


class BrokerProbe:
    """Says why the brokers count as gone: none of them has taken a connection for ``grace_s``.

    A paused broker still takes connections (its kernel does), and a restarted one is back before the grace is over:
    neither ends a run.

    Args:
        bootstrap_servers: host:port, comma separated.
        grace_s: how long they may be away.
        note: told once when they go away, and once when they are back.
    """

    def __init__(self, bootstrap_servers: str, *, grace_s: float, note: Callable[[str], None]) -> None:
        self._endpoints = parse_endpoints(bootstrap_servers)
        self._grace_s = grace_s
        self._note = note
        self._probed_s = float("-inf")
        self._gone_since_s: float | None = None
        self._reason = ""

    def __call__(self) -> str:
        """Why the brokers count as gone; empty while they do not."""
        now_s = time.monotonic()
        if now_s - self._probed_s >= PROBE_EVERY_S:
            self._probed_s = now_s
            self._probe(now_s)
        if self._gone_since_s is None or now_s - self._gone_since_s < self._grace_s:
            return ""
        return f"Kafka at {self._names()} is gone ({self._reason})"

    def _probe(self, now_s: float) -> None:
        reasons = [_refusal(endpoint) for endpoint in self._endpoints]
        if not all(reasons):
            if self._gone_since_s is not None:
                self._note(f"Kafka at {self._names()} is back after {now_s - self._gone_since_s:.1f} s")
            self._gone_since_s = None
            return
        self._reason = reasons[0]
        if self._gone_since_s is None:
            self._gone_since_s = now_s
            self._note(f"Kafka at {self._names()} does not answer ({self._reason})")

    def _names(self) -> str:
        return ", ".join(str(endpoint) for endpoint in self._endpoints)


def _refusal(endpoint: Endpoint) -> str:
    """Why there is no connection to be had; empty when there is."""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), CONNECT_TIMEOUT_S):
            return ""
    except OSError as error:
        return error.strerror or str(error)
