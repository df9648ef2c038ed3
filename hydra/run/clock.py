"""The real clock."""

from __future__ import annotations

import time


class MonotonicClock:
    """Implements ``harness.protocols.Clock``."""

    def now_s(self) -> float:
        """Seconds on the system's monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens for zero or less."""
        if seconds > 0:
            time.sleep(seconds)
