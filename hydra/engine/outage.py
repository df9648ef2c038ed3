"""An engine that cannot be reached for a while in the middle of a run: for so long, what was seen last counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hydra.errors import HydraError
from hydra.run.clock import Clock

T = TypeVar("T")


class Outage:
    """Looks at an engine, and bears that it is unavailable for ``limit_s`` at most, by the clock.

    Args:
        unavailable: the error that says so.
    """

    def __init__(self, clock: Clock, limit_s: float, unavailable: type[HydraError]) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._unavailable = unavailable
        self._since_s: float | None = None

    def look(self, look: Callable[[], T], otherwise: T) -> T:
        """What ``look`` sees; ``otherwise`` while the engine is unavailable, and its error once that lasts too long."""
        try:
            found = look()
        except self._unavailable:
            now_s = self._clock.now_s()
            if self._since_s is None:
                self._since_s = now_s
            if now_s - self._since_s >= self._limit_s:
                raise
            return otherwise
        self._since_s = None
        return found
