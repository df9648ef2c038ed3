"""``hydra local``: a stack (local Marathon and embedded Kafka) that stays up between runs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hydra.cli.interruption import interruptible
from hydra.cli.option_flags import given, option_flags
from hydra.errors import UsageError


@click.group()
def command() -> None:
    """Keep a local stack (Marathon and Kafka) up between runs; 'hydra kafka' uses it while it is up."""


@command.command()
@option_flags("java", "broker_property", "broker_heap_mb", "local_agents")
def up(config_file: str | None, **flags: str | Sequence[str] | None) -> None:
    """Start a local Marathon and an embedded Kafka, and leave them up."""
    from hydra.cli.live import progress_display
    from hydra.kafkatest import running_stack
    from hydra.kafkatest.local_stack import leave_stack_running
    from hydra.kafkatest.runtest import new_run_id
    from hydra.options.reader import options_from_flags

    options = options_from_flags(given(flags), config_file)
    if running_stack.find() is not None:
        raise UsageError("a local stack is up already", hint="see 'hydra local status', 'hydra local down'")
    with interruptible(), progress_display() as progress:
        progress.phase("starting", "local Marathon and embedded Kafka")
        leave_stack_running(options, new_run_id(), progress.note)
    _show_status()


@command.command()
def status() -> None:
    """Show the stack that is up, and the apps that run on it."""
    _show_status()


@command.command()
def down() -> None:
    """End the stack that is up, with everything that runs on it."""
    from hydra.kafkatest import running_stack

    running = running_stack.find()
    if running is None:
        click.echo("no local stack is up")
        return
    running_stack.end_running_stack(running)
    click.echo(f"the local stack (process {running.process.pid}) is down")


def _show_status() -> None:
    from hydra.engine.marathon_access import local_access
    from hydra.engine.marathon_launcher import MarathonLauncher
    from hydra.kafkatest import running_stack

    running = running_stack.find()
    if running is None:
        click.echo("no local stack is up")
        return
    click.echo(f"local stack   process {running.process.pid}, up since {running.since}, Hydra {running.version}")
    click.echo(f"  Marathon    {running.marathon_url}")
    click.echo(f"  Kafka       {running.bootstrap_servers or 'none'}")
    for text in running.settings.properties:
        click.echo(f"  setting     {text}")
    click.echo(f"  folder      {running.folder}")
    launcher = MarathonLauncher(local_access(running.marathon_url))
    try:
        for app in launcher.apps():
            click.echo(f"  app         {app.id}: {app.tasks_running} of {app.instances} tasks run")
    finally:
        launcher.close()
