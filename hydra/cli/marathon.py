"""``hydra marathon``: the local Marathon as a server of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click

from hydra.cli.interruption import interruptible
from hydra.cli.option_flags import given, option_flags
from hydra.options.agent_specs import AgentSpec


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="of the API; 0: any that is free"
)
@option_flags("local_agents")
def command(config_file: str | None, port: int, **flags: str | None) -> None:
    """Run a local Marathon until Ctrl-C: Marathon's v2 API, with tasks that are processes of this machine.

    It listens on 127.0.0.1 alone: whoever reaches it may run commands as you. Its tasks end with it.
    """
    from hydra.files.run_folder import reap_orphans, run_folder
    from hydra.kafkatest.runtest import new_run_id
    from hydra.options.agent_specs import parse_agents
    from hydra.options.reader import options_from_flags

    options = options_from_flags(given(flags), config_file, for_a_run=False)
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
        for line in _greeting(server.url, agents):
            click.echo(line)
        await asked_to_end.wait()
        click.echo("ending the tasks; once more to kill them")


def _greeting(url: str, agents: tuple[AgentSpec, ...]) -> list[str]:
    lines = [f"Marathon is at {url}, Mesos' addresses are there too; Ctrl-C ends it and its tasks"]
    for agent in agents:
        named = " ".join(f"{name}:{value}" for name, value in agent.attributes.items())
        lines.append(f"  agent {agent.host}  cpus:{agent.cpus:g} mem:{agent.mem_mib:g}  {named}".rstrip())
    return lines
