"""What a client's reading of a partition comes to: alone, or as a member of a group that deals its partitions out.

A partition of such a group is judged over the group as a whole: it may have moved from one member to another in the
middle of the run. Each record then counts for the member that was the first to get it, in the order of how far the
members got; and the member that got furthest, which is the one that read the partition last, answers for what the group
did not get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hydra.accounting.intervals import IntervalSet
from hydra.accounting.loss import Losses, PartitionLog
from hydra.accounting.spans import Received, receipt
from hydra.accounting.stats import PartitionStats
from hydra.errors import AccountingError


@dataclass(frozen=True)
class Portion:
    """One client's part in one partition; ``expected = had + losses.lost``."""

    expected: int = 0
    had: int = 0
    """Of what was expected."""
    distinct: int = 0
    duplicates: int = 0
    reordered: int = 0
    losses: Losses = field(default_factory=Losses)
    ghost: int = 0
    contradicted: int = 0

    def __add__(self, other: Portion) -> Portion:
        return Portion(
            self.expected + other.expected,
            self.had + other.had,
            self.distinct + other.distinct,
            self.duplicates + other.duplicates,
            self.reordered + other.reordered,
            self.losses + other.losses,
            self.ghost + other.ghost,
            self.contradicted + other.contradicted,
        )


def portion_alone(name: str, part: PartitionStats, log: PartitionLog | None) -> Portion:
    """Of a client that reads the whole partition by itself.

    Args:
        name: of the client, for the error.
        part: what it received.
        log: the partition's; None where nothing is known of it.

    Raises:
        AccountingError: when an identity does not hold.
    """
    got = _receipt(name, part)
    counts = Portion(distinct=len(got.sequences), duplicates=got.duplicates, reordered=got.reordered)
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
        had=had,
        losses=losses,
        ghost=log.ghosts(got.sequences),
        contradicted=log.contradictions(part.spans),
    )


def portions_of_group(
    readers: Sequence[tuple[str, PartitionStats]], log: PartitionLog, *, members_missing: bool
) -> dict[str, Portion]:
    """Of the members of one group, by name.

    Args:
        readers: (name, what it received) of every member that was given the partition at any time.
        log: the partition's.
        members_missing: whether a member did not report. It may have read what none of the others went through: that
            is nobody's loss then, and nobody's delivery either.

    Raises:
        AccountingError: when an identity does not hold.
    """
    found: dict[str, Portion] = {}
    ordered = sorted(readers, key=lambda reader: (reader[1].next_offset, bool(reader[1].spans)))
    had_before = IntervalSet()
    duplicates = expected = 0
    for name, part in ordered:
        got = _receipt(name, part)
        fresh = got.sequences.minus(had_before)
        had = len(log.expected) - len(log.expected.minus(fresh))
        repeated = got.duplicates + len(got.sequences) - len(fresh)
        for start, stop in fresh:
            had_before.add(start, stop)
        duplicates += repeated
        expected += had
        found[name] = Portion(
            expected=had,
            had=had,
            distinct=len(fresh),
            duplicates=repeated,
            reordered=got.reordered,
            ghost=log.ghosts(fresh),
            contradicted=log.contradictions(part.spans),
        )
    whole = _merged([part for _, part in ordered])
    elsewhere = _gone_through_by_nobody([part for _, part in ordered]) if members_missing else IntervalSet()
    losses = log.losses(whole, had_before, duplicates, spared=elsewhere)
    if not elsewhere and log.expected_records != expected + losses.lost:
        raise AccountingError(
            f"the group: expected {log.expected_records} is not delivered {expected} + lost {losses.lost}"
            f" in partition {whole.partition}"
        )
    last = ordered[-1][0]
    found[last] = replace(found[last], expected=found[last].had + losses.lost, losses=losses)
    return found


def _receipt(name: str, part: PartitionStats) -> Received:
    got = receipt(part.spans)
    if part.received != len(got.sequences) + got.duplicates:
        raise AccountingError(
            f"{name}: received {part.received} is not distinct {len(got.sequences)} + duplicates {got.duplicates}"
        )
    return got


def _merged(parts: Sequence[PartitionStats]) -> PartitionStats:
    """What the group as one reader went through: as far as the furthest, with everybody's jumps."""
    return PartitionStats(
        partition=parts[0].partition,
        start_offset=min(part.start_offset for part in parts),
        next_offset=max(part.next_offset for part in parts),
        received=sum(part.received for part in parts),
        jumps=tuple(jump for part in parts for jump in part.jumps),
    )


def _gone_through_by_nobody(parts: Sequence[PartitionStats]) -> IntervalSet:
    """The offsets before the group's position at which none of these members read."""
    unread = IntervalSet(((0, max(part.next_offset for part in parts)),))
    for part in parts:
        through = IntervalSet(((part.start_offset, part.next_offset),)) if part.next_offset > part.start_offset else ()
        unread = unread.minus(IntervalSet(through).minus(IntervalSet(part.handed_over)))
    return unread
