"""A sweep before it runs: which points, with which options, in which order.

A point is a set of options; a sweep changes some of them from point to point. Clients are swept as ``clients``, which
is no option of its own: it is divided into apps of ``clients_per_app``.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hydra.errors import UsageError
from hydra.options.options import OPTION_KINDS, Options, checked, parse_option

CLIENTS = "clients"

NOT_SWEPT = frozenset(
    {
        "total_sub_apps", "bootstrap_servers", "java", "appserver", "appserver_address", "appserver_bind",
        "agent_python", "keep_running", "output", "threshold", "broker_property", "broker_heap_mb", "warmup",
    }
    | {name for name, known in OPTION_KINDS.items() if known.section in {"marathon", "mesos"}}
)  # fmt: skip
"""``total_sub_apps`` is swept as ``clients``; the others belong to the stack, the files, or what is asked of a run."""

MAX_POINTS = 10_000
MOST_CLIENTS = 100_000
MAX_REPEATS = 1000

Change = tuple[str, object]
"""An option's name, or ``clients``, and its value at a point."""


@dataclass(frozen=True)
class Axis:
    """An option and the values that it takes in turn."""

    name: str
    values: tuple[object, ...]


@dataclass(frozen=True)
class Point:
    """One set of options of a sweep."""

    number: int
    """From 1, in the order in which they run."""
    changes: dict[str, object]
    """What differs between the points, ``clients`` among it."""
    options: Options

    @property
    def name(self) -> str:
        """The changes in a line, such as ``clients=10 msg_rate=1000``."""
        return " ".join(f"{name}={format_value(value)}" for name, value in self.changes.items()) or "as asked"


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep: its file is what an interrupted one goes on from."""

    points: tuple[Point, ...]
    repeats: int = 1

    @property
    def runs(self) -> int:
        """Runs that are counted."""
        return len(self.points) * self.repeats


def format_value(value: object) -> str:
    """A value as it is written in a flag."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(format_value, value)) or "none"
    return "unset" if value is None else str(value)


def parse_axis(text: str, *, origin: str) -> Axis:
    """An axis out of ``NAME=VALUE,VALUE,...``.

    Args:
        text: what was given.
        origin: how an error names it, such as ``--sweep``.

    Raises:
        UsageError: no such option, a value that its kind does not take, or a value twice.
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise UsageError(f"{origin}={text!r} must be OPTION=VALUE,VALUE,...")
    return make_axis(name.strip().replace("-", "_"), values.split(","), origin=origin)


def make_axis(name: str, texts: Iterable[str], *, origin: str) -> Axis:
    """An axis out of a name and the texts of its values.

    Raises:
        UsageError: as ``parse_axis``.
    """
    values = tuple(parse_change(name, text, origin=origin)[1] for text in texts)
    twice = [value for index, value in enumerate(values) if value in values[:index]]
    if twice:
        raise UsageError(
            f"{origin}: {name} = {format_value(twice[0])} stands there twice", hint="repeat with --repeats"
        )
    return Axis(name, values)


def parse_change(name: str, text: str, *, origin: str) -> Change:
    """One option of a point.

    Raises:
        UsageError: no such option, or a value that its kind does not take.
    """
    if name == CLIENTS:
        if not re.fullmatch(r"[0-9]{1,9}", text.strip(), re.ASCII) or not 1 <= int(text) <= MOST_CLIENTS:
            raise UsageError(f"{origin}: clients = {text!r} must be a whole number from 1 to {MOST_CLIENTS}")
        return name, int(text)
    if name not in OPTION_KINDS or name in NOT_SWEPT:
        hint = "sweep clients=..." if name == "total_sub_apps" else "see 'hydra kafka --help' for the options"
        what = "cannot be swept" if name in NOT_SWEPT else "is no option"
        raise UsageError(f"{origin}: {name[:80]!r} {what}", hint=hint)
    return name, parse_option(name, text, origin=f"{origin}: {name}")


def grid(axes: Sequence[Axis]) -> list[dict[str, object]]:
    """Every combination of the axes' values; the last axis changes fastest."""
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def zipped(axes: Sequence[Axis]) -> list[dict[str, object]]:
    """The axes' first values together, then their second ones, and so on.

    Raises:
        UsageError: they are not of one length; names the lengths.
    """
    lengths = {axis.name: len(axis.values) for axis in axes}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(f"--zip needs as many values for each option: {told}", hint="leave --zip out for a grid")
    return [dict(zip(lengths, values, strict=True)) for values in zip(*(axis.values for axis in axes), strict=True)]


def with_changes(options: Options, changes: Mapping[str, object]) -> Options:
    """The options of a point.

    Raises:
        UsageError: clients that are no whole number of apps, or a combination that cannot be.
    """
    values = dict(changes)
    clients = values.pop(CLIENTS, None)
    changed = dataclasses.replace(options, **values)  # type: ignore[arg-type]  # each kind made its own type
    if isinstance(clients, int):
        changed = dataclasses.replace(changed, total_sub_apps=apps_for(clients, changed.clients_per_app))
    return checked(changed)


def apps_for(clients: int, clients_per_app: int) -> int:
    """How many apps hold these clients.

    Raises:
        UsageError: there is a remainder, which would silently be another number of clients.
    """
    apps, remainder = divmod(clients, clients_per_app)
    if remainder:
        raise UsageError(
            f"{clients} clients are no whole number of apps of --clients_per_app={clients_per_app}",
            hint=f"ask for {max(1, apps) * clients_per_app}, or set --clients_per_app to a divisor of {clients}",
        )
    return apps


def make_points(options: Options, changes: Sequence[Mapping[str, object]]) -> tuple[Point, ...]:
    """The points of a sweep, numbered.

    Args:
        options: what all points have in common.
        changes: what is different at each.

    Raises:
        UsageError: none or too many, one twice, or one that cannot be.
    """
    if not changes:
        raise UsageError("a sweep without a point", hint="give --sweep, --points or --plan")
    if len(changes) > MAX_POINTS:
        raise UsageError(f"a sweep of {len(changes)} points", hint=f"{MAX_POINTS} at most")
    points = tuple(
        Point(number, dict(change), with_changes(dataclasses.replace(options, output=None), change))
        for number, change in enumerate(changes, 1)
    )
    seen: dict[Options, Point] = {}
    for point in points:
        if point.options in seen:
            raise UsageError(f"the point {point.name} stands in the plan twice", hint="repeat with --repeats")
        seen[point.options] = point
    return points


def parse_points(text: str, *, origin: str) -> list[dict[str, object]]:
    """A fixed list of points out of ``CLIENTSxRATE,CLIENTSxRATE,...``.

    Raises:
        UsageError: names the part that is no point.
    """
    points = []
    for part in text.split(","):
        clients, times, rate = part.strip().partition("x")
        if not times:
            raise UsageError(f"{origin}: {part[:80]!r} must be CLIENTSxRATE, such as 50x2000")
        points.append(
            dict(parse_change(name, value, origin=origin) for name, value in ((CLIENTS, clients), ("msg_rate", rate)))
        )
    return points


def seconds_left(plan: SweepPlan, done: Mapping[int, float]) -> float | None:
    """How long the rest of a sweep will take.

    Args:
        plan: the whole sweep.
        done: by the point's number, how long it took with all repeats; points of an earlier session count, too.

    Returns:
        Seconds, or None while no point has ended: what a run needs beside its sending is known only then.
    """
    if not done:
        return None
    sending = {point.number: point.options.test_duration * plan.repeats for point in plan.points}
    beside = [max(0.0, taken_s - sending[number]) for number, taken_s in done.items()]
    mean_beside_s = sum(beside) / len(beside)
    return sum(sending[point.number] + mean_beside_s for point in plan.points if point.number not in done)
