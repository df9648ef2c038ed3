"""How far the clocks of the tasks' hosts are from the controller's, and how far off that estimate may be.

Tasks of one host share its monotonic clock, and then nothing has to be estimated. For another host the task's reading
is taken to be of the middle between the request and the reply: it cannot be off by more than half of the time between
them, and the shortest of several round trips counts (Cristian's algorithm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra.codec import DecodeError, decode
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import ClockReading, Ping, request

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
    """The clocks of the tasks of a run.

    Args:
        own: reads the controller's.
    """

    def __init__(self, own: Callable[[], ClockReading]) -> None:
        self._own = own
        self._offsets: dict[str, ClockOffset] = {}

    def measure(self, rosters: Sequence[TaskRoster]) -> None:
        """Ask every task for its clocks; those of other hosts several times."""
        boot_id = self._own().boot_id
        for _ in range(ROUNDS):
            if not self._round(rosters, boot_id):
                return

    def _round(self, rosters: Sequence[TaskRoster], boot_id: str) -> bool:
        """One round trip to each. Returns whether another one would tell more."""
        elsewhere = False
        for roster in rosters:
            for task_id, reply in roster.request_once(lambda _task: request("ping")).items():
                try:
                    clock = decode(reply.body, Ping).clock
                except DecodeError:
                    continue
                if boot_id and clock.boot_id == boot_id:
                    self._take(task_id, clock, 0.0, 0.0)
                    continue
                elsewhere = True
                middle_s = (reply.sent_s + reply.received_s) / 2
                self._take(task_id, clock, clock.monotonic_s - middle_s, (reply.received_s - reply.sent_s) / 2)
        return elsewhere

    def _take(self, task_id: str, clock: ClockReading, offset_s: float, error_s: float) -> None:
        known = self._offsets.get(task_id)
        if known is None or error_s < known.error_s:
            self._offsets[task_id] = ClockOffset(offset_s, error_s, clock.wall_s - clock.monotonic_s)

    def of(self, task_id: str) -> ClockOffset:
        """The clocks of a task; those of the controller's own host for one that did not reply."""
        own = self._own()
        return self._offsets.get(task_id, ClockOffset(0.0, 0.0, own.wall_s - own.monotonic_s))

    @property
    def error_s(self) -> float:
        """How far two tasks' clocks may be apart after correction."""
        worst = sorted((offset.error_s for offset in self._offsets.values()), reverse=True)
        return sum(worst[:2])
