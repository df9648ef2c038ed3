"""The scheduler: the apps that are wanted, the deployments that change them, and the steps that carry them out.

Every method runs in the server's event loop and returns at once; what it has started continues in that loop. For
example, ``put`` stores the app and begins a deployment; a moment later ``_reconcile`` compares the wanted tasks with
the existing ones and launches those that are missing; each change of a task calls ``_on_task_change``, which reconciles
again; once the app is settled, its deployment ends.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import replace

from hydra.localmarathon.agent import AgentSettings, Cluster
from hydra.localmarathon.app import App, Backoff, QueueEntry
from hydra.localmarathon.app_definition import AppDefinition, Versions, ids_below, timestamp_now
from hydra.localmarathon.deployments import Action, Deployment, Deployments
from hydra.localmarathon.errors import RequestRefusedError, Violation, rules_broken
from hydra.localmarathon.ports import HostPorts, kept_service_ports, with_service_ports
from hydra.localmarathon.reconciliation import is_settled, next_step
from hydra.localmarathon.task import Task, TaskState
from hydra.localmarathon.threads import in_thread

_KEPT_SANDBOXES = 5  # of each app
_FIRST_RECONCILIATION_S = 0.01  # the response is on its way before anything is launched
_NO_OFFER_S = 1.0  # until the agents are asked again after none had room
_LAUNCHES_AT_ONCE = 8  # each takes a millisecond or two; requests are answered in between


class Scheduler:
    """What Marathon's leader does, for the agents of one machine.

    Args:
        agents: each agent's settings and ports.
    """

    def __init__(self, agents: Iterable[tuple[AgentSettings, HostPorts]]) -> None:
        self.apps: dict[str, App] = {}
        self.deployments = Deployments()
        self.cluster = Cluster(agents, self._on_task_change)
        self._app_of_task: dict[str, App] = {}
        self._removing: list[App] = []  # deleted, but with tasks that have not ended
        self._background: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def app(self, app_id: str) -> App:
        """The app with an absolute id.

        Raises:
            RequestRefusedError: 404.
        """
        try:
            return self.apps[app_id]
        except KeyError:
            raise RequestRefusedError(404, f"App '{app_id}' does not exist") from None

    def apps_below(self, group_id: str) -> list[App]:
        """The apps in a group, given by its absolute id, and in its subgroups."""
        return [self.apps[app_id] for app_id in ids_below(group_id, self.apps)]

    def put(self, definitions: Collection[AppDefinition], *, force: bool, restart: bool = False) -> Deployment:
        """Begin to create or change apps, in one deployment.

        Args:
            definitions: complete definitions; their versions are replaced.
            force: replace the deployments that hold the apps.
            restart: replace the tasks even if the configuration is the same.

        Raises:
            RequestRefusedError: 409 if an app is locked; 422 if an id is the id of a group.
        """
        self._check_group_ids(definitions)
        self.deployments.check_free([definition.app_id for definition in definitions], force=force)
        wanted = [(definition, self._action(definition, restart=restart)) for definition in definitions]
        changes = [(definition, action) for definition, action in wanted if action is not None]
        deployment = self.deployments.begin({definition.app_id: action for definition, action in changes})
        for definition, action in changes:
            self._accept(definition, action, deployment.version)
        return deployment

    def delete(self, app_ids: Collection[str], *, force: bool) -> Deployment:
        """Forget apps at once and begin to end their tasks; the deployment ends with the last task.

        Raises:
            RequestRefusedError: 404, or 409 if an app is locked.
        """
        for app_id in app_ids:
            self.app(app_id)
        self.deployments.check_free(app_ids, force=force)
        deployment = self.deployments.begin(dict.fromkeys(app_ids, Action.STOP))
        for app_id in app_ids:
            app = self.apps.pop(app_id)
            app.is_deleted = True
            app.queue_entry = None
            app.definition = replace(app.definition, instances=0)
            self._removing.append(app)
            self._reconcile_later(app, _FIRST_RECONCILIATION_S)
        return deployment

    def reset_backoff(self, app: App) -> None:
        """End the back-off of an app."""
        app.backoff = Backoff()
        self._reconcile(app)

    def queue(self) -> list[dict[str, object]]:
        """The JSON objects of the tasks that wait to be launched."""
        now_s = asyncio.get_running_loop().time()
        counts = [(app, next_step(app.definition, app.tasks.values()).launch_count) for app in self.apps.values()]
        return [
            app.queue_entry.document(app.definition, count, max(0.0, app.backoff.until_s - now_s))
            for app, count in counts
            if app.queue_entry is not None and count
        ]

    def kill(self, found: Collection[tuple[App, Task]]) -> None:
        """End some tasks, each given with its app; the apps will launch others in their place."""
        for _app, task in found:
            self.cluster.kill(task)
        # Not before all are killed: a step towards fewer instances must not choose tasks of its own.
        for app, _task in found:
            self._reconcile(app)

    def kill_and_scale(self, found: Collection[tuple[App, Task]], *, force: bool) -> Deployment:
        """End some tasks, each given with its app, and scale the apps down by their number.

        Raises:
            RequestRefusedError: 409 if an app is locked.
        """
        counts = Counter(app.definition.app_id for app, _task in found)
        definitions = [self.apps[app_id].definition for app_id in counts]
        fewer = [replace(one, instances=max(0, one.instances - counts[one.app_id])) for one in definitions]
        deployment = self.put(fewer, force=force)
        self.kill(found)
        return deployment

    async def close(self, *, grace_s: float | None) -> None:
        """End every task and launch no more. A second call can only shorten the grace period.

        Args:
            grace_s: an upper bound for the tasks' own grace periods.
        """
        self._is_closing = True
        for app in (*self.apps.values(), *self._removing):
            if app.next_reconciliation is not None:
                app.next_reconciliation.cancel()
        for task_id, app in list(self._app_of_task.items()):
            self.cluster.kill(app.tasks[task_id], grace_s=grace_s)
        for agent in self.cluster.agents:
            await agent.wait_empty()
        while self._background:
            await asyncio.wait(self._background)

    def _check_group_ids(self, definitions: Iterable[AppDefinition]) -> None:
        ids = {*self.apps, *(definition.app_id for definition in definitions)}
        for app_id in (definition.app_id for definition in definitions):
            if ids_below(app_id, ids) or any(ids_below(other, [app_id]) for other in ids):
                reason = "Groups and Applications may not have the same identifier."
                raise rules_broken([Violation("/id", f"{reason} ({app_id})")])

    def _action(self, definition: AppDefinition, *, restart: bool) -> Action | None:
        app = self.apps.get(definition.app_id)
        if app is None:
            return Action.START
        wanted = kept_service_ports(definition, app.definition.ports)
        if restart or not wanted.same_config(app.definition):
            return Action.RESTART
        return Action.SCALE if wanted.instances != app.definition.instances else None

    def _accept(self, definition: AppDefinition, action: Action, version: str) -> None:
        app = self.apps.get(definition.app_id)
        others = [other for other in self.apps.values() if other is not app]
        taken = {port.port for other in others for port in other.definition.ports}
        before = app.definition if app is not None else definition
        versions = Versions(
            version=version,
            last_scaling_at=version,
            last_config_change_at=version if action is not Action.SCALE else before.versions.last_config_change_at,
        )
        definition = with_service_ports(kept_service_ports(definition, before.ports), taken)
        definition = replace(definition, versions=versions)
        if app is None:
            app = self.apps[definition.app_id] = App(definition)
        app.change(definition)
        self._reconcile_later(app, _FIRST_RECONCILIATION_S)

    def _reconcile_later(self, app: App, delay_s: float) -> None:
        if app.next_reconciliation is not None:
            app.next_reconciliation.cancel()
        app.next_reconciliation = asyncio.get_running_loop().call_later(delay_s, self._reconcile, app)

    def _reconcile(self, app: App) -> None:
        """Take the next step towards the wanted tasks of an app."""
        if self._is_closing:
            return
        step = next_step(app.definition, app.tasks.values())
        for task in step.kill:
            self.cluster.kill(task)
        if step.launch_count:
            self._launch(app, step.launch_count)
        else:
            app.queue_entry = None
        if app.is_deleted and not app.tasks and not app.is_gone:
            app.is_gone = True
            self._run_in_background(self._remove(app))
        self._finish_deployments()

    def _launch(self, app: App, count: int) -> None:
        if app.queue_entry is None:
            app.queue_entry = QueueEntry(since=timestamp_now())
        wait_s = app.backoff.until_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            self._reconcile_later(app, wait_s)
            return
        for _ in range(min(count, _LAUNCHES_AT_ONCE)):
            task = self.cluster.launch(app.definition, app.tasks.values(), app.queue_entry)
            if task is None:
                self._reconcile_later(app, _NO_OFFER_S)
                return
            app.tasks[task.task_id] = task
            self._app_of_task[task.task_id] = app
        if count > _LAUNCHES_AT_ONCE:
            self._reconcile_later(app, 0)
        else:
            app.queue_entry = None

    def _on_task_change(self, task: Task) -> None:
        app = self._app_of_task[task.task_id]
        if task.state is TaskState.RUNNING:
            self._reconcile(app)
            return
        if task.state is not TaskState.KILLED:
            app.last_failure = task.failure_document(timestamp_now())
            if task.has_config_of(app.definition):
                app.backoff = app.backoff.after_end(app.definition, asyncio.get_running_loop().time())
        self._run_in_background(self._forget(app, task))

    async def _forget(self, app: App, task: Task) -> None:
        """Drop a task that has ended; the sandboxes of the latest few are kept for diagnosis."""
        app.sandboxes.append(task.sandbox)
        await _remove_sandboxes(app, kept=0 if app.is_deleted else _KEPT_SANDBOXES)
        del app.tasks[task.task_id]
        del self._app_of_task[task.task_id]
        self._reconcile(app)

    async def _remove(self, app: App) -> None:
        """Drop a deleted app after its last task has ended."""
        await _remove_sandboxes(app, kept=0)
        self._removing.remove(app)
        self._finish_deployments()

    def _run_in_background(self, work: Coroutine[None, None, None]) -> None:
        # The event loop itself keeps only weak references to its tasks.
        running = asyncio.get_running_loop().create_task(work)
        self._background.add(running)
        running.add_done_callback(self._background.discard)

    def _finish_deployments(self) -> None:
        for deployment in self.deployments.running:
            if all(self._is_app_settled(app_id) for app_id in deployment.actions):
                self.deployments.finish(deployment)

    def _is_app_settled(self, app_id: str) -> bool:
        if any(app.definition.app_id == app_id for app in self._removing):
            return False
        app = self.apps.get(app_id)
        return app is None or is_settled(app.definition, app.tasks.values())


async def _remove_sandboxes(app: App, *, kept: int) -> None:
    """Remove the folders of tasks that have ended, but for the latest few."""
    while len(app.sandboxes) > kept:
        await in_thread(shutil.rmtree, app.sandboxes.popleft(), ignore_errors=True)
