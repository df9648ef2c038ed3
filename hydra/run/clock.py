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
