"""From what is wanted to tasks that answer: wish, look, and look again until the difference is none or the time is up.

Nothing in here knows what a Marathon deployment is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from hydra.codec import DecodeError, decode
from hydra.endpoints import Endpoint
from hydra.errors import HydraError, InfrastructureError, NotReadyError
from hydra.run.app_spec import AppSpec, Task, difference
from hydra.run.progress import Progress
from hydra.run.protocols import Clock, Launcher
from hydra.signals.messages import Ping, request
from hydra.signals.protocols import SignalReply, Signals

LOOK_EVERY_S = 0.1
PING_TIMEOUT_S = 1.0
RETRY_LIMIT_S = 60.0
"""How long a wish is repeated when the engine is busy with another one."""


class Deployment:
    """Makes apps be there, and be gone, on whatever engine the launcher is for.

    Args:
        launcher: the engine.
        signals: to find out whether a task answers.
        clock: to wait by.
        progress: told how many are there.
    """

    def __init__(self, launcher: Launcher, signals: Signals, clock: Clock, progress: Progress) -> None:
        self._launcher = launcher
        self._signals = signals
        self._clock = clock
        self._progress = progress

    def wish(self, spec: AppSpec) -> None:
        """Ask for the app as the spec has it.

        Raises:
            InfrastructureError: when the engine refused, or was busy for a minute on end.
        """
        self._patiently(lambda: self._launcher.apply(spec))

    def wait_ready(self, app_id: str, instances: int, timeout_s: float) -> tuple[Task, ...]:
        """Wait until exactly ``instances`` tasks of the app run and answer a ping.

        Returns them in the order of their ids.

        Raises:
            NotReadyError: names how many were there when the time was up, and the engine's reason.
            InfrastructureError: the same, where the engine has not started them at all.
        """
        deadline_s = self._clock.now_s() + timeout_s
        answered: dict[str, Task] = {}
        while True:
            seen = self._launcher.tasks(app_id)
            present = {task.task_id: task for task in seen}
            answered = {task_id: task for task_id, task in answered.items() if task_id in present}
            fresh = [task for task in seen if task.running and task.endpoint and task.task_id not in answered]
            answered.update(self._ping(fresh))
            self._progress.phase("starting", f"{app_id}: {len(answered)} of {instances} tasks answer")
            if difference(instances, seen).settled and len(answered) == instances:
                return tuple(answered[task_id] for task_id in sorted(answered))
            if self._clock.now_s() >= deadline_s:
                raise self._not_ready(app_id, instances, len(answered), timeout_s)
            self._clock.sleep(LOOK_EVERY_S)

    def remove(self, app_ids: Sequence[str], timeout_s: float) -> None:
        """Remove the apps and wait until the last task of them is gone; harmless for apps that are gone already.

        Raises:
            InfrastructureError: when the engine refused, or the time was up.
        """
        deadline_s = self._clock.now_s() + timeout_s
        for app_id in app_ids:
            limit_s = deadline_s - self._clock.now_s()
            self._patiently(lambda wanted=app_id: self._launcher.remove(wanted), limit_s)  # type: ignore[misc]
        left = list(app_ids)
        while left := [app_id for app_id in left if not self._launcher.removed(app_id)]:
            if self._clock.now_s() >= deadline_s:
                raise InfrastructureError(f"{', '.join(left)} still not gone after {timeout_s:g} s")
            self._clock.sleep(LOOK_EVERY_S)

    def _ping(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        by_endpoint: dict[Endpoint, Task] = {task.endpoint: task for task in tasks if task.endpoint}
        answers = self._signals.ask(dict.fromkeys(by_endpoint, request("ping")), PING_TIMEOUT_S) if by_endpoint else {}
        return {task.task_id: task for endpoint, task in by_endpoint.items() if _is_task(answers[endpoint], task)}

    def _not_ready(self, app_id: str, instances: int, ready: int, timeout_s: float) -> HydraError:
        trouble = self._launcher.trouble(app_id)
        reason = f" ({trouble.text})" if trouble.text else ""
        problem = f"{ready} of {instances} tasks of {app_id} were ready after {timeout_s:g} s{reason}"
        if trouble.unplaced:
            return InfrastructureError(problem, hint="the engine has no place for them: see 'hydra doctor'")
        return NotReadyError(
            problem,
            hint="raise --start_timeout, ask for fewer, or look at the tasks' stderr",
            missing=[app_id],
        )

    def _patiently(self, wish: Callable[[], None], limit_s: float | None = None) -> None:
        """Repeat a wish that may be repeated, with jitter so that two controllers do not march in step."""
        deadline_s = self._clock.now_s() + (RETRY_LIMIT_S if limit_s is None else limit_s)
        while True:
            try:
                wish()
            except HydraError as error:
                if not error.retryable or self._clock.now_s() >= deadline_s:
                    raise
                self._clock.sleep(random.uniform(0.2, 1.0))  # noqa: S311  # jitter is no secret
            else:
                return


def _is_task(answer: SignalReply, task: Task) -> bool:
    """Whether it is this very task that answered, and not one that has got its port since."""
    if not answer.ok:
        return False
    try:
        return decode(answer.body, Ping).task_id == task.task_id
    except DecodeError:
        return False
