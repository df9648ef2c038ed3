"""A few requests on a connection of their own, for those who have no loop: sent one after the other, waited for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hydra.clients.wire_connection import loop_for
from hydra.clients.wire_protocol import INT32
from hydra.endpoints import Endpoint
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess

CLIENT_ID = "hydra"


def exchange(
    endpoint: Endpoint, requests: Sequence[bytearray], timeout_s: float, access: KafkaAccess = NO_SECURITY
) -> tuple[list[bytes], str]:
    """Send each request once the one before was answered; ``timeout_s`` is for all of it.

    Returns:
        The replies, each from its correlation id on, and why there are no more: empty where all were answered.

    Raises:
        BrokerError: our driver does not speak the mechanism of the access.
        CapacityError: no file descriptor is left.
        UsageError: certificates or key of the access cannot be used.
    """
    deadline_s = time.monotonic() + timeout_s
    replies: list[bytes] = []
    reasons: list[str] = []
    loop = loop_for(access)

    def ask() -> None:
        connection.request(requests[len(replies)], take)

    def take(buffer: bytearray, start: int, stop: int) -> None:
        replies.append(bytes(buffer[start - INT32.size : stop]))
        if len(replies) < len(requests):
            ask()

    connection = loop.connection(endpoint, CLIENT_ID, on_open=ask, on_lost=reasons.append)
    try:
        connection.connect()
        while len(replies) < len(requests) and not reasons:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                what = "no connection" if connection.connecting else "no reply"
                return replies, f"{endpoint}: {what} for {timeout_s:g} s"
            loop.run_once(left_s)
    finally:
        connection.close()
        loop.close()
    return replies, "" if len(replies) == len(requests) else reasons[0]


def ask(endpoint: Endpoint, request: bytearray, timeout_s: float, access: KafkaAccess = NO_SECURITY) -> bytes:
    """The reply to one request, from its correlation id on.

    Raises:
        ConnectionError: there is none; says why.
        BrokerError, CapacityError, UsageError: as ``exchange``.
    """
    replies, reason = exchange(endpoint, [request], timeout_s, access)
    if reason:
        raise ConnectionError(reason)
    return replies[0]
