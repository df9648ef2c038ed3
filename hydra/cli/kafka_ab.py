"""``hydra kafka ab``: two settings in turns, and the first one against itself."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from hydra.cli.flags import FIRST_RUN, chosen_options, option_flags, parsed_by
from hydra.cli.help_page import HelpPage
from hydra.cli.sweep_session import check_capacity_of, new_sweep, run_sweep, sweep_flags
from hydra.errors import UsageError
from hydra.options.parsers import number, whole
from hydra.sweep.plan import MAX_REPEATS, SweepPlan, parse_settings, sides

if TYPE_CHECKING:
    from hydra.sweep.record import SweepRecord

REPEATS = "9"


@click.command(
    cls=HelpPage,
    examples={
        "hydra kafka ab --clients=20 --a linger_ms=5 --b linger_ms=20": "which linger?",
        "hydra kafka ab --clients=20 --a sub_driver=wire --b sub_driver=confluent --repeats=12": "two drivers",
    },
    first=FIRST_RUN,
    codes={
        "0": "B is not shown to be worse than A",
        "1": "B is worse than A",
        "3": "no answer: nothing could be judged, runs are missing, or A differs from A: the machine's doing",
    },
)
@click.option("--a", multiple=True, metavar="OPTION=VALUE", help="what makes A; again for further options")
@click.option("--b", multiple=True, metavar="OPTION=VALUE", help="what makes B")
@click.option("--repeats", callback=parsed_by(whole(1, MAX_REPEATS)), metavar="N", default=REPEATS, show_default=True,
              help="runs of A, of B, and of A again")  # fmt: skip
@click.option("--tolerance", metavar="PERCENT", default="10", show_default=True, help="a change of less counts as none",
              callback=parsed_by(number(0, 1_000_000)))  # fmt: skip
@sweep_flags
@option_flags()
@click.pass_context
def ab(ctx: click.Context, /, **_flags: object) -> int:
    """Measure two settings in turns and judge whether B is worse or better than A.

    Each round has a run of A, one of B and a second one of A, in shuffled order: what differs between A and A is the
    machine's doing. What a running stack cannot change (brokers, broker properties) is compared with a stack for
    each turn.
    """

    def make() -> SweepRecord:
        if not (ctx.params["a"] or ctx.params["b"]):
            raise UsageError("neither --a nor --b is given", hint="such as --a linger_ms=5 --b linger_ms=20")
        options = chosen_options(ctx)
        changes = (parse_settings(ctx.params[side], origin=f"--{side}") for side in ("a", "b"))
        plan = SweepPlan(
            sides(options, *changes),
            repeats=ctx.params["repeats"],
            seed=secrets.randbits(32),
            tolerance_percent=ctx.params["tolerance"],
        )
        check_capacity_of(point.options for point in plan.points)
        return new_sweep("ab", options, plan=plan)

    return run_sweep(ctx, "ab", make)
