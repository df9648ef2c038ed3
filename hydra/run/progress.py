"""What a run tells whoever is watching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class LiveCounts:
    """A run at one moment."""

    elapsed_s: float
    """Since the first record was due."""
    planned: int
    sent: int
    acked: int
    delivered: int
    """Summed over clients."""
    backlog: int
    """Deliveries that are still to come for what has been acked (without acks: sent): acked x clients - delivered."""
    clients_missing: int


class Progress(Protocol):
    """Shows a run as it goes. Not in the contract: that anything is shown at all; it never raises."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed.

        Phases: starting, warming up, configuring, sending, flushing, draining, collecting, auditing, cleaning up.
        """
        ...

    def counts(self, live: LiveCounts) -> None:
        """New counts while the run sends and drains."""
        ...

    def note(self, text: str) -> None:
        """Something that a user should see and that is no phase: a download, a task that went missing."""
        ...


class WarmUpProgress:
    """Shows a warm-up as one phase.

    Args:
        progress: shows it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def phase(self, name: str, detail: str = "") -> None:
        """What is done within the warm-up."""
        self._progress.phase("warming up", detail or name)

    def counts(self, live: LiveCounts) -> None:
        """Nothing: they are not the run's."""

    def note(self, text: str) -> None:
        """Something that a user should see all the same."""
        self._progress.note(text)


class SilentProgress:
    """Shows nothing."""

    def phase(self, name: str, detail: str = "") -> None:
        """Show nothing."""

    def counts(self, live: LiveCounts) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
