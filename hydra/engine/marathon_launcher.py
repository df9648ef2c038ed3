"""The launcher on Marathon's v2 API: apps, their tasks, and why tasks are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hydra.engine.marathon_access import MarathonAccess
from hydra.engine.marathon_connection import MarathonConnection, MarathonUnavailableError
from hydra.engine.marathon_responses import (
    OWNER_LABEL,
    AppList,
    AppResponse,
    DeploymentResponse,
    DeploymentStarted,
    LastTaskFailure,
    MarathonFacts,
    OneApp,
    QueueItem,
    QueueResponse,
    TaskList,
    TaskResponse,
    queue_text,
    same_but_instances,
    task_of,
)
from hydra.engine.mesos import Agent, Mesos
from hydra.engine.outage import Outage
from hydra.errors import AppLockedError, InfrastructureError, MarathonError, UsageError
from hydra.run.clock import Clock, MonotonicClock
from hydra.run.protocols import AppSpec, Task, WaitingReason

T = TypeVar("T")

CALL_LIMIT_S = 30.0
"""How long a call retries while Marathon is unavailable, all of its requests together."""

CHECK_LIMIT_S = 10.0
"""For the first request: a mistyped address is more likely than a Marathon that is about to come back."""

REMOVE_LIMIT_S = 8.0
EXPLAIN_LIMIT_S = 5.0
LOOK_SHARE = 1 / 3
"""What a run looks at while it goes on (``tasks``, ``removed``) takes at most this share of the time-out."""

LINES_SHOWN = 3


class MarathonLauncher:
    """Implements ``run.protocols.Launcher``. Owns all retries while Marathon is unavailable, by its clock.

    Every call raises a MarathonError if Marathon cannot be reached or refuses.

    Agents and sandboxes are looked up at the Mesos master of ``mesos_url``, or where Marathon says that Mesos is.
    """

    def __init__(self, access: MarathonAccess, *, mesos_url: str | None = None, clock: Clock | None = None) -> None:
        self._access = access
        self._clock = clock or MonotonicClock()
        self._connection = MarathonConnection(access, self._clock)
        # A local Marathon serves the paths of Mesos, too.
        self._mesos_url = access.urls[0] if access.local else mesos_url
        self._mesos: Mesos | None = None
        self._foreign_groups: set[str] = set()
        """Groups in which another controller's app was met: nothing in them is removed."""
        self._own_deployments: set[str] = set()
        self._perhaps_deploying: set[str] = set()
        """Apps that a request of ours, whose response was lost, may be deploying."""
        self._removals: dict[str, str] = {}
        self._failure_lines: dict[str, tuple[str, ...]] = {}
        self._seen_tasks: dict[str, tuple[Task, ...]] = {}
        self._outage = Outage(self._clock, CALL_LIMIT_S, MarathonUnavailableError)

    def facts(self) -> MarathonFacts:
        """What Marathon says of itself, which shows that it is one and can be reached."""
        return self._get("show its version", "/v2/info", MarathonFacts, self._until(CHECK_LIMIT_S))

    def apps(self, *, limit_s: float = CALL_LIMIT_S) -> Sequence[AppResponse]:
        """Every app, sorted by its id; retries for ``limit_s`` while Marathon is unavailable."""
        found = self._get("list its apps", "/v2/apps", AppList, self._until(limit_s))
        return sorted(found.apps, key=lambda app: app.id)

    def exists(self, app_id: str) -> bool:
        """Whether there is such an app."""
        return self._app(app_id, self._until(CALL_LIMIT_S)) is not None

    def apply(self, spec: AppSpec) -> None:
        """Create the app, or change it to the spec; see the Protocol."""
        deadline_s = self._until(CALL_LIMIT_S)
        current = self._app(spec.app_id, deadline_s)
        self._check_owner(current, spec)
        if current is None:
            try:
                with self._deploying(spec.app_id):
                    created = self._connection.request(
                        f"create {spec.app_id}", "POST", "/v2/apps", AppResponse, deadline_s=deadline_s, body=spec
                    )
            except AppLockedError:
                raise
            except MarathonError as error:
                if error.status != 409:
                    raise
                # It exists: an earlier try of this very request was carried out, and only its response was lost.
                current = self._app(spec.app_id, deadline_s)
                if current is None:
                    raise
                self._check_owner(current, spec)
            else:
                self._own_deployments.update(deployment.id for deployment in created.deployments)
                return
        if not same_but_instances(current, spec):
            self._change(f"change {spec.app_id}", spec.app_id, spec, {"partialUpdate": "false"}, deadline_s)
        elif current.instances != spec.instances:
            self._scale(spec.app_id, spec.instances, deadline_s)

    def _check_owner(self, current: AppResponse | None, spec: AppSpec) -> None:
        """Refuse an app that works for another controller: whatever is done to it ends that one's run."""
        if current is not None and spec.owner and current.labels.get(OWNER_LABEL) != spec.owner:
            group = _group(spec.app_id)
            self._foreign_groups.add(group)
            hint = f"wait for its end, or choose another --app_prefix; if it was killed: hydra cli stop {group}"
            raise UsageError(f"the app {spec.app_id} is there, and belongs to another run of Hydra", hint=hint)

    def scale(self, app_id: str, instances: int) -> str:
        """Ask for that many tasks of an app. Returns the deployment's id."""
        return self._scale(app_id, instances, self._until(CALL_LIMIT_S))

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now, or as last seen while Marathon is unavailable; see the Protocol."""

        def look(deadline_s: float) -> tuple[Task, ...]:
            return tuple(task_of(item) for item in self._app_tasks(app_id, deadline_s))

        self._seen_tasks[app_id] = self._look(look, self._seen_tasks.get(app_id, ()))
        return self._seen_tasks[app_id]

    def app_tasks(self, app_id: str) -> Sequence[TaskResponse]:
        """The app's tasks as Marathon describes them; none for an app that does not exist."""
        return self._app_tasks(app_id, self._until(CALL_LIMIT_S))

    def all_tasks(self, *, limit_s: float = CALL_LIMIT_S) -> Sequence[TaskResponse]:
        """The tasks of all apps; see ``apps``."""
        return self._get("list its tasks", "/v2/tasks", TaskList, self._until(limit_s)).tasks

    def waiting_reason(self, app_id: str) -> WaitingReason:
        """The app's last failure, or what Marathon's queue says of tasks that wait; see the Protocol.

        It takes a few seconds at most, and leaves out what Marathon does not tell within them.
        """
        deadline_s = self._until(EXPLAIN_LIMIT_S)
        try:
            app = self._app(app_id, deadline_s)
            if app is None:
                return WaitingReason(f"{app_id} does not exist")
            waiting = self._waiting(app_id, deadline_s)
            failure = self._failure_text(app.last_task_failure, deadline_s)
            if waiting is not None and waiting.delay.overdue:
                # A task that failed before waits for a moment, too, before its next start.
                return WaitingReason(f"{queue_text(waiting)}{failure and f'; {failure}'}", unplaced=not failure)
            if failure:
                return WaitingReason(failure)
            staging = {"TASK_STAGING", "TASK_STARTING"}
            staged = sum(1 for task in self._app_tasks(app_id, deadline_s) if task.state in staging)
        except MarathonError as error:
            return WaitingReason(error.message)
        if staged:
            return WaitingReason(f"{staged} tasks are staged and do not start to run", unplaced=True)
        return WaitingReason(queue_text(waiting) if waiting is not None else "")

    def remove(self, app_id: str) -> None:
        """Delete the app; see the Protocol.

        What belongs to another controller is left alone. A lock is broken only if it belongs to deployments of our own,
        such as one that waits for tasks which crash at their start.
        """
        if _group(app_id) in self._foreign_groups:
            return
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
        """Delete an app, by force even if a deployment holds it. Returns the deployment, which ends with its tasks."""
        return self._delete(f"delete {app_id}", f"/v2/apps{app_id}", force=force)

    def delete_group(self, group_id: str, *, force: bool) -> str:
        """Delete a group with every app in it, in one call. Returns the deployment, as ``delete`` does."""
        return self._delete(f"delete the group {group_id}", f"/v2/groups{group_id}", force=force)

    def deployments(self) -> Sequence[DeploymentResponse]:
        """The deployments that are in progress."""
        return self._deployments(self._until(CALL_LIMIT_S))

    def removed(self, app_id: str) -> bool:
        """Whether the app is gone and no deployment works on it; False while Marathon is unavailable.

        A deleted app is 404 while its tasks still end; its deployment ends when the last one is dead.
        """
        if _group(app_id) in self._foreign_groups:
            return True

        def look(deadline_s: float) -> bool:
            if self._app(app_id, deadline_s) is not None:
                return False
            removal = self._removals.get(app_id)
            in_progress = self._deployments(deadline_s)
            return not any(item.id == removal or app_id in item.affected_apps for item in in_progress)

        return self._look(look, otherwise=False)

    def mesos(self) -> Mesos:
        """Mesos, at the address that was given or that Marathon names.

        Raises:
            InfrastructureError: its address is unknown.
        """
        if self._mesos is None:
            url = self._mesos_url or self.facts().marathon_config.mesos_leader_ui_url
            if not url:
                raise InfrastructureError("Marathon does not say where Mesos is", hint="give --mesos_url")
            self._mesos = Mesos(url, self._access)
        return self._mesos

    def agents(self) -> Sequence[Agent]:
        """The agents that tasks may run on; see ``Mesos.agents``."""
        return self.mesos().agents()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        if self._mesos is not None:
            self._mesos.close()

    def _until(self, limit_s: float) -> float:
        return self._clock.now_s() + limit_s

    def _look(self, look: Callable[[float], T], otherwise: T) -> T:
        """What ``look`` sees by its deadline, a short one: the run's loop waits for it.

        While Marathon is unavailable it is ``otherwise``, and after CALL_LIMIT_S of that an error.
        """
        return self._outage.look(lambda: look(self._until(self._access.timeout_s * LOOK_SHARE)), otherwise)

    def _get(self, what: str, path: str, kind: type[T], deadline_s: float) -> T:
        return self._connection.request(what, "GET", path, kind, deadline_s=deadline_s)

    def _app(self, app_id: str, deadline_s: float) -> AppResponse | None:
        try:
            return self._get(f"show {app_id}", f"/v2/apps{app_id}", OneApp, deadline_s).app
        except MarathonError as error:
            if error.status == 404:
                return None
            raise

    def _app_tasks(self, app_id: str, deadline_s: float) -> Sequence[TaskResponse]:
        try:
            return self._get(f"list the tasks of {app_id}", f"/v2/apps{app_id}/tasks", TaskList, deadline_s).tasks
        except MarathonError as error:
            if error.status == 404:
                return ()
            raise

    def _deployments(self, deadline_s: float) -> Sequence[DeploymentResponse]:
        return self._get("list its deployments", "/v2/deployments", tuple[DeploymentResponse, ...], deadline_s)

    def _scale(self, app_id: str, instances: int, deadline_s: float) -> str:
        return self._change(f"scale {app_id}", app_id, {"instances": instances}, {}, deadline_s)

    def _change(self, what: str, app_id: str, body: object, params: dict[str, str], deadline_s: float) -> str:
        """Change an app, unless a deployment holds it. Returns the deployment's id."""
        path, params = f"/v2/apps{app_id}", {"force": "false", **params}
        with self._deploying(app_id):
            started = self._connection.request(
                what, "PUT", path, DeploymentStarted, deadline_s=deadline_s, params=params, body=body
            )
        self._own_deployments.add(started.deployment_id)
        return started.deployment_id

    @contextlib.contextmanager
    def _deploying(self, app_id: str) -> Iterator[None]:
        """While a request is sent that starts a deployment of an app; remember the app if the response is lost."""
        try:
            yield
        finally:
            if self._connection.unclear:
                self._perhaps_deploying.add(app_id)

    def _delete(self, what: str, path: str, *, force: bool) -> str:
        params = {"force": "true" if force else "false"}
        deadline_s = self._until(REMOVE_LIMIT_S)
        started = self._connection.request(
            what, "DELETE", path, DeploymentStarted, deadline_s=deadline_s, params=params
        )
        return started.deployment_id

    def _waiting(self, app_id: str, deadline_s: float) -> QueueItem | None:
        """The app's item in the queue; None if nothing of it waits, or the queue cannot be read."""
        try:
            queue = self._get("show its queue", "/v2/queue", QueueResponse, deadline_s).queue
        except MarathonError:
            return None
        items = (item for item in queue if item.app is not None and item.app.id == app_id and item.count)
        return next(items, None)

    def _failure_text(self, failure: LastTaskFailure | None, deadline_s: float) -> str:
        """The app's last failure, with the end of the task's stderr, as far as Mesos has it; asked for once."""
        if failure is None:
            return ""
        task_id, lines = failure.task_id, self._failure_lines.get(failure.task_id)
        if lines is None:
            lines = ()
            with contextlib.suppress(InfrastructureError):
                if task_id and failure.slave_id:
                    left_s = deadline_s - self._clock.now_s()
                    lines = self.mesos().last_lines(task_id, failure.slave_id, LINES_SHOWN, timeout_s=left_s)
            self._failure_lines[task_id] = lines
        quoted = f", its last lines: {' | '.join(lines)}" if lines else ""
        return f"{failure.state}: {failure.message}{quoted}"


def _group(app_id: str) -> str:
    return app_id.rpartition("/")[0]
