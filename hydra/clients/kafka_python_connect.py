"""Makes kafka-python's producers and consumers, and leaves no thread behind when that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from kafka.net.compat import KafkaNetClient


def connected(kind: Callable[..., Any], settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  the library has no types
    """A KafkaProducer or KafkaConsumer that has reached a broker.

    Args:
        kind: the class.
        settings: its keyword arguments; ``bootstrap_timeout_ms`` bounds the wait.

    Raises:
        KafkaError: (kafka-python's) no broker was reached. The library starts a thread before it tries and then
            forgets it; here it is ended.
    """
    # Errors are in the counts already; the library would log them every second.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    clients: list[Any] = []

    def remember(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  passed through
        clients.append(KafkaNetClient(*arguments, **named))
        return clients[-1]

    try:
        return kind(**settings, kafka_client=remember)
    except BaseException:
        for client in clients:
            client.close()
        raise
