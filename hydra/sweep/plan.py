"""The plan of a sweep: which points, with which options, in which order.

A point is a set of options; a sweep changes some of them from point to point. The number of clients is swept as
``clients``, which is not an option itself: they are divided into apps of ``clients_per_app``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hydra.errors import UsageError
from hydra.options.option_checks import checked
from hydra.options.options import ACCESS_OPTIONS, OPTION_KINDS, Options, parse_option
from hydra.options.parsers import whole

CLIENTS = "clients"

NOT_SWEPT = frozenset(
    {
        "total_sub_apps", "bootstrap_servers", "java", "appserver", "appserver_address", "appserver_bind",
        "agent_python", "keep_running", "output", "threshold", "broker_property", "broker_heap_mb", "brokers", "warmup",
        "kafka_security", "kafka_version", "engine", "broker_metrics", *ACCESS_OPTIONS,
    }
    | {name for name, known in OPTION_KINDS.items() if known.section in {"marathon", "mesos", "kubernetes"}}
)  # fmt: skip
"""``total_sub_apps`` is swept as ``clients``; the others belong to the stack, the output files, or the verdict."""

MAX_SWEEP_POINTS = 10_000
MAX_CLIENTS = 100_000
MAX_REPEATS = 1000


@dataclass(frozen=True)
class Axis:
    """An option and the values that it takes in turn."""

    name: str
    values: tuple[object, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One set of options of a sweep."""

    number: int
    """From 1, in the order in which they run."""
    changes: dict[str, object]
    """The options that differ between the points, and ``clients``."""
    options: Options


@dataclass(frozen=True)
class SweepPlan:
    """All points of a sweep. It is saved, so that an interrupted sweep can be resumed."""

    points: tuple[SweepPoint, ...]
    repeats: int = 1
    """Runs of each point."""
    seed: int | None = None
    """Of the order within each round; None: the order of the points."""
    tolerance_percent: float = 10.0
    """Of a comparison of two settings: a change of less counts as none."""

    def turns(self) -> Iterator[tuple[int, SweepPoint]]:
        """(number of the round from 1, point) for each run: all points once, then again, each round in its own order.

        So a machine that becomes slower does so for all points alike.
        """
        for number in range(1, self.repeats + 1):
            yield from ((number, point) for point in self._round(number))

    def _round(self, number: int) -> Sequence[SweepPoint]:
        if self.seed is None:
            return self.points
        return sorted(
            self.points,
            key=lambda point: hashlib.sha256(f"{self.seed} {number} {point.number}".encode()).digest(),
        )


def changes_text(changes: Mapping[str, object]) -> str:
    """The changes of a point in a line, such as ``clients=10 msg_rate=1000``; empty if there are none."""
    return " ".join(f"{name}={format_value(value)}" for name, value in changes.items())


def format_value(value: object) -> str:
    """A value as it is written in a flag."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(format_value, value)) or "none"
    return "unset" if value is None else str(value)


def parse_axis(text: str, *, origin: str) -> Axis:
    """The axis in ``NAME=VALUE,VALUE,...``; ``origin`` is how an error names it, such as ``--sweep``.

    Raises:
        UsageError: an unknown option, an invalid value, or a duplicate one.
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise UsageError(f"{origin}={text!r} must be OPTION=VALUE,VALUE,...")
    return make_axis(name.strip().replace("-", "_"), values.split(","), origin=origin)


def make_axis(name: str, texts: Iterable[str], *, origin: str) -> Axis:
    """The axis of an option's name and the texts of its values; raises as ``parse_axis``."""
    values: dict[object, None] = {}
    for value in (parse_value(name, text, origin=origin) for text in texts):
        if value in values:
            raise UsageError(
                f"{origin}: duplicate value {name} = {format_value(value)}", hint="use --repeats to repeat a point"
            )
        values[value] = None
    return Axis(name, tuple(values))


def parse_value(name: str, text: str, *, origin: str) -> object:
    """The value of an option, or of ``clients``, at a point.

    Raises:
        UsageError: an unknown option, or an invalid value.
    """
    if name == CLIENTS:
        try:
            return whole(1, MAX_CLIENTS)(text.strip())
        except ValueError as error:
            raise UsageError(f"{origin}: clients = {text!r} {error}") from error
    if name not in OPTION_KINDS or name in NOT_SWEPT:
        hint = "sweep clients=..." if name == "total_sub_apps" else "see 'hydra kafka --help' for the options"
        reason = "cannot be swept" if name in NOT_SWEPT else "is not an option"
        raise UsageError(f"{origin}: {name[:80]!r} {reason}", hint=hint)
    return parse_option(name, text, origin=f"{origin}: {name}")


def grid(axes: Sequence[Axis]) -> list[dict[str, object]]:
    """Every combination of the axes' values; the last axis changes fastest.

    Raises:
        UsageError: there are too many, or two axes are of one option.
    """
    _check_count(math.prod(len(axis.values) for axis in axes))  # before they are made: they may not fit into memory
    names = _names(axes)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def _names(axes: Sequence[Axis]) -> list[str]:
    """The names of the axes; raises UsageError if two of them are of one option: one of them would not count."""
    names = [axis.name for axis in axes]
    for name, count in Counter(names).items():
        if count > 1:
            raise UsageError(f"{name} is swept {count} times", hint="give all its values in one list")
    return names


def _check_count(points: int) -> None:
    if points > MAX_SWEEP_POINTS:
        raise UsageError(f"the sweep has {points} points", hint=f"{MAX_SWEEP_POINTS} at most")


def zipped(axes: Sequence[Axis]) -> list[dict[str, object]]:
    """The axes' first values together, then their second ones, and so on.

    Raises:
        UsageError: the axes differ in length, or two of them are of one option; names the lengths or the option.
    """
    _names(axes)
    lengths = {axis.name: len(axis.values) for axis in axes}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(
            f"--zip needs the same number of values for each option: {counts}", hint="omit --zip for a grid"
        )
    return [dict(zip(lengths, values, strict=True)) for values in zip(*(axis.values for axis in axes), strict=True)]


def with_changes(options: Options, changes: Mapping[str, object]) -> Options:
    """The options of a point.

    Raises:
        UsageError: clients that are not a multiple of clients_per_app, or an invalid combination.
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
        UsageError: there is a remainder; rounding would silently change the number of clients.
    """
    apps, remainder = divmod(clients, clients_per_app)
    if remainder:
        raise UsageError(
            f"{clients} clients are not a multiple of --clients_per_app={clients_per_app}",
            hint=f"use {max(1, apps) * clients_per_app}, or set --clients_per_app to a divisor of {clients}",
        )
    return apps


def make_points(options: Options, changes: Sequence[Mapping[str, object]]) -> tuple[SweepPoint, ...]:
    """The points of a sweep, numbered: the common options with the changes of each point.

    Raises:
        UsageError: no points or too many, a duplicate point, or an invalid one.
    """
    if not changes:
        raise UsageError("the sweep has no points", hint="give --sweep, --points or --plan")
    _check_count(len(changes))
    points = tuple(
        SweepPoint(number, dict(change), with_changes(dataclasses.replace(options, output=None), change))
        for number, change in enumerate(changes, 1)
    )
    seen: set[Options] = set()
    for point in points:
        if point.options in seen:
            raise UsageError(f"duplicate point {changes_text(point.changes)}", hint="use --repeats to repeat a point")
        seen.add(point.options)
    return points


SIDES = ("A", "B", "A again")
"""The points of a comparison of two settings. The third one measures the machine."""

SIDE = "side"
"""Among the changes of its points, which differ in nothing else where A is run against A."""

NOT_COMPARED = frozenset({"total_sub_apps", "output", "keep_running", "threshold"})


def parse_settings(texts: Iterable[str], *, origin: str) -> dict[str, object]:
    """The changes in some ``OPTION=VALUE``, of any option, the stack's too.

    Raises:
        UsageError: names the text that is not one, or the option that is there twice.
    """
    changes: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"{origin}={text[:80]!r} must be OPTION=VALUE")
        if name in changes:
            raise UsageError(f"{origin} names {name} twice", hint="keep one")
        if name == CLIENTS:
            changes[name] = parse_value(name, value, origin=origin)
        elif name not in OPTION_KINDS or name in NOT_COMPARED:
            reason = "cannot be compared" if name in NOT_COMPARED else "is not an option"
            raise UsageError(f"{origin}: {name[:80]!r} {reason}", hint="see 'hydra kafka --help-all' for the options")
        else:
            changes[name] = parse_option(name, value, origin=f"{origin}: {name}")
    return changes


def sides(options: Options, first: Mapping[str, object], second: Mapping[str, object]) -> tuple[SweepPoint, ...]:
    """The points of a comparison of two settings: A, B, and A again.

    Raises:
        UsageError: both are the same, or one is invalid.
    """
    common = dataclasses.replace(options, output=None)
    if with_changes(common, first) == with_changes(common, second):
        raise UsageError("--a and --b are the same setting", hint="name an option in which they differ")
    return tuple(
        SweepPoint(number, {SIDE: side, **changes}, with_changes(common, changes))
        for number, (side, changes) in enumerate(zip(SIDES, (first, second, first), strict=True), 1)
    )


def parse_points(text: str, *, origin: str) -> list[dict[str, object]]:
    """The changes of each point in ``CLIENTSxRATE,CLIENTSxRATE,...``.

    Raises:
        UsageError: names the part that is not a point.
    """
    points = []
    for part in text.split(","):
        clients, times, rate = part.strip().partition("x")
        if not times:
            raise UsageError(f"{origin}: {part[:80]!r} must be CLIENTSxRATE, such as 50x2000")
        values = {CLIENTS: clients, "msg_rate": rate}
        points.append({name: parse_value(name, value, origin=origin) for name, value in values.items()})
    return points


def seconds_left(plan: SweepPlan, done: Mapping[int, tuple[int, float]]) -> float | None:
    """About how many seconds the rest of a sweep will take; None until a run has ended: its overhead is not known.

    ``done`` has for each point that was begun how many runs have ended and how long they took together.
    """
    if not done:
        return None
    sending_s = {point.number: point.options.test_duration for point in plan.points}
    overhead_s = fmean(max(0.0, took_s / runs - sending_s[number]) for number, (runs, took_s) in done.items())
    return sum(
        (plan.repeats - done.get(number, (0, 0.0))[0]) * (seconds + overhead_s) for number, seconds in sending_s.items()
    )
