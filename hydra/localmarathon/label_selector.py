"""Label selectors: ``tier==web, stage in (test, live), owner`` in the query of ``GET /v2/apps``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hydra.localmarathon.refusals import bad_query

_TERM = re.compile(
    r"\s*(?P<name>[^\s!=,()]+)\s*"
    r"(?:(?P<operator>==|!=)\s*(?P<value>[^\s!=,()]+)|(?P<membership>in|notin)\s*\((?P<values>[^()]*)\))?\s*(?:,|$)"
)


@dataclass(frozen=True)
class LabelTerm:
    """One condition on the labels of an app."""

    name: str
    values: frozenset[str] | None  # None: any value will do
    is_negated: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an app with these labels is meant."""
        if self.name not in labels:
            return False
        is_member = self.values is None or labels[self.name] in self.values
        return is_member != self.is_negated


def parse_label_selector(text: str) -> tuple[LabelTerm, ...]:
    """Read a selector; all of its terms must match.

    Raises:
        RequestRefusedError: 400, naming the place.
    """
    terms, position = [], 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise bad_query(f"Can not parse label selector '{text}' at position {position}")
        position = match.end()
        terms.append(_term(match))
    return tuple(terms)


def _term(match: re.Match[str]) -> LabelTerm:
    name, operator, membership = match["name"], match["operator"], match["membership"]
    if operator:
        return LabelTerm(name, frozenset({match["value"]}), is_negated=operator == "!=")
    if membership:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return LabelTerm(name, values, is_negated=membership == "notin")
    return LabelTerm(name, None)
