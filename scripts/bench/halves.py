"""Drivers for comparisons within one run: every second task goes without something that the others have."""

from __future__ import annotations

import dataclasses

from hydra.accounting.delivery_latency import DeliveryTiming
from hydra.accounting.tally import ClientTally
from hydra.clients.record_batch import BatchCounter
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.options.kafka_access import KafkaAccess
from hydra.options.order import RunOrder


class UntimedTally(ClientTally):
    """Counts as any other, and learns of no plan to time by."""

    __slots__ = ()

    def time_by(self, timing: DeliveryTiming) -> None:
        """Do not."""


class HalfTimed(WireSubscriber):
    """The wire driver; in every second task it counts alone."""

    def __init__(self, order: RunOrder, access: KafkaAccess) -> None:
        super().__init__(order, access)
        if goes_without(order.clients[0].name):
            for tally in self.tallies:
                tally.__class__ = UntimedTally


class HalfShared(WireSubscriber):
    """The wire driver; in every second task each client proves all of its bytes itself."""

    def __init__(self, order: RunOrder, access: KafkaAccess) -> None:
        super().__init__(order, access)
        if goes_without(order.clients[0].name):
            self.settings = dataclasses.replace(self.settings, counter=BatchCounter(order.identity_prefix))


def goes_without(client_name: str) -> bool:
    """Whether the client's task is one of those: the ones with an odd number (``sub-1-client-0``)."""
    return int(client_name.split("-")[1]) % 2 == 1
