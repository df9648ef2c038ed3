"""Whether an agent's offer fits one more task of an app, and if not, why. Pure.

Marathon checks an offer in a fixed order (REASONS) and stops at the first check that fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.localmarathon.app_definition import AppDefinition

REASONS = (
    "UnfulfilledRole", "UnfulfilledConstraint", "InsufficientCpus", "InsufficientMemory", "InsufficientPorts",
    "DeclinedScarceResources",
)  # fmt: skip
_ROUNDING = 1e-9


@dataclass(frozen=True)
class AgentIdentity:
    """What constraints know of an agent."""

    agent_id: str
    host: str
    attributes: Mapping[str, str]

    def value(self, field: str) -> str | None:
        """The value of a constraint's field on this agent, None if it has no such attribute."""
        if field in ("hostname", "@hostname"):
            return self.host
        return self.attributes.get(field)


@dataclass(frozen=True)
class Offer:
    """What is free on an agent."""

    agent: AgentIdentity
    cpus: float
    mem_mb: float
    has_room: bool = True  # whether it may run one more task at all


def decline_reason(app: AppDefinition, offer: Offer, placed: Sequence[AgentIdentity]) -> str | None:
    """Why the offer is declined, None if it fits; does not check ports.

    Args:
        app: the app to launch a task of.
        offer: of one agent.
        placed: the agent of each task that the app already has.
    """
    if app.accepted_roles and "*" not in app.accepted_roles:
        return "UnfulfilledRole"
    if not all(_fulfils(constraint, offer.agent, placed) for constraint in app.constraints):
        return "UnfulfilledConstraint"
    if app.cpus > offer.cpus + _ROUNDING:
        return "InsufficientCpus"
    if app.mem_mb > offer.mem_mb + _ROUNDING:
        return "InsufficientMemory"
    return None if offer.has_room else "DeclinedScarceResources"


def reject_summary(reasons: Sequence[str]) -> list[dict[str, object]]:
    """The JSON array of how many offers failed which check.

    Args:
        reasons: why each offer was declined.
    """
    left, rows = len(reasons), []
    for reason in REASONS:
        declined = reasons.count(reason)
        rows.append({"reason": reason, "declined": declined, "processed": left})
        left -= declined
    return rows


def _fulfils(constraint: Sequence[str], agent: AgentIdentity, placed: Sequence[AgentIdentity]) -> bool:  # noqa: PLR0911  # one for each operator
    field, operator, *rest = constraint
    wanted, value = rest[0] if rest else "", agent.value(field)
    if value is None:
        return operator == "UNLIKE"
    if operator == "LIKE":
        return re.fullmatch(wanted, value) is not None
    if operator == "UNLIKE":
        return re.fullmatch(wanted, value) is None
    if operator == "IS":
        return value == wanted or _same_number(value, wanted)
    counts = Counter(other.value(field) for other in placed)
    if operator == "UNIQUE":
        return not counts[value]
    if operator == "CLUSTER":
        return value == wanted if wanted else set(counts) <= {value}
    if operator == "MAX_PER":
        return counts[value] < int(wanted)
    # GROUP_BY: a value without tasks fits, and the value with the fewest tasks once enough values have some.
    return not counts[value] or (len(counts) >= int(wanted or 0) and counts[value] == min(counts.values()))


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False
