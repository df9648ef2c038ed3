"""``hydra kafka sweep``: runs over clients x rates, or over any other options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.option_flags import given, option_flags, whole_flag
from hydra.cli.output_flags import output_flags, taken_outputs
from hydra.cli.sweep_session import (
    Folders,
    begin,
    carry_out,
    check_points,
    refuse_flags_with_resume,
    sweep_flags,
)
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
from hydra.sweep.plan_file import PlanFile

if TYPE_CHECKING:
    from hydra.sweep.record import SweepRecord

CLIENT_SET = "10,50,300,500"
MSG_RATE_SET = "1000,1500,2000,3000"


@click.command()
@option_flags()
@click.option("--client_set", metavar="N,N,...", help=f"numbers of clients  [{CLIENT_SET}]")
@click.option("--msg_rate_set", metavar="R,R,...", help=f"records a second  [{MSG_RATE_SET}]")
@click.option("--sweep", multiple=True, metavar="OPTION=V,V,...", help="values of any option; several make a grid")
@click.option("--zip", "together", is_flag=True, help="vary them together: first values, second values, ...")
@click.option("--points", metavar="CxR,CxR,...", help="just these points, CLIENTSxRATE")
@click.option("--plan", metavar="FILE", help="a whole plan (TOML)")
@click.option("--repeats", metavar="N", help="runs of each point  [1]")
@sweep_flags
@output_flags
def command(
    config_file: str | None,
    sweep: tuple[str, ...],
    plan: str | None,
    results: str | None,
    resume: str | None,
    *,
    together: bool,
    **flags: str | None,
) -> int:
    """Measure every point of a grid: by default the clients x rates of the original's batch.

    The stack starts once and is scaled between points. A point's file is written when it ends; what was interrupted
    goes on with --resume. Clients are divided into apps of --clients_per_app, and must be a whole number of them.

    Exit code: that of the gravest point, as in 'hydra kafka'.
    """
    outputs = taken_outputs(flags)
    output = flags.pop("output", None)
    if resume is not None:
        refuse_flags_with_resume(
            {**flags, "sweep": sweep, "plan": plan, "results": results, "zip": together, "config_file": config_file}
        )

    def make() -> SweepRecord:
        from hydra.options.reader import options_from_flags
        from hydra.sweep.plan_file import read_plan_file

        file = PlanFile() if plan is None else read_plan_file(plan)
        own = {name: flags.pop(name) for name in ("client_set", "msg_rate_set", "points", "repeats")}
        options = options_from_flags(given(flags), config_file, under=file.options)
        axes = _axes(own, sweep, file, given(flags))
        changes = [*((zipped(axes) if together else grid(axes)) if axes else []), *file.changes]
        if own["points"] is not None:
            changes += parse_points(own["points"], origin="--points")
        made = SweepPlan(
            make_points(options, changes),
            repeats=whole_flag("repeats", own["repeats"] or str(file.repeats or 1), 1, MAX_REPEATS),
        )
        check_points(made)
        return begin("sweep", options, plan=made)

    return carry_out("sweep", make, Folders(results, resume), outputs, output)


def _axes(
    own: dict[str, str | None], sweep: tuple[str, ...], file: PlanFile, options_given: dict[str, str]
) -> list[Axis]:
    """The axes that were asked for; where nothing was, the original's grid, without what a flag has fixed."""
    nothing_else = not sweep and own["points"] is None and not file.changes
    axes = []
    for flag, name, default, fixed_by in (
        ("client_set", CLIENTS, CLIENT_SET, "total_sub_apps"),
        ("msg_rate_set", "msg_rate", MSG_RATE_SET, "msg_rate"),
    ):
        text = own[flag]
        if text is None and nothing_else and fixed_by not in options_given:
            text = default
        if text is not None:
            axes.append(make_axis(name, text.split(","), origin=f"--{flag}"))
    if nothing_else and not axes:
        # Both are fixed: one point, which is a run with a folder.
        axes.append(make_axis("msg_rate", [options_given["msg_rate"]], origin="--msg_rate"))
    return [*axes, *(parse_axis(text, origin="--sweep") for text in sweep)]
