"""What a controller and the process of its local stack say to each other: JSON lines over the stack's stdin and stdout.

The folder alone is an argument of the process: whatever becomes of the pipe, it knows what to remove.

The pipe to stdin is also the lease: when it closes, whichever way the controller ended, the stack takes itself down,
unless it was told to stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hydra.broker.settings import BrokerSettings

KEEP = "keep"
"""The one thing that a controller says after its order: stay when I am gone."""


@dataclass(frozen=True)
class StackCommand:
    """The first line to the stack: what to start."""

    run_id: str
    kafka: bool
    """Whether to start an embedded Kafka beside the local Marathon."""
    java: str | None = None
    settings: BrokerSettings = field(default_factory=BrokerSettings)
    agents: str | None = None
    """Of the local Marathon (options/agent_specs.py)."""


@dataclass(frozen=True)
class StackEvent:
    """A line from the stack."""

    event: Literal["note", "marathon", "kafka", "kept", "kafka_died", "failed"]
    text: str = ""
    """A note's text; the URL of Marathon; Kafka's bootstrap servers; the last lines of a dead broker; a failure."""
    pid: int = 0
    """Kafka's process, beside its bootstrap servers."""
    error: str = ""
    """The class of a failure (core.errors)."""
    hint: str = ""
