"""Who is still there: every task of a run is asked by name, and one that is gone is missed, once, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hydra.run.app_spec import Task
from hydra.run.progress import Progress
from hydra.run.protocols import Clock, Launcher
from hydra.signals.messages import Request
from hydra.signals.protocols import SignalReply, Signals

ANSWER_TIMEOUT_S = 2.0
TRIES = 3
SILENT_PAUSE_S = 5.0
"""A task that runs and stays silent is asked again after this long, so that it does not hold up the others."""


class TaskRoster:
    """The tasks of one app that take part in a run.

    Args:
        app_id: their app.
        tasks: the tasks, as they were when the run began.
        launcher: says which of them still exist.
        signals: to ask them.
        clock: to remember when one was last asked in vain.
        progress: told of each one that goes missing.
    """

    def __init__(
        self,
        app_id: str,
        tasks: Sequence[Task],
        *,
        launcher: Launcher,
        signals: Signals,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._app_id = app_id
        self._launcher = launcher
        self._signals = signals
        self._clock = clock
        self._progress = progress
        self.present: list[Task] = list(tasks)
        self.gone: dict[str, str] = {}
        """Why a task is gone, by its id."""
        self._silent_since: dict[str, float] = {}

    def ask(
        self, make_request: Callable[[Task], Request], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, SignalReply]:
        """Ask everyone who is present, once. Returns the answers that came, by task id.

        Those who did not answer are looked up: what the engine no longer runs is gone.
        """
        asked = [task for task in self.present if not self._is_suspended(task)]
        answers = self._ask(asked, make_request, timeout_s)
        silent = [task for task in asked if task.task_id not in answers]
        for task in asked:
            self._silent_since.pop(task.task_id, None)
        if silent:
            self._look_up(silent)
        return answers

    def request_all(
        self, make_request: Callable[[Task], Request], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, SignalReply]:
        """Ask everyone who is present, three times where need be; who stays silent is gone."""
        self._silent_since.clear()
        answers: dict[str, SignalReply] = {}
        for _ in range(TRIES):
            waiting = [task for task in self.present if task.task_id not in answers]
            if not waiting:
                break
            answers.update(self._ask(waiting, make_request, timeout_s))
            silent = [task for task in waiting if task.task_id not in answers]
            if silent:
                self._look_up(silent)
        self._silent_since.clear()
        for task in [task for task in self.present if task.task_id not in answers]:
            self.miss(task.task_id, f"no answer to {TRIES} signals of {timeout_s:g} s each")
        return answers

    def _ask(
        self, tasks: Sequence[Task], make_request: Callable[[Task], Request], timeout_s: float
    ) -> dict[str, SignalReply]:
        by_endpoint = {task.endpoint: task for task in tasks if task.endpoint is not None}
        if not by_endpoint:
            return {}
        requests = {endpoint: make_request(task) for endpoint, task in by_endpoint.items()}
        answers = self._signals.ask(requests, timeout_s)
        return {
            task.task_id: answers[endpoint] for endpoint, task in by_endpoint.items() if not answers[endpoint].silent
        }

    def _look_up(self, silent: Sequence[Task]) -> None:
        running = {task.task_id for task in self._launcher.tasks(self._app_id) if task.running}
        for task in silent:
            if task.task_id in running:
                self._silent_since[task.task_id] = self._clock.now_s()
            else:
                self.miss(task.task_id, self._reason())

    def _reason(self) -> str:
        trouble = self._launcher.trouble(self._app_id).text
        return f"its process ended ({trouble})" if trouble else "its process ended"

    def miss(self, task_id: str, reason: str) -> None:
        """Count a task as gone from now on."""
        self.present = [task for task in self.present if task.task_id != task_id]
        self.gone[task_id] = reason
        self._progress.note(f"{task_id} is missing: {reason}")

    def _is_suspended(self, task: Task) -> bool:
        since_s = self._silent_since.get(task.task_id)
        return since_s is not None and self._clock.now_s() - since_s < SILENT_PAUSE_S
