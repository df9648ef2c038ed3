"""How many tasks of an app to launch and which to kill, to get from what runs to what is wanted. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hydra.localmarathon.app_definition import AppDefinition, KillSelection
from hydra.localmarathon.task import Task, TaskState


@dataclass(frozen=True)
class Step:
    """The next step towards the wanted tasks."""

    launch_count: int
    kill: tuple[Task, ...]


def next_step(app: AppDefinition, tasks: Collection[Task]) -> Step:
    """What brings the tasks of an app closer to its definition.

    A task that is being killed counts until it is gone, so that an app never has more processes than it may.
    Tasks of an older configuration are replaced within the bounds of the app's upgrade strategy.
    """
    alive = [task for task in tasks if task.state in (TaskState.STAGING, TaskState.RUNNING)]
    current = [task for task in alive if task.has_config_of(app)]
    outdated = [task for task in alive if not task.has_config_of(app)]
    surplus = kill_order(current, app.kill_selection)[: max(0, len(current) - app.instances)]
    if not outdated:
        return Step(max(0, app.instances - len(tasks)), tuple(surplus))
    minimum, maximum = _capacity(app)
    staging = [task for task in outdated if task.state is TaskState.STAGING]
    running = [task for task in outdated if task.state is TaskState.RUNNING]
    spare_count = max(0, sum(task.state is TaskState.RUNNING for task in alive) - minimum)
    replaceable = kill_order(running, app.kill_selection)[:spare_count]
    launch_count = max(0, min(app.instances - len(current), maximum - len(tasks)))
    return Step(launch_count, (*surplus, *staging, *replaceable))


def is_settled(app: AppDefinition, tasks: Collection[Task]) -> bool:
    """Whether exactly the wanted tasks exist: all running, all of the current configuration."""
    return len(tasks) == app.instances and all(
        task.state is TaskState.RUNNING and task.has_config_of(app) for task in tasks
    )


def kill_order(tasks: Iterable[Task], selection: KillSelection) -> list[Task]:
    """Tasks that do not run yet first, then by age."""
    sign = -1 if selection is KillSelection.YOUNGEST_FIRST else 1
    return sorted(tasks, key=lambda task: (task.state is TaskState.RUNNING, sign * task.number))


def _capacity(app: AppDefinition) -> tuple[int, int]:
    """The least number of running tasks and the most tasks at all during a replacement."""
    if app.is_single:  # whatever its strategy is: a cluster takes no other one than this of such an app
        return 0, app.instances
    strategy = app.upgrade_strategy
    minimum = math.ceil(app.instances * strategy.minimum_health_capacity)
    maximum = math.floor(app.instances * (1 + strategy.maximum_over_capacity))
    # If the app may neither grow nor shrink, nothing could ever be replaced: Marathon adds one task then.
    return minimum, maximum + 1 if minimum == maximum else maximum
