"""Placement constraints: read, and checked for their form; placement.py has what they mean."""

from __future__ import annotations

import re

from hydra.localmarathon.json_fields import JsonFields

_OPERATORS = ("UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS")
_VALUE_REQUIRED = ("LIKE", "UNLIKE", "MAX_PER", "IS")


def read_constraints(app: JsonFields) -> tuple[tuple[str, ...], ...]:
    """``((field, OPERATOR, value?), ...)`` with the operator in upper case; faults are noted in ``app``."""
    constraints = []
    for index, item in enumerate(app.items("constraints") or []):
        name = f"constraints({index})"
        if not isinstance(item, list) or len(item) not in (2, 3) or not all(isinstance(part, str) for part in item):
            app.broken(name, "Each constraint must have either 2 or 3 fields")
            continue
        field, operator, *value = item
        operator = operator.upper()
        fault = _constraint_fault(operator, value)
        if fault:
            app.broken(name, fault)
        constraints.append((field, operator, *value))
    return tuple(constraints)


def _constraint_fault(operator: str, value: list[str]) -> str | None:
    if operator not in _OPERATORS:
        return "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS"
    # The `marathon` client's own models send an empty value where there is none.
    if operator == "UNIQUE" and value and value[0]:
        return "UNIQUE does not accept a value"
    if operator in _VALUE_REQUIRED and not (value and value[0]):
        return f"{operator} requires a value"
    if operator in ("MAX_PER", "GROUP_BY") and value and value[0] and not re.fullmatch("[0-9]{1,9}", value[0]):
        return f"{operator} requires an integer value"
    if operator in ("LIKE", "UNLIKE") and not _is_pattern(value[0]):
        return f"Constraint value {value[0]} is not a valid regular expression"
    return None


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
