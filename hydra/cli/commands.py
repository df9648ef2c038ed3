"""All commands; each is imported only when it runs or its help is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from hydra import __version__
from hydra.cli.help_page import HelpPage

COMMANDS: Mapping[str, tuple[str, str]] = {
    "kafka": ("kafka", "Run the Kafka scaling test, sweeps and searches."),
    "watch": ("watch_runs", "Show a run that is under way, from another terminal."),
    "show": ("saved_results", "Print a result file."),
    "report": ("saved_results", "Make a page with plots of results."),
    "compare": ("saved_results", "Put two results side by side."),
    "trend": ("trend", "Say when results of one plan changed."),
    "smoke": ("checks", "Tell by a small run whether Hydra works here."),
    "doctor": ("checks", "Check everything that a run needs, and say what to do."),
    "cli": ("cli", "List, stop and scale what runs on a Marathon; read its logs."),
    "clean": ("clean", "List what runs that are over have left, and remove it."),
    "marathon": ("local", "Run a local Marathon, for trying Marathon apps on this machine."),
    "local": ("local", "Keep a local stack (Marathon and Kafka) up between runs."),
}
"""(module of hydra/cli with a command of that name in it, a line of help) by name."""

KAFKA_COMMANDS: Mapping[str, tuple[str, str]] = {
    "sweep": ("kafka_sweep", "Runs over clients x rates, or over any other options."),
    "batchsize": ("kafka_sweep", "Runs over the size of the publisher's batches."),
    "ab": ("kafka_ab", "Two settings in turns: is B better than A?"),
    "maxrate": ("kafka_search", "The highest rate that passes, for the clients asked for."),
    "maxclients": ("kafka_search", "The most clients that pass, at the rate asked for."),
    "frontier": ("kafka_search", "The highest rate that passes, for each number of clients."),
    "tune": ("kafka_search", "linger_ms, fetch_min_bytes and fetch_wait_max_ms with the lowest latency."),
}
"""The same below ``hydra kafka``."""


class LazyGroup(HelpPage, click.Group):
    """A group of the commands in one of the tables above, each imported only when it is needed."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **fields: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **fields)
        self._table = table

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's signature
        """Run the command. A broken pipe is that of a socket (streams tolerate theirs): click makes a bare 1 of it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise BrokenPipeError(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """The command of that name."""
        if cmd_name not in self._table:
            return None
        command = getattr(import_module(f"hydra.cli.{self._table[cmd_name][0]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; where it names none, the error says what may have been meant."""
        name = args[0]
        if not ctx.resilient_parsing and name not in self._table and name[:1] != "-":
            elsewhere = {other: f"hydra kafka {other}" for other in KAFKA_COMMANDS}
            elsewhere |= {other: f"hydra {other}" for other in COMMANDS}
            known = elsewhere | {other: f"{ctx.command_path} {other}" for other in self._table}
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{known[near[0]]}'?" if near else ""
            raise click.UsageError(f"no such command: {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """The commands in the help; out of the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in self._table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    examples={
        "hydra kafka --clients=20": "20 clients on a real Kafka on this machine",
        "hydra kafka --bootstrap_servers=k1:9092,k2:9092 --clients=20": "the same on your own brokers",
        "hydra kafka maxrate --clients=50 --threshold='e2e_p99<50ms'": "the highest rate that 50 clients can follow",
    },
    codes={},
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("-", "_"),  # flags have underscores; dashes are taken as well
        "max_content_width": 110,
    },
)
@click.version_option(
    __version__, message="hydra-scaletest %(version)s (Hydra, the Apache Kafka scaling test; this is not hydra-core)"
)
def hydra() -> None:
    """How many subscribers, at what message rate, can this Kafka broker carry without losing or delaying messages?"""
