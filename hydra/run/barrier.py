"""The barrier before a run: nothing is sent before the publisher is ready and every client is positioned."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.accounting.stats import PublisherStatus, SubscriberStatus
from hydra.errors import NotReadyError
from hydra.options.options import Options
from hydra.run.context import RunContext
from hydra.run.monitor import LOOK_EVERY_S, Watch


class Barrier:
    """Waits for everyone.

    Args:
        options: how many clients, and how long they may take.
        world: its clock, and who is told of the progress.
        watch: where they are.
    """

    def __init__(self, options: Options, world: RunContext, watch: Watch) -> None:
        self._options = options
        self._world = world
        self._watch = watch

    def wait(self) -> None:
        """Return once all are ready.

        Raises:
            NotReadyError: somebody failed or is gone, or the start deadline passed; names those who are not ready.
            BrokerError: the broker is gone.
        """
        clock = self._world.clock
        deadline_s = clock.now_s() + self._options.start_deadline_s
        asked = self._options.client_count
        while True:
            self._watch.check_broker()
            publisher = self._watch.publisher_status()
            statuses = self._watch.subscriber_statuses()
            positioned = sum(status.positioned for status in statuses)
            self._world.progress.phase("configuring", f"{positioned} of {asked} clients positioned")
            self._check_nobody_failed(publisher, statuses)
            if positioned == asked and publisher.phase == "ready":
                return
            if clock.now_s() >= deadline_s:
                raise self._not_positioned(positioned, publisher, statuses)
            clock.sleep(LOOK_EVERY_S)

    def _check_nobody_failed(self, publisher: PublisherStatus, statuses: Sequence[SubscriberStatus]) -> None:
        reasons = [publisher.error] if publisher.phase == "failed" else []
        reasons += [status.error for status in statuses if status.phase == "failed"]
        reasons += [f"{task_id}: {reason}" for task_id, reason in self._watch.gone.items()]
        if reasons:
            raise NotReadyError("not everyone got ready: " + "; ".join(reasons[:3]), missing=reasons)

    def _not_positioned(
        self, positioned: int, publisher: PublisherStatus, statuses: Sequence[SubscriberStatus]
    ) -> NotReadyError:
        waiting = [name for status in statuses for name in status.waiting]
        if publisher.phase != "ready":
            waiting.insert(0, f"the publisher ({publisher.error or publisher.phase})")
        shown = ", ".join(waiting[:5]) + (" ..." if len(waiting) > 5 else "")
        errors = sorted({f" ({status.error})" for status in statuses if status.error}) or [""]
        return NotReadyError(
            f"{positioned} of {self._options.client_count} clients were positioned after"
            f" {self._options.start_deadline_s:g} s; waiting for {shown}{errors[0]}",
            hint="raise --start_timeout or ask for fewer clients",
            missing=waiting,
        )
