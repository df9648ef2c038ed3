"""What does not go with ``--engine=kubernetes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra.errors import UsageError

if TYPE_CHECKING:
    from hydra.options.options import Options

MAX_PREFIX = 30
"""A pod is ``hydra-PREFIX-kafka-pub-INDEX-xxxxx``, and a name has 63 characters at most (RFC 1123)."""


def check_kubernetes(options: Options) -> None:
    """Raise UsageError, which names the option and its value, where pods cannot do what is asked for."""
    if options.engine != "kubernetes":
        return
    if options.bootstrap_servers is None:
        raise UsageError(
            "--engine=kubernetes needs --bootstrap_servers", hint="pods cannot reach a Kafka embedded on this machine"
        )
    for name in ("marathon_url", "mesos_url", "cluster0", "cluster1", "local_agents"):
        if (value := getattr(options, name)) is not None:
            raise UsageError(f"--{name}={value} does not go with --engine=kubernetes", hint="leave one of the two out")
    if len(options.app_prefix) > MAX_PREFIX:
        raise UsageError(
            f"--app_prefix={options.app_prefix} has {len(options.app_prefix)} characters",
            hint=f"names of Kubernetes have room for {MAX_PREFIX}",
        )
