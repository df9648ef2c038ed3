"""Is anyone at a cluster's addresses: plain TCP, so that a wrong address is named within seconds and by its cause."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from hydra.endpoints import Endpoint
from hydra.errors import BrokerError

_REFUSED_FOR_S = 2.5  # a broker that restarts refuses for a while; one that is not there refuses for ever
_PAUSE_S = 0.25
_CONNECT_TIMEOUT_S = 5.0


def await_reachable(endpoints: Sequence[Endpoint], timeout_s: float) -> None:
    """Wait until one of the addresses takes a connection. Tries each once at least.

    Args:
        endpoints: of one cluster.
        timeout_s: for silence; refusals and unknown names are given up sooner.

    Raises:
        BrokerError: none does; names each with its cause.
    """
    started = time.monotonic()
    while True:
        causes: list[str] = []
        refused = True
        for endpoint in endpoints:
            left_s = max(0.2, started + timeout_s - time.monotonic())
            error = connection_error(endpoint, min(_CONNECT_TIMEOUT_S, left_s))
            if error is None:
                return
            causes.append(f"{endpoint}: {error.strerror or error}")
            refused = refused and not isinstance(error, TimeoutError)
        waited_s = time.monotonic() - started
        if waited_s >= (min(timeout_s, _REFUSED_FOR_S) if refused else timeout_s):
            raise BrokerError(
                f"no Kafka broker can be reached ({'; '.join(causes)})",
                hint="check bootstrap_servers, the network and whether the broker is up",
            )
        time.sleep(_PAUSE_S)


def connection_error(endpoint: Endpoint, timeout_s: float) -> OSError | None:
    """Why no connection can be made to the address; None when one can."""
    try:
        # the connection is of no further use: it is closed at once
        with socket.create_connection((endpoint.host, endpoint.port), timeout_s):
            return None
    except OSError as error:
        return error
