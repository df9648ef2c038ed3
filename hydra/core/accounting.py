"""From what the witnesses counted to what it means.

Three witnesses: the publisher (a callback a record), the broker (log offsets before and after), each client (intervals
of the sequences that it received). Loss is a difference of *sets of sequences*, never of counts: five lost and five
duplicated records are not "no loss".

What loss is judged against, per partition:

- with acks, the sequences that the publisher saw acked;
- without (``acks=0``, or a publisher that did not live to report), what the broker's log grew by. Which sequences those
  are is known from the union of what all clients received; appended records that no client received were lost to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.configuration import ClientAssignment
from hydra.core.errors import AccountingError
from hydra.core.intervals import IntervalSet
from hydra.core.result import ClientResult, Figures, Result, Verdict
from hydra.core.stats import ClientStats, PublisherStats, SubscriberStats

KEPT_RATE_RATIO = 0.7
"""Below this share of the asked rate a run does not answer the question; the original's own bar."""


@dataclass(frozen=True)
class MissingTask:
    """A subscriber task that was configured and did not report."""

    task_id: str
    clients: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Evidence:
    """All that the witnesses say of one run."""

    assignments: tuple[ClientAssignment, ...]
    """Every client that was asked for."""
    publisher: PublisherStats | None
    publisher_trouble: str
    """Why there are no publisher stats, or what went wrong while it sent; empty when nothing did."""
    subscribers: tuple[SubscriberStats, ...]
    missing: tuple[MissingTask, ...]
    appended: Mapping[int, int]
    """What each partition's log grew by."""
    end_offsets: Mapping[int, int]
    """Where each partition's log ended."""
    asked_rate_per_s: float
    acks: str


@dataclass(frozen=True)
class _Reference:
    """What a reader of one partition should have received."""

    known: IntervalSet
    unseen: int = 0
    """Appended records whose sequences nobody can name, since no client received them."""

    @property
    def records(self) -> int:
        return len(self.known) + self.unseen


def account(evidence: Evidence) -> Result:
    """What the run means."""
    references = _references(evidence)
    reported = {client.name: (stats.task_id, client) for stats in evidence.subscribers for client in stats.clients}
    gone = {name: task for task in evidence.missing for name in task.clients}
    clients: list[ClientResult] = []
    for assignment in evidence.assignments:
        if assignment.name in reported:
            task_id, stats = reported[assignment.name]
            clients.append(_client(stats, task_id, references, evidence.end_offsets))
        elif assignment.name in gone:
            task = gone[assignment.name]
            clients.append(ClientResult(assignment.name, task.task_id, "missing", trouble=task.reason))
        else:
            clients.append(ClientResult(assignment.name, "", "never_started", trouble="its task never started"))
    figures = _figures(evidence, clients, sum(reference.records for reference in references.values()))
    _check_identities(evidence, figures, clients)
    verdict, reasons = _verdict(evidence, figures)
    return Result(verdict, reasons, _notes(evidence, figures), figures, tuple(clients))


def _references(evidence: Evidence) -> dict[int, _Reference]:
    """Per partition, what its readers should have received."""
    publisher = evidence.publisher
    if publisher is not None and evidence.acks != "0":
        return {part.partition: _Reference(IntervalSet(part.acked)) for part in publisher.partitions}
    union: dict[int, IntervalSet] = {partition: IntervalSet() for partition in evidence.appended}
    for stats in evidence.subscribers:
        for client in stats.clients:
            for part in client.partitions:
                for start, stop in part.sequences:
                    union.setdefault(part.partition, IntervalSet()).add(start, stop)
    return {
        partition: _Reference(known, max(0, evidence.appended.get(partition, 0) - len(known)))
        for partition, known in union.items()
    }


def _client(
    stats: ClientStats, task_id: str, references: Mapping[int, _Reference], end_offsets: Mapping[int, int]
) -> ClientResult:
    expected = lost = unread = 0
    for part in stats.partitions:
        reference = references.get(part.partition)
        if reference is None:
            continue
        gap = len(reference.known.minus(IntervalSet(part.sequences))) + reference.unseen
        expected += reference.records
        lost += gap
        beyond = max(0, end_offsets.get(part.partition, 0) - part.next_offset)
        # What nobody can name may also be a retry that stands in the log twice, where the client saw duplicates.
        unread += min(gap, beyond + min(reference.unseen, part.duplicates))
    return ClientResult(
        name=stats.name,
        task_id=task_id,
        state="failing" if lost else "ok",
        expected=expected,
        distinct=stats.distinct,
        duplicates=stats.received - stats.distinct,
        reordered=sum(part.reordered for part in stats.partitions),
        lost=lost,
        unread=unread,
        foreign=stats.foreign,
        corrupt=stats.corrupt,
        fetches=stats.fetches,
        received_bytes=stats.received_bytes,
        rate_per_s=_rate_per_s(stats),
        trouble=stats.error,
    )


def _rate_per_s(stats: ClientStats) -> float:
    """Distinct records a second over the receive window, which begins with the first arrival: those do not count."""
    if stats.receive_window_s <= 0:
        return 0.0
    return max(0, stats.distinct - stats.first_arrival_records) / stats.receive_window_s


def _figures(evidence: Evidence, clients: Sequence[ClientResult], counted: int) -> Figures:
    publisher = evidence.publisher
    by_state = {state: [client for client in clients if client.state == state] for state in ("ok", "failing")}
    reporting = by_state["ok"] + by_state["failing"]
    expecting = [client for client in reporting if client.expected]
    window_s = publisher.send_window_s if publisher else 0.0
    usages = [stats.usage.cpu_percent for stats in evidence.subscribers]
    return Figures(
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
        records_appended=sum(evidence.appended.values()),
        records_counted=_counted(evidence, counted),
        records_delivered=sum(client.distinct for client in reporting),
        records_duplicated=sum(client.duplicates for client in reporting),
        records_reordered=sum(client.reordered for client in reporting),
        records_lost=sum(client.lost for client in reporting),
        records_unread=sum(client.unread for client in reporting),
        records_foreign=sum(client.foreign for client in reporting),
        records_corrupt=sum(client.corrupt for client in reporting),
        tx_rate_per_s=_counted(evidence, counted) / window_s if window_s > 0 else 0.0,
        mean_distinct_records=_mean([client.distinct for client in reporting]),
        mean_rx_rate_per_s=_mean([client.rate_per_s for client in reporting]),
        mean_loss_percent=_mean([client.loss_percent for client in expecting]),
        mean_failing_rx_rate_per_s=_mean([client.rate_per_s for client in by_state["failing"]]),
        publisher_lag_max_s=publisher.lag_max_s if publisher else 0.0,
        publisher_cpu_percent=publisher.usage.cpu_percent if publisher else 0.0,
        publisher_host_tx_bytes_per_s=publisher.traffic.tx_bytes_per_s if publisher else 0.0,
        publisher_host_rx_bytes_per_s=publisher.traffic.rx_bytes_per_s if publisher else 0.0,
        subscriber_cpu_percent_max=max(usages, default=0.0),
        subscriber_cpu_percent_sum=sum(usages),
        fetches=sum(client.fetches for client in reporting),
    )


def _counted(evidence: Evidence, referenced: int) -> int:
    """Records that count as sent: acked ones, or what the log grew by where nothing was acked."""
    if evidence.publisher is not None and evidence.acks != "0":
        return referenced
    return sum(evidence.appended.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _check_identities(evidence: Evidence, figures: Figures, clients: Sequence[ClientResult]) -> None:
    """The identities that hold in every run; a breach is a bug of ours and says so."""
    asked = figures.clients_ok + figures.clients_failing + figures.clients_missing + figures.clients_never_started
    if asked != figures.clients_asked:
        raise AccountingError(f"{figures.clients_asked} clients were asked for and {asked} are accounted for")
    publisher = evidence.publisher
    if publisher is not None and publisher.attempted != publisher.acked + publisher.failed + publisher.unknown:
        raise AccountingError(
            f"attempted {publisher.attempted} is not acked {publisher.acked} + failed {publisher.failed}"
            f" + unknown {publisher.unknown}"
        )
    for client in clients:
        if client.unread > client.lost or client.lost > client.expected:
            raise AccountingError(f"{client.name}: unread {client.unread}, lost {client.lost} of {client.expected}")


def _verdict(evidence: Evidence, figures: Figures) -> tuple[Verdict, tuple[str, ...]]:
    proven = figures.records_lost - figures.records_unread
    failures: list[str] = []
    if proven:
        failures.append(
            f"{proven} of {figures.records_lost + figures.records_delivered} deliveries were lost,"
            f" to {figures.clients_failing} of {figures.clients_reporting} clients"
        )
    if figures.records_corrupt:
        failures.append(f"{figures.records_corrupt} corrupt record batches were received")
    doubts = _doubts(evidence, figures)
    if failures:
        return "fail", (*failures, *doubts)
    if doubts:
        return "indeterminate", doubts
    return "pass", (_praise(figures),)


def _praise(figures: Figures) -> str:
    if figures.records_delivered < figures.records_counted * figures.clients_reporting:
        return f"each of {figures.records_counted} records was received by the client that reads its partition"
    return f"every client received every one of {figures.records_counted} records"


def _doubts(evidence: Evidence, figures: Figures) -> tuple[str, ...]:
    """What keeps a run from being an answer."""
    doubts: list[str] = []
    if evidence.publisher is None:
        doubts.append(f"the publisher did not report ({evidence.publisher_trouble}): what it sent is a lower bound")
    elif evidence.publisher_trouble:
        doubts.append(f"the publisher had trouble: {evidence.publisher_trouble}")
    doubts.extend(
        f"{len(task.clients)} clients of {task.task_id} are missing: {task.reason}" for task in evidence.missing
    )
    if figures.clients_never_started:
        doubts.append(f"{figures.clients_never_started} clients never started")
    if figures.records_unread:
        doubts.append(f"{figures.records_unread} deliveries were still unread when the drain ended")
    if figures.records_unknown and evidence.acks != "0":
        doubts.append(f"{figures.records_unknown} records were never acknowledged: their fate is unknown")
    elif figures.records_appended < figures.records_unknown:
        astray = figures.records_unknown - figures.records_appended
        doubts.append(f"{astray} records were sent and never reached the log, which acks=0 does not tell the publisher")
    if figures.records_failed:
        doubts.append(f"{figures.records_failed} records were refused by the broker")
    if not figures.records_counted:
        doubts.append("no record reached the broker")
    elif evidence.publisher and figures.tx_rate_per_s < KEPT_RATE_RATIO * evidence.asked_rate_per_s:
        doubts.append(
            f"the plan was not kept: {figures.tx_rate_per_s:.0f} of {evidence.asked_rate_per_s:.0f} records/s were sent"
        )
    if not figures.clients_reporting:
        doubts.append("no client reported")
    return tuple(doubts)


def _notes(evidence: Evidence, figures: Figures) -> tuple[str, ...]:
    notes: list[str] = []
    idle = figures.clients_reporting - figures.clients_expecting
    if idle and figures.records_counted:
        notes.append(f"{idle} of {figures.clients_reporting} clients had no partition to read")
    if evidence.acks == "0":
        notes.append("acks=0: nothing is acknowledged; loss is judged against what the broker's log grew by")
    if figures.records_duplicated:
        notes.append(f"{figures.records_duplicated} duplicate deliveries")
    if figures.records_reordered:
        notes.append(f"{figures.records_reordered} deliveries out of order")
    if figures.records_foreign:
        notes.append(f"{figures.records_foreign} records of someone else's were in the topic")
    return tuple(notes)
