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
    from hydra.broker.server_properties import check_overrides
    from hydra.broker.settings import broker_settings
    from hydra.cli.live import progress_display
    from hydra.kafkatest import running_stack
    from hydra.kafkatest.runtest import new_run_id
    from hydra.kafkatest.stack import LocalStack
    from hydra.options.reader import options_from_flags

    options = options_from_flags(given(flags), config_file)
    settings = broker_settings(options)
    check_overrides(settings.by_name())
    if running_stack.find() is not None:
        raise UsageError("a local stack is up already", hint="see 'hydra local status', 'hydra local down'")
    with interruptible(), progress_display() as progress:
        progress.phase("starting", "local Marathon and embedded Kafka")
        stack = LocalStack(
            new_run_id(),
            kafka=True,
            java=options.java,
            note=progress.note,
            settings=settings,
            agents=options.local_agents,
        )
        try:
            stack.start()
            stack.wait_for_marathon()
            stack.wait_for_kafka()
            stack.keep()
        except BaseException:
            stack.close()
            raise
        stack.release()
    _show_status()


@command.command()
def status() -> None:
    """Show the stack that is up, and the apps that run on it."""
    _show_status()


@command.command()
def down() -> None:
    """End the stack that is up, with everything that runs on it."""
    from hydra.kafkatest import running_stack
    from hydra.kafkatest.stack import end_kept_stack

    kept = running_stack.find()
    if kept is None:
        click.echo("no local stack is up")
        return
    end_kept_stack(kept)
    click.echo(f"the local stack (process {kept.process.pid}) is down")


def _show_status() -> None:
    from hydra.engine.marathon_access import local_access
    from hydra.engine.marathon_launcher import MarathonLauncher
    from hydra.kafkatest import running_stack

    kept = running_stack.find()
    if kept is None:
        click.echo("no local stack is up")
        return
    click.echo(f"local stack   process {kept.process.pid}, up since {kept.since}, Hydra {kept.version}")
    click.echo(f"  Marathon    {kept.marathon_url}")
    click.echo(f"  Kafka       {kept.bootstrap_servers or 'none'}")
    for text in kept.settings.properties:
        click.echo(f"  setting     {text}")
    click.echo(f"  folder      {kept.folder}")
    launcher = MarathonLauncher(local_access(kept.marathon_url))
    try:
        for app in launcher.apps():
            click.echo(f"  app         {app.id}: {app.tasks_running} of {app.instances} tasks run")
    finally:
        launcher.close()
