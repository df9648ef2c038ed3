"""``hydra local`` and ``hydra marathon``: what Hydra starts on this machine, without a run."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click

from hydra.cli.flags import chosen_options, option_flags
from hydra.cli.terminal import interruptible
from hydra.errors import UsageError
from hydra.options.parsers import AgentSpec


@click.group()
def local() -> None:
    """Keep a local stack (Marathon and Kafka) up between runs; 'hydra kafka' uses it while it is up."""


@local.command()
@option_flags("java", "broker_property", "broker_heap_mb", "local_agents")
@click.pass_context
def up(ctx: click.Context, /, **_flags: object) -> None:
    """Start a local Marathon and an embedded Kafka, and leave them up."""
    from hydra.cli.progress import shown_progress
    from hydra.kafkatest import running_stack
    from hydra.kafkatest.local_stack import leave_stack_running
    from hydra.kafkatest.runtest import new_run_id

    options = chosen_options(ctx)
    if running_stack.find() is not None:
        raise UsageError("a local stack is up already", hint="see 'hydra local status', 'hydra local down'")
    with interruptible(), shown_progress() as progress:
        progress.phase("starting", "local Marathon and embedded Kafka")
        leave_stack_running(options, new_run_id(), progress.note)
    _show_status()


@local.command()
def status() -> None:
    """Show the stack that is up, and the apps that run on it."""
    _show_status()


@local.command()
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


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, metavar="PORT", help="of the API; 0: any  [default: 8080]"
)
@option_flags("local_agents")
@click.pass_context
def marathon(ctx: click.Context, /, port: int, **_flags: object) -> None:
    """Run a local Marathon until Ctrl-C: Marathon's v2 API, with tasks that are processes of this machine.

    It listens on 127.0.0.1 alone: whoever reaches it may run commands as you. Its tasks end with it.
    """
    from hydra.files.folders import reap_orphans, run_folder
    from hydra.kafkatest.runtest import new_run_id
    from hydra.options.parsers import parse_agents

    options = chosen_options(ctx, for_a_run=False)
    agents = parse_agents(options.local_agents) if options.local_agents else (AgentSpec(),)
    reap_orphans()
    with interruptible(), run_folder(new_run_id()) as folder:
        asyncio.run(_serve(folder, port, agents))


async def _serve(folder: Path, port: int, agents: tuple[AgentSpec, ...]) -> None:
    from hydra.localmarathon.server import LocalMarathon

    asked_to_end = asyncio.Event()

    def on_signal(number: int) -> None:
        if asked_to_end.is_set():
            os._exit(128 + number)  # the watchdog ends the tasks and removes their folder
        asked_to_end.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    async with LocalMarathon(folder / "marathon", port=port, agents=agents) as server:
        click.echo(f"Marathon is at {server.url}, Mesos' addresses are there too; Ctrl-C ends it and its tasks")
        for agent in agents:
            named = " ".join(f"{name}:{value}" for name, value in agent.attributes.items())
            click.echo(f"  agent {agent.host}  cpus:{agent.cpus:g} mem:{agent.mem_mib:g}  {named}".rstrip())
        await asked_to_end.wait()
        click.echo("ending the tasks; once more to kill them")
