"""The plan: when each record should be sent. It reads no clock and never sleeps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """An open loop: record k is due at ``k / rate_per_s`` after the start, whatever became of the ones before it."""

    rate_per_s: float
    duration_s: float

    @property
    def records(self) -> int:
        """How many records the whole plan has; at least one."""
        return max(1, round(self.rate_per_s * self.duration_s))

    def due(self, elapsed_s: float) -> int:
        """How many records should have been sent ``elapsed_s`` after the start."""
        if elapsed_s < 0:
            return 0
        due = math.floor(elapsed_s * self.rate_per_s) + 1
        if self.intended_s(due) <= elapsed_s:
            due += 1  # the product was rounded down past the very moment at which this one is due
        return min(self.records, due)

    def intended_s(self, index: int) -> float:
        """When record ``index`` is due, in seconds after the start."""
        return index / self.rate_per_s
