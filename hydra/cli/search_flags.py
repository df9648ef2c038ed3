"""The flags of a search for a limit, and what they amount to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from hydra.cli.option_flags import given, number_flag, whole_flag
from hydra.cli.output_flags import taken_outputs
from hydra.cli.sweep_session import (
    Folders,
    begin,
    carry_out,
    check_points,
    refuse_flags_with_resume,
)

if TYPE_CHECKING:
    from hydra.options.options import Options
    from hydra.sweep.record import SearchSettings, SweepKind, SweepRecord

F = TypeVar("F", bound=Callable[..., object])

LOWEST_RATE, HIGHEST_RATE = 1.0, 10_000_000.0
MOST_CLIENTS = 100_000
PRECISION_PERCENT = 5.0
MAX_RUNS = 12


def search_flags(*, start: str, unit: str) -> Callable[[F], F]:
    """A decorator that gives a command the flags of a search.

    Args:
        start: how the help calls the default of ``--start``.
        unit: of the values.
    """
    flags = (
        click.option("--start", metavar="VALUE", help=f"{unit} to begin with  [{start}]"),
        click.option("--lowest", metavar="VALUE", help=f"{unit} that the search does not go below"),
        click.option("--highest", metavar="VALUE", help=f"{unit} that the search does not go above"),
        click.option("--precision", metavar="PERCENT", help=f"how narrow the limit is made  [{PRECISION_PERCENT:g}]"),
        click.option("--max_runs", metavar="N", help=f"runs at most, for each answer  [{MAX_RUNS}]"),
    )

    def decorate(command: F) -> F:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def run_search_command(
    kind: SweepKind,
    config_file: str | None,
    flags: dict[str, str | None],
    asked: Callable[[Options, dict[str, str | None]], SearchSettings],
) -> int:
    """Carry a search out.

    Args:
        kind: the command.
        config_file: the flag.
        flags: all others.
        asked: what is looked for, from the options and from the flags that are not options; the latter are taken out.

    Returns:
        The exit code.
    """
    outputs = taken_outputs(flags)
    output = flags.pop("output", None)
    folders = Folders(flags.pop("results", None), flags.pop("resume", None))
    if folders.resume is not None:
        refuse_flags_with_resume({**flags, "results": folders.results, "config_file": config_file})

    def make() -> SweepRecord:
        from hydra.options.options import OPTION_KINDS
        from hydra.options.reader import options_from_flags

        own = {name: text for name, text in flags.items() if name not in OPTION_KINDS}
        options = options_from_flags(
            given({name: text for name, text in flags.items() if name in OPTION_KINDS}), config_file
        )
        search = asked(options, own)
        _check_first(kind, options, search)
        return begin(kind, options, search=search)

    return carry_out(kind, make, folders, outputs, output)


def _check_first(kind: SweepKind, options: Options, search: SearchSettings) -> None:
    """See that this machine can hold what is tried first; what it cannot hold later on ends a search for clients.

    Raises:
        CapacityError: names the number that is needed.
    """
    from hydra.sweep.plan import CLIENTS, SweepPlan, make_points

    first = search.clients or (round(search.start) if kind == "maxclients" else options.client_count,)
    check_points(SweepPlan(make_points(options, [{CLIENTS: clients} for clients in first])))


def asked_for(
    own: dict[str, str | None],
    *,
    start: float,
    lowest: float,
    highest: float,
    clients: tuple[int, ...] = (),
) -> SearchSettings:
    """What the flags of ``search_flags`` say.

    Raises:
        UsageError: a flag that cannot be, or a range without a start in it.
    """
    from hydra.sweep.record import SearchSettings
    from hydra.sweep.search import SearchRange

    def value(name: str, default: float) -> float:
        text = own[name]
        return default if text is None else number_flag(name, text, lowest, highest)

    asked = SearchSettings(
        start=value("start", start),
        lowest=value("lowest", lowest),
        highest=value("highest", highest),
        precision=number_flag("precision", own["precision"] or str(PRECISION_PERCENT), 0.1, 100) / 100,
        max_trials=whole_flag("max_runs", own["max_runs"] or str(MAX_RUNS), 2, 1000),
        clients=clients,
    )
    SearchRange(asked.start, asked.lowest, asked.highest)
    return asked
