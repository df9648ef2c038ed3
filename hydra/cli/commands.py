"""The command table."""

from __future__ import annotations

from collections.abc import Mapping

import click

from hydra import __version__
from hydra.cli.lazy_commands import LazyCommands

COMMANDS: Mapping[str, str] = {
    "kafka": "Run the Kafka scaling test.",
    "show": "Print a result file.",
    "report": "Make a page with plots of results.",
    "compare": "Put two results side by side.",
    "smoke": "Tell by a small run whether Hydra works here.",
    "doctor": "Look at all that a run needs, and say what to do.",
    "cli": "List, stop and scale what runs on a Marathon; read its logs.",
    "marathon": "Run a local Marathon, for trying Marathon apps on this machine.",
    "local": "Keep a local stack (Marathon and Kafka) up between runs.",
}
"""One line of help each; they stand in the modules ``hydra.cli.NAME``."""


class CommandTable(LazyCommands):
    """All commands."""

    table = COMMANDS
    module_prefix = "hydra.cli."


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
