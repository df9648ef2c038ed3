"""The clients of kafka-python that the administration asks, made so that nothing is left where one cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.net.compat import KafkaNetClient

from hydra.clients.library_access import kafka_python_settings
from hydra.options.kafka_access import KafkaAccess

_T = TypeVar("_T")


class Broker(TypedDict):
    """One that is up, with the address that it advertises."""

    node_id: int
    host: str
    port: int


class Cluster(TypedDict):
    """The answer to a Metadata request without topics."""

    cluster_id: str | None
    brokers: list[Broker]


class AdminClient(KafkaAdminClient):  # type: ignore[misc]  # the package has no types
    """The library's client, with the one question that every Kafka answers to it."""

    def cluster(self) -> Cluster:
        """The brokers that are up, and the cluster's id.

        The library's own ``describe_cluster`` needs a field that brokers of 2.8 to 3.6 do not send (KIP-919).
        """
        found: Cluster = self._manager.run(self._get_cluster_metadata, [])
        return found


def open_client(
    servers: Sequence[str], request_timeout_s: float, access: KafkaAccess
) -> tuple[AdminClient, KafkaNetClient]:
    """A client that knows the cluster's brokers, and the object that holds its connections."""
    return _opened(AdminClient, servers, request_timeout_s, access)


def open_consumer(servers: Sequence[str], request_timeout_s: float, access: KafkaAccess) -> KafkaConsumer:
    """A consumer that is in no group, and reads from where it is told to."""
    consumer, _ = _opened(
        KafkaConsumer,
        servers,
        request_timeout_s,
        access,
        # A topic that somebody else deletes is not to come back by this.
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=65536,
    )
    return consumer


def _opened(
    kind: Callable[..., _T], servers: Sequence[str], request_timeout_s: float, access: KafkaAccess, **settings: object
) -> tuple[_T, KafkaNetClient]:
    timeout_ms = int(request_timeout_s * 1000)
    opened: list[KafkaNetClient] = []

    def net_client(**configs: object) -> KafkaNetClient:
        configs["socket_connection_setup_timeout_ms"] = timeout_ms
        configs["socket_connection_setup_timeout_max_ms"] = timeout_ms
        client = KafkaNetClient(**configs)
        opened.append(client)
        return client

    try:
        client = kind(
            bootstrap_servers=list(servers),
            client_id="hydra-admin",
            request_timeout_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
            kafka_client=net_client,
            **settings,
            **kafka_python_settings(access),
        )
    except BaseException:
        # A constructor that fails closes neither its thread nor its sockets.
        for client_of_nobody in opened:
            client_of_nobody.close()
        raise
    return client, opened[0]
