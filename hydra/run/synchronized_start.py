"""The start of the plan: told to everyone a little ahead of it, each by the clock of its own host."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.options.options import Options
from hydra.run.app_spec import Task
from hydra.run.host_clocks import HostClocks
from hydra.run.protocols import Clock
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import StartAt, request
from hydra.signals.protocols import SignalReply

START_LEAD_S = 0.3
START_LEAD_PER_TASK_S = 0.005
"""The plan starts so long after the word is sent, so that every task knows the moment before it comes."""

START_TRIES = 3


class Starting:
    """Agrees with all tasks on when the plan starts.

    Args:
        options: the plan.
        clock: the controller's.
        clocks: those of the tasks' hosts.
        sample_every_s: how often tasks note how far they are.
    """

    def __init__(self, options: Options, clock: Clock, clocks: HostClocks, sample_every_s: float) -> None:
        self._options = options
        self._clock = clock
        self._clocks = clocks
        self._sample_every_s = sample_every_s

    def start(self, publisher: TaskRoster, subscribers: TaskRoster) -> tuple[float, Mapping[str, SignalReply]]:
        """Tell everyone, the publisher last.

        Returns:
            When the plan starts, on the controller's clock, and what the publisher answered, by its task id.
        """
        self._clocks.measure([publisher, subscribers])
        sender = next((task.task_id for task in publisher.present), "")
        lead_s = START_LEAD_S + START_LEAD_PER_TASK_S * len(subscribers.present)
        start_s = 0.0
        for _ in range(START_TRIES):
            start_s = self._clock.now_s() + lead_s
            subscribers.request_all(lambda task: request("teststart", self._start_at(start_s, task, sender)))  # noqa: B023
            if self._clock.now_s() < start_s:
                break
            # A silent task took longer than the lead: the moment has passed, and all are told another one.
            lead_s = 2 * (lead_s + self._clock.now_s() - start_s)
        return start_s, publisher.request_all(lambda task: request("teststart", self._start_at(start_s, task, sender)))

    def _start_at(self, start_s: float, task: Task, sender: str) -> StartAt:
        options, publisher = self._options, self._clocks.of(sender)
        return StartAt(
            start_s=start_s + self._clocks.of(task.task_id).offset_s,
            start_wall_s=start_s + publisher.offset_s + publisher.wall_offset_s,
            rate_per_s=options.msg_rate,
            duration_s=options.test_duration,
            partitions=options.partitions,
            block_records=options.msg_batch,
            sample_every_s=self._sample_every_s,
        )
