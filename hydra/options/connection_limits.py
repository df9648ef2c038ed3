"""What brokers let in: their settings that limit connections, and whether a run of these options goes beyond them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.errors import UsageError
from hydra.options.options import Options

NO_LIMIT = 2**31 - 1
"""Kafka's default of each of them."""

BURST_S = 11
"""A broker that limits a rate looks at the mean of so many seconds (quota.window.num): that many may come at once."""

ALL, PER_ADDRESS, PER_S = "max.connections", "max.connections.per.ip", "max.connection.creation.rate"
OVERRIDES, LISTENERS = "max.connections.per.ip.overrides", "advertised.listeners"

Of = Literal["all", "one address", "a second"]
_OF: Mapping[str, Of] = {ALL: "all", PER_ADDRESS: "one address", PER_S: "a second"}


@dataclass(frozen=True)
class ConnectionLimit:
    """One setting of a broker that limits connections to it."""

    setting: str
    """Its name, with the listener's where it is of one."""
    value: int
    of: Of
    """Connections at the same time from anywhere, or from one address, or new ones a second."""

    def __str__(self) -> str:
        return f"{self.setting}={self.value}"


def connection_limits(
    settings: Mapping[str, str], address: str = "", endpoint: str = ""
) -> tuple[ConnectionLimit, ...]:
    """The limits among a broker's settings (https://kafka.apache.org/documentation/#brokerconfigs).

    Args:
        settings: by name; more than those of limits does no harm.
        address: which a client comes from, so that a limit of its own holds for it.
        endpoint: ``host:port`` that clients are told, so that the limits of that listener count, too.
    """
    names = {name: name for name in _OF}
    if listener := _listener(settings.get(LISTENERS, ""), endpoint):
        names |= {f"listener.name.{listener}.{name}": name for name in (ALL, PER_S)}
    found = []
    for setting, name in names.items():
        value = _number(settings.get(setting, ""))
        if name == PER_ADDRESS and (own := _override(settings.get(OVERRIDES, ""), address)) is not None:
            setting, value = f"{OVERRIDES} of {address}", own  # noqa: PLW2901
        if value is not None and value < NO_LIMIT:
            found.append(ConnectionLimit(setting, value, _OF[name]))
    return tuple(found)


def embedded_connection_limits(options: Options) -> tuple[ConnectionLimit, ...]:
    """Those that --broker_property gives the embedded Kafka, for clients of this machine."""
    return connection_limits(dict(text.partition("=")[::2] for text in options.broker_property), "127.0.0.1")


def check_connections(options: Options, limits: Sequence[ConnectionLimit] | None, brokers: int) -> None:
    """Raise UsageError if brokers with these limits would not let a run in; None: nobody knows their limits.

    Counts what a run needs at least: other connections of its own, and everybody else's, come on top.
    """
    for limit in limits or ():
        needed = _least_at_one_broker(options, max(1, brokers))
        if limit.of == "one address" and options.tasks_elsewhere:
            continue  # nobody knows yet from how many addresses the clients come
        if limit.of == "a second":
            needed_s = max(0.0, needed - BURST_S * limit.value) / max(1, limit.value)
            if needed_s > options.start_deadline_s:
                raise UsageError(
                    f"{needed} connections need {needed_s:.0f} s at {limit} of the brokers, and all clients have to be"
                    f" there within {options.start_deadline_s:g} s",
                    hint=f"raise --start_timeout or {limit.setting}, or ask for fewer clients",
                )
        elif needed > limit.value:
            raise UsageError(
                f"{options.client_count} clients and a publisher need {needed} connections to a broker at least, and"
                f" it lets in {limit.value} ({limit.setting})",
                hint=f"raise {limit.setting}, or ask for fewer clients",
            )


def _least_at_one_broker(options: Options, brokers: int) -> int:
    """Connections that the broker with most of them has at least; one is the publisher's."""
    if options.group != "shared":
        return options.client_count + 1  # each client reads every partition, so that each leader has all of them
    return -(-min(options.client_count, options.partitions) // brokers) + 1


def _listener(listeners: str, endpoint: str) -> str:
    """The name of the listener that tells clients this address, as it stands in settings; empty for none."""
    for text in listeners.split(","):
        name, _, address = text.strip().partition("://")
        if endpoint and address == endpoint:
            return name.lower()
    return ""


def _override(overrides: str, address: str) -> int | None:
    for text in overrides.split(","):
        whose, _, value = text.strip().rpartition(":")
        if whose and whose == address:
            return _number(value)
    return None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
