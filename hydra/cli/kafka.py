"""``hydra kafka``: one run; and the commands below it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from hydra.cli.commands import KAFKA_COMMANDS, LazyGroup
from hydra.cli.flags import (
    FIRST_RUN,
    OutputErrors,
    Outputs,
    chosen_options,
    controller_flag,
    given_flags,
    option_flags,
    output_flags,
    parse_outputs,
)
from hydra.cli.omb import given_workload, tell_notes, workload_flag
from hydra.cli.run_outputs import print_run, tell_run, write_files
from hydra.cli.terminal import interruptible
from hydra.errors import HydraError, InterruptedRunError, OutputError, UsageError

if TYPE_CHECKING:
    from hydra.cli.progress import Display
    from hydra.kafkatest.runtest import RunTestKAFKA


@click.group(
    cls=LazyGroup,
    table=KAFKA_COMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND [ARGS]...]",
    examples={
        "hydra kafka --clients=20": "20 clients on a real Kafka, started on this machine",
        "hydra kafka --bootstrap_servers=k1:9092,k2:9092 --partitions=6 --acks=all \\\n"
        "    --clients=20 --msg_rate=2000 --msg_size=1000 --test_duration=60": "on your own brokers: 2 MB/s in, 40 out",
        "hydra kafka --clients=20 --threshold='e2e_p99<50ms' --output=run.json": "fail at a p99 of 50 ms or more",
    },
    first=FIRST_RUN,
    codes={},
)
@option_flags()
@output_flags
@workload_flag
@click.option("--omb_result", metavar="FILE", help="write the result in the keys of the OpenMessaging Benchmark (JSON)")
@controller_flag
@click.pass_context
def kafka(ctx: click.Context, /, **_flags: object) -> int:
    """Send records at the asked rate, have every client read them, count every one, and say what it means."""
    if ctx.invoked_subcommand is not None:
        for name in given_flags(ctx):
            raise UsageError(
                f"--{name} must come after '{ctx.invoked_subcommand}'",
                hint=f"hydra kafka {ctx.invoked_subcommand} --{name}=...",
            )
        return 0
    workload = given_workload(ctx)
    options = chosen_options(ctx, under=workload.options)
    outputs = parse_outputs(ctx, options)
    if (account := ctx.params["kube_controller"]) is not None:
        from hydra.cli.kube_run import run_in_cluster

        return run_in_cluster(ctx, options, account, outputs, workload.name)
    from hydra.cli.progress import shown_progress
    from hydra.cli.watch import asked_watch
    from hydra.kafkatest.runtest import RunTestKAFKA
    from hydra.report.text import load_line

    with (
        interruptible(),
        asked_watch(ctx) as watch,
        shown_progress(outputs.live, watch) as progress,
        RunTestKAFKA(options, runtest=False, progress=progress) as runner,
    ):
        if options.bootstrap_servers is not None:
            progress.note(load_line(options))
        tell_notes(workload, progress.note)
        errors = OutputErrors()
        watch.begin(options)
        _run(runner, outputs, progress, errors, workload.name)
        progress.hide()
        # Before the clean-up, which may fail, or be interrupted.
        assert runner.record is not None
        watch.finish(runner.record)
        return tell_run(runner.record, outputs, errors, workload.name)


def _run(runner: RunTestKAFKA, outputs: Outputs, progress: Display, errors: OutputErrors, workload: str) -> None:
    """Run. That ``--output`` could not be written is told when all files have been."""
    try:
        runner.run_test()
    except OutputError as error:
        if runner.record is None:
            raise
        errors.add(error)
    except (HydraError, InterruptedRunError):
        if runner.record is not None:
            with contextlib.suppress(HydraError):  # the user has to hear of what ended the run
                if runner.record.result is not None:  # a signal came when it was over
                    progress.hide()
                    print_run(runner.record, outputs)
                write_files(runner.record, outputs, OutputErrors(), workload)
        raise
