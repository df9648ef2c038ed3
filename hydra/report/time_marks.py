"""What is marked in plots over time: what users were told of, rebalances, pauses of garbage collectors; thresholds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hydra.accounting.evidence import Evidence
from hydra.accounting.stats import SubscriberSample
from hydra.accounting.totals import ThresholdOutcome
from hydra.report.plots import COLOURS, Figure, Trace, colour, significant, text, threshold_lines

MAX_MARKS = 40
"""Marks in a plot: the first ones."""

MAX_TEXT = 200
"""Characters of a mark's text."""


@dataclass(frozen=True)
class TimeMark:
    """Something that happened at one moment of a run."""

    at_s: float
    """Since the start of the plan."""
    text: str


def time_marks(evidence: Evidence) -> list[TimeMark]:
    """All marks of a run but pauses, in the order of time."""
    told = [TimeMark(event.at_s, event.text) for event in evidence.events]
    return sorted([*told, *_rebalances(evidence)], key=lambda mark: mark.at_s)


def _rebalances(evidence: Evidence) -> Iterator[TimeMark]:
    """A mark for each second in which groups took partitions away; tasks note their counts about once a second."""
    by_second: dict[int, int] = {}
    for subscriber in evidence.subscribers:
        for at_s, clients in _increases(subscriber.samples):
            second = max(0, round(at_s))
            by_second[second] = by_second.get(second, 0) + clients
    for second, clients in by_second.items():
        yield TimeMark(float(second), f"rebalance: partitions were taken away from {clients:,} clients")


def _increases(samples: Sequence[SubscriberSample]) -> Iterator[tuple[float, int]]:
    first = [(samples[0].at_s, samples[0].rebalances)] if samples else []
    steps = [(now.at_s, now.rebalances - before.rebalances) for before, now in pairwise(samples)]
    return ((at_s, clients) for at_s, clients in [*first, *steps] if clients > 0)


def with_marks(figure: Figure, marks: Sequence[TimeMark]) -> Figure:
    """The figure over time with a dotted line for each mark; its text is there for the pointer."""
    line = {"color": COLOURS[3], "width": 1.5, "dash": "dot"}
    shown = marks[:MAX_MARKS]
    shapes: list[Trace] = [
        {"type": "line", "x0": mark.at_s, "x1": mark.at_s, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        for mark in shown
    ]
    notes: list[Trace] = [
        {
            "x": mark.at_s, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False, "text": "\u25bc",
            "font": {"size": 11}, "hovertext": text(f"{mark.at_s:.3g} s: {mark.text[:MAX_TEXT]}"),
        }
        for mark in shown
    ]  # fmt: skip
    return _with(figure, shapes, notes)


def with_limits(figure: Figure, outcomes: Sequence[ThresholdOutcome], metrics: Collection[str], *, log: bool) -> Figure:
    """The figure with a dashed line for each threshold of these metrics."""
    lines = threshold_lines([(item.limit, item.threshold) for item in outcomes if item.metric in metrics], log=log)
    return _with(figure, lines["shapes"], lines["annotations"])


def _with(figure: Figure, shapes: Sequence[Trace], notes: Sequence[Trace]) -> Figure:
    layout = figure["layout"]
    merged = {
        "shapes": [*layout.get("shapes", ()), *shapes],
        "annotations": [*layout.get("annotations", ()), *notes],
    }
    return {**figure, "layout": {**layout, **{name: values for name, values in merged.items() if values}}}


def pause_trace(evidence: Evidence, index: int) -> Trace | None:
    """How long brokers stood still for their garbage collectors, in milliseconds at the moment when it began."""
    found = [
        (pause, process.name) for process in evidence.inside.processes for pause in process.long_pauses if pause.ms > 0
    ]
    if not found:
        return None
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "GC pause of a broker",
        "x": [significant(pause.at_s) for pause, _ in found],
        "y": [significant(pause.ms) for pause, _ in found],
        "customdata": [text(name) for _, name in found],
        "hovertemplate": "%{x:.4~g} s: %{customdata} stood still for %{y:,.3~g} ms<extra>%{fullData.name}</extra>",
        "marker": {"color": colour(index), "symbol": "line-ns-open", "size": 9, "line": {"width": 2}},
    }
