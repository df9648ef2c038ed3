"""What the user wants the embedded Kafka to be like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra.options.options import Options


@dataclass(frozen=True)
class BrokerSettings:
    """Settings of an embedded Kafka, as they were asked for."""

    properties: tuple[str, ...] = ()
    """NAME=VALUE, over Hydra's own."""
    heap_mb: int = Options.broker_heap_mb

    def by_name(self) -> Mapping[str, str]:
        """The properties' values."""
        return {name: value for name, _, value in (text.partition("=") for text in self.properties)}

    def difference(self, other: BrokerSettings) -> str:
        """What is asked for here and is otherwise there, in words; empty when nothing is.

        What is not asked for here may be as it likes there.
        """
        there = other.by_name()
        for name, value in self.by_name().items():
            if there.get(name) != value:
                return f"--broker_property={name}={value}, and it has {there.get(name, 'its own default')}"
        if self.heap_mb not in {Options.broker_heap_mb, other.heap_mb}:
            return f"--broker_heap_mb={self.heap_mb}, and it has {other.heap_mb}"
        return ""


def broker_settings(options: Options) -> BrokerSettings:
    """Those of a run."""
    return BrokerSettings(options.broker_property, options.broker_heap_mb)
