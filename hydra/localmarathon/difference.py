"""Wanted minus seen: how many tasks of an app to launch and which to kill, now. Pure: no clock, no process."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hydra.localmarathon.app_definition import AppDefinition, KillSelection
from hydra.localmarathon.task import Task, TaskState


@dataclass(frozen=True)
class Difference:
    """The next step towards what is wanted."""

    start: int
    kill: tuple[Task, ...]


def wanted_minus_seen(app: AppDefinition, seen: Collection[Task]) -> Difference:
    """What brings the tasks that are seen closer to the app that is wanted.

    A task that is being killed holds its place until it is gone, so that an app never has more processes than it may.
    Tasks of an older configuration are exchanged within the bounds of the app's upgrade strategy.
    """
    alive = [task for task in seen if task.state in (TaskState.STAGING, TaskState.RUNNING)]
    current = [task for task in alive if task.config_version == app.versions.last_config_change_at]
    outdated = [task for task in alive if task.config_version != app.versions.last_config_change_at]
    surplus = kill_order(current, app.kill_selection)[: max(0, len(current) - app.instances)]
    if not outdated:
        return Difference(start=max(0, app.instances - len(seen)), kill=tuple(surplus))
    minimum, maximum = _capacity(app)
    staging = [task for task in outdated if task.state is TaskState.STAGING]
    running = [task for task in outdated if task.state is TaskState.RUNNING]
    ready_count = sum(task.is_ready for task in alive)
    replaceable = _replaceable(kill_order(running, app.kill_selection), ready_count - minimum)
    start = max(0, min(app.instances - len(current), maximum - len(seen)))
    return Difference(start=start, kill=(*surplus, *staging, *replaceable))


def settled(app: AppDefinition, seen: Collection[Task]) -> bool:
    """Whether exactly the wanted tasks are there: all running and healthy, all of the current configuration."""
    return len(seen) == app.instances and all(
        task.is_ready and task.config_version == app.versions.last_config_change_at for task in seen
    )


def kill_order(tasks: Iterable[Task], selection: KillSelection) -> list[Task]:
    """Tasks that do not run yet first, then by age."""
    sign = -1 if selection is KillSelection.YOUNGEST_FIRST else 1
    return sorted(tasks, key=lambda task: (task.state is TaskState.RUNNING, sign * task.number))


def _replaceable(ordered: Iterable[Task], spare: int) -> list[Task]:
    """What is not healthy may go in any case, and of the others as many as can be spared."""
    ordered = list(ordered)
    ready = [task for task in ordered if task.is_ready][: max(0, spare)]
    return [task for task in ordered if not task.is_ready or task in ready]


def _capacity(app: AppDefinition) -> tuple[int, int]:
    strategy = app.upgrade_strategy
    minimum = math.ceil(app.instances * strategy.minimum_health_capacity)
    maximum = math.floor(app.instances * (1 + strategy.maximum_over_capacity))
    # Without room to grow and without leave to shrink nothing could ever be exchanged: Marathon grows by one then.
    return minimum, maximum + 1 if minimum == maximum else maximum
