"""``hydra local`` and ``hydra marathon``: what Hydra starts on this machine, without a run."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import click

from hydra.cli.flags import chosen_options, option_flags
from hydra.cli.terminal import ASKED_BY_A_USER, end_signals, interruptible
from hydra.errors import InterruptedRunError, UsageError
from hydra.options.parsers import AgentSpec

_DRIVERS_OF_ANY_KAFKA = {"pub_driver": "kafka-python", "sub_driver": "kafka-python", "group_mode": "assign"}
"""A stack has no drivers: the runs on it have."""


@click.group()
def local() -> None:
    """Keep a local stack (Marathon and Kafka) up between runs; 'hydra kafka' uses it while it is up."""


@local.command()
@option_flags("kafka_version", "java", "broker_property", "broker_heap_mb", "brokers", "kafka_security", "local_agents")
@click.pass_context
def up(ctx: click.Context, /, **_flags: object) -> None:
    """Start a local Marathon and an embedded Kafka, and leave them up."""
    from hydra.cli.progress import shown_progress
    from hydra.kafkatest import running_stack
    from hydra.kafkatest.local_stack import leave_stack_running
    from hydra.kafkatest.runtest import new_run_id

    options = chosen_options(ctx, under=_DRIVERS_OF_ANY_KAFKA)
    if (running := running_stack.find()) is not None:
        raise running_stack.stack_is_up(running)
    with interruptible(), shown_progress() as progress:
        progress.phase("starting", "local Marathon and embedded Kafka")
        leave_stack_running(options, new_run_id(), progress.note)
    _show_status()


@local.command()
def status() -> None:
    """Show the stack that is up, and the apps that run on it."""
    _show_status()


@local.command()
@click.option("--force", is_flag=True, help="end it also while a run uses it, without asking")
def down(*, force: bool) -> None:
    """End the stack that is up, with everything that runs on it; asks first if a run is using it."""
    from hydra.kafkatest import running_stack

    running = running_stack.find()
    if running is None:
        click.echo("no local stack is up")
        return
    with running_stack.exclusive_use() as free:  # so that no run begins on it meanwhile
        if not (free or force):
            _confirm_end(running.process.pid)
        running_stack.end_running_stack(running)
    click.echo(f"the local stack (process {running.process.pid}) is down")


def _confirm_end(pid: int) -> None:
    """Have the user say that a stack in use may end.

    Raises:
        UsageError: the user said no, or nobody can be asked.
    """
    text = f"a run is using the local stack (process {pid})"
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(text, hint="wait until it ends, or use 'hydra local down --force', which fails that run")
    if not click.confirm(f"{text} and fails if it ends. End it?", err=True):
        raise UsageError(f"{text}, which stays up")


def _show_status() -> None:
    from hydra.engine.marathon_access import TOKEN_FILE, local_access
    from hydra.engine.marathon_launcher import MarathonLauncher
    from hydra.kafkatest import running_stack

    running = running_stack.find()
    if running is None:
        click.echo("no local stack is up")
        return
    folder = Path(running.folder)
    click.echo(f"local stack   process {running.process.pid}, up since {running.since}, Hydra {running.version}")
    click.echo(f"  in use      {'by a run' if running_stack.in_use() else 'no'}")
    click.echo(f"  Marathon    {running.marathon_url}")
    click.echo(f"  Kafka       {running.bootstrap_servers or 'none'}")
    if running.settings.version is not None:
        click.echo(f"  version     {running.settings.version}")
    for pid in running.kafka_pids:
        click.echo(f"  broker      process {pid}")
    for died in running_stack.deaths(running):
        click.echo(f"  died        {died}")
    if running.settings.security is not None:
        click.echo(f"  security    {running.settings.security}")
    for text in running.settings.properties:
        click.echo(f"  setting     {text}")
    click.echo(f"  folder      {folder}")
    click.echo(f"  call it     {_call(folder / TOKEN_FILE, running.marathon_url)}")
    launcher = MarathonLauncher(local_access(running.marathon_url, folder))
    try:
        for app in launcher.apps():
            click.echo(f"  app         {app.id}: {app.tasks_running} of {app.instances} tasks run")
    finally:
        launcher.close()


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, metavar="PORT", help="of the API; 0: any  [default: 8080]"
)
@click.option(
    "--token", metavar="FILE", help="with the token that requests must carry: one line 'Authorization: Bearer TOKEN'"
)
@click.option("--no_auth", is_flag=True, help="obey everyone on this machine, without a token")
@option_flags("local_agents")
@click.pass_context
def marathon(ctx: click.Context, /, port: int, token: str | None, *, no_auth: bool, **_flags: object) -> None:
    """Run a local Marathon until Ctrl-C: Marathon's v2 API, with tasks that are processes of this machine.

    It listens on 127.0.0.1 alone and wants a token, since whoever may call it may run commands as you: it prints how
    to call it. Its tasks end with it. It has no end of its own: it always ends with 128 and the number of the signal
    (130 after Ctrl-C).
    """
    from hydra.engine.marathon_access import TOKEN_FILE, new_token, read_token
    from hydra.files.folders import reap_orphans, run_folder
    from hydra.kafkatest.runtest import new_run_id
    from hydra.options.parsers import parse_agents
    from hydra.run.cgroups import raise_descriptor_limit

    options = chosen_options(ctx, for_a_run=False)
    agents = parse_agents(options.local_agents) if options.local_agents else (AgentSpec(),)
    if no_auth and token:
        raise UsageError("--no_auth and --token contradict each other", hint="leave one out")
    given = read_token(Path(token)) if token else ""
    reap_orphans()
    raise_descriptor_limit()
    with interruptible(), run_folder(new_run_id()) as folder:
        file = None if no_auth else Path(token).absolute() if token else folder / TOKEN_FILE
        asyncio.run(_serve(folder, port, agents, given if given or file is None else new_token(file), file))


async def _serve(folder: Path, port: int, agents: tuple[AgentSpec, ...], token: str, file: Path | None) -> None:
    from hydra.localmarathon.server import LocalMarathon, own_user

    asked_to_end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_signal(number: int) -> None:
        if not asked_to_end.done():
            asked_to_end.set_result(number)
        elif number in ASKED_BY_A_USER:
            os._exit(128 + number)  # the watchdog ends the tasks and removes their folder

    for number in end_signals():
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    async with LocalMarathon(folder / "marathon", token=token, port=port, agents=agents) as server:
        click.echo(f"Marathon is at {server.url}, Mesos' addresses are there too; Ctrl-C ends it and its tasks")
        for agent in agents:
            named = " ".join(f"{name}:{value}" for name, value in agent.attributes.items())
            click.echo(f"  agent {agent.host}  cpus:{agent.cpus:g} mem:{agent.mem_mib:g}  {named}".rstrip())
        if file is None:
            click.echo(f"--no_auth: every user and program of this machine may run commands as {own_user()} here")
        else:
            click.echo(f"call it:    {_call(file, server.url)}")
            click.echo(
                f"or:         hydra kafka --marathon_url={server.url} --marathon_secrets={shlex.quote(str(file))}"
            )
        ended_by = await asked_to_end
        click.echo("ending the tasks; once more to kill them")
    raise InterruptedRunError(ended_by)


def _call(token_file: Path, url: str) -> str:
    """How to call a local Marathon, with its token and without showing it."""
    return f"curl -H @{shlex.quote(str(token_file))} {url}/v2/apps"
