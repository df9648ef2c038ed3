"""The back-off of an app whose tasks end. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.localmarathon.app_definition import AppDefinition


@dataclass(frozen=True)
class Backoff:
    """How long the next launch waits; the clock is any monotonic one."""

    delay_s: float = 0.0
    until_s: float = 0.0

    def after_end(self, app: AppDefinition, now_s: float) -> Backoff:
        """The back-off after one more task has ended by itself.

        The first end costs ``backoffSeconds``, each further one ``backoffFactor`` times as much, up to
        ``maxLaunchDelaySeconds``. It starts over if no task ended for ``maxLaunchDelaySeconds``.
        """
        starts_over = not self.delay_s or now_s > self.until_s + app.max_launch_delay_s
        grown_s = app.backoff_s if starts_over else self.delay_s * app.backoff_factor
        delay_s = min(grown_s, app.max_launch_delay_s)
        return Backoff(delay_s, now_s + delay_s)
