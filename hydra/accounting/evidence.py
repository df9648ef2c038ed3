"""All that the witnesses of a run say, as far as the run got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hydra.accounting.broker_inside import BrokerInside
from hydra.accounting.intervals import Span
from hydra.accounting.stats import ClientStats, MachineSample, PublisherStats, SubscriberStats
from hydra.options.connection_limits import ConnectionLimit
from hydra.options.order import RunOrder


@dataclass(frozen=True)
class OffsetRange:
    """A partition's log: ``start`` is the oldest offset still there, ``end`` the one that the next record gets."""

    start: int
    end: int


@dataclass(frozen=True)
class AuditedPartition:
    """What a fresh reader found in one partition after the run."""

    start_offset: int
    """Where it began to read: the log's start at that moment."""
    next_offset: int
    """How far it came."""
    spans: tuple[Span, ...]
    jumps: tuple[tuple[int, int], ...] = ()
    """(from, to): offsets that left the log while it read."""


@dataclass(frozen=True)
class Audit:
    """What a fresh reader found in the whole log after the run."""

    partitions: Mapping[int, AuditedPartition]
    foreign: int = 0
    """Records without this run's identity."""
    corrupt: int = 0
    """Record batches with a wrong CRC-32C, and records that cannot be decoded, as they stand in the log."""


@dataclass(frozen=True)
class RunEvent:
    """Something that users were told of while a run went on: a task that is missing, a broker that is gone or back."""

    at_s: float
    """Since the start of the plan."""
    text: str


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
    topic_error: str = ""
    """What somebody else did to the topic while the run used it; empty where nobody did anything."""
    brokers_lost: tuple[str, ...] = ()
    """Which of several brokers died while the others went on, and why."""
    connection_limits: tuple[ConnectionLimit, ...] | None = None
    """What the brokers' settings limit connections to, where a client was not let in; None: it was not asked for, or
    may not be read."""
    audit: Audit | None = None
    audit_error: str = ""
    """Why the log was not audited."""
    machine: tuple[MachineSample, ...] = ()
    """The controller's, about once a second."""
    inside: BrokerInside = field(default_factory=BrokerInside)
    """What was seen inside of the brokers while the publisher sent."""
    cores: float = 1
    """CPUs of the controller's machine that Hydra's processes may use, by affinity and quota."""
    clock_error_s: float = 0.0
    """How far the clocks of two tasks may be apart after correction."""
    events: tuple[RunEvent, ...] = ()
    """In the order of time."""


def within_plan(order: RunOrder, evidence: Evidence) -> Evidence:
    """The same, with records that bear the run's tag and are beyond its plan as what they are: somebody else's."""
    planned = order.send_plan.records

    def own(partition: int, spans: Sequence[Span]) -> tuple[tuple[Span, ...], int]:
        """(what is within the plan, how many records are beyond)."""
        stop = order.partitioner.share(partition, planned)
        if all(sequence + records <= stop for _, sequence, records in spans):
            return tuple(spans), 0
        clipped = [(offset, sequence, min(records, stop - sequence)) for offset, sequence, records in spans]
        kept = tuple(span for span in clipped if span[2] > 0)
        return kept, sum(records for *_, records in spans) - sum(records for *_, records in kept)

    def own_client(client: ClientStats) -> ClientStats:
        found = [own(part.partition, part.spans) for part in client.partitions]
        foreign = sum(beyond for _, beyond in found)
        if not foreign:
            return client
        parts = (replace(part, spans=spans) for part, (spans, _) in zip(client.partitions, found, strict=True))
        return replace(client, partitions=tuple(parts), foreign=client.foreign + foreign)

    audit = evidence.audit
    if audit is not None:
        found = {number: own(number, part.spans) for number, part in audit.partitions.items()}
        partitions = {number: replace(part, spans=found[number][0]) for number, part in audit.partitions.items()}
        audit = replace(audit, partitions=partitions, foreign=audit.foreign + sum(more for _, more in found.values()))
    subscribers = (replace(stats, clients=tuple(map(own_client, stats.clients))) for stats in evidence.subscribers)
    return replace(evidence, subscribers=tuple(subscribers), audit=audit)
