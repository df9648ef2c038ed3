"""What is saved of a sweep or a search: its plan or search settings, its points with their runs, and what it found.

A point holds runs, so all formats have the version of the result file's. A reader refuses any other version.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from hydra.accounting.latency import LatencyCounts, LatencyHistogram
from hydra.accounting.stats import ProcessUsage, SubscriberSample, SubscriberStats
from hydra.errors import InfrastructureError, UsageError
from hydra.options.options import Options
from hydra.options.thresholds import parse_threshold
from hydra.run.record import FORMAT, FORMAT_VERSION, RunRecord
from hydra.sweep.plan import SIDE, SIDES, Axis, SweepPlan
from hydra.sweep.search import SearchAnswer
from hydra.sweep.tuning import TuningResult

SWEEP_FORMAT = "hydra-sweep"
POINT_FORMAT = "hydra-point"

SweepKind = Literal["sweep", "batchsize", "ab", "maxrate", "maxclients", "frontier", "tune"]

EXIT_CODES_WORST_FIRST = (*range(192, 128, -1), 70, 4, 2, 1, 3, 0)
"""Interruptions (128 + the signal's number) and errors, then loss, then what is indeterminate. A run has no others."""

SEARCHES = frozenset({"maxrate", "maxclients", "frontier", "tune"})
"""Kinds whose trials are to fail: only their answer is a verdict."""

BROKEN_EXIT_CODES = EXIT_CODES_WORST_FIRST[: EXIT_CODES_WORST_FIRST.index(1)]
"""Interruptions and errors: worse than any judgement."""

VERDICTS_WORST_FIRST = ("error", "fail", "indeterminate", "pass")


@dataclass(frozen=True)
class PointRecord:
    """A finished point: the content of its file."""

    number: int
    changes: dict[str, object]
    runs: tuple[RunRecord, ...]
    """One for each repeat so far, compact; a run that ended with an error has no result."""
    took_s: float
    """Of all its runs together."""
    format: str = POINT_FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def exit_code(self) -> int:
        """The worst of its runs."""
        return worst_exit_code(run.exit_code for run in self.runs)

    @property
    def unmeasured(self) -> bool:
        """Whether the stack was unusable: such a run is made again when its sweep is resumed."""
        return any(run.exit_code == InfrastructureError.exit_code for run in self.runs)

    def without_unmeasured(self) -> PointRecord:
        """The point without the runs for which the stack was unusable."""
        kept = tuple(run for run in self.runs if run.exit_code != InfrastructureError.exit_code)
        return dataclasses.replace(self, runs=kept, took_s=self.took_s * len(kept) / max(1, len(self.runs)))


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search: a range for a limit, or axes for a tuning."""

    start: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    precision: float = 0.05
    max_trials: int = 16
    """For each answer."""
    clients: tuple[int, ...] = ()
    """Of a frontier, which has an answer for each."""
    axes: tuple[Axis, ...] = ()
    """Of a tuning: the options and values to try."""


@dataclass(frozen=True)
class SearchResult:
    """The answer to one question of a search."""

    question: str
    """Such as ``highest rate for 50 clients``."""
    unit: str
    answer: SearchAnswer
    clients: int | None = None
    """Of a search for a rate."""


@dataclass(frozen=True)
class SweepRecord:
    """A whole sweep or search."""

    kind: SweepKind
    started_at: str
    """ISO 8601, UTC."""
    command: str
    """The command line that started it."""
    options: Options
    """Common to all points."""
    plan: SweepPlan | None = None
    """None for a search, which chooses its points as it goes."""
    search: SearchSettings | None = None
    """None for a sweep."""
    points: tuple[PointRecord, ...] = ()
    answers: tuple[SearchResult, ...] = ()
    """Of a search, as far as it got."""
    tuned: TuningResult | None = None
    format: str = SWEEP_FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def exit_code(self) -> int:
        """Of a sweep the worst of its points; of a search whether it has an answer. What is cut short is never 0."""
        code = self._exit_code()
        return 3 if code == 0 and self.missing else code

    def _exit_code(self) -> int:
        if self.tuned is not None:
            return self.tuned.exit_code
        if self.answers:
            return worst_exit_code(found.answer.exit_code for found in self.answers)
        worst = worst_exit_code(point.exit_code for point in self.points)
        # Trials of a search are to fail: without an answer that says nothing.
        return 3 if self.search is not None and worst not in BROKEN_EXIT_CODES else worst

    @property
    def missing(self) -> str:
        """What was not measured of a sweep or search that was interrupted, or still goes on; empty for nothing."""
        if self.plan is not None:
            runs = {point.number: len(point.runs) for point in self.points}
            planned, repeats = len(self.plan.points), self.plan.repeats
            if absent := planned - sum(made > 0 for made in runs.values()):
                return f"{absent:,} of {planned:,} points were not measured"
            left = sum(max(0, repeats - made) for made in runs.values())
            return f"{left:,} of {planned * repeats:,} runs were not made" if left else ""
        if self.search is None:
            return ""
        if self.kind == "tune":
            return "" if self.tuned is not None else "the search has not ended"
        wanted = len(self.search.clients) or 1
        left = wanted - len(self.answers)
        if left <= 0:
            return ""
        return "the search has not ended" if wanted == 1 else f"{left:,} of {wanted:,} limits were not found"


SavedRecord = RunRecord | PointRecord | SweepRecord

FORMATS: dict[str, type[SavedRecord]] = {FORMAT: RunRecord, POINT_FORMAT: PointRecord, SWEEP_FORMAT: SweepRecord}


def worst_exit_code(codes: Iterable[int]) -> int:
    """The exit code of several runs."""
    present = set(codes)
    return next((code for code in EXIT_CODES_WORST_FIRST if code in present), 0)


def run_verdict(run: RunRecord) -> str:
    """The verdict of a run; ``error`` if it has no result."""
    return "error" if run.result is None else run.result.verdict


def worst_verdict(verdicts: Iterable[str]) -> str:
    """The worst of several verdicts; ``indeterminate`` if there are none."""
    return min(verdicts, key=VERDICTS_WORST_FIRST.index, default="indeterminate")


def read_saved(data: bytes, *, name: str) -> SavedRecord:
    """Decode the content of a file that Hydra saved; errors name the file.

    Raises:
        UsageError: not a file of Hydra, of an unknown version, or damaged.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format not in FORMATS:
            raise no_result(name, f"format {head.format[:40]!r}")
        if head.format_version != FORMAT_VERSION:
            raise UsageError(
                f"{name} has {head.format} version {head.format_version}, this Hydra reads version {FORMAT_VERSION}",
                hint="use the Hydra that wrote it",
            )
        return _checked(msgspec.json.decode(data, type=FORMATS[head.format]), name)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise no_result(name, str(error)) from error


def no_result(name: str, reason: str) -> UsageError:
    """The error for a file that holds no result, or a damaged one."""
    return UsageError(
        f"{name} is not a result file of Hydra ({reason})", hint="name a file that --output wrote, or a sweep's folder"
    )


def _checked(saved: SavedRecord, name: str) -> SavedRecord:
    """A record as commands write them: whoever prints it ends with one of its exit codes, and finds what it needs."""
    points = saved.points if isinstance(saved, SweepRecord) else (saved,) if isinstance(saved, PointRecord) else ()
    if any(not point.runs for point in points):
        raise no_result(name, "a point without runs")
    if isinstance(saved, SweepRecord):
        _check_kind(saved, name)
    for run in (saved,) if isinstance(saved, RunRecord) else (run for point in points for run in point.runs):
        if run.exit_code not in EXIT_CODES_WORST_FIRST:
            raise no_result(name, f"exit_code {run.exit_code}")
        for text in run.order.options.threshold:
            try:
                parse_threshold(text)
            except ValueError as error:
                raise no_result(name, f"threshold {text[:80]!r} {error}") from error
    return saved


def _check_kind(sweep: SweepRecord, name: str) -> None:
    """See that a sweep has what its command is about."""
    if (sweep.search if sweep.kind in SEARCHES else sweep.plan) is None:
        raise no_result(name, f"a {sweep.kind} without its {'search' if sweep.kind in SEARCHES else 'plan'}")
    if sweep.kind == "ab" and any(point.changes.get(SIDE) not in SIDES for point in sweep.points):
        raise no_result(name, "a point of an ab that is of neither side")


class _Head(msgspec.Struct):
    format: str
    format_version: int


def compact_run(run: RunRecord) -> RunRecord:
    """The run without what is most of a result file: no clients, publisher, machine samples and audit.

    All subscribers are merged into one, with one latency histogram a second.
    """
    merged = _merge_subscribers(run.order.run_id, run.evidence.subscribers)
    evidence = dataclasses.replace(run.evidence, publisher=None, machine=(), audit=None, subscribers=merged)
    return dataclasses.replace(run, order=dataclasses.replace(run.order, clients=()), evidence=evidence)


def _merge_subscribers(run_id: str, subscribers: Sequence[SubscriberStats]) -> tuple[SubscriberStats, ...]:
    """One subscriber with a sample for each second in which any of them has one; none if there are no samples."""
    noted = [_by_second(subscriber.samples) for subscriber in subscribers]
    seconds = sorted({second for each in noted for second in each})
    if not seconds:
        return ()
    usage = ProcessUsage(
        cpu_percent=sum(subscriber.usage.cpu_percent for subscriber in subscribers),
        rss_bytes=sum(subscriber.usage.rss_bytes for subscriber in subscribers),
        window_s=max(subscriber.usage.window_s for subscriber in subscribers),
    )
    samples: list[SubscriberSample] = []
    latest: dict[int, SubscriberSample] = {}
    """How each subscriber stands: one that noted nothing in a second stands as it did."""
    for second in seconds:
        fresh = {number: each[second] for number, each in enumerate(noted) if second in each}
        latest |= fresh
        samples.append(_merge_samples(list(latest.values()), list(fresh.values())))
    return (SubscriberStats(run_id, "all subscribers", (), usage, samples=tuple(samples)),)


def _by_second(samples: Sequence[SubscriberSample]) -> dict[int, SubscriberSample]:
    """The last sample of one subscriber in each second, with the latencies of all of that second.

    The sample at the very end is one more in its second; its counts are since the start, as those of the others.
    """
    found: dict[int, SubscriberSample] = {}
    for sample in samples:
        second = math.ceil(sample.at_s - 0.5)
        before = found.get(second)
        found[second] = sample if before is None else dataclasses.replace(sample, e2e=_merged([before, sample]))
    return found


def _merged(samples: Sequence[SubscriberSample]) -> LatencyCounts:
    histogram = LatencyHistogram(samples[0].e2e.bits)
    for sample in samples:
        if sample.e2e.counts:
            histogram.merge(sample.e2e)
    return histogram.fact()


def _merge_samples(latest: Sequence[SubscriberSample], fresh: Sequence[SubscriberSample]) -> SubscriberSample:
    """All subscribers as they stand, with the latencies of those that noted something."""
    return SubscriberSample(
        at_s=max(sample.at_s for sample in fresh),
        received=sum(sample.received for sample in latest),
        slowest_received=min(sample.slowest_received for sample in latest),
        fetches=sum(sample.fetches for sample in latest),
        received_bytes=sum(sample.received_bytes for sample in latest),
        cpu_s=sum(sample.cpu_s for sample in latest),
        rss_bytes=sum(sample.rss_bytes for sample in latest),
        e2e=_merged(fresh),
        rebalances=sum(sample.rebalances for sample in latest),
    )
