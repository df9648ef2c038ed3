"""The context of a run: everything outside that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hydra.run.clock import Clock
from hydra.run.progress import Progress
from hydra.run.protocols import Auditor, Host, Launcher, TopicAdmin
from hydra.signals.protocols import Signals


@dataclass(frozen=True)
class RunContext:
    """The engine, Kafka, the machine, and who is told of the progress."""

    launcher: Launcher
    signals: Signals
    admin: TopicAdmin
    clock: Clock
    host: Host
    auditor: Auditor
    progress: Progress
    broker_error: Callable[[], str]
    """Why the broker counts as gone; empty while it does not. Cheap: it is called several times a second."""
