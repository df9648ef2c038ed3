"""The barrier before a run: nothing is sent before the publisher is ready and every client is positioned."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.accounting.stats import PublisherStatus, SubscriberStatus
from hydra.errors import NotReadyError
from hydra.options.order import RunOrder
from hydra.run.clock import poll_until
from hydra.run.context import RunContext
from hydra.run.monitor import Monitor


def wait_until_positioned(order: RunOrder, context: RunContext, monitor: Monitor) -> None:
    """Return once all are ready.

    Raises:
        NotReadyError: a task failed or is gone, or the start deadline passed; names those that are not ready.
        BrokerError: the broker is gone.
    """
    publisher = PublisherStatus("idle")
    statuses: list[SubscriberStatus] = []

    def all_ready() -> bool:
        nonlocal publisher, statuses
        monitor.check_broker()
        publisher = monitor.publisher_status()
        statuses = monitor.subscriber_statuses()
        positioned = sum(status.positioned for status in statuses)
        context.progress.phase("configuring", f"{positioned} of {order.options.client_count} clients positioned")
        _check_nobody_failed(publisher, statuses, monitor)
        return positioned == order.options.client_count and publisher.phase == "ready"

    if not poll_until(context.clock, all_ready, order.options.start_deadline_s):
        raise _not_positioned(order, publisher, statuses)


def _check_nobody_failed(publisher: PublisherStatus, statuses: Sequence[SubscriberStatus], monitor: Monitor) -> None:
    reasons = [publisher.error] if publisher.phase == "failed" else []
    reasons += [status.error for status in statuses if status.phase == "failed"]
    reasons += [f"{task_id}: {reason}" for task_id, reason in monitor.gone.items()]
    if reasons:
        raise NotReadyError("not everyone got ready: " + "; ".join(reasons[:3]), missing=reasons)


def _not_positioned(order: RunOrder, publisher: PublisherStatus, statuses: Sequence[SubscriberStatus]) -> NotReadyError:
    options = order.options
    positioned = sum(status.positioned for status in statuses)
    waiting = [name for status in statuses for name in status.waiting]
    if publisher.phase != "ready":
        waiting.insert(0, f"the publisher ({publisher.error or publisher.phase})")
    shown = ", ".join(waiting[:5]) + (" ..." if len(waiting) > 5 else "")
    errors = sorted({f" ({status.error})" for status in statuses if status.error}) or [""]
    return NotReadyError(
        f"{positioned} of {options.client_count} clients were positioned after {options.start_deadline_s:g} s;"
        f" waiting for {shown}{errors[0]}",
        hint="raise --start_timeout or ask for fewer clients",
        missing=waiting,
    )
