"""The plan of a sweep in a TOML file.

::

    repeats = 2
    zip = false         # true: the values of [sweep] vary together

    [options]           # for all points; flags win over these
    clients_per_app = 10
    test_duration = 10
    warmup = 3          # seconds

    [sweep]             # a grid
    clients = [10, 50]
    msg_rate = [1000, 2000]

    [[point]]           # and, or instead of it, points one by one
    clients = 100
    msg_rate = 500
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hydra.errors import ConfigurationError, UsageError
from hydra.options.options import OPTION_KINDS, parse_option
from hydra.options.reader import read_text
from hydra.sweep.plan import MAX_REPEATS, Axis, grid, make_axis, parse_value, zipped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEYS = ("repeats", "zip", "options", "sweep", "point")


@dataclass(frozen=True)
class PlanFile:
    """The content of a plan file, parsed."""

    options: dict[str, object] = field(default_factory=dict)
    """Common to all points."""
    changes: tuple[dict[str, object], ...] = ()
    """Of each point."""
    repeats: int | None = None


def read_plan_file(path: str) -> PlanFile:
    """Read and parse a plan file.

    Raises:
        ConfigurationError: missing, unreadable, or invalid; names the file and the key or line.
    """
    try:
        text = read_text(Path(path), kind="plan")
    except FileNotFoundError as error:
        raise ConfigurationError(f"--plan={path} does not exist") from error
    try:
        return read_plan(tomllib.loads(text), name=path)
    except (ValueError, RecursionError) as error:  # the former also of an integer with thousands of digits, as text
        raise ConfigurationError(f"{path}: {error}", hint="a plan is a TOML file") from error


def read_plan(tables: Mapping[str, object], *, name: str) -> PlanFile:
    """Parse the tables of a plan file of this name.

    Raises:
        ConfigurationError: names the file, the table and the key.
    """
    for key in tables:
        if key not in KEYS:
            raise ConfigurationError(f"{name}: unknown key {key[:80]!r}", hint=f"the keys are {', '.join(KEYS)}")
    zip_axes = tables.get("zip", False)
    if not isinstance(zip_axes, bool):
        raise ConfigurationError(f"{name}: zip = {zip_axes!r} must be true or false")
    points = tables.get("point", [])
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        raise ConfigurationError(f"{name}: point must be written [[point]]")
    try:
        axes = [_axis(key, values, name=name) for key, values in _table(tables, "sweep", name=name).items()]
        swept = (zipped(axes) if zip_axes else grid(axes)) if axes else []
        fixed = [
            {key: parse_value(key, _text(value), origin=f"{name}: [[point]] {number}") for key, value in point.items()}
            for number, point in enumerate(points, 1)
        ]
        options = {key: _option(key, value, name=name) for key, value in _table(tables, "options", name=name).items()}
    except ConfigurationError:
        raise
    except UsageError as error:
        message = error.message if error.message.startswith(name) else f"{name}: {error.message}"
        raise ConfigurationError(message, hint=error.hint) from error
    return PlanFile(options=options, changes=tuple(swept + fixed), repeats=_repeats(tables, name=name))


def _table(tables: Mapping[str, object], key: str, *, name: str) -> Mapping[str, object]:
    table = tables.get(key, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{name}: {key} must be a table, written [{key}]")
    return table


def _axis(key: str, values: object, *, name: str) -> Axis:
    if not isinstance(values, list) or not values:
        raise ConfigurationError(f"{name}: [sweep] {key[:80]!r} must be a list of values")
    return make_axis(key, [_text(value) for value in values], origin=f"{name}: [sweep]")


def _option(key: str, value: object, *, name: str) -> object:
    if key not in OPTION_KINDS:
        raise ConfigurationError(f"{name}: [options] {key[:80]!r} is not an option")
    return parse_option(key, _text(value), origin=f"{name}: [options] {key}")


def _repeats(tables: Mapping[str, object], *, name: str) -> int | None:
    value = tables.get("repeats")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in range(1, MAX_REPEATS + 1):
        raise ConfigurationError(f"{name}: repeats = {value!r} must be a whole number from 1 to {MAX_REPEATS}")
    return int(value)


def _text(value: object) -> str:
    """A TOML value as a flag's text."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
