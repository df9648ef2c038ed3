"""The head of a report on several points: how many passed, the best of them, what was tried, and what gave way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hydra.report.cards import (
    NOT_MEASURED,
    VERDICTS,
    Card,
    counted,
    in_runs,
    limit_words,
    loss_card,
    p99_card,
    point_cards,
    spread,
)
from hydra.report.contents import ReportContents, ReportPoint
from hydra.report.summary import counted_verdicts
from hydra.report.text import three_digits
from hydra.sweep.plan import SIDE, changes_text, format_value
from hydra.sweep.record import SearchResult
from hydra.sweep.search import LIMIT_WORDS, SearchAnswer, interval_text
from hydra.sweep.tuning import TuningResult

SHOWN_VALUES = 4
"""Values of an option, and answers of a search, in a card."""

SIDE_VERDICTS = {"pass": "B is not worse", "fail": "B is worse", "indeterminate": "No answer"}


def cards(contents: ReportContents, verdict: str) -> list[Card]:
    """The cards of what a report shows; ``verdict`` is the page's."""
    points = contents.points
    if not points:
        return [Card("Verdict", VERDICTS["error"], contents.missing or "nothing was measured", "error")]
    if contents.sides is not None:
        return _side_cards(contents, verdict)
    if contents.answers or contents.tuned is not None:
        return _search_cards(contents, verdict)
    if len(points) == 1:
        return point_cards(points[0], verdict, contents.missing)
    best = best_point(points)
    return [
        _counts_card(contents, verdict),
        _best_card(points, best),
        _tried_card(points),
        loss_card(points),
        _p99_of_all(points) if best is None else p99_card(best, "p99 at that point"),
        _gave_way_card(points),
    ]


def load_of(point: ReportPoint) -> float:
    """Deliveries/s that were asked for: clients with a group of their own get every record."""
    return point.msg_rate * (point.clients if point.options.group == "own" else 1)


def best_point(points: Sequence[ReportPoint]) -> ReportPoint | None:
    """Of those that passed the one of the highest load, of several the one with the lowest p99; None if none passed."""
    passed = [point for point in points if point.verdict == "pass"]

    def rank(point: ReportPoint) -> tuple[float, int, float]:
        p99_ms = point.metric("e2e_p99")
        return load_of(point), point.clients, float("-inf") if p99_ms is None else -p99_ms

    return max(passed, key=rank, default=None)


def _counts_card(contents: ReportContents, verdict: str) -> Card:
    value = (
        "Not complete" if verdict == "error" and any(point.results for point in contents.points) else VERDICTS[verdict]
    )
    return Card("Verdict", value, _counted(contents), verdict)


def _counted(contents: ReportContents) -> str:
    """How many points came to what, and what is missing."""
    told = f"of {counted(len(contents.points), 'point')} {counted_verdicts(contents.points)}"
    return f"{told}; {contents.missing}" if contents.missing else told


def _best_card(points: Sequence[ReportPoint], best: ReportPoint | None) -> Card:
    loads = {load_of(point) for point in points}
    heading = "Highest load that passed" if len(loads) > 1 else "Lowest p99 that passed"
    if best is None:
        return Card(heading, "none", "no point passed in all of its runs", "indeterminate")
    if len(loads) == 1:
        return Card(heading, _others(best) or best.label, _load_text(best))
    higher = sum(load_of(point) > load_of(best) for point in points)
    above = f"{counted(higher, 'point')} of a higher load did not pass" if higher else "no higher load was tried"
    return Card(heading, _load_text(best), "; ".join(filter(None, (_others(best), above))))


def _load_text(point: ReportPoint) -> str:
    return f"{point.clients:,} clients, {point.msg_rate:,.10g} records/s"


def _others(point: ReportPoint) -> str:
    """What the point differs in from others, beside its load."""
    changes = {name: value for name, value in point.changes.items() if name not in {"clients", "msg_rate"}}
    return ", ".join(filter(None, (changes_text(changes), point.source)))


def _tried_card(points: Sequence[ReportPoint]) -> Card:
    clients = spread([point.clients for point in points], lambda value: f"{value:,.0f}")
    rates = spread([point.msg_rate for point in points], lambda value: f"{value:,.10g}")
    names = sorted({name for point in points for name in point.changes} - {"clients", "msg_rate", SIDE})
    values = {name: list(dict.fromkeys(point.option(name) for point in points)) for name in names}
    told = [f"{name}={_some(found)}" for name, found in values.items()]
    runs = sum(len(point.runs) for point in points)
    return Card("Tried", f"{clients} clients, {rates} records/s", "; ".join([*told, counted(runs, "run")]))


def _some(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - SHOWN_VALUES:,} more"] if len(texts) > SHOWN_VALUES else []
    return ", ".join([*texts[:SHOWN_VALUES], *more])


def _p99_of_all(points: Sequence[ReportPoint]) -> Card:
    values = [value for point in points for value in point.measured("e2e_p99")]
    if not values:
        return Card("Latency, p99", NOT_MEASURED, "nothing was delivered")
    runs = sum(len(point.runs) for point in points)
    detail = f"over all points,{in_runs(len(values), runs)}" if runs > 1 else ""
    return Card("Latency, p99", f"{spread(values, three_digits)} ms", detail)


def _gave_way_card(points: Sequence[ReportPoint]) -> Card:
    """What gave way, at how many points."""
    heading = "What gave way"
    measured = [point for point in points if point.results]
    if not measured:
        return Card(heading, NOT_MEASURED)
    counts: Counter[str] = Counter()
    for point in measured:
        counts.update({result.bottleneck.name for result in point.results} - {"none"})
    if not counts:
        left = len(points) - len(measured)
        return Card(
            heading,
            "nothing",
            f"at any of {counted(len(measured), 'point')}" + (f"; {left:,} have no result" if left else ""),
        )
    told = [f"{limit_words(name)} at {found:,}" for name, found in counts.most_common()]
    first = limit_words(counts.most_common(1)[0][0])
    broker = all(name.startswith("broker") for name in counts)
    return Card(
        heading, first, f"{'; '.join(told)} of {counted(len(points), 'point')}", "" if broker else "indeterminate"
    )


def _search_cards(contents: ReportContents, verdict: str) -> list[Card]:
    points, answers = contents.points, contents.answers
    if contents.tuned is not None and not answers:
        found, p99 = _tuned_cards(contents.tuned)
    else:
        found = _answer_card(answers[0]) if len(answers) == 1 else _answers_card(answers)
        p99 = _p99_at(points, answers)
    limits = any(not each.answer.at_least for each in answers) or contents.tuned is not None
    found_text = "Found" if limits else "All of the range passed"
    if contents.tuned is not None and not (contents.tuned.gained or contents.tuned.best == contents.tuned.start):
        found_text = "No gain shown"
    words = {**VERDICTS, "pass": found_text, "fail": "Nothing passed"}
    return [
        Card("Verdict", words[verdict], _counted(contents), verdict),
        found,
        p99,
        _tried_card(points),
        loss_card(points),
        _gave_way_card(points),
    ]


def answer_text(answer: SearchAnswer, unit: str) -> str:
    """The limit in a few words."""
    if answer.best is None:
        return "not known" if answer.at_least else "none"
    return f"{'at least ' if answer.at_least else ''}{answer.best:,.10g} {unit}"


def _answer_card(found: SearchResult) -> Card:
    answer, unit = found.answer, found.unit
    told = [found.question]
    if answer.interval is not None:
        told.append(f"{interval_text(answer.interval)} in 95 %")
    if answer.best is None:
        told.append(f"not even {answer.above:,.10g} {unit} is good")
    elif answer.limited_by == "range":
        told.append("all of the range passed")
    elif answer.limited_by == "trials":
        above = "all runs passed" if answer.above is None else f"{answer.above:,.10g} is too much for the broker"
        told.append(f"{above}, and no run was left to look {'further' if answer.above is None else 'between'}")
    elif answer.above is not None and not answer.at_least:
        told.append(f"{answer.above:,.10g} is too much for the broker")
    if answer.limited_by in LIMIT_WORDS:
        told.append(f"what ended the search was {LIMIT_WORDS[answer.limited_by]}, not the broker")
    if answer.best is not None and not answer.confirmed:
        told.append("not confirmed by a repeat")
    look = {0: "pass", 1: "fail"}.get(answer.exit_code, "indeterminate")
    return Card("Limit found", answer_text(answer, unit), "; ".join(told), look)


def _answers_card(answers: Sequence[SearchResult]) -> Card:
    found = sum(not each.answer.at_least and each.answer.best is not None for each in answers)
    told = [f"{each.question}: {answer_text(each.answer, each.unit)}" for each in answers]
    return Card("Limits found", f"{found:,} of {len(answers):,}", _some_lines(told))


def _some_lines(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - SHOWN_VALUES:,} more"] if len(texts) > SHOWN_VALUES else []
    return "; ".join([*texts[:SHOWN_VALUES], *more])


def _p99_at(points: Sequence[ReportPoint], answers: Sequence[SearchResult]) -> Card:
    """The p99 at the limits: of the runs that tried just these values."""
    heading = "p99 at the limit"
    best = [each for each in answers if each.answer.best is not None]
    if not best:
        return Card(heading, NOT_MEASURED, "no value passed")
    at = [point for point in points if any(_is_at(point, each) for each in best)]
    values = [value for point in at for value in point.measured("e2e_p99")]
    if not values:
        return Card(heading, NOT_MEASURED)
    runs = sum(len(point.runs) for point in at)
    return Card(
        heading,
        f"{spread(values, three_digits)} ms",
        f"end to end,{in_runs(len(values), runs)}" if runs > 1 else "end to end",
    )


def _is_at(point: ReportPoint, found: SearchResult) -> bool:
    if found.unit == "clients":
        return point.clients == found.answer.best
    return point.msg_rate == found.answer.best and found.clients in {None, point.clients}


def _tuned_cards(tuned: TuningResult) -> tuple[Card, Card]:
    """The best setting, and its p99."""
    if not tuned.best_costs:
        value, look = ("not known", "indeterminate") if tuned.unjudged else ("none", "fail")
        told = f"no run passed, and {tuned.unjudged:,} of {tuned.trials:,} were not judged" if tuned.unjudged else ""
        return Card("Best setting", value, told or "no setting passed", look), Card("p99 with it", NOT_MEASURED)
    best = changes_text(tuned.best)
    if tuned.best == tuned.start:
        setting = Card("Best setting", best, "it is the one to begin with")
    elif tuned.gained:
        setting = Card("Best setting", best, "better than the start")
    else:
        told = f"{best}: no difference beyond the noise to {changes_text(tuned.start)}, the start"
        setting = Card("Best setting", "no winner", told, "indeterminate")
    before = (
        f"with the setting to begin with: {spread(tuned.start_costs, three_digits)} ms"
        if tuned.start_costs
        else "the setting to begin with did not pass"
    )
    detail = before if tuned.best != tuned.start else counted(len(tuned.best_costs), "run")
    heading = "p99 with it" if setting.value == best else "p99 of the best one"
    return setting, Card(heading, f"{spread(tuned.best_costs, three_digits)} ms", detail)


def _side_cards(contents: ReportContents, verdict: str) -> list[Card]:
    """What B is against A, and the p99 of each."""
    told = [contents.missing] if contents.missing else []
    first = Card("Verdict", SIDE_VERDICTS.get(verdict, VERDICTS[verdict]), "; ".join(told), verdict)
    of_sides = []
    for point in contents.points:
        side, setting = format_value(point.changes.get(SIDE)), {n: v for n, v in point.changes.items() if n != SIDE}
        made = p99_card(point, f"p99 of {side}")
        of_sides.append(Card(made.heading, made.value, "; ".join(filter(None, (changes_text(setting), made.detail)))))
    return [first, *of_sides, loss_card(contents.points), _gave_way_card(contents.points)]
