"""Everything outside that a run needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hydra.run.progress import Progress
from hydra.run.protocols import Auditor, Clock, Host, Launcher, TopicAdmin
from hydra.signals.protocols import Signals


@dataclass(frozen=True)
class RunContext:
    """What a run is given."""

    launcher: Launcher
    signals: Signals
    admin: TopicAdmin
    clock: Clock
    host: Host
    auditor: Auditor
    progress: Progress
    broker_trouble: Callable[[], str]
    """Why the broker counts as gone; empty while it does not. Cheap: it is asked several times a second."""
