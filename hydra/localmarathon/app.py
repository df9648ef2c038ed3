"""An app that runs: its definition now and before, its tasks, its back-off; and the JSON of all that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.localmarathon.app_definition import AppDefinition, app_document
from hydra.localmarathon.launch_delay import LaunchDelay
from hydra.localmarathon.launch_queue import Waiting
from hydra.localmarathon.task import Task, TaskState

MAX_VERSIONS = 50  # Marathon's default of --zk_max_versions
KEPT_SANDBOXES = 5


@dataclass
class App:
    """An app from its creation until the last of its tasks is gone."""

    definition: AppDefinition
    versions: deque[AppDefinition] = field(default_factory=lambda: deque(maxlen=MAX_VERSIONS))  # the newest first
    tasks: dict[str, Task] = field(default_factory=dict)  # those that have not ended, by id
    delay: LaunchDelay = field(default_factory=LaunchDelay)
    last_failure: dict[str, object] | None = None
    sandboxes: deque[Path] = field(default_factory=deque)  # of the latest tasks that have ended
    waiting: Waiting | None = None  # None while nothing of it waits
    next_look: asyncio.TimerHandle | None = None
    is_deleted: bool = False
    is_gone: bool = False  # deleted, and the last task has ended

    def change(self, definition: AppDefinition) -> None:
        """Replace the definition; another configuration begins without the back-off of the one before."""
        if definition.versions.last_config_change_at != self.definition.versions.last_config_change_at:
            self.delay = LaunchDelay()
        self.definition = definition
        self.versions.appendleft(definition)

    def ordered_tasks(self) -> list[Task]:
        """The tasks, the oldest first."""
        return sorted(self.tasks.values(), key=lambda task: task.number)

    def document(self, deployment_ids: Sequence[str], embed: Collection[str]) -> dict[str, object]:
        """The JSON object of the app.

        Args:
            deployment_ids: those that hold the app.
            embed: which of ``tasks``, ``lastTaskFailure``, ``readiness`` stand in it; counts and deployments always do.
        """
        states = [task.state for task in self.tasks.values()]
        document = {
            **app_document(self.definition),
            "tasksStaged": states.count(TaskState.STAGING),
            "tasksRunning": states.count(TaskState.RUNNING),
            "tasksHealthy": sum(bool(task.health) and task.is_ready for task in self.tasks.values()),
            "tasksUnhealthy": sum(task.is_unhealthy for task in self.tasks.values()),
            "deployments": [{"id": deployment_id} for deployment_id in deployment_ids],
        }
        if "tasks" in embed:
            document["tasks"] = [task.document(with_service_ports=True) for task in self.ordered_tasks()]
        if "lastTaskFailure" in embed and self.last_failure is not None:
            document["lastTaskFailure"] = self.last_failure
        if "readiness" in embed:
            document["readinessCheckResults"] = []
        return document
