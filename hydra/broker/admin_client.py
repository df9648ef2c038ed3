"""kafka-python's admin client, made so that nothing of it is left where it cannot be made."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaAdminClient
from kafka.net.compat import KafkaNetClient

from hydra.clients.library_access import kafka_python_settings
from hydra.options.kafka_access import KafkaAccess


def open_client(
    servers: Sequence[str], request_timeout_s: float, access: KafkaAccess
) -> tuple[KafkaAdminClient, KafkaNetClient]:
    """A client that knows the cluster's brokers, and the object that holds its connections."""
    timeout_ms = int(request_timeout_s * 1000)
    opened: list[KafkaNetClient] = []

    def net_client(**configs: object) -> KafkaNetClient:
        configs["socket_connection_setup_timeout_ms"] = timeout_ms
        configs["socket_connection_setup_timeout_max_ms"] = timeout_ms
        client = KafkaNetClient(**configs)
        opened.append(client)
        return client

    try:
        client = KafkaAdminClient(
            bootstrap_servers=list(servers),
            client_id="hydra-admin",
            request_timeout_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
            kafka_client=net_client,
            **kafka_python_settings(access),
        )
    except BaseException:
        # A constructor that fails closes neither its thread nor its sockets.
        for client in opened:
            client.close()
        raise
    return client, opened[0]
