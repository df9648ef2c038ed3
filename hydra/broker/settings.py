"""Settings of topics and brokers, as far as the user of this client may read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import BrokerResponseError

from hydra.endpoints import Endpoint, local_address_towards
from hydra.options.connection_limits import ConnectionLimit, connection_limits

Settings = Mapping[str, str]


def read_settings(
    client: KafkaAdminClient, kind: str, name: str, wanted: Sequence[str] | None = None
) -> Settings | None:
    """Those of a topic or broker that have a value, all of them without ``wanted``; None where none may be read."""
    resource = ConfigResource(ConfigResourceType[kind.upper()], name, None if wanted is None else dict.fromkeys(wanted))
    try:
        answer: dict[str, dict[str, dict[str, Any]]] = client.describe_configs([resource], config_filter="all")
    except BrokerResponseError:  # without the right to, or on a broker that is too old
        return None
    found = answer.get(kind, {}).get(name)
    if found is None:
        return None
    return {setting: str(facts["value"]) for setting, facts in found.items() if facts.get("value")}


def read_connection_limits(
    client: KafkaAdminClient, brokers: Mapping[int, Endpoint]
) -> tuple[ConnectionLimit, ...] | None:
    """What limits connections to any of the brokers, for clients of this machine; None where it may not be read."""
    found: dict[ConnectionLimit, None] = {}
    for node_id, endpoint in brokers.items():
        settings = read_settings(client, "broker", str(node_id))
        if settings is None:
            return None
        try:
            address = local_address_towards(endpoint)
        except (OSError, UnicodeError):
            address = ""
        found.update(dict.fromkeys(connection_limits(settings, address, str(endpoint))))
    return tuple(found)
