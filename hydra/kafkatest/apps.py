"""The two apps as Marathon is asked for them."""

from __future__ import annotations

import shlex
import sys

from hydra import __version__
from hydra.core.app_spec import AppSpec
from hydra.core.options import Options

PUBLISHER = "kafka-pub"
SUBSCRIBER = "kafka-sub"
REMOTE_COMMAND = "hydra"
"""On a cluster Hydra is installed on the agents."""


def app_id(options: Options, role: str) -> str:
    """The app's absolute id."""
    return f"/{options.app_prefix}/{role}"


def app_spec(options: Options, role: str, instances: int) -> AppSpec:
    """The app: equal for all runs of one version, so that apps that were left up serve the next run.

    Args:
        options: where the app goes.
        role: kafka-pub or kafka-sub.
        instances: how many tasks.
    """
    local = options.marathon_url is None
    program = f"exec {shlex.quote(sys.executable)} -m hydra" if local else REMOTE_COMMAND
    return AppSpec(
        app_id=app_id(options, role),
        command=f"{program} task {role}",
        instances=instances,
        mem_mib=128.0 if role == PUBLISHER else 64.0,
        labels={"hydra": __version__},
    )
