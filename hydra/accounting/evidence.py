"""All that the witnesses of a run say, as far as the run got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra.accounting.partition_log import Audit, OffsetRange
from hydra.accounting.stats import MachineSample, PublisherStats, SubscriberStats


@dataclass(frozen=True)
class Evidence:
    """What publisher, subscribers, broker, auditor and the controller's machine say of one run."""

    publisher: PublisherStats | None = None
    """None where it did not report."""
    publisher_error: str = ""
    """Why it did not report, or what went wrong while it sent; empty when nothing did."""
    subscribers: tuple[SubscriberStats, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a subscriber task did not report, by its id."""
    begin_offsets: Mapping[int, int] = field(default_factory=dict)
    """The end of each partition's log before the run."""
    log: Mapping[int, OffsetRange] = field(default_factory=dict)
    """Each partition's log after the run."""
    audit: Audit | None = None
    audit_error: str = ""
    """Why the log was not audited."""
    machine: tuple[MachineSample, ...] = ()
    """The controller's, about once a second."""
    cores: int = 1
    """Of the controller's machine."""
    clock_error_s: float = 0.0
    """How far the clocks of two tasks may be apart after correction."""
