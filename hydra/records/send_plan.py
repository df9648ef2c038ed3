"""The send plan: when each record is due. It reads no clock and never sleeps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SendPlan:
    """An open loop: record k is due ``k / msg_rate`` seconds after the start, whatever became of the ones before it."""

    msg_rate: float
    test_duration: float

    @property
    def interval_s(self) -> float:
        """From one record to the next."""
        return 1 / self.msg_rate

    @property
    def records(self) -> int:
        """How many records the whole plan has; at least one."""
        return max(1, round(self.msg_rate * self.test_duration))

    def due(self, elapsed_s: float) -> int:
        """How many records should have been sent ``elapsed_s`` after the start."""
        if elapsed_s < 0:
            return 0
        due = math.floor(elapsed_s * self.msg_rate) + 1
        if self.intended_s(due) <= elapsed_s:
            due += 1  # the product was rounded down past the moment at which this one is due
        return min(self.records, due)

    def intended_s(self, index: int) -> float:
        """When record ``index`` is due, in seconds after the start."""
        return index / self.msg_rate
