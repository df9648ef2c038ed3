"""Time, waiting for something to happen, and how long that took in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

POLL_EVERY_S = 0.25

T = TypeVar("T")


class Clock(Protocol):
    """Time as a run sees it. Not in the contract: the time of day, or an epoch shared between hosts."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens for zero or less."""


class MonotonicClock:
    """The system's monotonic clock; a Clock."""

    def now_s(self) -> float:
        """Seconds on the system's monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens for zero or less."""
        if seconds > 0:
            time.sleep(seconds)


def poll_until(clock: Clock, condition: Callable[[], T], timeout_s: float, *, every_s: float = POLL_EVERY_S) -> T:
    """Evaluate a condition until its value is true or the time is up; at least once. Returns its last value.

    Whatever the condition raises ends the wait.
    """
    deadline_s = clock.now_s() + timeout_s
    while not (value := condition()):
        left_s = deadline_s - clock.now_s()
        if left_s <= 0:
            break
        clock.sleep(min(every_s, left_s))
    return value


class Headway:
    """Whether a wait was still getting further: more time would then have helped."""

    STALLED_S, STALLED_RATIO = 10.0, 1 / 3
    """Without anything more for so long, or for this share of the wait, nothing was getting further."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.now_s()
        self._count = 0
        self._risen_s: float | None = None

    def note(self, count: int) -> None:
        """So many are ready now."""
        if count > self._count:
            self._risen_s = self._clock.now_s()
        self._count = count

    @property
    def moving(self) -> bool:
        """Whether there were more of them lately than before."""
        now_s = self._clock.now_s()
        limit_s = min(self.STALLED_S, self.STALLED_RATIO * (now_s - self._began_s))
        return self._risen_s is not None and now_s - self._risen_s < limit_s


def duration(seconds: float) -> str:
    """Two units at most: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(whole / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
