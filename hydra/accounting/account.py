"""From what the witnesses saw to what it means.

Four witnesses: the publisher (a callback a record), the broker (log offsets before and after), each client (spans of
what it received), and an auditor (one fresh reader of the whole log after the run). Loss is a difference of *sets of
sequences*, never of counts: five lost and five duplicated records are not "no loss".

Per partition, loss is judged against

- with acks, the sequences that the publisher saw acked;
- without (``acks=0``, or a publisher that did not live to report), what is or was in the broker's log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from hydra.accounting import timeline
from hydra.accounting.bottleneck import find_bottleneck
from hydra.accounting.client_accounting import client_results
from hydra.accounting.delivery_latency import sent_before_planned
from hydra.accounting.evidence import Evidence, within_plan
from hydra.accounting.intervals import Span
from hydra.accounting.latency import LatencyHistogram, merged
from hydra.accounting.loss import PartitionLog
from hydra.accounting.percentile_curve import LatencyCurves, percentile_curve
from hydra.accounting.result import ClientResult, Result, find_verdict
from hydra.accounting.stats import PublisherStats, SubscriberStats
from hydra.accounting.timeline import TimelinePoint
from hydra.accounting.totals import Latencies, Totals, judge_thresholds
from hydra.errors import AccountingError
from hydra.options.order import RunOrder

SUMMED = {
    "records_delivered": "distinct",
    "records_duplicated": "duplicates",
    "records_reordered": "reordered",
    "records_lost": "lost",
    "records_broker_lost": "broker_lost",
    "records_expired": "expired",
    "records_unread": "unread",
    "records_skipped": "skipped",
    "records_ghost": "ghost",
    "records_foreign": "foreign",
    "records_corrupt": "corrupt",
    "offsets_contradicted": "contradicted",
    "fetches": "fetches",
}
"""Totals that are sums over the clients that reported, with the count of a client that each one adds up."""


def account(order: RunOrder, evidence: Evidence) -> Result:
    """What the run means; raises AccountingError when an identity that holds in every run does not hold in this one."""
    evidence = within_plan(order, evidence)
    if evidence.topic_error:  # what was read of the log may be another one's
        evidence = replace(evidence, begin_offsets={}, log={}, audit=None)
    logs = _logs(order, evidence)
    clients = client_results(order, evidence, logs)
    points = timeline.points(order, evidence)
    sending = _while_sending(order, evidence, points)
    latency = _latency(order, evidence, clients)
    totals = _totals(order, evidence, logs, clients, sending)
    _check_identities(evidence, totals)
    thresholds = judge_thresholds(order.options, totals, latency)
    bottleneck = find_bottleneck(order, evidence, totals, latency, points=sending, thresholds=thresholds)
    if evidence.topic_error:
        bottleneck = replace(bottleneck, limit="unknown", harness_limited=False, evidence=(evidence.topic_error,))
    verdict, reasons, notes = find_verdict(
        order, evidence, totals, latency, bottleneck=bottleneck, thresholds=thresholds
    )
    return Result(verdict, reasons, notes, totals, latency, bottleneck, thresholds, points, clients)


def _logs(order: RunOrder, evidence: Evidence) -> dict[int, PartitionLog]:
    """What is known of each partition's log."""
    outcomes = {part.partition: part for part in evidence.publisher.partitions} if evidence.publisher else {}
    audited = evidence.audit.partitions if evidence.audit else {}
    seen: dict[int, dict[tuple[Span, ...], None]] = {}
    """Most of thousands of clients have seen the very same, which is put together once."""
    for stats in evidence.subscribers:
        for client in stats.clients:
            for part in client.partitions:
                seen.setdefault(part.partition, {})[part.spans] = None
    return {
        partition: PartitionLog(
            offsets,
            begin_offset=evidence.begin_offsets.get(partition, 0),
            outcomes=outcomes.get(partition),
            has_acks=order.has_acks,
            audit=audited.get(partition),
            seen=seen.get(partition, ()),
            shared=order.options.topic is not None,
        )
        for partition, offsets in evidence.log.items()
    }


def _while_sending(order: RunOrder, evidence: Evidence, points: Sequence[TimelinePoint]) -> Sequence[TimelinePoint]:
    """The points of the time in which the publisher sent."""
    window_s = evidence.publisher.send_window_s if evidence.publisher else points[-1].at_s if points else 0.0
    return [point for point in points if point.at_s <= window_s + order.sample_every_s / 2] or points


def _latency(order: RunOrder, evidence: Evidence, clients: Sequence[ClientResult]) -> Latencies:
    by_p99 = sorted((client.e2e.p99_ms, client.name) for client in clients if client.e2e.deliveries)
    p99s = [p99_ms for p99_ms, _ in by_p99] or [0.0]
    publisher = [evidence.publisher] if evidence.publisher else []
    e2e = merged(stats.e2e for stats in evidence.subscribers)
    histograms = {
        "e2e": e2e,
        "service": _service(order, evidence, e2e),
        "unpaced": merged(stats.unpaced for stats in evidence.subscribers),
        "publisher_lag": merged(stats.lag for stats in publisher),
        "ack": merged(stats.ack for stats in publisher),
    }
    summaries: dict[str, Any] = {name: histogram.summary() for name, histogram in histograms.items()}
    return Latencies(
        **summaries,
        curves=LatencyCurves(**{name: percentile_curve(histogram) for name, histogram in histograms.items()}),
        client_p99_min_ms=p99s[0],
        client_p99_median_ms=p99s[len(p99s) // 2],
        client_p99_max_ms=p99s[-1],
        slowest_client=by_p99[-1][1] if by_p99 else "",
        clock_error_ms=evidence.clock_error_s * 1000,
    )


def _service(order: RunOrder, evidence: Evidence, e2e: LatencyHistogram) -> LatencyHistogram:
    """From when records were sent; nothing where their timestamps do not tell that."""
    # Against the broker's stamps it would be another figure, and another one with each driver.
    known = () if order.topic_facts.hides_send_time else evidence.subscribers
    found = merged(stats.service for stats in known)
    return merged(()) if sent_before_planned(found.summary(), e2e.summary()) else found


def _totals(
    order: RunOrder,
    evidence: Evidence,
    logs: Mapping[int, PartitionLog],
    clients: Sequence[ClientResult],
    sending: Sequence[TimelinePoint],
) -> Totals:
    counted = _counted(order, evidence, logs)
    return Totals(
        records_appended=sum(log.appended for log in logs.values()),
        records_duplicated_in_log=sum(log.duplicated for log in logs.values()),
        records_counted=counted,
        **_unknown_totals(order, evidence, logs),
        fetches_per_s=_ratio(sum(point.fetches for point in sending), sending[-1].at_s if sending else 0.0),
        **_publisher_totals(evidence.publisher, counted),
        **_client_totals(clients),
        records_per_fetch=_records_per_fetch(evidence.subscribers),
        **_usage_totals(evidence, clients, sending),
    )


def _publisher_totals(publisher: PublisherStats | None, counted: int) -> dict[str, Any]:
    """What the publisher sent, and used; all zero where it did not report."""
    return {
        "records_planned": publisher.planned if publisher else 0,
        "records_attempted": publisher.attempted if publisher else 0,
        "records_acked": publisher.acked if publisher else 0,
        "records_failed": publisher.failed if publisher else 0,
        "records_unknown": publisher.unknown if publisher else 0,
        "tx_rate_per_s": _ratio(counted, publisher.send_window_s if publisher else 0.0),
        "publisher_queue_full": publisher.queue_full if publisher else 0,
        "publisher_cpu_percent": publisher.usage.cpu_percent if publisher else 0.0,
        "publisher_host_tx_bytes_per_s": publisher.traffic.tx_bytes_per_s if publisher else 0.0,
        "publisher_host_rx_bytes_per_s": publisher.traffic.rx_bytes_per_s if publisher else 0.0,
        "publisher_throttled_s": publisher.throttled_s if publisher else 0.0,
    }


def _unknown_totals(order: RunOrder, evidence: Evidence, logs: Mapping[int, PartitionLog]) -> dict[str, int]:
    """What the log tells of records whose outcome the publisher does not know; nothing without acks."""
    if not order.has_acks:
        return {}
    found = [log.unacked() for log in logs.values()]
    # A corrupt batch holds records that nobody can name.
    corrupt = evidence.audit is not None and evidence.audit.corrupt > 0
    return {
        "records_unknown_in_log": sum(in_log for in_log, _ in found),
        "records_unknown_absent": 0 if corrupt else sum(absent for _, absent in found),
    }


def _client_totals(clients: Sequence[ClientResult]) -> dict[str, Any]:
    """How many clients came to what, and what all of them received and lost."""
    states = Counter(client.state for client in clients)
    reporting = [client for client in clients if client.state in {"ok", "failing"}]
    expecting = [client for client in reporting if client.expected]
    sums = {name: sum(getattr(client, counted) for client in reporting) for name, counted in SUMMED.items()}
    return {
        "clients_asked": len(clients),
        "clients_ok": states["ok"],
        "clients_failing": states["failing"],
        "clients_missing": states["missing"],
        "clients_never_started": states["never_started"],
        "clients_reporting": len(reporting),
        "clients_expecting": len(expecting),
        **sums,
        "mean_distinct_records": _mean([client.distinct for client in reporting]),
        "mean_rx_rate_per_s": _known_mean([client.rate_per_s for client in reporting]),
        "mean_loss_percent": _mean([client.loss_percent for client in expecting]),
        "mean_failing_rx_rate_per_s": _known_mean(
            [client.rate_per_s for client in reporting if client.state == "failing"]
        )
        or 0.0,
        "clients_throttled_s": sum(client.throttled_s for client in reporting),
        "clients_without_rate": sum(client.rate_per_s is None for client in reporting),
    }


def _records_per_fetch(subscribers: Sequence[SubscriberStats]) -> float:
    """Since the plan started: before that, clients ask for a minute, maybe, for what is not there yet."""
    spans = [(stats.samples[0], stats.samples[-1]) for stats in subscribers if stats.samples]
    received = sum(last.received - first.received for first, last in spans)
    return _ratio(received, sum(last.fetches - first.fetches for first, last in spans))


def _usage_totals(
    evidence: Evidence, clients: Sequence[ClientResult], sending: Sequence[TimelinePoint]
) -> dict[str, Any]:
    """What subscribers, broker and machine used."""
    usages = [stats.usage for stats in evidence.subscribers]
    cpu_s = sum(usage.cpu_percent / 100 * usage.window_s for usage in usages)
    return {
        "subscriber_cpu_percent_max": max((usage.cpu_percent for usage in usages), default=0.0),
        "subscriber_cpu_percent_sum": sum(usage.cpu_percent for usage in usages),
        "subscriber_cpu_us_per_delivery": _ratio(1_000_000 * cpu_s, sum(client.distinct for client in clients)),
        "subscriber_rss_bytes_sum": sum(usage.rss_bytes for usage in usages),
        "broker_cpu_percent": _known_mean([point.broker_cpu_percent for point in sending]),
        "broker_rss_bytes_max": max((sample.broker_rss_bytes or 0 for sample in evidence.machine), default=0) or None,
        "machine_cpu_percent": _known_mean([point.machine_cpu_percent for point in sending]),
    }


def _ratio(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0


def _counted(order: RunOrder, evidence: Evidence, logs: Mapping[int, PartitionLog]) -> int:
    """Records that count as sent: acked ones, or those of the run that the log got where nothing was acked."""
    if evidence.topic_error:
        return evidence.publisher.acked if evidence.publisher is not None else 0
    expected = sum(log.expected_records for log in logs.values())
    if evidence.publisher is None or order.has_acks:
        return expected
    # Where nobody read the whole log, records that nobody can name may be somebody else's.
    return min(expected, evidence.publisher.attempted - evidence.publisher.failed)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of those values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _check_identities(evidence: Evidence, totals: Totals) -> None:
    """The identities that hold in every run; a breach is a bug of ours and says so."""
    asked = totals.clients_ok + totals.clients_failing + totals.clients_missing + totals.clients_never_started
    if asked != totals.clients_asked:
        raise AccountingError(f"{totals.clients_asked} clients were asked for and {asked} are accounted for")
    publisher = evidence.publisher
    if publisher is not None and publisher.attempted != publisher.acked + publisher.failed + publisher.unknown:
        raise AccountingError(
            f"attempted {publisher.attempted} is not acked {publisher.acked} + failed {publisher.failed}"
            f" + unknown {publisher.unknown}"
        )
    classes = totals.records_broker_lost + totals.records_expired + totals.records_unread + totals.records_skipped
    if totals.records_lost != classes:
        raise AccountingError(f"lost {totals.records_lost} is not the sum of its classes, {classes}")
