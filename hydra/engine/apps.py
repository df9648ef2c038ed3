"""The two apps as Marathon is asked for them."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from hydra import __version__
from hydra.engine.code_server import CodeServer
from hydra.options.options import Options
from hydra.run.app_spec import AppSpec

PUBLISHER = "kafka-pub"
SUBSCRIBER = "kafka-sub"
INSTALLED_COMMAND = "exec hydra"
"""On a cluster whose agents have Hydra installed."""

MEM_MIB = {PUBLISHER: 128.0, SUBSCRIBER: 64.0}


@dataclass(frozen=True)
class Placement:
    """What the apps' definitions depend on beside the options."""

    hand_out: CodeServer | None = None
    """Where agents get the code from; None where they have it."""
    constrained: bool = True
    """Whether the agents can have the attributes that the options name."""


def app_id(options: Options, role: str) -> str:
    """The app's absolute id."""
    return f"/{options.app_prefix}/{role}"


def app_spec(options: Options, role: str, instances: int, placing: Placement) -> AppSpec:
    """The app: equal for all runs of one version, so that apps that were left up serve the next run.

    Where the code is handed out its address is the run's own, so that apps which were left up start anew.

    Args:
        options: where the app goes.
        role: kafka-pub or kafka-sub.
        instances: how many tasks.
        placing: what agents there are.
    """
    return AppSpec(
        app_id=app_id(options, role),
        command=_command(options, f"task {role}", placing.hand_out),
        instances=instances,
        mem_mib=MEM_MIB[role],
        labels={"hydra": __version__},
        constraints=_constraints(options, role, placing),
        fetch=(placing.hand_out.url,) if placing.hand_out is not None else (),
    )


def _command(options: Options, arguments: str, hand_out: CodeServer | None) -> str:
    if hand_out is not None:
        return hand_out.code.command(arguments, options.agent_python)
    if options.marathon_url is None:
        return f"exec {shlex.quote(sys.executable)} -m hydra {arguments}"
    return f"{INSTALLED_COMMAND} {arguments}"


def _constraints(options: Options, role: str, placing: Placement) -> tuple[tuple[str, ...], ...]:
    """As in the original: the publisher once on a host, and each role on the agents of its cluster."""
    unique = (("hostname", "UNIQUE"),) if role == PUBLISHER else ()
    cluster = options.cluster0 if role == PUBLISHER else options.cluster1
    if cluster is None or not placing.constrained:
        return unique
    attribute, _dot, value = cluster.partition(".")
    return (*unique, (attribute, "CLUSTER", value))
