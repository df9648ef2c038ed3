"""A driver for a comparison within one run: every second task counts alone, the others also time what they count."""

from __future__ import annotations

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.tally import ClientTally
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.options.order import RunOrder


class UntimedTally(ClientTally):
    """Counts as any other, and learns of no plan to time by."""

    __slots__ = ()

    def time_by(self, timing: DeliveryTiming) -> None:
        """Do not."""


class HalfTimed(WireSubscriber):
    """The wire driver; in tasks with an odd number (``sub-1-client-0``) without timing."""

    def __init__(self, order: RunOrder) -> None:
        super().__init__(order)
        if is_untimed(order.clients[0].name):
            for tally in self.tallies:
                tally.__class__ = UntimedTally


def is_untimed(client_name: str) -> bool:
    """Whether the client's task counts alone."""
    return int(client_name.split("-")[1]) % 2 == 1
