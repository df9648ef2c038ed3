"""The launch queue: what of an app waits for a place, since when, and what became of the offers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.localmarathon.app_definition import AppDefinition, app_document
from hydra.localmarathon.placement import reject_summary


@dataclass
class Waiting:
    """Tasks of an app that should run and are not launched."""

    since: str
    processed: int = 0
    unused: int = 0
    last_unused_at: str | None = None
    last_used_at: str | None = None
    last_reasons: tuple[str, ...] = ()  # of the offers of the last look, one for each that was declined
    all_reasons: list[str] = field(default_factory=list)  # since the last launch

    def declined(self, reasons: Sequence[str], now: str) -> None:
        """Every agent's offer was looked at, and none would do."""
        self.processed += len(reasons)
        self.unused += len(reasons)
        self.last_unused_at = now
        self.last_reasons = tuple(reasons)
        self.all_reasons = [*self.all_reasons, *reasons][-_KEPT_REASONS:]

    def used(self, now: str) -> None:
        """An offer was taken."""
        self.processed += 1
        self.last_used_at = now
        self.last_reasons, self.all_reasons = (), []

    def document(self, app: AppDefinition, count: int, delay_s: float) -> dict[str, object]:
        """The JSON object in ``GET /v2/queue``.

        Args:
            app: what waits.
            count: how many tasks of it.
            delay_s: how long its back-off lasts yet; 0 where it waits for an offer.
        """
        moments = {"lastUnusedOfferAt": self.last_unused_at, "lastUsedOfferAt": self.last_used_at}
        return {
            "count": count,
            "role": app.role,
            "since": self.since,
            "delay": {"timeLeftSeconds": max(0, round(delay_s)), "overdue": delay_s <= 0},
            "processedOffersSummary": {
                "processedOffersCount": self.processed,
                "unusedOffersCount": self.unused,
                **{name: moment for name, moment in moments.items() if moment is not None},
                "rejectSummaryLastOffers": reject_summary(self.last_reasons),
                "rejectSummaryLaunchAttempt": reject_summary(self.all_reasons),
            },
            "app": app_document(app),
        }


_KEPT_REASONS = 1000
