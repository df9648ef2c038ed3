"""The verdict over all that a report shows, and the sentences that say why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hydra.report.comparison_text import doubt_line
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.text import failure_line
from hydra.sweep.comparison import SidesCompared
from hydra.sweep.record import BROKEN_EXIT_CODES, SEARCHES, worst_exit_code, worst_verdict
from hydra.sweep.search import answer_sentence
from hydra.sweep.tuning import tuning_sentence

VERDICT_WORDS: Mapping[str, str] = {
    "pass": "passed", "fail": "failed", "indeterminate": "gave no answer", "error": "could not be measured",
}  # fmt: skip

SHOWN_REASONS = 5

VERDICT_OF_EXIT_CODE: Mapping[int, str] = {0: "pass", 1: "fail", 3: "indeterminate"}


def overall_verdict(contents: ReportContents) -> str:
    """``pass``, ``fail``, ``indeterminate`` or ``error``, as the exit code says; what is not complete is no pass."""
    verdict = _verdict(contents)
    return "indeterminate" if verdict == "pass" and contents.missing else verdict


def _verdict(contents: ReportContents) -> str:
    if contents.parts:
        return worst_verdict(map(overall_verdict, contents.parts))
    if contents.sides is not None:
        broken = any(run.exit_code in BROKEN_EXIT_CODES for run in contents.runs)
        return "error" if broken else VERDICT_OF_EXIT_CODE[contents.sides.exit_code]
    if contents.answers:
        return VERDICT_OF_EXIT_CODE[worst_exit_code(each.answer.exit_code for each in contents.answers)]
    if contents.tuned is not None:
        return VERDICT_OF_EXIT_CODE[contents.tuned.exit_code]
    if contents.kind in SEARCHES:
        return "indeterminate"
    return worst_verdict(point.verdict for point in contents.points)


def summary_lines(contents: ReportContents) -> list[str]:
    """The verdict in a sentence, then the reasons for it."""
    missing = [f"Not complete: {contents.missing}."] if contents.missing else []
    return [*missing, *_lines(contents)]


def _lines(contents: ReportContents) -> list[str]:
    if any(part.kind in SEARCHES or part.sides is not None for part in contents.parts):
        return [f"{part.source}: {line}" for part in contents.parts for line in _lines(part)]
    judged = _judged_lines(contents)
    if judged:
        return judged
    if not contents.points:
        return ["Nothing was measured."]
    if len(contents.points) == 1:
        return _single_lines(contents.points[0])
    return _point_lines(contents.points)


def _judged_lines(contents: ReportContents) -> list[str]:
    """What was judged beside the points: answers of a search, two settings, a tuning."""
    if contents.answers:
        return [
            f"{each.question[:1].upper()}{each.question[1:]}: {answer_sentence(each.answer, unit=each.unit)}"
            for each in contents.answers
        ]
    if contents.sides is not None:
        return [_side_line(contents.sides, contents.tolerance_percent)]
    return [f"Lowest latency: {tuning_sentence(contents.tuned)}"] if contents.tuned is not None else []


def _side_line(sides: SidesCompared, tolerance_percent: float) -> str:
    """What B is against A, or why nobody can say."""
    if sides.doubt:
        return doubt_line(sides)
    if worse := [item.metric for item in sides.effect.differences if item.state == "worse"]:
        return f"B is WORSE than A: {', '.join(worse)}"
    if sides.effect.exit_code:
        return "NO ANSWER: whether B is worse than A was not judged"
    return f"B is not shown to be worse than A by more than {tolerance_percent:g} %"


def counted_verdicts(points: Sequence[ReportPoint]) -> str:
    """How many points came to what, such as ``13 passed, 3 failed``."""
    counts = Counter(point.verdict for point in points)
    return ", ".join(f"{counts[verdict]:,} {words}" for verdict, words in VERDICT_WORDS.items() if counts[verdict])


def _point_lines(points: Sequence[ReportPoint]) -> list[str]:
    lines = [
        f"{point.label}: {point.reasons[0] if point.reasons else point.verdict}"
        for point in points
        if point.verdict != "pass"
    ]
    if not lines:
        return [f"All {len(points):,} points passed."]
    more = [f"and {len(lines) - SHOWN_REASONS:,} more, see the table"] if len(lines) > SHOWN_REASONS else []
    return [f"Of {len(points):,} points {counted_verdicts(points)}.", *lines[:SHOWN_REASONS], *more]


def _single_lines(point: ReportPoint) -> list[str]:
    """Why, what was the limit, and the notes of a single point: of its last run that has a result."""
    if len(point.runs) == 1 and point.runs[0].result is None:
        return [failure_line(point.runs[0])]
    first, *others = point.reasons or ("",)
    lines = [f"{point.verdict.upper()}: {first}", *others]
    if not point.results:
        return lines
    result = point.results[-1]
    bottleneck = result.bottleneck
    if bottleneck.symptoms:
        lines.append(f"Limit: {bottleneck.name}. {'; '.join((*bottleneck.symptoms, *bottleneck.evidence))}")
    if bottleneck.advice:
        lines.append(f"What to change: {bottleneck.advice}")
    return [*lines, *(f"Note: {note}" for note in result.notes)]
