"""What each client's reading comes to: alone, or as a member of a group that assigns the partitions to its members.

A partition of such a group is judged over the group as a whole: it may have moved from one member to another in the
middle of the run. Each record then counts for the member that received it first, in the order of how far the members
got; and the member that got furthest, which read the partition last, answers for what the group did not receive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from hydra.accounting.evidence import Evidence
from hydra.accounting.intervals import IntervalSet, received
from hydra.accounting.loss import Losses, PartitionLog
from hydra.accounting.result import ClientResult
from hydra.accounting.stats import ClientStats, PartitionStats
from hydra.errors import AccountingError
from hydra.options.order import RunOrder


@dataclass(frozen=True)
class ClientCounts:
    """What one client received of one partition, or of all; what is expected and not received is in ``losses``."""

    expected: int = 0
    distinct: int = 0
    duplicates: int = 0
    reordered: int = 0
    losses: Losses = field(default_factory=Losses)
    ghost: int = 0
    contradicted: int = 0

    def __add__(self, other: ClientCounts) -> ClientCounts:
        return ClientCounts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


def client_results(order: RunOrder, evidence: Evidence, logs: Mapping[int, PartitionLog]) -> tuple[ClientResult, ...]:
    """What becomes of every client of the order, those that did not report among them; raises AccountingError."""
    reported = {client.name: (stats.task_id, client) for stats in evidence.subscribers for client in stats.clients}
    clients = [client for _, client in reported.values()]
    if order.group_assigns:
        counts = _count_members(clients, logs, members_missing=bool(evidence.missing))
    else:
        counts = _count_each(clients, logs)
    results: list[ClientResult] = []
    for client in order.clients:
        if client.name in reported:
            task_id, stats = reported[client.name]
            results.append(_client_result(stats, task_id, counts[stats.name]))
        elif client.task_id in evidence.missing:
            reason = evidence.missing[client.task_id]
            results.append(ClientResult(client.name, client.task_id, "missing", error=reason))
        else:
            results.append(ClientResult(client.name, "", "never_started", error="its task never started"))
    return tuple(results)


def _client_result(stats: ClientStats, task_id: str, counts: ClientCounts) -> ClientResult:
    counted = {name: value for name, value in vars(counts).items() if name != "losses"}
    return ClientResult(
        name=stats.name,
        task_id=task_id,
        state="failing" if counts.losses.lost else "ok",
        **counted,
        lost=counts.losses.lost,
        **vars(counts.losses),
        foreign=stats.foreign,
        corrupt=stats.corrupt,
        fetches=stats.fetches,
        received_bytes=stats.received_bytes,
        rate_per_s=_rate_per_s(stats, counts.distinct),
        e2e=stats.e2e,
        rebalances=stats.rebalances,
        throttled_s=stats.throttled_s,
        error=stats.error,
    )


def _rate_per_s(stats: ClientStats, distinct: int) -> float | None:
    """Distinct records a second over the receive window. Those of the first arrival, where it begins, do not count.

    None where all came at once: there is no window. Where nothing came it is 0.
    """
    if stats.receive_window_s <= 0:
        return None if distinct else 0.0
    return max(0, distinct - stats.first_arrival_records) / stats.receive_window_s


def _count_each(clients: Sequence[ClientStats], logs: Mapping[int, PartitionLog]) -> dict[str, ClientCounts]:
    """What each client that reads by itself received, over all its partitions, by name."""
    counted: dict[PartitionStats, ClientCounts] = {}
    """Most of thousands of clients have seen the very same: what that comes to is found once."""
    counts: dict[str, ClientCounts] = {}
    for client in clients:
        for part in client.partitions:
            if part not in counted:
                counted[part] = count_alone(client.name, part, logs.get(part.partition))
        first, *others = client.partitions or (None,)
        counts[client.name] = sum((counted[part] for part in others), counted[first] if first else ClientCounts())
    return counts


def _count_members(
    clients: Sequence[ClientStats], logs: Mapping[int, PartitionLog], *, members_missing: bool
) -> dict[str, ClientCounts]:
    """What each member of one group received, over all partitions, by name."""
    counts = {client.name: ClientCounts() for client in clients}
    readers: dict[int, list[tuple[str, PartitionStats]]] = {}
    for client in clients:
        for part in client.partitions:
            readers.setdefault(part.partition, []).append((client.name, part))
    for partition, log in logs.items():
        if partition not in readers:
            if members_missing or not counts:
                continue  # it may have been a missing client's
            # No member was assigned it: the group's failure, counted for its first member.
            readers[partition] = [(next(iter(counts)), PartitionStats(partition, 0, 0))]
        for name, counted in count_group(readers[partition], log, members_missing=members_missing).items():
            counts[name] += counted
    return counts


def count_alone(name: str, part: PartitionStats, log: PartitionLog | None) -> ClientCounts:
    """What a client received of a partition that it reads by itself; raises AccountingError.

    ``log`` is None where nothing is known of it.
    """
    got = received(part.spans)
    counts = ClientCounts(distinct=len(got.sequences), duplicates=got.duplicates, reordered=got.reordered)
    if log is None:
        return counts
    had = len(log.expected) - len(log.expected.minus(got.sequences))
    losses = log.losses(part, got.sequences, got.duplicates)
    if log.expected_records != had + losses.lost:
        raise AccountingError(
            f"{name}: expected {log.expected_records} is not delivered {had} + lost {losses.lost}"
            f" in partition {part.partition}"
        )
    return replace(
        counts,
        expected=log.expected_records,
        losses=losses,
        ghost=log.ghosts(got.sequences),
        contradicted=log.contradictions(part.spans),
    )


def count_group(
    readers: Sequence[tuple[str, PartitionStats]], log: PartitionLog, *, members_missing: bool
) -> dict[str, ClientCounts]:
    """What each member of one group received of a partition, by name.

    ``readers`` are (name, what it received) of every member that was assigned the partition at any time. A member that
    did not report may have read what none of the others did: that counts neither as lost nor as delivered.

    Raises:
        AccountingError: when an identity does not hold.
    """
    found: dict[str, ClientCounts] = {}
    ordered = sorted(readers, key=lambda reader: (reader[1].next_offset, bool(reader[1].spans)))
    had_before = IntervalSet()
    duplicates = expected = 0
    for name, part in ordered:
        got = received(part.spans)
        fresh = got.sequences.minus(had_before)
        had = len(log.expected) - len(log.expected.minus(fresh))
        repeated = got.duplicates + len(got.sequences) - len(fresh)
        for start, stop in fresh:
            had_before.add(start, stop)
        duplicates += repeated
        expected += had
        found[name] = ClientCounts(
            expected=had,
            distinct=len(fresh),
            duplicates=repeated,
            reordered=got.reordered,
            ghost=log.ghosts(fresh),
            contradicted=log.contradictions(part.spans),
        )
    whole = _merged([part for _, part in ordered])
    elsewhere = _read_by_nobody([part for _, part in ordered]) if members_missing else IntervalSet()
    losses = log.losses(whole, had_before, duplicates, spared=elsewhere)
    if not elsewhere and log.expected_records != expected + losses.lost:
        raise AccountingError(
            f"the group: expected {log.expected_records} is not delivered {expected} + lost {losses.lost}"
            f" in partition {whole.partition}"
        )
    last = ordered[-1][0]
    found[last] = replace(found[last], expected=found[last].expected + losses.lost, losses=losses)
    return found


def _merged(parts: Sequence[PartitionStats]) -> PartitionStats:
    """The group as one reader: as far as the member that got furthest, with the jumps of all."""
    return PartitionStats(
        partition=parts[0].partition,
        start_offset=min(part.start_offset for part in parts),
        next_offset=max(part.next_offset for part in parts),
        jumps=tuple(jump for part in parts for jump in part.jumps),
    )


def _read_by_nobody(parts: Sequence[PartitionStats]) -> IntervalSet:
    """The offsets before the group's position that none of these members went through."""
    unread = IntervalSet(((0, max(part.next_offset for part in parts)),))
    for part in parts:
        through = IntervalSet(((part.start_offset, part.next_offset),)) if part.next_offset > part.start_offset else ()
        unread = unread.minus(IntervalSet(through).minus(IntervalSet(part.handed_over)))
    return unread
