"""An embedded Kafka of one broker or several, each in a JVM of its own: so one of them can die as a broker does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.embedded import PORT_TRIES, EmbeddedBroker, free_ports
from hydra.broker.formatting import random_id
from hydra.broker.jvm_exit import new_deaths
from hydra.broker.server_properties import Place, Ports, quorum_size
from hydra.errors import BrokerError

if TYPE_CHECKING:
    from typing_extensions import Self

MakeBroker = Callable[[Path, Place, str], EmbeddedBroker]
"""Makes the broker of that folder, at that place in the cluster of that id; does not start it."""


class EmbeddedCluster:
    """So many brokers; ``start`` starts them and ``stop`` ends them, as of an EmbeddedBroker.

    The first ones are its controllers, too.

    Args:
        folder: each broker has a folder in it, which must not exist yet.
        brokers: how many.
        make: makes one of them.
    """

    def __init__(self, folder: Path, brokers: int, make: MakeBroker) -> None:
        self._folder = folder
        self._count = brokers
        self._make = make
        self._brokers: tuple[EmbeddedBroker, ...] = ()
        self._told: set[int] = set()
        """Pids of brokers whose death was told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of each broker, comma separated."""
        return ",".join(broker.bootstrap_servers for broker in self._brokers)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the JVMs, by node id."""
        return tuple(broker.pid for broker in self._brokers)

    @property
    def zookeeper(self) -> str:
        """There is none."""
        return ""

    @property
    def alive(self) -> int:
        """How many brokers run."""
        return sum(broker.returncode() is None for broker in self._brokers)

    def deaths(self) -> Sequence[BrokerError]:
        """Why brokers are not there any more, of each once; to be called often."""
        return new_deaths({broker.pid: broker.death for broker in self._brokers}, self._told)

    def start(self, timeout_s: float) -> None:
        """Start all of them and wait until each serves and knows the others.

        Raises:
            BrokerError: one died or timed out; quotes its last lines. Nothing is left.
            JavaError: a JVM cannot be started.
            UsageError: a property is one that Hydra sets itself.
        """
        deadline = time.monotonic() + timeout_s
        try:
            if self._count == 1:
                self._brokers = (self._make(self._folder, Place(), random_id()),)
                self._brokers[0].start(timeout_s)
            else:
                self._start_several(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill all of them and remove their folders; harmless the second time."""
        for broker in self._brokers:
            broker.stop()

    def _start_several(self, deadline: float) -> None:
        # As for one broker: another program may take a port before the broker has bound it.
        for last in (False,) * (PORT_TRIES - 1) + (True,):
            ports = free_ports(2 * self._count)
            clients, controllers = ports[: self._count], ports[self._count :]
            quorum, cluster_id = tuple(controllers[: quorum_size(self._count)]), random_id()
            self._brokers = tuple(
                self._make(self._folder / str(node_id), Place(node_id, self._count, quorum), cluster_id)
                for node_id in range(1, self._count + 1)
            )
            try:
                for broker, client, controller in zip(self._brokers, clients, controllers, strict=True):
                    broker.boot(Ports(client, controller), deadline)
                for broker in self._brokers:
                    broker.await_ready(deadline)
            except BrokerError:
                if last or not any(broker.port_was_taken for broker in self._brokers):
                    raise
                self.stop()
            else:
                return
