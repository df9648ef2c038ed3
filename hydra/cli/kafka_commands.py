"""The commands below ``hydra kafka``: what is measured with more than one run."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.cli.lazy_commands import LazyCommands
from hydra.errors import UsageError

KAFKA_COMMANDS: Mapping[str, str] = {
    "sweep": "Runs over clients x rates, or over any other options.",
    "batchsize": "Runs over the size of the publisher's batches.",
    "maxrate": "The highest rate without loss for the clients asked for.",
    "maxclients": "The most clients without loss at the rate asked for.",
    "frontier": "The highest rate for each number of clients.",
    "tune": "linger_ms, fetch_min_bytes and fetch_wait_max_ms with the lowest latency.",
}
"""One line of help each."""


class KafkaCommands(LazyCommands):
    """One run without a command behind it."""

    table = KAFKA_COMMANDS
    module_prefix = "hydra.cli.kafka_"


def refuse_flags_before(command: str, flags: Mapping[str, object]) -> None:
    """Flags between ``kafka`` and a command would be those of one run, and have no effect.

    Raises:
        UsageError: names the first one.
    """
    for name, value in flags.items():
        if value:
            raise UsageError(
                f"--{name} stands before '{command}'", hint=f"put it behind: hydra kafka {command} --{name}=..."
            )
