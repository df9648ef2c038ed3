"""What became of the records that a client should have received and did not.

Per partition everything that is known of the log is put together: which sequence stands at which offset, as the auditor
and the clients saw it. Where nobody saw an offset and it was not audited (it left the log before), the sequences that
nobody saw either are put there in their order, since a partition's log keeps the publisher's order. What then has no
offset never was in the log.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hydra.accounting.evidence import AuditedPartition, OffsetRange
from hydra.accounting.intervals import NO_OFFSET, Interval, IntervalSet, Span, SpanIndex
from hydra.accounting.stats import PartitionOutcomes, PartitionStats

_NO_SEQUENCE = 2**63
"""Above all that Kafka's logs have."""


@dataclass(frozen=True)
class Losses:
    """Expected and not received, by what became of it. Every lost record is in exactly one class."""

    broker_lost: int = 0
    """Absent from the log, and not because it expired: the broker lost it, or never had what it had acked."""
    expired: int = 0
    """The log's start had passed it before the client got there."""
    unread: int = 0
    """Beyond the client's position when the drain ended, and still to be read: no proof of loss."""
    skipped: int = 0
    """The client's position passed it while it was in the log."""

    @property
    def lost(self) -> int:
        """All of them."""
        return self.broker_lost + self.expired + self.unread + self.skipped

    @property
    def proven(self) -> int:
        """Those that are proof of loss."""
        return self.lost - self.unread

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.broker_lost + other.broker_lost,
            self.expired + other.expired,
            self.unread + other.unread,
            self.skipped + other.skipped,
        )


class PartitionLog:
    """Everything that the witnesses know of one partition's log.

    ``offsets`` is the log after the run, ``begin_offset`` its end before the run, ``seen`` what each client received.
    ``outcomes`` and ``audit`` are None where the publisher did not report, or nobody audited. In a ``shared`` topic
    others write, too: records that nobody can name are theirs.
    """

    def __init__(
        self,
        offsets: OffsetRange,
        *,
        begin_offset: int,
        outcomes: PartitionOutcomes | None,
        has_acks: bool,
        audit: AuditedPartition | None,
        seen: Iterable[Sequence[Span]],
        shared: bool = False,
    ) -> None:
        self._offsets = offsets
        self._begin_offset = begin_offset
        self._outcomes = outcomes
        self._map = SpanIndex()
        self._audited = _audited(audit)
        if audit is not None:
            self._put_all(self._map, audit.spans)
        self._in_log = self._map.keys()
        """Offsets at which the auditor saw a record of this run."""
        for spans in seen:
            self._put_all(self._map, spans)
        known = self._map.values()
        self._guessed = IntervalSet()
        """Sequences that may be at the offsets that they were given, or were never in the log: others write there."""
        self._offset_of, self.unnamed = self._locate(known)
        """Offsets that hold records nobody can name."""
        if shared:
            self.unnamed = IntervalSet()
            self._guessed = IntervalSet() if has_acks else self._offset_of.keys().minus(known)
        if outcomes is not None and has_acks:
            self.expected = IntervalSet(outcomes.acked)
            self.unnamed = IntervalSet()
        else:
            self.expected = IntervalSet((*known, *self._offset_of.keys()))
        self.appended = offsets.end - begin_offset
        self._known = known

    @property
    def expected_records(self) -> int:
        """What a reader of the partition should have received."""
        return len(self.expected) + len(self.unnamed)

    @property
    def duplicated(self) -> int:
        """Offsets, of those that are known, that hold a sequence which another one holds already."""
        return len(self._map.keys()) - len(self._map.values())

    @staticmethod
    def _put_all(index: SpanIndex, spans: Iterable[Span]) -> int:
        return sum(index.put(offset, sequence, records) for offset, sequence, records in spans)

    def _locate(self, known: IntervalSet) -> tuple[SpanIndex, IntervalSet]:
        """The offset of every sequence that is, or was, in the log; and the offsets left without a sequence."""
        # What the auditor went through and did not see is not in the log any more, whatever a client saw there before.
        vanished = self._audited.minus(self._in_log)
        pieces = _last_copies(self._map, vanished)
        unnamed = IntervalSet()
        if unseen := self._unseen():
            candidates = self._candidates(known)
            found, unnamed = self._placed(unseen, candidates)
            pieces += found
            # Once each record that was sent has its offset, what stands elsewhere is a copy, or somebody else's.
            if self._outcomes is not None and len(candidates) == sum(records for *_, records in found):
                unnamed = IntervalSet()
        offset_of = SpanIndex()
        for sequence, offset, records in sorted(pieces):  # each is put behind the others: between them costs more
            offset_of.put(sequence, offset, records)
        return offset_of, unnamed

    def _placed(self, unseen: IntervalSet, candidates: IntervalSet) -> tuple[list[tuple[int, int, int]], IntervalSet]:
        """(first sequence, its offset, records) of candidates at unseen offsets, in their order; the offsets left."""
        limits = self._limits()
        found: list[tuple[int, int, int]] = []
        unnamed = IntervalSet()
        placed_to = 0
        for start, stop in unseen:
            at = start
            lowest, highest = limits(start, stop)
            # Limits rise with the offsets: what was placed stands before all that is still to be placed.
            for first, end in candidates.within(max(lowest, placed_to), highest):
                if at == stop:
                    break
                count = min(end - first, stop - at)
                found.append((first, at, count))
                at, placed_to = at + count, first + count
            unnamed.add(at, stop)
        return found, unnamed

    def _limits(self) -> Callable[[int, int], tuple[int, int]]:
        """(the lowest sequence, the one above the highest) that may stand at unseen offsets, by what is around them."""
        stretches = list(self._map)
        keys = [key for key, _, _ in stretches]
        highest = [0, *itertools.accumulate((value + count for _, value, count in stretches), max)]
        lowest = [*itertools.accumulate((value for _, value, _ in reversed(stretches)), min)][::-1]
        lowest.append(_NO_SEQUENCE)

        def limits(start: int, stop: int) -> tuple[int, int]:
            return highest[bisect_left(keys, start)], lowest[bisect_left(keys, stop)]

        return limits

    def _unseen(self) -> IntervalSet:
        """Offsets of the run that were not audited, and at which no client received a record."""
        return IntervalSet(((self._begin_offset, self._offsets.end),)).minus(self._audited).minus(self._map.keys())

    def unacked(self) -> tuple[int, int]:
        """(in the log, not in the log): of the records that were neither acked nor refused, as far as it is known."""
        if self._outcomes is None:
            return 0, 0
        unacked = IntervalSet(((0, self._outcomes.attempted),))
        unacked = unacked.minus(IntervalSet(self._outcomes.acked)).minus(IntervalSet(self._outcomes.failed))
        absent = unacked.minus(self._known)
        return len(unacked) - len(absent), 0 if self._unseen() else len(absent)

    def _candidates(self, known: IntervalSet) -> IntervalSet:
        """Sequences that may be in the log and that nobody saw."""
        if self._outcomes is None:
            return IntervalSet()
        return IntervalSet(((0, self._outcomes.attempted),)).minus(IntervalSet(self._outcomes.failed)).minus(known)

    def ghosts(self, received: IntervalSet) -> int:
        """How many of the sequences were received although the publisher says that they are not in the log."""
        if self._outcomes is None:
            return 0
        beyond = len(received) - received.overlap(0, self._outcomes.attempted)
        return beyond + sum(received.overlap(start, stop) for start, stop in self._outcomes.failed)

    def contradictions(self, spans: Iterable[Span]) -> int:
        """At how many offsets a client received another record than the other witnesses saw there."""
        differing = 0
        for offset, sequence, records in spans:
            for at, known, count in self._map.pieces(offset, offset + records):
                if known != sequence + at - offset:
                    differing += count
                else:
                    audited = self._audited.overlap(at, at + count)
                    differing += audited - self._in_log.overlap(at, at + count) if audited else 0
        return differing

    def losses(
        self, part: PartitionStats, received: IntervalSet, duplicates: int, *, spared: IntervalSet | None = None
    ) -> Losses:
        """What became of what this client should have received from the partition and did not.

        ``received`` are the sequences that it has, ``duplicates`` counts what it received once more. ``spared`` are
        offsets that were somebody else's to read: what stands there is not judged.
        """
        spared = spared or IntervalSet()
        passed = IntervalSet(jump for jump in part.jumps if jump[0] < jump[1])
        missing = self.expected.minus(received)
        certain = missing.minus(self._guessed)
        classes = self._lost(certain, part.next_offset, passed, spared)
        classes += Losses(unread=self._lost(missing.minus(certain), part.next_offset, passed, spared).lost)
        unnamed = Losses()
        for interval in self.unnamed.minus(spared):
            unnamed += self._at(interval, part.next_offset, passed)
        # Unidentified offsets may be duplicates that the client already has: they do not prove that it skipped records.
        doubtful = min(unnamed.skipped, duplicates)
        unnamed += Losses(unread=doubtful, skipped=-doubtful)
        return classes + unnamed

    def _lost(self, sequences: IntervalSet, position: int, jumped: IntervalSet, spared: IntervalSet) -> Losses:
        """Classes of sequences that were not received."""
        classes = Losses()
        for start, stop in sequences:
            for _, offset, count in self._offset_of.pieces(start, stop):
                if offset == NO_OFFSET:
                    classes += Losses(broker_lost=count)
                else:
                    for interval in IntervalSet(((offset, offset + count),)).minus(spared):
                        classes += self._at(interval, position, jumped)
        return classes

    def _at(self, offsets: Interval, position: int, jumped: IntervalSet) -> Losses:
        """Classes of records that stand, or stood, at these offsets."""
        start, stop = offsets
        behind = max(start, min(stop, position))
        expired_before = jumped.overlap(start, behind)
        expired_beyond = max(0, min(stop, self._offsets.start) - behind)
        return Losses(
            expired=expired_before + expired_beyond,
            skipped=behind - start - expired_before,
            unread=stop - behind - expired_beyond,
        )


def _last_copies(log: SpanIndex, vanished: IntervalSet) -> list[tuple[int, int, int]]:
    """(first sequence, its offset, records) of what is in the log.

    With several copies in the log, the last offset counts: up to there the client may receive the record.
    """
    found: list[tuple[int, int, int]] = []
    located = IntervalSet()
    for offset, sequence, records in reversed(list(log)):
        for start, stop in IntervalSet(((offset, offset + records),)).minus(vanished):
            first = sequence + start - offset
            copies = IntervalSet(((first, first + stop - start),))
            found += [(begin, start + begin - first, end - begin) for begin, end in copies.minus(located)]
            located.add(first, first + stop - start)
    return found


def _audited(audit: AuditedPartition | None) -> IntervalSet:
    """The offsets that the auditor went through while they were in the log."""
    if audit is None:
        return IntervalSet()
    return IntervalSet(((audit.start_offset, audit.next_offset),)).minus(IntervalSet(audit.jumps))
