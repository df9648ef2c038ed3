"""The launcher on Marathon's v2 API: what is wished for as apps, what is seen as tasks, and why they are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_answers import (
    AnsweredApp,
    AnsweredDeployment,
    AnsweredTask,
    AppAnswer,
    AppFailure,
    AppsAnswer,
    DeploymentStarted,
    MarathonFacts,
    Queue,
    QueueItem,
    TasksAnswer,
)
from hydra.engine.marathon_connection import RETRY_LIMIT_S, MarathonConnection
from hydra.engine.marathon_reading import queue_text, same_but_instances, seen_task
from hydra.engine.mesos import Agent, Mesos
from hydra.errors import AppLockedError, InfrastructureError, MarathonError
from hydra.run.app_spec import AppSpec, Task, WaitingReason

T = TypeVar("T")

FIRST_WORD_LIMIT_S = 10.0
"""Who asks for the first time has mistyped the address more often than met a Marathon that is about to come back."""

REMOVE_LIMIT_S = 8.0
QUEUE_LIMIT_S = 5.0
"""It only explains what is known already."""

LINES_SHOWN = 3


class MarathonLauncher:
    """A Launcher on Marathon.

    Args:
        access: where Marathon is, and who asks.
        mesos_url: the Mesos master, for agents and sandboxes; None to ask Marathon for it.
    """

    def __init__(self, access: MarathonAccess, *, mesos_url: str | None = None) -> None:
        self._access = access
        self._connection = MarathonConnection(access)
        # A local Marathon serves the addresses of Mesos beside its own.
        self._mesos_url = access.urls[0] if access.local else mesos_url
        self._mesos: Mesos | None = None
        self._own_deployments: set[str] = set()
        self._perhaps_deploying: set[str] = set()
        """Apps that a request of ours may be deploying, whose answer was lost."""
        self._removals: dict[str, str] = {}
        self._last_words: dict[str, tuple[str, ...]] = {}

    def check(self) -> str:
        """Reach Marathon; returns its version.

        Raises:
            MarathonError: when it cannot be reached or is no Marathon.
        """
        return self.facts().version

    def facts(self) -> MarathonFacts:
        """What Marathon says of itself.

        Raises:
            MarathonError: when it cannot be reached or is no Marathon.
        """
        return self._connection.ask(
            "be asked for its version", "GET", "/v2/info", MarathonFacts, limit_s=FIRST_WORD_LIMIT_S
        )

    def apps(self, *, limit_s: float = RETRY_LIMIT_S) -> Sequence[AnsweredApp]:
        """Every app, by its id.

        Args:
            limit_s: how long to go on trying.

        Raises:
            MarathonError: when it cannot be reached.
        """
        found = self._connection.ask("list its apps", "GET", "/v2/apps", AppsAnswer, limit_s=limit_s)
        return sorted(found.apps, key=lambda app: app.id)

    def exists(self, app_id: str) -> bool:
        """Whether there is such an app."""
        return self._app(app_id) is not None

    def apply(self, spec: AppSpec) -> None:
        """Create the app, or change it to the spec; see the Protocol."""
        current = self._app(spec.app_id)
        if current is None:
            try:
                created = self._wish(spec.app_id, f"create {spec.app_id}", "POST", "/v2/apps", AnsweredApp, body=spec)
            except AppLockedError:
                raise
            except MarathonError as error:
                if error.status != 409:
                    raise
                # It exists: an earlier try of this very request got through, and only its answer was lost.
                current = self._app(spec.app_id)
                if current is None:
                    raise
            else:
                self._own_deployments.update(deployment.id for deployment in created.deployments)
                return
        if same_but_instances(current, spec):
            if current.instances != spec.instances:
                self.scale(spec.app_id, spec.instances)
        else:
            self._change(f"change {spec.app_id}", spec.app_id, spec, {"partialUpdate": "false"})

    def scale(self, app_id: str, instances: int) -> str:
        """Wish for that many tasks of an app. Returns the deployment's id.

        Raises:
            MarathonError: there is no such app, or Marathon refused.
        """
        return self._change(f"scale {app_id}", app_id, {"instances": instances}, {})

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now; see the Protocol."""
        return tuple(seen_task(item) for item in self.answered_tasks(app_id))

    def answered_tasks(self, app_id: str) -> Sequence[AnsweredTask]:
        """The app's tasks as Marathon tells them; none for an app that does not exist."""
        try:
            return self._connection.ask(
                f"list the tasks of {app_id}", "GET", f"/v2/apps{app_id}/tasks", TasksAnswer
            ).tasks
        except MarathonError as error:
            if error.status == 404:
                return ()
            raise

    def all_tasks(self, *, limit_s: float = RETRY_LIMIT_S) -> Sequence[AnsweredTask]:
        """The tasks of all apps; see ``apps``."""
        return self._connection.ask("list its tasks", "GET", "/v2/tasks", TasksAnswer, limit_s=limit_s).tasks

    def waiting_reason(self, app_id: str) -> WaitingReason:
        """Marathon's word on the app's last failure, or what its queue says of tasks that wait; see the Protocol."""
        app = self._app(app_id)
        if app is None:
            return WaitingReason(f"{app_id} does not exist")
        waiting = self._waiting(app_id)
        staged = sum(1 for task in self.answered_tasks(app_id) if task.state in {"TASK_STAGING", "TASK_STARTING"})
        failure = self._failure_text(app.last_task_failure)
        if waiting is not None and waiting.delay.overdue:
            # What has failed before waits for a moment, too, before its next start.
            return WaitingReason(f"{queue_text(waiting)}{failure and f'; {failure}'}", unplaced=not failure)
        if failure:
            return WaitingReason(failure)
        if staged:
            return WaitingReason(f"{staged} tasks are staged and do not start to run", unplaced=True)
        return WaitingReason(queue_text(waiting) if waiting is not None else "")

    def remove(self, app_id: str) -> None:
        """Delete the app; see the Protocol.

        A lock is broken only where deployments of our own hold it, such as one that waits for tasks which crash at
        their start.
        """
        try:
            self._removals[app_id] = self.delete(app_id, force=False)
        except AppLockedError as error:
            known = bool(error.deployment_ids) and self._own_deployments.issuperset(error.deployment_ids)
            if not known and app_id not in self._perhaps_deploying:
                raise
            self._removals[app_id] = self.delete(app_id, force=True)
        except MarathonError as error:
            if error.status != 404:
                raise

    def delete(self, app_id: str, *, force: bool) -> str:
        """Delete an app. Returns the deployment that ends when its last task is dead.

        Args:
            app_id: the app.
            force: break the lock of a deployment that holds it.

        Raises:
            MarathonError: there is no such app, or Marathon refused.
        """
        return self._delete(f"delete {app_id}", f"/v2/apps{app_id}", force=force)

    def delete_group(self, group_id: str, *, force: bool) -> str:
        """Delete a group with every app in it, in one call. Returns the deployment, as ``delete`` does."""
        return self._delete(f"delete the group {group_id}", f"/v2/groups{group_id}", force=force)

    def deployments(self) -> Sequence[AnsweredDeployment]:
        """The deployments that are under way."""
        return self._connection.get("/v2/deployments", tuple[AnsweredDeployment, ...])

    def removed(self, app_id: str) -> bool:
        """Whether the app is gone and no deployment is at work on it.

        A deleted app is 404 while its tasks still die; its deployment ends when the last one is dead.
        """
        if self._app(app_id) is not None:
            return False
        removal = self._removals.get(app_id)
        under_way = self.deployments()
        return not any(item.id == removal or app_id in item.affected_apps for item in under_way)

    def mesos(self) -> Mesos:
        """Mesos, at the address that was given or that Marathon names.

        Raises:
            InfrastructureError: there is no address of it.
        """
        if self._mesos is None:
            url = self._mesos_url or self.facts().marathon_config.mesos_leader_ui_url
            if not url:
                raise InfrastructureError("Marathon does not say where Mesos is", hint="give --mesos_url")
            self._mesos = Mesos(url, self._access)
        return self._mesos

    def agents(self) -> Sequence[Agent]:
        """The agents that tasks may run on.

        Raises:
            InfrastructureError: Mesos cannot be reached.
        """
        return self.mesos().agents()

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()
        if self._mesos is not None:
            self._mesos.close()

    def _app(self, app_id: str) -> AnsweredApp | None:
        try:
            return self._connection.ask(f"look at {app_id}", "GET", f"/v2/apps{app_id}", AppAnswer).app
        except MarathonError as error:
            if error.status == 404:
                return None
            raise

    def _change(self, what: str, app_id: str, body: object, params: dict[str, str]) -> str:
        started = self._wish(
            app_id, what, "PUT", f"/v2/apps{app_id}", DeploymentStarted, params={"force": "false", **params}, body=body
        )
        self._own_deployments.add(started.deployment_id)
        return started.deployment_id

    def _wish(
        self,
        app_id: str,
        what: str,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: object,
        params: Mapping[str, str] | None = None,
    ) -> T:
        """Send what starts a deployment of an app; remember, should its answer be lost."""
        try:
            return self._connection.ask(what, method, path, kind, params=params, body=body)
        finally:
            if self._connection.unclear:
                self._perhaps_deploying.add(app_id)

    def _delete(self, what: str, path: str, *, force: bool) -> str:
        started = self._connection.ask(
            what,
            "DELETE",
            path,
            DeploymentStarted,
            params={"force": "true" if force else "false"},
            limit_s=REMOVE_LIMIT_S,
        )
        return started.deployment_id

    def _waiting(self, app_id: str) -> QueueItem | None:
        """The app's place in the queue; None when nothing of it waits, or the queue cannot be had."""
        try:
            queue = self._connection.ask("show its queue", "GET", "/v2/queue", Queue, limit_s=QUEUE_LIMIT_S).queue
        except MarathonError:
            return None
        for item in queue:
            if item.app is not None and item.app.id == app_id and item.count:
                return item
        return None

    def _failure_text(self, failure: AppFailure | None) -> str:
        if failure is None:
            return ""
        lines = self._lines(failure)
        told = f", its last lines: {' | '.join(lines)}" if lines else ""
        return f"{failure.state}: {failure.message}{told}"

    def _lines(self, failure: AppFailure) -> tuple[str, ...]:
        """The end of what the failed task wrote on stderr, as far as Mesos gives it; asked for once."""
        if not failure.task_id or not failure.slave_id:
            return ()
        if failure.task_id not in self._last_words:
            try:
                lines = self.mesos().last_lines(failure.task_id, failure.slave_id, LINES_SHOWN)
            except InfrastructureError:
                lines = ()
            self._last_words[failure.task_id] = lines
        return self._last_words[failure.task_id]
