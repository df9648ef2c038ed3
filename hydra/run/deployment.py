"""From apps that are wanted to tasks that answer: apply, and poll until nothing is missing or the time is up.

Nothing in here knows what a Marathon deployment is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from hydra.codec import DecodeError, decode
from hydra.endpoints import Endpoint
from hydra.errors import HydraError, InfrastructureError, NotReadyError
from hydra.run.clock import Clock, Headway, poll_until
from hydra.run.protocols import AppSpec, Launcher, Progress, Task
from hydra.signals.messages import Ping, SignalReply, Signals, request

POLL_EVERY_S = 0.1
PING_TIMEOUT_S = 1.0
DEAF_AFTER_S = 5.0
"""A task that has answered before and does not answer a ping for so long will not do so any more."""

RETRY_LIMIT_S = 60.0
"""How long a request is repeated while the engine is busy with another one."""


class Deployment:
    """Makes apps be there, and be gone, on whatever engine the launcher is for."""

    def __init__(self, launcher: Launcher, signals: Signals, clock: Clock, progress: Progress) -> None:
        self._launcher = launcher
        self._signals = signals
        self._clock = clock
        self._progress = progress
        self._refusals: dict[str, str] = {}
        """By task id: why its endpoint and the controller do not speak to each other."""

    def apply(self, spec: AppSpec) -> None:
        """Ask for the app; raises InfrastructureError when the engine refused, or was busy for a minute on end."""
        self._retry_while_locked(lambda: self._launcher.apply(spec), RETRY_LIMIT_S)

    def wait_ready(self, app_id: str, instances: int, timeout_s: float) -> tuple[Task, ...]:
        """Wait until exactly ``instances`` tasks of the app run and answer a ping; returns them by rising ids.

        Raises:
            NotReadyError: names how many were there when the time was up, and the engine's reason.
            InfrastructureError: the same, where the engine has not started them at all.
        """
        ready: dict[str, Task] = {}
        self._refusals.clear()
        headway = Headway(self._clock)

        def all_ready() -> bool:
            nonlocal ready
            seen = self._launcher.tasks(app_id)
            present = {task.task_id for task in seen}
            ready = {task_id: task for task_id, task in ready.items() if task_id in present}
            ready |= self._ping([task for task in seen if task.running and task.endpoint and task.task_id not in ready])
            headway.note(len(ready))
            self._progress.phase("starting", f"{app_id}: {len(ready)} of {instances} tasks answer")
            return is_settled(instances, seen) and len(ready) == instances

        if not poll_until(self._clock, all_ready, timeout_s, every_s=POLL_EVERY_S):
            message = f"{len(ready)} of {instances} tasks of {app_id} were ready after {timeout_s:g} s"
            raise self._not_ready(app_id, message, headway)
        return tuple(ready[task_id] for task_id in sorted(ready))

    def deaf(self, app_id: str, before: Sequence[Task]) -> tuple[Task, ...]:
        """Those of the tasks that were there before, run on, and do not answer: they would spoil each run to come."""

        def still_there(tasks: Sequence[Task]) -> list[Task]:
            running = {task.task_id for task in self._launcher.tasks(app_id) if task.running}
            return [task for task in tasks if task.task_id in running and task.endpoint]

        if not before or not (asked := still_there(before)):
            return ()
        pings = {task.endpoint: request("ping") for task in asked if task.endpoint}
        replies = self._signals.ask(pings, DEAF_AFTER_S)
        silent = [task for task in asked if task.endpoint and not _is_task(replies[task.endpoint], task)]
        return tuple(still_there(silent)) if silent else ()

    def remove(self, app_ids: Sequence[str], timeout_s: float) -> None:
        """Remove the apps and wait until the last task of them is gone; harmless for apps that are gone already.

        Raises InfrastructureError when the engine refused, or the time was up.
        """
        deadline_s = self._clock.now_s() + timeout_s
        for app_id in app_ids:
            left_s = deadline_s - self._clock.now_s()
            self._retry_while_locked(partial(self._launcher.remove, app_id), left_s)
        left = list(app_ids)

        def all_gone() -> bool:
            left[:] = [app_id for app_id in left if not self._launcher.removed(app_id)]
            return not left

        if not poll_until(self._clock, all_gone, deadline_s - self._clock.now_s(), every_s=POLL_EVERY_S):
            raise InfrastructureError(f"{', '.join(left)} still not gone after {timeout_s:g} s")

    def _ping(self, tasks: Sequence[Task]) -> dict[str, Task]:
        by_endpoint: dict[Endpoint, Task] = {task.endpoint: task for task in tasks if task.endpoint}
        if not by_endpoint:
            return {}
        pings = dict.fromkeys(by_endpoint, request("ping"))
        replies = self._signals.ask(pings, PING_TIMEOUT_S, first_contact=True)
        for endpoint, task in by_endpoint.items():
            if replies[endpoint].refused and task.task_id not in self._refusals:
                self._progress.note(f"{task.task_id} is {replies[endpoint].error}")
                self._refusals[task.task_id] = replies[endpoint].error
        return {task.task_id: task for endpoint, task in by_endpoint.items() if _is_task(replies[endpoint], task)}

    def _not_ready(self, app_id: str, message: str, headway: Headway) -> HydraError:
        reason = self._launcher.waiting_reason(app_id)
        told = "; ".join(text for text in (reason.text, *list(self._refusals.values())[:1]) if text)
        told = f" ({told})" if told else ""
        message += told
        if reason.unplaced:
            return InfrastructureError(message, hint="the engine has no place for them: see 'hydra doctor'")
        hint = "look at the tasks' stderr"
        if headway.moving:
            hint = f"raise --start_timeout, ask for fewer, or {hint}"
        elif self._refusals:
            hint = f"see who owns these apps, or {hint}"
        return NotReadyError(message, hint=hint, missing=[app_id])

    def _retry_while_locked(self, request_change: Callable[[], None], limit_s: float) -> None:
        """Repeat what the engine is too busy for, with jitter so that two controllers do not retry in step."""
        deadline_s = self._clock.now_s() + limit_s
        while True:
            try:
                return request_change()
            except HydraError as error:
                if not error.retryable or self._clock.now_s() >= deadline_s:
                    raise
                self._clock.sleep(random.uniform(0.2, 1.0))  # noqa: S311  # jitter is no secret


def _is_task(reply: SignalReply, task: Task) -> bool:
    """Whether it is this very task that answered, and not one that has got its port since."""
    if not reply.ok:
        return False
    try:
        return decode(reply.body, Ping).task_id == task.task_id
    except DecodeError:
        return False


def is_settled(wanted_instances: int, seen: Sequence[Task]) -> bool:
    """Whether as many tasks as are wanted run, have an endpoint, and no other is there."""
    return len(seen) == wanted_instances and all(task.running and task.endpoint is not None for task in seen)
