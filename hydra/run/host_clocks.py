"""The clocks of the tasks' hosts, and a start of the plan that is told to every task by its own clock.

Tasks of one host share its monotonic clock, and then nothing has to be estimated. For another host the task's reading
is taken to be of the middle between the request and the reply: it cannot be off by more than half of the time between
them, and the shortest of several round trips counts (Cristian's algorithm). Clocks of two hosts do not run equally
fast, so they are read once more at the end of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.codec import DecodeError, decode
from hydra.run.clock import Clock
from hydra.run.protocols import Task
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import ClockReading, Ping, Request, SignalReply, StartAt, request

START_LEAD_S = 0.3
START_LEAD_PER_TASK_S = 0.005
"""The plan starts so long after the signals are sent, so that every task knows the moment before it comes."""

START_TRIES = 3

ROUNDS = 8
"""Round trips to a task on another host."""


@dataclass(frozen=True)
class ClockOffset:
    """What to add to a moment on the controller's clock to have it on the task's."""

    offset_s: float
    error_s: float
    wall_offset_s: float
    """From the task's monotonic clock to its time of day."""


class HostClocks:
    """The clocks of the tasks of a run; ``own`` reads the controller's."""

    def __init__(self, own: Callable[[], ClockReading]) -> None:
        self._own = own
        self._offsets: dict[str, ClockOffset] = {}
        """As they were when the plan started: what all times are corrected by."""
        self._later: dict[str, ClockOffset] = {}
        self._has_others = False
        """Whether a task is on another host."""

    def measure(self, rosters: Sequence[TaskRoster]) -> None:
        """Ask every task for its clocks; those of other hosts several times.

        A task whose clocks nobody knows cannot be told when to start: it is gone.
        """
        boot_id = self._own().boot_id
        for _ in range(ROUNDS):
            elsewhere = [self._take_all(roster.request_once(_ping), boot_id, self._offsets) for roster in rosters]
            self._has_others = any(elsewhere)
            if not self._has_others:
                break
        for roster in rosters:
            # One that was silent once was left alone for longer than all rounds took.
            if any(task.task_id not in self._offsets for task in roster.present):
                self._has_others |= self._take_all(roster.request_all(_ping), boot_id, self._offsets)
            for task in roster.present:
                if task.task_id not in self._offsets:
                    roster.mark_gone(task.task_id, "it does not tell what its clock shows")

    def measure_again(self, rosters: Sequence[TaskRoster]) -> None:
        """See how far clocks of other hosts have moved since; asks nobody where there are none."""
        if not self._has_others:
            return
        boot_id = self._own().boot_id
        for _ in range(ROUNDS):
            for roster in rosters:
                self._take_all(roster.request_once(_ping), boot_id, self._later)

    def _take_all(self, replies: Mapping[str, SignalReply], boot_id: str, found: dict[str, ClockOffset]) -> bool:
        """Take what was replied. Returns whether another round trip would tell more."""
        elsewhere = False
        for task_id, reply in replies.items():
            try:
                clock = decode(reply.body, Ping).clock
            except DecodeError:
                continue
            if boot_id and clock.boot_id == boot_id:
                _take(found, task_id, clock, 0.0, 0.0)
                continue
            elsewhere = True
            middle_s = (reply.sent_s + reply.received_s) / 2
            _take(found, task_id, clock, clock.monotonic_s - middle_s, (reply.received_s - reply.sent_s) / 2)
        return elsewhere

    def of(self, task_id: str) -> ClockOffset:
        """The clocks of a task that was there when they were measured."""
        return self._offsets[task_id]

    @property
    def own(self) -> ClockOffset:
        """The clocks of the controller's own host."""
        own = self._own()
        return ClockOffset(0.0, 0.0, own.wall_s - own.monotonic_s)

    @property
    def error_s(self) -> float:
        """How far two tasks' clocks may be apart after correction, from the start to when they were measured again."""
        worst = sorted(map(self._error_of, self._offsets), reverse=True)
        return sum(worst[:2])

    def _error_of(self, task_id: str) -> float:
        first = self._offsets[task_id]
        later = self._later.get(task_id, first)
        return max(first.error_s, abs(later.offset_s - first.offset_s) + later.error_s)


def _take(found: dict[str, ClockOffset], task_id: str, clock: ClockReading, offset_s: float, error_s: float) -> None:
    known = found.get(task_id)
    if known is None or error_s < known.error_s:
        found[task_id] = ClockOffset(offset_s, error_s, clock.wall_s - clock.monotonic_s)


def _ping(_task: Task) -> Request:
    return request("ping")


def start_together(
    clock: Clock, clocks: HostClocks, publisher: TaskRoster, subscribers: TaskRoster
) -> tuple[float, Mapping[str, SignalReply]]:
    """Agree with all tasks on when the plan starts; the publisher is told last.

    Returns when the plan starts, on the controller's clock, and the publisher's reply, by its task id.
    """
    clocks.measure([publisher, subscribers])
    sender = clocks.of(publisher.present[0].task_id) if publisher.present else clocks.own

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
