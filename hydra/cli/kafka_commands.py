"""The commands below ``hydra kafka``: what is measured with more than one run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from hydra.core.errors import UsageError

KAFKA_COMMANDS: Mapping[str, str] = {
    "sweep": "Runs over clients x rates, or over any other options.",
    "batchsize": "Runs over the size of the publisher's batches.",
    "maxrate": "The highest rate without loss for the clients asked for.",
    "maxclients": "The most clients without loss at the rate asked for.",
    "frontier": "The highest rate for each number of clients.",
    "tune": "linger_ms, fetch_min_bytes and fetch_wait_max_ms with the lowest latency.",
}
"""One line of help each; the command ``name`` is the attribute ``command`` of the module ``hydra.cli.kafka_name``."""


class KafkaCommands(click.Group):
    """One run without a command behind it; commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands."""
        return list(KAFKA_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """The command of that name."""
        if cmd_name not in KAFKA_COMMANDS:
            return None
        command = import_module(f"hydra.cli.kafka_{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """The table of commands in the help; from the table itself, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(KAFKA_COMMANDS.items()))


def refuse_flags_before(command: str, flags: Mapping[str, object]) -> None:
    """Flags between ``kafka`` and a command would be those of one run, and have no effect.

    Raises:
        UsageError: names the first one.
    """
    for name, value in flags.items():
        if value:
            raise UsageError(
                f"--{name} stands before '{command}'", way_out=f"put it behind: hydra kafka {command} --{name}=..."
            )
