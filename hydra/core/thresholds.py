"""Thresholds: what a user says a run has to keep, such as ``e2e_p99<50ms``, ``loss==0`` or ``tx_rate>=0.95*asked``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from hydra.core.figures import Figures, LatencyFigures
from hydra.core.metrics import METRICS

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TIMES: Mapping[str, float] = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_OF_ASKED = ("tx_rate", "rx_rate")
_FORM = re.compile(
    r"\s*(?P<metric>[A-Za-z0-9_]+)\s*(?P<compare><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?|\.[0-9]+)\s*(?P<unit>\*\s*asked|us|ms|s|%)?\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class Threshold:
    """One condition on a metric."""

    metric: str
    compare: str
    limit: float
    """In the metric's unit; with ``of_asked`` a share of the asked rate."""
    of_asked: bool = False

    def __str__(self) -> str:
        unit = METRICS[self.metric].unit
        tail = "*asked" if self.of_asked else unit if unit in {"ms", "%"} else ""
        return f"{self.metric}{self.compare}{self.limit:.12g}{tail}"


@dataclass(frozen=True)
class ThresholdOutcome:
    """What became of a threshold in a run."""

    threshold: str
    metric: str
    value: float
    limit: float
    """Both in ``unit``."""
    unit: str
    kept: bool


def parse_threshold(text: str) -> Threshold:
    """One threshold.

    Raises:
        ValueError: with the rest of the sentence 'TEXT ...': an unknown metric, or no such form.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("must be a metric, a comparison and a number, such as e2e_p99<50ms or tx_rate>=0.95*asked")
    metric, unit = match["metric"].lower(), (match["unit"] or "").replace(" ", "")
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METRICS)}"
        raise ValueError(f"names no metric: {hint}")
    limit, own = float(match["number"]), METRICS[metric].unit
    if unit == "*asked":
        if metric not in _OF_ASKED:
            raise ValueError(f"compares {metric} with a rate: only {' and '.join(_OF_ASKED)} can be of what was asked")
        return Threshold(metric, match["compare"], limit, of_asked=True)
    if own == "ms":
        if unit not in _TIMES:
            raise ValueError(f"needs a unit: {metric} is a time, in us, ms or s")
        limit *= _TIMES[unit]
    elif unit and unit != own:
        raise ValueError(f"has the wrong unit: {metric} is in {own}")
    return Threshold(metric, match["compare"], limit)


def judge(
    thresholds: tuple[str, ...], figures: Figures, latency: LatencyFigures, *, asked_rate_per_s: float
) -> tuple[ThresholdOutcome, ...]:
    """What became of each threshold."""
    outcomes = []
    for text in thresholds:
        threshold = parse_threshold(text)
        metric = METRICS[threshold.metric]
        value = metric.of(figures, latency)
        limit = threshold.limit * asked_rate_per_s if threshold.of_asked else threshold.limit
        kept = _COMPARE[threshold.compare](value, limit)
        outcomes.append(ThresholdOutcome(str(threshold), threshold.metric, value, limit, metric.unit, kept))
    return tuple(outcomes)
