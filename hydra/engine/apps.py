"""The definitions of the two apps, kafka-pub and kafka-sub."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from hydra import __version__
from hydra.engine.code_server import CodeServer
from hydra.options.options import Options
from hydra.run.protocols import AppSpec

PUBLISHER = "kafka-pub"
SUBSCRIBER = "kafka-sub"
INSTALLED_COMMAND = "exec hydra"
"""On a cluster where Hydra is installed on the agents."""

MEM_MIB = {PUBLISHER: 128.0, SUBSCRIBER: 64.0}


@dataclass(frozen=True)
class Placement:
    """What the apps' definitions depend on, beside the options."""

    code_server: CodeServer | None = None
    """Serves the task bundle to the agents; None if Hydra is installed there."""
    constrained: bool = True
    """Whether the agents may have the attributes that the options name."""


def app_id(options: Options, role: str) -> str:
    """The app's absolute id."""
    return f"/{options.app_prefix}/{role}"


def app_spec(options: Options, role: str, instances: int, placement: Placement) -> AppSpec:
    """The app. It is the same for all runs of one version, so that apps that were left up serve the next run.

    With a code server it has the address of the run's own, so that apps that were left up are restarted.

    Args:
        options: where the app goes.
        role: kafka-pub or kafka-sub.
        instances: how many tasks.
        placement: how the agents get the code, and their attributes.
    """
    return AppSpec(
        app_id=app_id(options, role),
        command=_command(options, f"task {role}", placement.code_server),
        instances=instances,
        mem_mib=MEM_MIB[role],
        labels={"hydra": __version__},
        constraints=_constraints(options, role, placement),
        fetch=(placement.code_server.url,) if placement.code_server is not None else (),
    )


def _command(options: Options, arguments: str, code_server: CodeServer | None) -> str:
    if code_server is not None:
        return code_server.bundle.command(arguments, options.agent_python)
    if options.marathon_url is None:
        return f"exec {shlex.quote(sys.executable)} -m hydra {arguments}"
    return f"{INSTALLED_COMMAND} {arguments}"


def _constraints(options: Options, role: str, placement: Placement) -> tuple[tuple[str, ...], ...]:
    """As in the original Hydra: one publisher per host, and each role on the agents of its cluster."""
    unique = (("hostname", "UNIQUE"),) if role == PUBLISHER else ()
    cluster = options.cluster0 if role == PUBLISHER else options.cluster1
    if cluster is None or not placement.constrained:
        return unique
    attribute, _dot, value = cluster.partition(".")
    return (*unique, (attribute, "CLUSTER", value))
