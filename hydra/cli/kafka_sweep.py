"""``hydra kafka sweep`` and ``batchsize``: runs over clients x rates, or over any other options."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hydra.cli.flags import FIRST_RUN, KAFKA_NAMES, chosen_options, given_flags, option_flags, parsed_by
from hydra.cli.help_page import HelpPage
from hydra.cli.sweep_session import check_capacity_of, new_sweep, run_sweep, sweep_flags, tell_unheeded
from hydra.options.options import Options
from hydra.options.parsers import whole
from hydra.sweep.plan import (
    CLIENTS,
    MAX_REPEATS,
    Axis,
    SweepPlan,
    grid,
    make_axis,
    make_points,
    parse_axis,
    parse_points,
    zipped,
)
from hydra.sweep.plan_file import PlanFile, read_plan_file

if TYPE_CHECKING:
    from hydra.sweep.record import SweepKind, SweepRecord

CLIENT_SET = "10,50,300,500"
MSG_RATE_SET = "1000,1500,2000,3000"
MSG_BATCH_SET = "1,10,50,100,500,1000"

CODES = {
    "0": "pass: every point passed",
    "1": "fail: at a point records were lost, or the broker broke a threshold",
    "3": "no answer (indeterminate) at a point, and no point failed",
}

_repeats = click.option(
    "--repeats", callback=parsed_by(whole(1, MAX_REPEATS)), metavar="N", help="runs of each point  [default: 1]"
)


@click.command(
    cls=HelpPage,
    examples={
        "hydra kafka sweep --report=report.html": f"clients {CLIENT_SET} x records/s {MSG_RATE_SET}",
        "hydra kafka sweep --clients=20 --msg_rate=2000 --sweep linger_ms=5,20 --repeats=5": "linger of 5 or 20 ms?",
        "hydra kafka sweep --plan=nightly.toml --output=sweep.json": "a plan in a file",
    },
    first=FIRST_RUN,
    codes=CODES,
)
@click.option("--client_set", metavar="N,N,...", help=f"numbers of clients  [{CLIENT_SET}]")
@click.option("--msg_rate_set", metavar="RATE,RATE,...", help=f"records/s  [{MSG_RATE_SET}]")
@click.option("--sweep", multiple=True, metavar="OPTION=V,V,...", help="values of any option; several make a grid")
@click.option("--zip", is_flag=True, help="vary them together: first values, second values, ...")
@click.option("--points", metavar="CxR,CxR,...", help="just these points, CLIENTSxRATE")
@click.option("--plan", metavar="FILE", help="a whole plan (TOML)")
@_repeats
@sweep_flags
@option_flags()
@click.pass_context
def sweep(ctx: click.Context, /, **_flags: object) -> int:
    """Measure every point of a grid of clients x rates, or of any other options.

    --client_set, --msg_rate_set, --sweep, --points and --plan say which points; where none of them is given, the
    clients and rates that stand in brackets are. The stack starts once and is scaled between points. The file of a
    point is written when it ends; what was interrupted goes on with --resume.
    """

    def make() -> SweepRecord:
        plan = ctx.params["plan"]
        file = PlanFile() if plan is None else read_plan_file(plan)
        options = chosen_options(ctx, under=file.options)
        axes = _axes(ctx, file)
        changes = [*((zipped(axes) if ctx.params["zip"] else grid(axes)) if axes else []), *file.changes]
        if ctx.params["points"] is not None:
            changes += parse_points(ctx.params["points"], origin="--points")
        return _planned(ctx, "sweep", options, changes, ctx.params["repeats"] or file.repeats or 1)

    return run_sweep(ctx, "sweep", make)


@click.command(
    cls=HelpPage,
    examples={"hydra kafka batchsize --clients=20 --report=report.html": "the same load in batches of six sizes"},
    first=FIRST_RUN,
    codes=CODES,
)
@click.option("--msg_batch_set", metavar="N,N,...", default=MSG_BATCH_SET, show_default=True, help="records in a batch")
@_repeats
@sweep_flags
@option_flags()
@click.pass_context
def batchsize(ctx: click.Context, /, **_flags: object) -> int:
    """Measure the same load with batches of different sizes: 'hydra kafka sweep --sweep msg_batch=...'."""

    def make() -> SweepRecord:
        axis = make_axis("msg_batch", ctx.params["msg_batch_set"].split(","), origin="--msg_batch_set")
        return _planned(ctx, "batchsize", chosen_options(ctx), grid([axis]), ctx.params["repeats"] or 1)

    return run_sweep(ctx, "batchsize", make)


def _planned(
    ctx: click.Context, kind: SweepKind, options: Options, changes: Sequence[dict[str, object]], repeats: int
) -> SweepRecord:
    in_each = set.intersection(*(set(change) for change in changes)) if changes else set()
    tell_unheeded(ctx, {name: {change[name] for change in changes} for name in in_each})
    # One round is in the order in which it was asked for.
    seed = secrets.randbits(32) if repeats > 1 else None
    plan = SweepPlan(make_points(options, changes), repeats=repeats, seed=seed)
    check_capacity_of(point.options for point in plan.points)
    return new_sweep(kind, options, plan=plan)


def _axes(ctx: click.Context, file: PlanFile) -> list[Axis]:
    """The axes that were asked for; where nothing was, the default grid, without what a flag has fixed."""
    given: dict[str, Any] = given_flags(ctx)
    nothing_else = not given.keys() & {"sweep", "points"} and not file.changes
    axes = []
    for flag, name, default, fixed_by in (
        ("client_set", CLIENTS, CLIENT_SET, {"total_sub_apps", CLIENTS}),
        ("msg_rate_set", "msg_rate", MSG_RATE_SET, {"msg_rate"}),
    ):
        text = given.get(flag, default if nothing_else and not fixed_by & given.keys() else None)
        if text is not None:
            axes.append(make_axis(name, text.split(","), origin=f"--{flag}"))
    if nothing_else and not axes:
        # Both are fixed: one point, which is a run with a folder.
        axes.append(Axis("msg_rate", (given["msg_rate"],)))
    return [*axes, *(parse_axis(_own_name(text), origin="--sweep") for text in given.get("sweep", ()))]


def _own_name(axis: str) -> str:
    """``NAME=VALUE,...`` with Kafka's name for the option replaced by Hydra's."""
    name, equals, values = axis.partition("=")
    own = {kafkas: ours for ours, kafkas in KAFKA_NAMES.items()}.get(name.strip().replace("-", "_"), name)
    return f"{own}{equals}{values}"
