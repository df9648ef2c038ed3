"""The start of the plan: told to all tasks a little ahead of it, each by the clock of its own host."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.run.app_spec import Task
from hydra.run.clock import Clock
from hydra.run.host_clocks import HostClocks
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import Request, StartAt, request
from hydra.signals.protocols import SignalReply

START_LEAD_S = 0.3
START_LEAD_PER_TASK_S = 0.005
"""The plan starts so long after the signals are sent, so that every task knows the moment before it comes."""

START_TRIES = 3


def start_together(
    clock: Clock, clocks: HostClocks, publisher: TaskRoster, subscribers: TaskRoster
) -> tuple[float, Mapping[str, SignalReply]]:
    """Agree with all tasks on when the plan starts; the publisher is told last.

    Returns:
        When the plan starts, on the controller's clock, and the publisher's reply, by its task id.
    """
    clocks.measure([publisher, subscribers])
    sender = clocks.of(next((task.task_id for task in publisher.present), ""))

    def start_at(task: Task, start_s: float) -> Request:
        start_wall_s = start_s + sender.offset_s + sender.wall_offset_s
        return request("teststart", StartAt(start_s + clocks.of(task.task_id).offset_s, start_wall_s))

    lead_s = START_LEAD_S + START_LEAD_PER_TASK_S * len(subscribers.present)
    start_s = 0.0
    for _ in range(START_TRIES):
        start_s = clock.now_s() + lead_s
        subscribers.request_all(lambda task: start_at(task, start_s))  # noqa: B023
        if clock.now_s() < start_s:
            break
        # A silent task took longer than the lead: the moment has passed, and all are told another one.
        lead_s = 2 * (lead_s + clock.now_s() - start_s)
    return start_s, publisher.request_all(lambda task: start_at(task, start_s))
