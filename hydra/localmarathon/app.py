"""An app that runs: its definition, its tasks, its back-off; and the JSON of all that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.localmarathon.app_definition import AppDefinition, app_document
from hydra.localmarathon.launch_queue import Backoff, QueueEntry
from hydra.localmarathon.task import Task, TaskState

KEPT_SANDBOXES = 5


@dataclass
class App:
    """An app from its creation until the last of its tasks is gone."""

    definition: AppDefinition
    tasks: dict[str, Task] = field(default_factory=dict)  # those that have not ended, by id
    backoff: Backoff = field(default_factory=Backoff)
    last_failure: dict[str, object] | None = None
    sandboxes: deque[Path] = field(default_factory=deque)  # of the latest tasks that have ended
    queue_entry: QueueEntry | None = None  # None while no task of it waits
    next_reconciliation: asyncio.TimerHandle | None = None
    is_deleted: bool = False
    is_gone: bool = False  # deleted, and its last task has ended

    def change(self, definition: AppDefinition) -> None:
        """Replace the definition; a new configuration starts without the back-off of the one before."""
        if definition.versions.last_config_change_at != self.definition.versions.last_config_change_at:
            self.backoff = Backoff()
        self.definition = definition

    def ordered_tasks(self) -> list[Task]:
        """The tasks, the oldest first."""
        return sorted(self.tasks.values(), key=lambda task: task.number)

    def document(self, deployment_ids: Sequence[str], embed: Collection[str]) -> dict[str, object]:
        """The JSON object of the app, with its counts and deployments.

        Args:
            deployment_ids: the deployments that hold the app.
            embed: which of ``tasks``, ``lastTaskFailure``, ``readiness`` to add.
        """
        states = [task.state for task in self.tasks.values()]
        document = {
            **app_document(self.definition),
            "tasksStaged": states.count(TaskState.STAGING),
            "tasksRunning": states.count(TaskState.RUNNING),
            "tasksHealthy": 0,
            "tasksUnhealthy": 0,
            "deployments": [{"id": deployment_id} for deployment_id in deployment_ids],
        }
        if "tasks" in embed:
            document["tasks"] = [task.document() for task in self.ordered_tasks()]
        if "lastTaskFailure" in embed and self.last_failure is not None:
            document["lastTaskFailure"] = self.last_failure
        if "readiness" in embed:
            document["readinessCheckResults"] = []
        return document
