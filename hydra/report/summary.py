"""What a report says in words, above its plots."""

from __future__ import annotations

from collections import Counter

from hydra.report.report_data import ReportData
from hydra.sweep.search import sentence
from hydra.sweep.tuning import tuned_sentence

WORDS = {
    "pass": "passed",
    "fail": "failed",
    "indeterminate": "gave no answer",
    "error": "could not be measured",
}
SHOWN_REASONS = 5


def whole_verdict(measured: ReportData) -> str:
    """``pass``, ``fail``, ``indeterminate`` or ``error``: of a search whether it has an answer, else the gravest."""
    if measured.answers:
        sure = all(found.answer.best is not None and not found.answer.at_least for found in measured.answers)
        return "pass" if sure else "indeterminate"
    verdicts = {point.verdict for point in measured.points}
    return next((word for word in ("error", "fail", "indeterminate", "pass") if word in verdicts), "indeterminate")


def verdict_sentences(measured: ReportData) -> list[str]:
    """The verdict in a sentence, then what it rests on."""
    if measured.answers:
        return [
            f"{found.question[:1].upper()}{found.question[1:]}: {sentence(found.answer, unit=found.unit)}"
            for found in measured.answers
        ]
    if measured.tuned is not None:
        return [f"Lowest latency: {tuned_sentence(measured.tuned)}"]
    if not measured.points:
        return ["Nothing was measured."]
    if len(measured.points) == 1:
        point = measured.points[0]
        first, *others = point.reasons or ("",)
        return [f"{point.verdict.upper()}: {first}", *others, *_limits(measured)]
    counts = Counter(point.verdict for point in measured.points)
    told = ", ".join(f"{counts[word]} {WORDS[word]}" for word in WORDS if counts[word])
    if counts["pass"] == len(measured.points):
        return [f"All {len(measured.points)} points passed."]
    troubled = [point for point in measured.points if point.verdict != "pass"]
    lines = [f"{point.label}: {point.reasons[0] if point.reasons else point.verdict}" for point in troubled]
    more = [f"and {len(lines) - SHOWN_REASONS} more, see the table"] if len(lines) > SHOWN_REASONS else []
    return [f"Of {len(measured.points)} points {told}.", *lines[:SHOWN_REASONS], *more]


def _limits(measured: ReportData) -> list[str]:
    """Who was the limit, and the notes, of a single run."""
    lines = []
    for result in measured.points[0].results[-1:]:
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
