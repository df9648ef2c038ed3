"""What a subscriber does in a run: move its clients on, and say how far they are."""

from __future__ import annotations

from hydra.core.configuration import SubscriberConfiguration
from hydra.core.signals import DrainTo
from hydra.core.stats import ClientStats, SubscriberStatus
from hydra.harness.protocols import SubscriberDriver

MAX_NAMES = 20
"""Names of waiting clients in one status."""


class Subscribing:
    """One run of a subscriber's clients. Everything in here belongs to the task's main thread.

    Args:
        configuration: which clients read what.
        driver: the Kafka clients.
    """

    def __init__(self, configuration: SubscriberConfiguration, driver: SubscriberDriver) -> None:
        self.configuration = configuration
        self._driver = driver
        self._drain_to: dict[int, int] | None = None

    def open(self) -> None:
        """Begin to connect all clients."""
        self._driver.open()

    def poll(self, timeout_s: float) -> None:
        """Move all clients on; waits ``timeout_s`` at most."""
        self._driver.poll(timeout_s)

    def drain(self, drain_to: DrainTo) -> None:
        """From now on, ``drained`` means: read up to these end offsets."""
        self._drain_to = drain_to.end_offsets

    def status(self) -> SubscriberStatus:
        """How far the clients are."""
        tallies = self._driver.tallies
        unpositioned = [tally.name for tally in tallies if not tally.positioned]
        error = next((tally.error for tally in tallies if tally.error), "")
        received = sum(tally.received for tally in tallies)
        if self._drain_to is None:
            phase = "connecting" if unpositioned else "receiving"
            waiting, drained = unpositioned, 0
        else:
            waiting = [tally.name for tally in tallies if not tally.reached(self._drain_to)]
            phase = "receiving" if waiting else "drained"
            drained = len(tallies) - len(waiting)
        return SubscriberStatus(
            phase=phase,
            clients=len(tallies),
            positioned=len(tallies) - len(unpositioned),
            received=received,
            drained=drained,
            waiting=tuple(waiting[:MAX_NAMES]),
            error=error,
        )

    def stats(self) -> tuple[ClientStats, ...]:
        """What every client received so far."""
        return tuple(tally.stats() for tally in self._driver.tallies)

    def close(self) -> None:
        """Let go of all clients."""
        self._driver.close()
