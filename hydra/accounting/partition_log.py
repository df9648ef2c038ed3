"""What the broker's log is known to hold: its offsets before and after a run, and what an auditor read in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydra.accounting.spans import Span


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
