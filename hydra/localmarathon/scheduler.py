"""The scheduler: the apps that are wanted, the deployments that change them, and the steps that make it so.

Every method runs in the server's event loop and returns at once; what it set in motion goes on in that loop. One story:
``create`` notes the app and begins a deployment; a moment later ``_look`` compares wanted with seen and has the agent
launch tasks; each change of a task comes back through ``_on_change``, which looks again; once an app is settled, its
deployment ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import replace

from hydra.localmarathon.agent import AgentSettings, remove_sandbox
from hydra.localmarathon.app import KEPT_SANDBOXES, App
from hydra.localmarathon.app_definition import AppDefinition, Versions
from hydra.localmarathon.deployments import Action, Deployment, Deployments
from hydra.localmarathon.difference import settled, wanted_minus_seen
from hydra.localmarathon.events import Events
from hydra.localmarathon.fleet import Fleet
from hydra.localmarathon.launch_delay import LaunchDelay
from hydra.localmarathon.launch_queue import Waiting
from hydra.localmarathon.ports import HostPorts, kept_service_ports, with_service_ports
from hydra.localmarathon.refusals import Violation, app_exists, app_missing, rules_broken
from hydra.localmarathon.task import Task, TaskState, failure_document
from hydra.localmarathon.timestamps import VersionClock, format_timestamp, utc_now

_FIRST_LOOK_S = 0.01  # an answer is on its way before anything is launched
_NO_OFFER_S = 1.0  # until the agent is asked again after it had no ports
_LAUNCHES_A_LOOK = 8  # each takes a millisecond or two; requests are answered in between


class Scheduler:
    """What Marathon's leader does, for the agents of one machine.

    Args:
        agents: each agent's settings and ports.
    """

    def __init__(self, agents: Iterable[tuple[AgentSettings, HostPorts]]) -> None:
        self.apps: dict[str, App] = {}
        self.deployments = Deployments()
        self.fleet = Fleet(agents, self._on_change)
        self.events = Events()
        self._app_of_task: dict[str, App] = {}
        self._leaving: list[App] = []  # deleted, but with tasks that have not ended
        self._clock = VersionClock()
        self._chores: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def version(self) -> str:
        """When anything was changed last."""
        return self._clock.latest

    def app(self, app_id: str) -> App:
        """The app of an absolute id.

        Raises:
            RequestRefusedError: 404.
        """
        try:
            return self.apps[app_id]
        except KeyError:
            raise app_missing(app_id) from None

    def create(self, definition: AppDefinition, *, force: bool) -> Deployment:
        """Begin to start a new app.

        Raises:
            RequestRefusedError: 409 if the id is taken or locked; 422 if it is that of a group.
        """
        if definition.app_id in self.apps:
            raise app_exists(definition.app_id)
        return self.put([definition], force=force)

    def put(
        self,
        definitions: Collection[AppDefinition],
        *,
        force: bool,
        restart: bool = False,
        deleted: Collection[str] = (),
    ) -> Deployment:
        """Begin to create, change or delete apps, in one deployment.

        Args:
            definitions: whole definitions, with unset versions.
            force: take the place of the deployments that hold the apps.
            restart: exchange the tasks even if the configuration is the same.
            deleted: ids of apps that go.

        Raises:
            RequestRefusedError: 409 if one is locked; 422 if an id is that of a group.
        """
        self._check_groups(definitions, deleted)
        version = self._clock.next_version()
        actions = {app.app_id: self._action(app, restart=restart) for app in definitions}
        begun = {app_id: action for app_id, action in actions.items() if action is not None}
        self.deployments.check_free([*actions, *deleted], force=force)
        begun.update(dict.fromkeys(deleted, Action.STOP))
        before = {app_id: self.apps[app_id].definition if app_id in self.apps else None for app_id in begun}
        replaced = [holder for holder in self.deployments.running if set(holder.actions) & set(begun)]
        deployment = self.deployments.begin(begun, version, force=force, before=before)
        for holder in replaced:
            self.events.publish_deployment("deployment_failed", holder)
        if begun:
            self.events.publish_deployment("deployment_info", deployment)
        self.events.publish("group_change_success", groupId="/", version=version)
        for app_id in deleted:
            self._delete(self.apps.pop(app_id))
        for definition in definitions:
            action = actions[definition.app_id]
            if action is not None:
                self._accept(definition, action, version)
        return deployment

    def delete(self, app_ids: Collection[str], *, force: bool) -> Deployment:
        """Forget apps at once, and begin to end their tasks; the deployment ends with the last of them.

        Raises:
            RequestRefusedError: 404, or 409 if one is locked.
        """
        for app_id in app_ids:
            self.app(app_id)
        return self.put((), deleted=app_ids, force=force)

    def roll_back(self, deployment: Deployment) -> Deployment:
        """Begin a deployment that makes the apps what they were before another one, and takes its place."""
        wanted = [replace(before, versions=Versions()) for before in deployment.before.values() if before is not None]
        created = [app_id for app_id, before in deployment.before.items() if before is None and app_id in self.apps]
        self.cancel(deployment)
        return self.put(wanted, deleted=created, force=True)

    def cancel(self, deployment: Deployment) -> None:
        """Forget a deployment: its apps are free for others, and go on towards what is wanted of them."""
        self.deployments.finish(deployment)
        self.events.publish_deployment("deployment_failed", deployment)

    def reset_delay(self, app: App) -> None:
        """End the back-off of an app."""
        app.delay = LaunchDelay()
        self._look(app)

    def queue(self) -> list[dict[str, object]]:
        """The JSON objects of what waits to be launched."""
        now_s = asyncio.get_running_loop().time()
        counts = [(app, wanted_minus_seen(app.definition, app.tasks.values()).start) for app in self.apps.values()]
        return [
            app.waiting.document(app.definition, count, max(0.0, app.delay.until_s - now_s))
            for app, count in counts
            if app.waiting is not None and count
        ]

    def kill(self, app: App, tasks: Collection[Task]) -> None:
        """End some tasks of an app; it will launch others in their place."""
        for task in tasks:
            self.fleet.kill(task)
        self._look(app)

    def kill_and_scale(self, found: Collection[tuple[App, Task]], *, force: bool) -> Deployment:
        """End some tasks, each with its app, and want so many fewer from now on.

        Raises:
            RequestRefusedError: 409 if an app is locked.
        """
        counts = Counter(app.definition.app_id for app, _task in found)
        definitions = [self.apps[app_id].definition for app_id in counts]
        fewer = [replace(one, instances=max(0, one.instances - counts[one.app_id])) for one in definitions]
        deployment = self.put(fewer, force=force)
        for app, task in found:
            self.kill(app, [task])
        return deployment

    async def close(self, *, grace_s: float | None) -> None:
        """End every task, and launch none any more. Called again, it can only shorten the grace.

        Args:
            grace_s: an upper bound for the tasks' own graces.
        """
        self._is_closing = True
        for app in (*self.apps.values(), *self._leaving):
            if app.next_look is not None:
                app.next_look.cancel()
        for task_id, app in list(self._app_of_task.items()):
            self.fleet.kill(app.tasks[task_id], grace_s=grace_s)
        await self.fleet.wait_empty()
        while self._chores:
            await asyncio.wait(self._chores)

    def _check_groups(self, definitions: Iterable[AppDefinition], deleted: Collection[str]) -> None:
        ids = {*self.apps, *(definition.app_id for definition in definitions)} - set(deleted)
        for definition in definitions:
            app_id = definition.app_id
            if any(other.startswith(f"{app_id}/") or app_id.startswith(f"{other}/") for other in ids):
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
        self._look_later(app, _FIRST_LOOK_S)

    def _delete(self, app: App) -> None:
        app.is_deleted = True
        app.waiting = None
        app.definition = replace(app.definition, instances=0)
        self._leaving.append(app)
        self._look_later(app, _FIRST_LOOK_S)

    def _look_later(self, app: App, delay_s: float) -> None:
        if app.next_look is not None:
            app.next_look.cancel()
        app.next_look = asyncio.get_running_loop().call_later(delay_s, self._look, app)

    def _look(self, app: App) -> None:
        """Take the next step towards what is wanted of an app."""
        if self._is_closing:
            return
        difference = wanted_minus_seen(app.definition, app.tasks.values())
        for task in difference.kill:
            self.fleet.kill(task)
        if difference.start:
            self._launch(app, difference.start)
        else:
            app.waiting = None
        if app.is_deleted and not app.tasks and not app.is_gone:
            app.is_gone = True
            self._begin(self._leave(app))
        self._finish_deployments()

    def _launch(self, app: App, count: int) -> None:
        if app.waiting is None:
            app.waiting = Waiting(since=format_timestamp(utc_now()))
        wait_s = app.delay.until_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            self._look_later(app, wait_s)
            return
        for _ in range(min(count, _LAUNCHES_A_LOOK)):
            task = self.fleet.launch(app.definition, app.tasks.values(), app.waiting)
            if task is None:
                self._look_later(app, _NO_OFFER_S)
                return
            app.tasks[task.task_id] = task
            self._app_of_task[task.task_id] = app
            self.events.publish_task(task)
        if count > _LAUNCHES_A_LOOK:
            self._look_later(app, 0)
        else:
            app.waiting = None

    def _on_change(self, task: Task) -> None:
        app = self._app_of_task[task.task_id]
        self.events.publish_task(task)
        if task.state in (TaskState.RUNNING, TaskState.KILLING):
            self._look(app)
            return
        if task.state is not TaskState.KILLED:
            app.last_failure = failure_document(task, format_timestamp(utc_now()))
            if task.config_version == app.definition.versions.last_config_change_at:
                app.delay = app.delay.after_end(app.definition, asyncio.get_running_loop().time())
        self._begin(self._forget(app, task))

    async def _forget(self, app: App, task: Task) -> None:
        """A task has ended: drop it, and keep the sandboxes of the latest few for whoever wants to know why."""
        app.sandboxes.append(task.sandbox)
        while len(app.sandboxes) > (0 if app.is_deleted else KEPT_SANDBOXES):
            await remove_sandbox(app.sandboxes.popleft())
        del app.tasks[task.task_id]
        del self._app_of_task[task.task_id]
        self._look(app)

    async def _leave(self, app: App) -> None:
        """The last task of a deleted app has ended."""
        while app.sandboxes:
            await remove_sandbox(app.sandboxes.popleft())
        self._leaving.remove(app)
        self.events.publish("app_terminated_event", appId=app.definition.app_id)
        self._finish_deployments()

    def _begin(self, chore: Coroutine[None, None, None]) -> None:
        # The event loop itself keeps only weak references to its tasks.
        running = asyncio.get_running_loop().create_task(chore)
        self._chores.add(running)
        running.add_done_callback(self._chores.discard)

    def _finish_deployments(self) -> None:
        for deployment in self.deployments.running:
            if all(self._is_settled(app_id) for app_id in deployment.actions):
                self.deployments.finish(deployment)
                self.events.publish_deployment("deployment_step_success", deployment)
                self.events.publish_deployment("deployment_success", deployment)

    def _is_settled(self, app_id: str) -> bool:
        if any(app.definition.app_id == app_id for app in self._leaving):
            return False
        app = self.apps.get(app_id)
        return app is None or settled(app.definition, app.tasks.values())
