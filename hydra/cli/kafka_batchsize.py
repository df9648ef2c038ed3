"""``hydra kafka batchsize``: runs over the size of the publisher's batches."""

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
from hydra.sweep.plan import MAX_REPEATS, SweepPlan, grid, make_axis, make_points

if TYPE_CHECKING:
    from hydra.sweep.record import SweepRecord

MSG_BATCH_SET = "1,10,50,100,500,1000"


@click.command()
@option_flags()
@click.option("--msg_batch_set", metavar="N,N,...", help=f"records that a batch has room for  [{MSG_BATCH_SET}]")
@click.option("--repeats", metavar="N", help="runs of each point  [1]")
@sweep_flags
@output_flags
def command(config_file: str | None, results: str | None, resume: str | None, **flags: str | None) -> int:
    """Measure the same load with batches of different sizes: 'hydra kafka sweep --sweep msg_batch=...'.

    Exit code: that of the gravest point, as in 'hydra kafka'.
    """
    outputs = taken_outputs(flags)
    output = flags.pop("output", None)
    if resume is not None:
        refuse_flags_with_resume({**flags, "results": results, "config_file": config_file})

    def make() -> SweepRecord:
        from hydra.options.reader import options_from_flags

        sizes, repeats = (flags.pop(name) for name in ("msg_batch_set", "repeats"))
        options = options_from_flags(given(flags), config_file)
        axis = make_axis("msg_batch", (sizes or MSG_BATCH_SET).split(","), origin="--msg_batch_set")
        plan = SweepPlan(
            make_points(options, grid([axis])),
            repeats=whole_flag("repeats", repeats or "1", 1, MAX_REPEATS),
        )
        check_points(plan)
        return begin("batchsize", options, plan=plan)

    return carry_out("batchsize", make, Folders(results, resume), outputs, output)
