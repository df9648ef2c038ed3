"""From what the witnesses saw to what it means.

Four witnesses: the publisher (a callback a record), the broker (log offsets before and after), each client (spans of
what it received), and an auditor (one fresh reader of the whole log after the run). Loss is a difference of *sets of
sequences*, never of counts: five lost and five duplicated records are not "no loss".

What loss is judged against, per partition:

- with acks, the sequences that the publisher saw acked;
- without (``acks=0``, or a publisher that did not live to report), what is in the broker's log, or was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra.accounting import timeline
from hydra.accounting.bottleneck import Circumstances, find_bottleneck
from hydra.accounting.client_accounting import Portion, portion_alone, portions_of_group
from hydra.accounting.latency import LatencyCounts, LatencyHistogram, LatencySummary
from hydra.accounting.loss import PartitionLog
from hydra.accounting.metrics import judge_thresholds
from hydra.accounting.partition_log import Audit, OffsetRange
from hydra.accounting.result import ClientResult, Result
from hydra.accounting.stats import ClientStats, MachineSample, PartitionStats, PublisherStats, SubscriberStats
from hydra.accounting.timeline import Point
from hydra.accounting.totals import Latencies, Totals
from hydra.accounting.verdict import Findings, find_verdict
from hydra.errors import AccountingError
from hydra.options.order import ClientAssignment


@dataclass(frozen=True)
class MissingTask:
    """A subscriber task that was configured and did not report."""

    task_id: str
    clients: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Terms:
    """What was asked of a run, as far as its result is judged by it."""

    acks: str
    asked_rate_per_s: float
    thresholds: tuple[str, ...] = ()
    sample_every_s: float = 1.0
    fetch_pace_ms: float = 0.0
    linger_ms: int = 0
    group_deals_out: bool = False
    """Whether all clients are members of one group that deals the partitions out among them."""


@dataclass(frozen=True)
class Evidence:
    """All that the witnesses say of one run."""

    terms: Terms
    assignments: tuple[ClientAssignment, ...]
    """Every client that was asked for."""
    publisher: PublisherStats | None
    publisher_trouble: str
    """Why there are no publisher stats, or what went wrong while it sent; empty when nothing did."""
    subscribers: tuple[SubscriberStats, ...]
    missing: tuple[MissingTask, ...]
    begin_offsets: Mapping[int, int]
    """Where each partition's log ended before the run."""
    log: Mapping[int, OffsetRange]
    """Each partition's log after the run."""
    audit: Audit | None = None
    audit_trouble: str = ""
    """Why the log was not audited."""
    machine: tuple[MachineSample, ...] = ()
    cores: int = 1
    """Of the controller's machine."""
    clock_error_s: float = 0.0
    notes: tuple[str, ...] = field(default=())
    """What the run itself noticed."""


def account(evidence: Evidence) -> Result:
    """What the run means.

    Raises:
        AccountingError: when an identity that holds in every run does not hold in this one.
    """
    logs = _logs(evidence)
    clients = _clients(evidence, logs)
    points = _points(evidence)
    sending = _while_sending(evidence, points)
    latency = _latency(evidence, clients)
    totals = _totals(evidence, logs, clients, sending)
    _check_identities(evidence, totals, clients)
    terms = evidence.terms
    thresholds = judge_thresholds(terms.thresholds, totals, latency, asked_rate_per_s=terms.asked_rate_per_s)
    bottleneck = find_bottleneck(
        Circumstances(
            totals=totals,
            latency=latency,
            points=sending,
            publisher=evidence.publisher,
            subscribers=evidence.subscribers,
            broken=[outcome for outcome in thresholds if not outcome.kept],
            asked_rate_per_s=terms.asked_rate_per_s,
            sample_every_s=terms.sample_every_s,
            cores=evidence.cores,
        )
    )
    found = Findings(
        totals=totals,
        latency=latency,
        bottleneck=bottleneck,
        thresholds=thresholds,
        acks=terms.acks,
        asked_rate_per_s=terms.asked_rate_per_s,
        publisher_reported=evidence.publisher is not None,
        publisher_trouble=evidence.publisher_trouble,
        missing=tuple((task.task_id, len(task.clients), task.reason) for task in evidence.missing),
        audited=evidence.audit is not None,
        audit_trouble=evidence.audit_trouble,
        corrupt_in_log=evidence.audit.corrupt if evidence.audit else 0,
        foreign_in_log=evidence.audit.foreign if evidence.audit else 0,
        notes=(*evidence.notes, *_rebalance_notes(clients)),
    )
    verdict, reasons, notes = find_verdict(found)
    return Result(verdict, reasons, notes, totals, latency, bottleneck, thresholds, points, clients)


def _rebalance_notes(clients: Sequence[ClientResult]) -> tuple[str, ...]:
    moved = [client.rebalances for client in clients if client.rebalances]
    if not moved:
        return ()
    note = (
        f"{len(moved)} of {len(clients)} clients had their partitions taken away by a rebalance of their group during"
        f" the run, up to {max(moved)} times, and read on from the offset where they or the group had been"
    )
    return (note,)


def _logs(evidence: Evidence) -> dict[int, PartitionLog]:
    """What is known of each partition's log."""
    outcomes = {part.partition: part for part in evidence.publisher.partitions} if evidence.publisher else {}
    audited = evidence.audit.partitions if evidence.audit else {}
    seen: dict[int, list[tuple[tuple[int, int, int], ...]]] = {}
    for stats in evidence.subscribers:
        for client in stats.clients:
            for part in client.partitions:
                seen.setdefault(part.partition, []).append(part.spans)
    return {
        partition: PartitionLog(
            offsets,
            begin_offset=evidence.begin_offsets.get(partition, 0),
            outcomes=outcomes.get(partition),
            has_acks=evidence.terms.acks != "0",
            audit=audited.get(partition),
            seen=seen.get(partition, ()),
        )
        for partition, offsets in evidence.log.items()
    }


def _clients(evidence: Evidence, logs: Mapping[int, PartitionLog]) -> tuple[ClientResult, ...]:
    reported = {client.name: (stats.task_id, client) for stats in evidence.subscribers for client in stats.clients}
    gone = {name: task for task in evidence.missing for name in task.clients}
    portions = _portions(evidence, logs)
    clients: list[ClientResult] = []
    for assignment in evidence.assignments:
        if assignment.name in reported:
            task_id, stats = reported[assignment.name]
            clients.append(_client(stats, task_id, portions[stats.name]))
        elif assignment.name in gone:
            task = gone[assignment.name]
            clients.append(ClientResult(assignment.name, task.task_id, "missing", trouble=task.reason))
        else:
            clients.append(ClientResult(assignment.name, "", "never_started", trouble="its task never started"))
    return tuple(clients)


def _portions(evidence: Evidence, logs: Mapping[int, PartitionLog]) -> dict[str, Portion]:
    """What each client that reported read, over all partitions, by its name."""
    found: dict[str, Portion] = {client.name: Portion() for stats in evidence.subscribers for client in stats.clients}
    if not evidence.terms.group_deals_out:
        for client in (client for stats in evidence.subscribers for client in stats.clients):
            for part in client.partitions:
                found[client.name] += portion_alone(client.name, part, logs.get(part.partition))
        return found
    readers: dict[int, list[tuple[str, PartitionStats]]] = {}
    for client in (client for stats in evidence.subscribers for client in stats.clients):
        for part in client.partitions:
            readers.setdefault(part.partition, []).append((client.name, part))
    for partition, log in logs.items():
        if partition not in readers:
            if evidence.missing or not found:
                continue  # it may have been a missing client's
            # Nobody was given it: that is the group's failure, and the first member tells it.
            readers[partition] = [(next(iter(found)), PartitionStats(partition, 0, 0, 0))]
        dealt = portions_of_group(readers[partition], log, members_missing=bool(evidence.missing))
        for name, portion in dealt.items():
            found[name] += portion
    return found


def _client(stats: ClientStats, task_id: str, whole: Portion) -> ClientResult:
    losses = whole.losses
    return ClientResult(
        name=stats.name,
        task_id=task_id,
        state="failing" if losses.lost else "ok",
        expected=whole.expected,
        distinct=whole.distinct,
        duplicates=whole.duplicates,
        reordered=whole.reordered,
        lost=losses.lost,
        broker_lost=losses.broker_lost,
        expired=losses.expired,
        unread=losses.unread,
        skipped=losses.skipped,
        ghost=whole.ghost,
        contradicted=whole.contradicted,
        foreign=stats.foreign,
        corrupt=stats.corrupt,
        fetches=stats.fetches,
        received_bytes=stats.received_bytes,
        rate_per_s=_rate_per_s(stats, whole.distinct),
        e2e=stats.e2e,
        rebalances=stats.rebalances,
        trouble=stats.error,
    )


def _rate_per_s(stats: ClientStats, distinct: int) -> float:
    """Distinct records a second over the receive window, which begins with the first arrival: those do not count."""
    if stats.receive_window_s <= 0:
        return 0.0
    return max(0, distinct - stats.first_arrival_records) / stats.receive_window_s


def _points(evidence: Evidence) -> tuple[Point, ...]:
    return timeline.points(
        evidence.publisher,
        evidence.subscribers,
        evidence.machine,
        every_s=evidence.terms.sample_every_s,
        cores=evidence.cores,
        readers=_readers(evidence),
        has_acks=evidence.terms.acks != "0",
    )


def _readers(evidence: Evidence) -> int:
    """How many clients read each partition."""
    if evidence.terms.group_deals_out:
        return 1
    read = [start.partition for client in evidence.assignments for start in client.starts]
    return len(read) // max(1, len(set(read)))


def _while_sending(evidence: Evidence, points: Sequence[Point]) -> Sequence[Point]:
    """The points of the time in which the publisher sent."""
    window_s = evidence.publisher.send_window_s if evidence.publisher else points[-1].at_s if points else 0.0
    return [point for point in points if point.at_s <= window_s + evidence.terms.sample_every_s / 2] or points


def _latency(evidence: Evidence, clients: Sequence[ClientResult]) -> Latencies:
    by_p99 = sorted((client.e2e.p99_ms, client.name) for client in clients if client.e2e.deliveries)
    p99s = [p99_ms for p99_ms, _ in by_p99] or [0.0]
    lag = [evidence.publisher.lag] if evidence.publisher else []
    return Latencies(
        e2e=_merged([stats.e2e for stats in evidence.subscribers]),
        service=_merged([stats.service for stats in evidence.subscribers]),
        publisher_lag=_merged(lag),
        client_p99_min_ms=p99s[0],
        client_p99_median_ms=p99s[len(p99s) // 2],
        client_p99_max_ms=p99s[-1],
        slowest_client=by_p99[-1][1] if by_p99 else "",
        clock_error_ms=evidence.clock_error_s * 1000,
        fetch_pace_ms=evidence.terms.fetch_pace_ms,
        linger_ms=evidence.terms.linger_ms,
    )


def _merged(histograms: Sequence[LatencyCounts]) -> LatencySummary:
    whole = LatencyHistogram()
    for histogram in histograms:
        whole.merge(histogram)
    return whole.summary()


def _totals(
    evidence: Evidence,
    logs: Mapping[int, PartitionLog],
    clients: Sequence[ClientResult],
    sending: Sequence[Point],
) -> Totals:
    publisher = evidence.publisher
    by_state = {state: [client for client in clients if client.state == state] for state in ("ok", "failing")}
    reporting = by_state["ok"] + by_state["failing"]
    expecting = [client for client in reporting if client.expected]
    window_s = publisher.send_window_s if publisher else 0.0
    counted = _counted(evidence, logs)
    usages = [stats.usage for stats in evidence.subscribers]
    cpu_s = sum(usage.cpu_percent / 100 * usage.window_s for usage in usages)
    delivered = sum(client.distinct for client in reporting)
    fetches = sum(client.fetches for client in reporting)
    sending_fetches = sum(point.fetches for point in sending)

    def total(name: str) -> int:
        return sum(getattr(client, name) for client in reporting)

    return Totals(
        clients_asked=len(clients),
        clients_ok=len(by_state["ok"]),
        clients_failing=len(by_state["failing"]),
        clients_missing=sum(1 for client in clients if client.state == "missing"),
        clients_never_started=sum(1 for client in clients if client.state == "never_started"),
        clients_reporting=len(reporting),
        clients_expecting=len(expecting),
        records_planned=publisher.planned if publisher else 0,
        records_attempted=publisher.attempted if publisher else 0,
        records_acked=publisher.acked if publisher else 0,
        records_failed=publisher.failed if publisher else 0,
        records_unknown=publisher.unknown if publisher else 0,
        records_appended=sum(log.appended for log in logs.values()),
        records_duplicated_in_log=sum(log.duplicated for log in logs.values()),
        records_counted=counted,
        records_delivered=delivered,
        records_duplicated=total("duplicates"),
        records_reordered=total("reordered"),
        records_lost=total("lost"),
        records_broker_lost=total("broker_lost"),
        records_expired=total("expired"),
        records_unread=total("unread"),
        records_skipped=total("skipped"),
        records_ghost=total("ghost"),
        records_foreign=total("foreign"),
        records_corrupt=total("corrupt"),
        offsets_contradicted=total("contradicted"),
        tx_rate_per_s=counted / window_s if window_s > 0 else 0.0,
        mean_distinct_records=_mean([client.distinct for client in reporting]),
        mean_rx_rate_per_s=_mean([client.rate_per_s for client in reporting]),
        mean_loss_percent=_mean([client.loss_percent for client in expecting]),
        mean_failing_rx_rate_per_s=_mean([client.rate_per_s for client in by_state["failing"]]),
        fetches=fetches,
        fetches_per_s=sending_fetches / sending[-1].at_s if sending and sending[-1].at_s > 0 else 0.0,
        records_per_fetch=(delivered + total("duplicates")) / fetches if fetches else 0.0,
        publisher_queue_full=publisher.queue_full if publisher else 0,
        publisher_cpu_percent=publisher.usage.cpu_percent if publisher else 0.0,
        publisher_host_tx_bytes_per_s=publisher.traffic.tx_bytes_per_s if publisher else 0.0,
        publisher_host_rx_bytes_per_s=publisher.traffic.rx_bytes_per_s if publisher else 0.0,
        subscriber_cpu_percent_max=max((usage.cpu_percent for usage in usages), default=0.0),
        subscriber_cpu_percent_sum=sum(usage.cpu_percent for usage in usages),
        subscriber_cpu_us_per_delivery=1_000_000 * cpu_s / delivered if delivered else 0.0,
        subscriber_rss_bytes_sum=sum(usage.rss_bytes for usage in usages),
        broker_cpu_percent=timeline.mean([point.broker_cpu_percent for point in sending]),
        broker_rss_bytes_max=max((sample.broker_rss_bytes or 0 for sample in evidence.machine), default=0) or None,
        machine_cpu_percent=timeline.mean([point.machine_cpu_percent for point in sending]),
    )


def _counted(evidence: Evidence, logs: Mapping[int, PartitionLog]) -> int:
    """Records that count as sent: acked ones, or what the log grew by where nothing was acked."""
    if evidence.publisher is not None and evidence.terms.acks != "0":
        return sum(log.expected_records for log in logs.values())
    return sum(log.appended for log in logs.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _check_identities(evidence: Evidence, totals: Totals, clients: Sequence[ClientResult]) -> None:
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
    for client in clients:
        if client.lost != client.broker_lost + client.expired + client.unread + client.skipped:
            raise AccountingError(f"{client.name}: lost {client.lost} is not the sum of its classes")
