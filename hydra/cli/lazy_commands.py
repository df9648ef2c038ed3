"""A table of commands of which each is imported only when it is run, or its help is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click


class LazyCommands(click.Group):
    """A group that imports a command only when it is needed.

    A subclass says which commands there are, and where: the command ``name`` is the attribute ``command`` of the module
    whose name is ``module_prefix`` and the command's.
    """

    table: ClassVar[Mapping[str, str]] = {}
    """One line of help by command, in the order of the help."""
    module_prefix: ClassVar[str] = ""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """The command of that name."""
        if cmd_name not in self.table:
            return None
        command = import_module(f"{self.module_prefix}{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """The table of commands in the help; from the table itself, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))
