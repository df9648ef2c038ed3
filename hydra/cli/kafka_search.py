"""``hydra kafka maxrate``, ``maxclients``, ``frontier`` and ``tune``: searches for a limit, or the best settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hydra.cli.flags import FIRST_RUN, chosen_options, given_flags, option_flags, parse_flag, parsed_by, with_flags
from hydra.cli.help_page import HelpPage
from hydra.cli.omb import given_workload, tell_notes, workload_flag
from hydra.cli.sweep_session import check_capacity_of, new_sweep, run_sweep, sweep_flags, tell_unheeded
from hydra.cli.terminal import printable
from hydra.options.omb_workload import OmbWorkload
from hydra.options.options import Options
from hydra.options.parsers import number, whole
from hydra.sweep.plan import CLIENTS, MAX_CLIENTS, apps_for, make_axis, with_changes

if TYPE_CHECKING:
    from hydra.sweep.record import SearchSettings, SweepKind, SweepRecord

F = TypeVar("F", bound=Callable[..., object])

LOWEST_RATE, HIGHEST_RATE = 1.0, 10_000_000.0
MOST_APPS = 10_000
START_APPS = 10
CLIENT_SET = "10,50,300,500"
TUNED = {"linger_ms": "0,5,20,50", "fetch_min_bytes": "1,1000,10000", "fetch_wait_max_ms": "20,100,500"}
"""Values by option, in the order in which they are tried."""

CODES = {
    "0": "the limit is known, and a repeat confirmed it",
    "1": "not even the lowest value passed",
    "3": 'no answer ("at least"): the harness gave way, or no repeat confirmed it',
}


def _shown(name: str, default: str, **fields: Any) -> Callable[[F], F]:  # noqa: ANN401  # click's own
    """A flag with a default that the help shows."""
    return click.option(name, default=default, show_default=True, **fields)


def _range_flags(*, start: str, unit: str) -> Callable[[F], F]:
    """A decorator that gives a command the range of a search; ``start`` is how the help calls its default start."""
    precision, max_runs = parsed_by(number(0.1, 100)), parsed_by(whole(2, 1000))
    return with_flags(
        click.option("--start", metavar=unit, help=f"the first value to try  [default: {start}]"),
        click.option("--lowest", metavar=unit, help="the search does not go below this"),
        click.option("--highest", metavar=unit, help="the search does not go above this"),
        _shown("--precision", "5", metavar="PERCENT", help="how closely the limit is found", callback=precision),
        _shown("--max_runs", "16", metavar="N", help="runs at most, for each answer", callback=max_runs),
    )


@click.command(
    cls=HelpPage,
    examples={
        "hydra kafka maxrate --clients=50": "the highest rate that 50 clients can follow",
        "hydra kafka maxrate --clients=50 --threshold='e2e_p99<50ms' --report=max.html": "with a p99 below 50 ms",
    },
    first=FIRST_RUN,
    codes=CODES,
)
@_range_flags(start="--msg_rate", unit="RECORDS/S")
@workload_flag
@sweep_flags
@option_flags()
@click.pass_context
def maxrate(ctx: click.Context, /, **_flags: object) -> int:
    """Look for the highest rate that passes, for the clients that --clients asks for.

    Doubles the rate until it is too much, halves the bracket, and repeats both of its ends until the interval of the
    limit is narrow enough, or --max_runs are used up. A rate passes when nothing is lost, every --threshold is kept and
    95 % of it was sent.
    """

    def asked(options: Options) -> SearchSettings:
        return _asked(ctx, start=options.msg_rate, lowest=LOWEST_RATE, highest=HIGHEST_RATE)

    return _run_search(ctx, "maxrate", asked, lambda: given_workload(ctx, search=True))


@click.command(
    cls=HelpPage,
    examples={"hydra kafka maxclients --msg_rate=1000": "how many clients can follow 1,000 records/s?"},
    first=FIRST_RUN,
    codes=CODES,
)
@_range_flags(start=f"{START_APPS} apps", unit="CLIENTS")
@sweep_flags
@option_flags()
@click.pass_context
def maxclients(ctx: click.Context, /, **_flags: object) -> int:
    """Look for the most clients that pass, at the rate that --msg_rate asks for.

    Clients come in whole apps of --clients_per_app. Otherwise as 'hydra kafka maxrate'.
    """

    def asked(options: Options) -> SearchSettings:
        tell_unheeded(ctx, {CLIENTS: set()})
        per_app = options.clients_per_app
        highest = min(MAX_CLIENTS, MOST_APPS * per_app) // per_app * per_app
        found = _asked(ctx, start=min(START_APPS * per_app, highest), lowest=per_app, highest=highest)
        for clients in (found.start, found.lowest, found.highest):
            apps_for(round(clients), per_app)
        return found

    return _run_search(ctx, "maxclients", asked)


@click.command(
    cls=HelpPage,
    examples={"hydra kafka frontier --client_set=10,100,1000 --report=frontier.html": "maxrate for three numbers"},
    first=FIRST_RUN,
    codes=CODES,
)
@_shown("--client_set", CLIENT_SET, metavar="N,N,...", help="numbers of clients")
@_range_flags(start="--msg_rate, then the answer before", unit="RECORDS/S")
@sweep_flags
@option_flags()
@click.pass_context
def frontier(ctx: click.Context, /, **_flags: object) -> int:
    """Find the highest rate that passes for each number of clients: 'hydra kafka maxrate' for each of them."""

    def asked(options: Options) -> SearchSettings:
        given = given_flags(ctx)
        fixed = "client_set" not in given and given.keys() & {CLIENTS, "total_sub_apps"}
        numbers = [str(options.client_count)] if fixed else ctx.params["client_set"].split(",")
        axis = make_axis(CLIENTS, numbers, origin="--client_set")
        clients = tuple(value for value in axis.values if isinstance(value, int))
        if not fixed:
            tell_unheeded(ctx, {CLIENTS: {*clients}})
        for count in clients:
            apps_for(count, options.clients_per_app)
        return _asked(ctx, start=options.msg_rate, lowest=LOWEST_RATE, highest=HIGHEST_RATE, clients=clients)

    return _run_search(ctx, "frontier", asked)


@click.command(
    cls=HelpPage,
    examples={"hydra kafka tune --clients=50 --msg_rate=2000": "the settings with the lowest p99 for this load"},
    first=FIRST_RUN,
    codes={
        "0": "a setting passed, whether or not it is shown to be better than the one to begin with",
        "1": "no setting passed",
        "3": "no answer: none passed, and not all runs were judged",
    },
)
@_shown("--linger_ms_set", TUNED["linger_ms"], metavar="MS,MS,...", help="values to try")
@_shown("--fetch_min_bytes_set", TUNED["fetch_min_bytes"], metavar="BYTES,...", help="values to try")
@_shown("--fetch_wait_max_ms_set", TUNED["fetch_wait_max_ms"], metavar="MS,MS,...", help="values to try")
@sweep_flags
@option_flags()
@click.pass_context
def tune(ctx: click.Context, /, **_flags: object) -> int:
    """Look for linger_ms, fetch_min_bytes and fetch_wait_max_ms with the lowest p99, at the rate and clients asked for.

    One option after the other, as long as that helps, two runs of each setting; the best one and the one to begin with
    are then run again in turns, so that a gain can be told from noise.
    """

    def asked(_options: Options) -> SearchSettings:
        from hydra.sweep.record import SearchSettings

        flags = ((name, f"{name}_set") for name in TUNED)
        return SearchSettings(
            axes=tuple(make_axis(name, ctx.params[flag].split(","), origin=f"--{flag}") for name, flag in flags)
        )

    return _run_search(ctx, "tune", asked)


def _asked(
    ctx: click.Context, *, start: float, lowest: float, highest: float, clients: tuple[int, ...] = ()
) -> SearchSettings:
    """What the flags of ``_range_flags`` say; a range without a start in it is an error."""
    from hydra.sweep.record import SearchSettings
    from hydra.sweep.search import SearchRange

    def value(name: str, default: float) -> float:
        text = ctx.params[name]
        if text is None:
            return default
        found = parse_flag(name, text, number(lowest, highest))
        assert isinstance(found, float)
        return found

    asked = SearchSettings(
        start=value("start", start),
        lowest=value("lowest", lowest),
        highest=value("highest", highest),
        precision=ctx.params["precision"] / 100,
        max_trials=ctx.params["max_runs"],
        clients=clients,
    )
    SearchRange(asked.start, asked.lowest, asked.highest)
    return asked


def _run_search(
    ctx: click.Context,
    kind: SweepKind,
    asked: Callable[[Options], SearchSettings],
    workload: Callable[[], OmbWorkload] = lambda: OmbWorkload("", {}),
) -> int:
    """Carry out a search; see first that this machine can hold its first trials."""

    def make() -> SweepRecord:
        found = workload()
        options = chosen_options(ctx, under=found.options)
        tell_notes(found, lambda text: click.echo(printable(f"hydra: {text}"), err=True))
        search = asked(options)
        first = search.clients or (round(search.start) if kind == "maxclients" else options.client_count,)
        check_capacity_of(with_changes(options, {CLIENTS: clients}) for clients in first)
        return new_sweep(kind, options, search=search)

    return run_sweep(ctx, kind, make)
