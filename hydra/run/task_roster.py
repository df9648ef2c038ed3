"""The tasks of a run: who is still there. A task that is gone is marked once, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hydra.run.protocols import RunContext, Task
from hydra.signals.messages import Request, SignalReply

REPLY_TIMEOUT_S = 2.0
TRIES = 3
SUSPENDED_S = 5.0
"""A task that runs and stays silent is asked again after this long, so that it does not hold up the others."""


REASONS_SHOWN = 3


def told_once(reasons: Iterable[tuple[str, str]]) -> str:
    """(task id or empty, reason) of each task in one line: a reason that many have in common is told once."""
    by_reason: dict[str, list[str]] = {}
    for task_id, reason in reasons:
        by_reason.setdefault(reason, []).append(task_id)
    told = [
        f"{len(ids)} tasks: {reason}" if len(ids) > 1 else f"{ids[0]}: {reason}" if ids[0] else reason
        for reason, ids in by_reason.items()
    ]
    more = len(told) - REASONS_SHOWN
    return "; ".join(told[:REASONS_SHOWN]) + (f"; and {more} more reasons" if more > 0 else "")


class TaskRoster:
    """The tasks of one app that take part in a run, as they were when it began."""

    def __init__(self, app_id: str, tasks: Sequence[Task], context: RunContext) -> None:
        self._app_id = app_id
        self._context = context
        self.present: list[Task] = list(tasks)
        self.gone: dict[str, str] = {}
        """Why a task is gone, by its id."""
        self._silent_since: dict[str, float] = {}

    def request_once(
        self, make_request: Callable[[Task], Request], *, timeout_s: float = REPLY_TIMEOUT_S
    ) -> dict[str, SignalReply]:
        """Send everyone who is present a request, once. Returns the replies that came, by task id.

        Those that did not reply are looked up: what the engine no longer runs is gone.
        """
        asked = [task for task in self.present if not self._is_suspended(task)]
        replies = self._request(asked, make_request, timeout_s)
        for task in asked:
            self._silent_since.pop(task.task_id, None)
        self._look_up([task for task in asked if task.task_id not in replies])
        return replies

    def request_all(
        self, make_request: Callable[[Task], Request], *, timeout_s: float = REPLY_TIMEOUT_S
    ) -> dict[str, SignalReply]:
        """The same, up to three times, suspended tasks among them; who stays silent is gone."""
        self._silent_since.clear()
        replies: dict[str, SignalReply] = {}
        for _ in range(TRIES):
            waiting = [task for task in self.present if task.task_id not in replies]
            if not waiting:
                break
            replies.update(self._request(waiting, make_request, timeout_s))
            self._look_up([task for task in waiting if task.task_id not in replies])
        self._silent_since.clear()
        for task in [task for task in self.present if task.task_id not in replies]:
            self.mark_gone(task.task_id, f"no answer to {TRIES} signals of {timeout_s:g} s each")
        return replies

    def _request(
        self, tasks: Sequence[Task], make_request: Callable[[Task], Request], timeout_s: float
    ) -> dict[str, SignalReply]:
        by_endpoint = {task.endpoint: task for task in tasks if task.endpoint is not None}
        if not by_endpoint:
            return {}
        requests = {endpoint: make_request(task) for endpoint, task in by_endpoint.items()}
        replies = self._context.signals.ask(requests, timeout_s)
        return {
            task.task_id: replies[endpoint] for endpoint, task in by_endpoint.items() if not replies[endpoint].silent
        }

    def _look_up(self, silent: Sequence[Task]) -> None:
        if not silent:
            return
        running = {task.task_id for task in self._context.launcher.tasks(self._app_id) if task.running}
        for task in silent:
            if task.task_id in running:
                self._silent_since[task.task_id] = self._context.clock.now_s()
            else:
                self.mark_gone(task.task_id, self._end_reason())

    def _end_reason(self) -> str:
        reason = self._context.launcher.waiting_reason(self._app_id).text
        return f"its process ended ({reason})" if reason else "its process ended"

    def mark_gone(self, task_id: str, reason: str) -> None:
        """Count a task as gone from now on."""
        self.present = [task for task in self.present if task.task_id != task_id]
        self.gone[task_id] = reason
        self._context.progress.note(f"{task_id} is missing: {reason}")

    def _is_suspended(self, task: Task) -> bool:
        since_s = self._silent_since.get(task.task_id)
        return since_s is not None and self._context.clock.now_s() - since_s < SUSPENDED_S
