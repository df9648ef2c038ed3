"""Pass, fail or indeterminate, and why: the sentences that a user reads."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.metrics import ThresholdOutcome
from hydra.accounting.result import Verdict
from hydra.accounting.totals import Latencies, Totals

KEPT_RATE_RATIO = 0.7
"""Below this share of the asked rate a run does not answer the question; the original's own bar."""


@dataclass(frozen=True)
class Findings:
    """What the verdict is made of."""

    totals: Totals
    latency: Latencies
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
    return "pass", (_praise(found.totals),), _notes(found)


def _praise(totals: Totals) -> str:
    if totals.records_delivered < totals.records_counted * totals.clients_reporting:
        return f"each of {totals.records_counted} records was received by the client that reads its partition"
    return f"every client received every one of {totals.records_counted} records"


def _failures(found: Findings) -> tuple[str, ...]:
    totals = found.totals
    failures: list[str] = []
    classes = (
        (totals.records_broker_lost, "are not in the broker's log"),
        (totals.records_expired, "expired before they were read"),
        (totals.records_skipped, "were passed over while they were in the log"),
    )
    proven = totals.records_lost - totals.records_unread
    if proven:
        told = ", ".join(f"{count} {what}" for count, what in classes if count)
        failures.append(
            f"{proven} of {totals.records_lost + totals.records_delivered} deliveries were lost,"
            f" to {totals.clients_failing} of {totals.clients_reporting} clients: {told}"
        )
    if totals.records_corrupt:
        failures.append(f"{totals.records_corrupt} corrupt record batches were received")
    if totals.records_ghost:
        failures.append(f"{totals.records_ghost} received records are not in the log, by the publisher's word")
    if totals.offsets_contradicted:
        failures.append(f"at {totals.offsets_contradicted} offsets a client received another record than others did")
    if found.corrupt_in_log:
        failures.append(f"{found.corrupt_in_log} record batches in the log are corrupt")
    if found.publisher_reported and found.acks != "0" and totals.records_appended < totals.records_acked:
        failures.append(
            f"{totals.records_acked} records were acked, and the log grew by {totals.records_appended} only"
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
    totals = found.totals
    doubts: list[str] = []
    if not found.publisher_reported:
        doubts.append(f"the publisher did not report ({found.publisher_trouble}): what it sent is a lower bound")
    elif found.publisher_trouble:
        doubts.append(f"the publisher had trouble: {found.publisher_trouble}")
    doubts.extend(f"{clients} clients of {task_id} are missing: {reason}" for task_id, clients, reason in found.missing)
    if totals.clients_never_started:
        doubts.append(f"{totals.clients_never_started} clients never started")
    if totals.records_unread:
        doubts.append(f"{totals.records_unread} deliveries were still unread when the drain ended")
    doubts.extend(_publisher_doubts(found))
    if not totals.records_counted:
        doubts.append("no record reached the broker")
    elif found.publisher_reported and totals.tx_rate_per_s < KEPT_RATE_RATIO * found.asked_rate_per_s:
        doubts.append(
            f"the plan was not kept: {totals.tx_rate_per_s:.0f} of {found.asked_rate_per_s:.0f} records/s were sent"
        )
    if not totals.clients_reporting:
        doubts.append("no client reported")
    return tuple(doubts)


def _publisher_doubts(found: Findings) -> list[str]:
    """What became of records that were sent and not acked."""
    totals = found.totals
    doubts = []
    in_log = totals.records_appended - totals.records_duplicated_in_log - found.foreign_in_log
    if totals.records_unknown and found.acks != "0":
        doubts.append(f"{totals.records_unknown} records were never acknowledged: their fate is unknown")
    elif found.publisher_reported and in_log < totals.records_unknown:
        astray = totals.records_unknown - in_log
        doubts.append(f"{astray} records were sent and never reached the log, which acks=0 does not tell the publisher")
    if totals.records_failed:
        doubts.append(f"{totals.records_failed} records were refused by the broker")
    return doubts


def _notes(found: Findings) -> tuple[str, ...]:
    totals = found.totals
    notes: list[str] = list(found.notes)
    idle = totals.clients_reporting - totals.clients_expecting
    if idle and totals.records_counted:
        notes.append(f"{idle} of {totals.clients_reporting} clients had no partition to read")
    if found.acks == "0":
        notes.append("acks=0: nothing is acknowledged; loss is judged against the broker's log")
    if totals.records_duplicated:
        notes.append(f"{totals.records_duplicated} duplicate deliveries")
    if totals.records_duplicated_in_log:
        notes.append(f"{totals.records_duplicated_in_log} records stand in the log twice")
    if totals.records_reordered:
        notes.append(f"{totals.records_reordered} deliveries out of order")
    if totals.records_foreign:
        notes.append(f"{totals.records_foreign} records of someone else's were in the topic")
    if found.latency.e2e.negative or found.latency.service.negative:
        negative = found.latency.e2e.negative + found.latency.service.negative
        notes.append(f"{negative} latencies came out below zero and count as zero: two clocks do not agree")
    if not found.audited:
        notes.append(f"the log was not audited: {found.audit_trouble or 'nobody did'}")
    return tuple(notes)
