"""Why tasks of an app are not launched yet: its back-off and its queue entry. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.localmarathon.app_definition import AppDefinition, app_document
from hydra.localmarathon.placement import reject_summary

_MAX_KEPT_REASONS = 1000


@dataclass(frozen=True)
class Backoff:
    """How long the next launch of an app waits after its tasks have ended; the clock is any monotonic one."""

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


@dataclass
class QueueEntry:
    """Tasks of an app that should run and are not launched yet."""

    since: str
    processed: int = 0
    unused: int = 0
    last_unused_at: str | None = None
    last_used_at: str | None = None
    last_reasons: tuple[str, ...] = ()  # one for each offer that was declined in the last round
    all_reasons: list[str] = field(default_factory=list)  # since the last launch

    def note_declined(self, reasons: Sequence[str], now: str) -> None:
        """No agent's offer was good enough."""
        self.processed += len(reasons)
        self.unused += len(reasons)
        self.last_unused_at = now
        self.last_reasons = tuple(reasons)
        self.all_reasons = [*self.all_reasons, *reasons][-_MAX_KEPT_REASONS:]

    def note_used(self, now: str) -> None:
        """An offer was accepted."""
        self.processed += 1
        self.last_used_at = now
        self.last_reasons, self.all_reasons = (), []

    def document(self, app: AppDefinition, count: int, backoff_left_s: float) -> dict[str, object]:
        """The JSON object in ``GET /v2/queue``.

        Args:
            app: the app that waits.
            count: how many of its tasks wait.
            backoff_left_s: how long its back-off still lasts; 0 if it waits for an offer.
        """
        moments = {"lastUnusedOfferAt": self.last_unused_at, "lastUsedOfferAt": self.last_used_at}
        return {
            "count": count,
            "role": app.role,
            "since": self.since,
            "delay": {"timeLeftSeconds": max(0, round(backoff_left_s)), "overdue": backoff_left_s <= 0},
            "processedOffersSummary": {
                "processedOffersCount": self.processed,
                "unusedOffersCount": self.unused,
                **{name: moment for name, moment in moments.items() if moment is not None},
                "rejectSummaryLastOffers": reject_summary(self.last_reasons),
                "rejectSummaryLaunchAttempt": reject_summary(self.all_reasons),
            },
            "app": app_document(app),
        }
