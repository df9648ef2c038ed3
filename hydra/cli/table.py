"""The command table. A command's module is imported when the command is run, or its help is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from hydra import __version__

COMMANDS: Mapping[str, str] = {
    "kafka": "Run the Kafka scaling test.",
    "show": "Print a result file.",
    "report": "Make a page with plots of results.",
    "compare": "Put two results side by side.",
    "smoke": "Tell by a small run whether Hydra works here.",
    "doctor": "Look at all that a run needs, and say what to do.",
    "cli": "List, stop and scale what runs on a Marathon; read its logs.",
    "local": "Keep a local stack (Marathon and Kafka) up between runs.",
}
"""One line of help each; the command ``name`` is the attribute ``command`` of the module ``hydra.cli.name``."""


class CommandTable(click.Group):
    """A group that imports a command only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"hydra.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """The table of commands in the help; from the table itself, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _underscores(name: str) -> str:
    """Flags have the seed's underscores; dashes are taken as well."""
    return name.replace("-", "_")


@click.group(
    cls=CommandTable,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _underscores,
        "max_content_width": 110,
    },
)
@click.version_option(
    __version__, message="hydra-scaletest %(version)s (Hydra, the Apache Kafka scaling test; this is not hydra-core)"
)
def hydra() -> None:
    """How many subscribers, at what message rate, can this Kafka broker carry without losing or delaying messages?"""
