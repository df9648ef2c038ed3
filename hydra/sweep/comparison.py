"""Compare two results: what differs, what of it is shown to differ, and what of that is worse.

Medians over runs are compared, by the test and the correction in ``judgement.py``. Only runs in which the broker was
the limit, or nothing was, say something about it; of losses all do that measured them (``counted_runs.py``).
docs/decisions/0013-runs-are-compared-by-ranks.md says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.run.record import RunRecord
from hydra.sweep.compared_answers import ANSWER, answer_changes
from hydra.sweep.counted_runs import COMPARED_METRICS, LOSSES, RATES, points_by_name
from hydra.sweep.judgement import advised_runs, judge
from hydra.sweep.metric_change import MetricChange, MetricPair, worse_text
from hydra.sweep.plan import SIDE, SIDES, format_value
from hydra.sweep.record import (
    BROKEN_EXIT_CODES,
    SavedRecord,
    SearchResult,
    SweepRecord,
    run_verdict,
    worst_verdict,
)

IGNORED_OPTIONS = ("output", "keep_running", "java", "start_timeout")
IGNORED_MACHINE_FACTS = ("release",)

PointState = Literal["worse", "not worse", "not judged", "no result in B", "only in A", "only in B"]


@dataclass(frozen=True)
class Comparison:
    """Everything that was found."""

    differences: tuple[MetricChange, ...]
    verdicts: tuple[tuple[str, str, str], ...]
    """(point, before, after) of the points whose verdict changed."""
    unlike: tuple[str, ...]
    """Options, machine facts and versions that differ, each as a sentence."""
    only_before: tuple[str, ...]
    """Points that are missing after."""
    only_after: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()
    """Points that were measured before and have no result after."""
    family: int = 0
    """How many comparisons were tested: the chance of a false difference is held to 5 % for all of them together."""
    common: tuple[str, ...] = ()
    """Points that both have, with or without a result."""
    missing: tuple[str, str] = ("", "")
    """What of A's plan or search was not measured, and what of B's; empty where nothing is missing."""

    @property
    def nothing_in_common(self) -> bool:
        """Whether the two have neither a point nor a question of a search in common."""
        return not self.common and all(item.runs[1] == 0 for item in self.differences if item.metric == ANSWER)

    @property
    def regressions(self) -> tuple[str, ...]:
        """What is worse, in words."""
        return tuple(worse_text(item) for item in self.differences if item.state == "worse")

    @property
    def points(self) -> Mapping[str, PointState]:
        """What the comparison came to at each point, and for each question of a search."""
        worse = {item.point for item in self.differences if item.state == "worse"}
        # That two runs lost nothing, or sent all, is good to know, and says nothing about how fast they were.
        timed = {item.point for item in self.differences if item.metric.startswith("e2e_")}
        figures = [
            item
            for item in self.differences
            if item.metric not in LOSSES and not (item.metric in RATES and item.point in timed)
        ]
        judged = {item.point for item in figures if item.state in {"better", "no difference shown"}}
        both = dict.fromkeys([*self.common, *(item.point for item in self.differences)])
        found: dict[str, PointState] = {name: "not worse" if name in judged else "not judged" for name in both}
        found |= dict.fromkeys(worse, "worse")
        found |= {name: "no result in B" for name in self.unmeasured if name not in worse}
        found |= dict.fromkeys(self.only_before, "only in A")
        return found | dict.fromkeys(self.only_after, "only in B")

    @property
    def exit_code(self) -> int:
        """1: something is worse; 3: nothing could be judged, or B lacks results; 0: nothing is worse."""
        states = set(self.points.values())
        if "worse" in states:
            return 1
        return 0 if "not worse" in states and "no result in B" not in states and not self.missing[1] else 3

    @property
    def advised(self) -> int:
        """Repeats a side that are advised for as many points and metrics."""
        return advised_runs(max(1, self.family or len(self.differences)))


def compare(before: SavedRecord, after: SavedRecord, *, tolerance_percent: float) -> Comparison:
    """Compare two results point by point, and the answers of two searches.

    A difference counts if the test shows it among all that were made, and if it exceeds the tolerance and the floor of
    its unit. Loss counts wherever there was none before, even in a single repeat.
    """
    old, new = points_by_name(before), points_by_name(after)
    found = compare_points(old, new, tolerance_percent=tolerance_percent)
    answers = tuple(answer_changes(_answers(before), _answers(after), tolerance_percent))
    return dataclasses.replace(
        found, differences=(*found.differences, *answers), missing=(_missing(before), _missing(after))
    )


def compare_points(
    old: Mapping[str, Sequence[RunRecord]], new: Mapping[str, Sequence[RunRecord]], *, tolerance_percent: float
) -> Comparison:
    """Compare the runs of two results by the names of their points."""
    common = [name for name in old if name in new]
    verdicts = [(name, _verdict(old[name]), _verdict(new[name])) for name in common]
    pairs = [MetricPair(name, metric, old[name], new[name]) for name in common for metric in COMPARED_METRICS]
    share = tolerance_percent / 100
    tested = judge([pair.values for pair in pairs], share=share)
    return Comparison(
        differences=tuple(
            pair.change(share, found) for pair, found in zip(pairs, tested, strict=True) if pair.measured
        ),
        verdicts=tuple((name, was, now) for name, was, now in verdicts if was != now),
        unlike=tuple(dict.fromkeys(line for name in common for line in unlike_runs(old[name][0], new[name][0]))),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        unmeasured=tuple(name for name in common if _has_result(old[name]) and not _has_result(new[name])),
        family=sum(found is not None for found in tested),
        common=tuple(common),
    )


@dataclass(frozen=True)
class SidesCompared:
    """What ``hydra kafka ab`` found."""

    machine: Comparison
    """A again against A: what differs here is the machine's."""
    effect: Comparison
    """B against A."""
    missing: str = ""
    """What of the plan was not measured."""

    @property
    def unsteady(self) -> tuple[str, ...]:
        """The metrics in which A differs from A: such a machine tells nothing of B."""
        return tuple(item.metric for item in self.machine.differences if item.state in {"worse", "better"})

    @property
    def doubt(self) -> str:
        """Why nobody can say what B is against A, in words; empty where its comparison says it."""
        if self.unsteady:
            return f"A differs from A in {', '.join(self.unsteady)}: the machine is not steady enough"
        if self.effect.exit_code == 0 and self.machine.exit_code:
            return "A was not judged against A: whether the machine is steady is not known"
        return ""

    @property
    def exit_code(self) -> int:
        """1: B is worse; 3: nothing was judged, A differs from A, or runs are missing; 0: B is not shown worse."""
        code = 3 if self.doubt else self.effect.exit_code
        return 3 if code == 0 and self.missing else code


def compare_sides(sweep: SweepRecord) -> SidesCompared:
    """Compare the points of a comparison of two settings, as far as they were measured."""
    assert sweep.plan is not None
    runs = {str(point.changes[SIDE]): point.runs for point in sweep.points}
    first, second, again = (runs.get(side, ()) for side in SIDES)
    tolerance = sweep.plan.tolerance_percent

    def against(name: str, others: Sequence[RunRecord]) -> Comparison:
        if not (first and others):
            return Comparison((), (), (), (), ())
        return compare_points({name: first}, {name: others}, tolerance_percent=tolerance)

    return SidesCompared(against("A again / A", again), against("B / A", second), sweep.missing)


def saved_exit_code(saved: SavedRecord) -> int:
    """The exit code of the command that made this: of a comparison of two settings that of its judgement.

    An interruption and an error are worse than any judgement.
    """
    if not isinstance(saved, SweepRecord) or saved.kind != "ab":
        return saved.exit_code
    return saved.exit_code if saved.exit_code in BROKEN_EXIT_CODES else compare_sides(saved).exit_code


def _missing(saved: SavedRecord) -> str:
    return saved.missing if isinstance(saved, SweepRecord) else ""


def _has_result(runs: Sequence[RunRecord]) -> bool:
    return any(run.result is not None for run in runs)


def _verdict(runs: Sequence[RunRecord]) -> str:
    return worst_verdict(map(run_verdict, runs))


def _answers(saved: SavedRecord) -> Sequence[SearchResult]:
    return saved.answers if isinstance(saved, SweepRecord) else ()


def unlike_runs(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """Options, machine facts and versions that differ."""
    for what, was, now, ignored in (
        ("option", dataclasses.asdict(old.order.options), dataclasses.asdict(new.order.options), IGNORED_OPTIONS),
        ("machine", old.machine, new.machine, IGNORED_MACHINE_FACTS),
        ("version of", old.versions, new.versions, ()),
    ):
        for key in sorted({*was, *now} - {*ignored}):
            if was.get(key) != now.get(key):
                yield f"{what} {key}: {format_value(was.get(key))} -> {format_value(now.get(key))}"
    if old.order.pace_ms != new.order.pace_ms:
        # What Hydra itself adds to latencies: it follows from more than the options.
        yield f"pace of fetches: {old.order.pace_ms:.3g} ms -> {new.order.pace_ms:.3g} ms"
