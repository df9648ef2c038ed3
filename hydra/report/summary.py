"""What a report says in words, above its plots."""

from __future__ import annotations

from collections import Counter

from hydra.report.contents import ReportContents, worst_verdict
from hydra.sweep.search import answer_sentence
from hydra.sweep.tuning import tuning_sentence

VERDICT_WORDS = {
    "pass": "passed",
    "fail": "failed",
    "indeterminate": "gave no answer",
    "error": "could not be measured",
}
SHOWN_REASONS = 5


def overall_verdict(contents: ReportContents) -> str:
    """``pass``, ``fail``, ``indeterminate`` or ``error``: of a search whether it has an answer, else the worst."""
    if contents.answers:
        found = all(each.answer.best is not None and not each.answer.at_least for each in contents.answers)
        return "pass" if found else "indeterminate"
    return worst_verdict(point.verdict for point in contents.points)


def summary_lines(contents: ReportContents) -> list[str]:
    """The verdict in a sentence, then the reasons for it."""
    if contents.answers:
        return [
            f"{each.question[:1].upper()}{each.question[1:]}: {answer_sentence(each.answer, unit=each.unit)}"
            for each in contents.answers
        ]
    if contents.tuned is not None:
        return [f"Lowest latency: {tuning_sentence(contents.tuned)}"]
    if not contents.points:
        return ["Nothing was measured."]
    if len(contents.points) == 1:
        point = contents.points[0]
        first, *others = point.reasons or ("",)
        return [f"{point.verdict.upper()}: {first}", *others, *_limit_lines(contents)]
    counts = Counter(point.verdict for point in contents.points)
    if counts["pass"] == len(contents.points):
        return [f"All {len(contents.points)} points passed."]
    verdicts = ", ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICT_WORDS.items() if counts[verdict])
    lines = [
        f"{point.label}: {point.reasons[0] if point.reasons else point.verdict}"
        for point in contents.points
        if point.verdict != "pass"
    ]
    more = [f"and {len(lines) - SHOWN_REASONS} more, see the table"] if len(lines) > SHOWN_REASONS else []
    return [f"Of {len(contents.points)} points {verdicts}.", *lines[:SHOWN_REASONS], *more]


def _limit_lines(contents: ReportContents) -> list[str]:
    """The limit, the thresholds, and the notes of a single run."""
    lines = []
    for result in contents.points[0].results[-1:]:
        bottleneck = result.bottleneck
        if bottleneck.symptoms:
            lines.append(f"Limit: {bottleneck.limit}. {'; '.join((*bottleneck.symptoms, *bottleneck.evidence))}")
        if bottleneck.advice:
            lines.append(f"What to change: {bottleneck.advice}")
        lines += [
            f"{item.threshold}: {'kept' if item.kept else 'broken'}, it was {item.value:,.5g} {item.unit}"
            for item in result.thresholds
        ]
        lines += [f"Note: {note}" for note in result.notes]
    return lines
