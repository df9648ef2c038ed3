"""Pass, fail or indeterminate, and why: the sentences that a user reads."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.evidence import Evidence
from hydra.accounting.result import Verdict
from hydra.accounting.totals import Latencies, ThresholdOutcome, Totals
from hydra.options.order import RunOrder

ANSWER_RATE_RATIO = 0.7
"""Below this share of the asked rate a run does not answer the question; the original's own bar."""


def find_verdict(
    order: RunOrder,
    evidence: Evidence,
    totals: Totals,
    latency: Latencies,
    *,
    bottleneck: Bottleneck,
    thresholds: Sequence[ThresholdOutcome],
) -> tuple[Verdict, tuple[str, ...], tuple[str, ...]]:
    """(verdict, reasons, notes).

    Loss is a fact, whoever was the limit, and fails a run. A broken threshold fails it only where the harness was not
    the limit: otherwise the run says nothing about the broker.
    """
    failures, doubts = _failures(order, evidence, totals), _doubts(order, evidence, totals)
    broken = [
        f"{item.threshold} is broken: it was {item.value:,.5g} {item.unit}" for item in thresholds if not item.kept
    ]
    if bottleneck.harness_limited:
        doubts = [_harness_limited(bottleneck), *broken, *doubts]
    else:
        failures += broken
    notes = tuple(_notes(order, evidence, totals, latency))
    if failures:
        return "fail", (*failures, *doubts), notes
    if doubts:
        return "indeterminate", tuple(doubts), notes
    return "pass", (_praise(totals),), notes


def _praise(totals: Totals) -> str:
    if totals.records_delivered < totals.records_counted * totals.clients_reporting:
        return f"each of {totals.records_counted} records was received by the client that reads its partition"
    return f"every client received every one of {totals.records_counted} records"


def _failures(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What makes a run fail."""
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
        failures.append(f"{totals.records_ghost} received records are not in the log, according to the publisher")
    if totals.offsets_contradicted:
        failures.append(f"at {totals.offsets_contradicted} offsets a client received another record than others did")
    if evidence.audit is not None and evidence.audit.corrupt:
        failures.append(f"{evidence.audit.corrupt} record batches in the log are corrupt")
    if evidence.publisher is not None and order.has_acks and totals.records_appended < totals.records_acked:
        failures.append(
            f"{totals.records_acked} records were acked, and the log grew by {totals.records_appended} only"
        )
    return failures


def _harness_limited(bottleneck: Bottleneck) -> str:
    return f"the harness was the limit, not the broker: {'; '.join(bottleneck.evidence)} ({bottleneck.advice})"


def _doubts(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What keeps a run from being an answer."""
    doubts: list[str] = []
    if evidence.publisher is None:
        doubts.append(f"the publisher did not report ({evidence.publisher_error}): what it sent is a lower bound")
    elif evidence.publisher_error:
        doubts.append(f"the publisher failed: {evidence.publisher_error}")
    for task_id, reason in evidence.missing.items():
        doubts.append(f"{len(order.clients_of(task_id))} clients of {task_id} are missing: {reason}")
    if totals.clients_never_started:
        doubts.append(f"{totals.clients_never_started} clients never started")
    if totals.records_unread:
        doubts.append(f"{totals.records_unread} deliveries were still unread when the drain ended")
    doubts.extend(_publisher_doubts(order, evidence, totals))
    if not totals.records_counted:
        doubts.append("no record reached the broker")
    elif evidence.publisher is not None and totals.tx_rate_per_s < ANSWER_RATE_RATIO * order.options.msg_rate:
        doubts.append(
            f"the plan was not kept: {totals.tx_rate_per_s:.0f} of {order.options.msg_rate:.0f} records/s were sent"
        )
    if not totals.clients_reporting:
        doubts.append("no client reported")
    return doubts


def _publisher_doubts(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What became of records that were sent and not acked."""
    doubts = []
    foreign = evidence.audit.foreign if evidence.audit is not None else 0
    in_log = totals.records_appended - totals.records_duplicated_in_log - foreign
    if totals.records_unknown and order.has_acks:
        doubts.append(f"{totals.records_unknown} records were never acknowledged: their fate is unknown")
    elif evidence.publisher is not None and in_log < totals.records_unknown:
        astray = totals.records_unknown - in_log
        doubts.append(f"{astray} records were sent and never reached the log, which acks=0 does not tell the publisher")
    if totals.records_failed:
        doubts.append(f"{totals.records_failed} records were refused by the broker")
    return doubts


def _notes(order: RunOrder, evidence: Evidence, totals: Totals, latency: Latencies) -> list[str]:
    """What a reader should know beside the verdict."""
    notes: list[str] = []
    rebalances = [client.rebalances for stats in evidence.subscribers for client in stats.clients if client.rebalances]
    if rebalances:
        notes.append(
            f"{len(rebalances)} of {totals.clients_asked} clients had their partitions taken away by a rebalance of"
            f" their group during the run, up to {max(rebalances)} times, and read on from the offset where they or the"
            " group had been"
        )
    idle = totals.clients_reporting - totals.clients_expecting
    if idle and totals.records_counted:
        notes.append(f"{idle} of {totals.clients_reporting} clients had no partition to read")
    if not order.has_acks:
        notes.append("acks=0: nothing is acknowledged; loss is judged against the broker's log")
    if totals.records_duplicated:
        notes.append(f"{totals.records_duplicated} duplicate deliveries")
    if totals.records_duplicated_in_log:
        notes.append(f"{totals.records_duplicated_in_log} records stand in the log twice")
    if totals.records_reordered:
        notes.append(f"{totals.records_reordered} deliveries out of order")
    if totals.records_foreign:
        notes.append(f"{totals.records_foreign} records of someone else's were in the topic")
    if negative := latency.e2e.negative + latency.service.negative:
        notes.append(f"{negative} latencies came out below zero and count as zero: two clocks do not agree")
    if evidence.audit is None:
        notes.append(f"the log was not audited: {evidence.audit_error or 'nobody did'}")
    return notes
