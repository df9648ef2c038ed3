"""Pass, fail or indeterminate, and why: the sentences that a user reads."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.bottleneck import Bottleneck
from hydra.core.figures import Figures, LatencyFigures
from hydra.core.result import Verdict
from hydra.core.thresholds import ThresholdOutcome

KEPT_RATE_RATIO = 0.7
"""Below this share of the asked rate a run does not answer the question; the original's own bar."""


@dataclass(frozen=True)
class Findings:
    """What the verdict is made of."""

    figures: Figures
    latency: LatencyFigures
    bottleneck: Bottleneck
    thresholds: tuple[ThresholdOutcome, ...]
    acks: str
    asked_rate_per_s: float
    publisher_reported: bool
    publisher_trouble: str
    missing: tuple[tuple[str, int, str], ...]
    """(task id, number of its clients, reason)."""
    audited: bool
    audit_trouble: str
    corrupt_in_log: int
    foreign_in_log: int
    notes: tuple[str, ...]


def find_verdict(found: Findings) -> tuple[Verdict, tuple[str, ...], tuple[str, ...]]:
    """(verdict, reasons, notes).

    Loss is a fact, whoever was the limit, and fails a run. A broken threshold fails it only where the harness was not
    the limit: otherwise the run says nothing about the broker.
    """
    failures, doubts = _failures(found), _doubts(found)
    if found.bottleneck.harness_limited:
        doubts = (_harness(found.bottleneck), *_broken(found), *doubts)
    else:
        failures = (*failures, *_broken(found))
    if failures:
        return "fail", (*failures, *doubts), _notes(found)
    if doubts:
        return "indeterminate", doubts, _notes(found)
    return "pass", (_praise(found.figures),), _notes(found)


def _praise(figures: Figures) -> str:
    if figures.records_delivered < figures.records_counted * figures.clients_reporting:
        return f"each of {figures.records_counted} records was received by the client that reads its partition"
    return f"every client received every one of {figures.records_counted} records"


def _failures(found: Findings) -> tuple[str, ...]:
    figures = found.figures
    failures: list[str] = []
    classes = (
        (figures.records_broker_lost, "are not in the broker's log"),
        (figures.records_expired, "expired before they were read"),
        (figures.records_skipped, "were passed over while they were in the log"),
    )
    proven = figures.records_lost - figures.records_unread
    if proven:
        told = ", ".join(f"{count} {what}" for count, what in classes if count)
        failures.append(
            f"{proven} of {figures.records_lost + figures.records_delivered} deliveries were lost,"
            f" to {figures.clients_failing} of {figures.clients_reporting} clients: {told}"
        )
    if figures.records_corrupt:
        failures.append(f"{figures.records_corrupt} corrupt record batches were received")
    if figures.records_ghost:
        failures.append(f"{figures.records_ghost} received records are not in the log, by the publisher's word")
    if figures.offsets_contradicted:
        failures.append(f"at {figures.offsets_contradicted} offsets a client received another record than others did")
    if found.corrupt_in_log:
        failures.append(f"{found.corrupt_in_log} record batches in the log are corrupt")
    if found.publisher_reported and found.acks != "0" and figures.records_appended < figures.records_acked:
        failures.append(
            f"{figures.records_acked} records were acked, and the log grew by {figures.records_appended} only"
        )
    return tuple(failures)


def _broken(found: Findings) -> tuple[str, ...]:
    return tuple(
        f"{item.threshold} is broken: it was {item.value:,.5g} {item.unit}"
        for item in found.thresholds
        if not item.kept
    )


def _harness(bottleneck: Bottleneck) -> str:
    return f"the harness was the limit, not the broker: {'; '.join(bottleneck.evidence)} ({bottleneck.advice})"


def _doubts(found: Findings) -> tuple[str, ...]:
    """What keeps a run from being an answer."""
    figures = found.figures
    doubts: list[str] = []
    if not found.publisher_reported:
        doubts.append(f"the publisher did not report ({found.publisher_trouble}): what it sent is a lower bound")
    elif found.publisher_trouble:
        doubts.append(f"the publisher had trouble: {found.publisher_trouble}")
    doubts.extend(f"{clients} clients of {task_id} are missing: {reason}" for task_id, clients, reason in found.missing)
    if figures.clients_never_started:
        doubts.append(f"{figures.clients_never_started} clients never started")
    if figures.records_unread:
        doubts.append(f"{figures.records_unread} deliveries were still unread when the drain ended")
    doubts.extend(_publisher_doubts(found))
    if not figures.records_counted:
        doubts.append("no record reached the broker")
    elif found.publisher_reported and figures.tx_rate_per_s < KEPT_RATE_RATIO * found.asked_rate_per_s:
        doubts.append(
            f"the plan was not kept: {figures.tx_rate_per_s:.0f} of {found.asked_rate_per_s:.0f} records/s were sent"
        )
    if not figures.clients_reporting:
        doubts.append("no client reported")
    return tuple(doubts)


def _publisher_doubts(found: Findings) -> list[str]:
    """What became of records that were sent and not acked."""
    figures = found.figures
    doubts = []
    in_log = figures.records_appended - figures.records_duplicated_in_log - found.foreign_in_log
    if figures.records_unknown and found.acks != "0":
        doubts.append(f"{figures.records_unknown} records were never acknowledged: their fate is unknown")
    elif found.publisher_reported and in_log < figures.records_unknown:
        astray = figures.records_unknown - in_log
        doubts.append(f"{astray} records were sent and never reached the log, which acks=0 does not tell the publisher")
    if figures.records_failed:
        doubts.append(f"{figures.records_failed} records were refused by the broker")
    return doubts


def _notes(found: Findings) -> tuple[str, ...]:
    figures = found.figures
    notes: list[str] = list(found.notes)
    idle = figures.clients_reporting - figures.clients_expecting
    if idle and figures.records_counted:
        notes.append(f"{idle} of {figures.clients_reporting} clients had no partition to read")
    if found.acks == "0":
        notes.append("acks=0: nothing is acknowledged; loss is judged against the broker's log")
    if figures.records_duplicated:
        notes.append(f"{figures.records_duplicated} duplicate deliveries")
    if figures.records_duplicated_in_log:
        notes.append(f"{figures.records_duplicated_in_log} records stand in the log twice")
    if figures.records_reordered:
        notes.append(f"{figures.records_reordered} deliveries out of order")
    if figures.records_foreign:
        notes.append(f"{figures.records_foreign} records of someone else's were in the topic")
    if found.latency.e2e.negative or found.latency.service.negative:
        negative = found.latency.e2e.negative + found.latency.service.negative
        notes.append(f"{negative} latencies came out below zero and count as zero: two clocks do not agree")
    if not found.audited:
        notes.append(f"the log was not audited: {found.audit_trouble or 'nobody did'}")
    return tuple(notes)
