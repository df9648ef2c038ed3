"""What should run, what is seen to run, and the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra.endpoints import Endpoint


@dataclass(frozen=True)
class AppSpec:
    """An app: what its tasks run and how many of them are wanted."""

    app_id: str
    """Absolute, as in ``/g1/kafka-sub``."""
    command: str
    """A command line for /bin/sh."""
    instances: int
    cpus: float = 0.01
    mem_mib: float = 32.0
    port_count: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[tuple[str, ...], ...] = ()
    """Where its tasks may run, as (agent attribute, operator) or (agent attribute, operator, value)."""
    fetch: tuple[str, ...] = ()
    """URLs of files that lie in a task's folder before its command runs."""


@dataclass(frozen=True)
class WaitingReason:
    """Why some of an app's tasks are not there, in the engine's words."""

    text: str = ""
    """Empty when nothing is known."""
    unplaced: bool = False
    """Whether the engine has not started them, rather than that they ended: no waiting for the app will help."""


@dataclass(frozen=True)
class Task:
    """A running (or starting) instance of an app. A replaced task is another task: ids are never used twice."""

    task_id: str
    app_id: str
    running: bool
    endpoint: Endpoint | None
    """Host and first port; None while the engine has not given it any."""


@dataclass(frozen=True)
class ScalingDifference:
    """What is missing from, or too much of, an app."""

    missing: int
    """Instances that are wanted and not running."""
    surplus: int
    """Tasks that run and are not wanted."""

    @property
    def settled(self) -> bool:
        """Whether the app is as it should be."""
        return not self.missing and not self.surplus


def difference(wanted_instances: int, seen: Sequence[Task]) -> ScalingDifference:
    """Wanted minus seen: tasks that are not running yet are neither."""
    running = sum(1 for task in seen if task.running and task.endpoint is not None)
    return ScalingDifference(missing=max(0, wanted_instances - running), surplus=max(0, len(seen) - wanted_instances))
