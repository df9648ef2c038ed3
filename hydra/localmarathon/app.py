"""An app that runs: its definition and tasks, its back-off, its entry in the launch queue; and the JSON of all that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.localmarathon.app_definition import AppDefinition, app_document
from hydra.localmarathon.placement import reject_summary
from hydra.localmarathon.task import Task, TaskState

_MAX_KEPT_REASONS = 1000


@dataclass(frozen=True)
class Backoff:
    """How long the next launch of an app waits after its tasks have ended; the clock is any monotonic one."""

    delay_s: float = 0.0
    until_s: float = 0.0

    def after_end(self, app: AppDefinition, now_s: float) -> Backoff:
        """The back-off after one more task has ended by itself.

        The first end costs ``backoffSeconds``, each further one ``backoffFactor`` times as much, up to
        ``maxLaunchDelaySeconds``. It starts over if no task ended for ``maxLaunchDelaySeconds``.
        """
        starts_over = not self.delay_s or now_s > self.until_s + app.max_launch_delay_s
        grown_s = app.backoff_s if starts_over else self.delay_s * app.backoff_factor
        delay_s = min(grown_s, app.max_launch_delay_s)
        return Backoff(delay_s, now_s + delay_s)


@dataclass
class QueueEntry:
    """Tasks of an app that should run and are not launched yet."""

    since: str
    processed: int = 0
    unused: int = 0
    last_unused_at: str | None = None
    last_used_at: str | None = None
    last_reasons: Sequence[str] = ()  # one for each offer that was declined in the last round
    all_reasons: Sequence[str] = ()  # since the last launch

    def note_declined(self, reasons: Sequence[str], now: str) -> None:
        """No agent's offer was good enough."""
        self.processed += len(reasons)
        self.unused += len(reasons)
        self.last_unused_at = now
        self.last_reasons = reasons
        self.all_reasons = [*self.all_reasons, *reasons][-_MAX_KEPT_REASONS:]

    def note_used(self, now: str) -> None:
        """An offer was accepted."""
        self.processed += 1
        self.last_used_at = now
        self.last_reasons, self.all_reasons = (), ()

    def document(self, app: AppDefinition, count: int, backoff_left_s: float) -> dict[str, object]:
        """The JSON object in ``GET /v2/queue``.

        Args:
            app: the app that waits.
            count: how many of its tasks wait.
            backoff_left_s: how long its back-off still lasts; 0 if it waits for an offer.
        """
        moments = {"lastUnusedOfferAt": self.last_unused_at, "lastUsedOfferAt": self.last_used_at}
        return {
            "count": count,
            "role": app.role,
            "since": self.since,
            "delay": {"timeLeftSeconds": max(0, round(backoff_left_s)), "overdue": backoff_left_s <= 0},
            "processedOffersSummary": {
                "processedOffersCount": self.processed,
                "unusedOffersCount": self.unused,
                **{name: moment for name, moment in moments.items() if moment is not None},
                "rejectSummaryLastOffers": reject_summary(self.last_reasons),
                "rejectSummaryLaunchAttempt": reject_summary(self.all_reasons),
            },
            "app": app_document(app),
        }


@dataclass
class App:
    """An app from its creation until the last of its tasks is gone."""

    definition: AppDefinition
    tasks: dict[str, Task] = field(default_factory=dict)  # those that have not ended, by id; the oldest first
    backoff: Backoff = Backoff()
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

    def document(self, deployment_ids: Sequence[str], embed: Collection[str] = ()) -> dict[str, object]:
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
            document["tasks"] = [task.document() for task in self.tasks.values()]
        if "lastTaskFailure" in embed and self.last_failure is not None:
            document["lastTaskFailure"] = self.last_failure
        if "readiness" in embed:
            document["readinessCheckResults"] = []
        return document
