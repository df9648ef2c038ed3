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
    given_flags,
    option_flags,
    output_flags,
    parse_outputs,
    told_beside,
)
from hydra.cli.terminal import interruptible
from hydra.errors import HydraError, OutputError, UsageError

if TYPE_CHECKING:
    from hydra.cli.progress import Display
    from hydra.kafkatest.runtest import RunTestKAFKA
    from hydra.run.record import RunRecord


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
    options = chosen_options(ctx)
    outputs = parse_outputs(ctx)
    from hydra.cli.progress import shown_progress
    from hydra.kafkatest.runtest import RunTestKAFKA
    from hydra.report.text import load_line

    with (
        interruptible(),
        shown_progress(outputs.live) as progress,
        RunTestKAFKA(options, runtest=False, progress=progress) as runner,
    ):
        if options.bootstrap_servers is not None:
            progress.note(load_line(options))
        errors = OutputErrors()
        _run(runner, outputs, progress, errors)
        progress.hide()
        # Before the clean-up, which may fail, or be interrupted.
        return _tell(runner.record, outputs, errors)


def _run(runner: RunTestKAFKA, outputs: Outputs, progress: Display, errors: OutputErrors) -> None:
    """Run. That ``--output`` could not be written is told when all files have been."""
    try:
        runner.run_test()
    except OutputError as error:
        if runner.record is None:
            raise
        errors.add(error)
    except HydraError:
        if runner.record is not None:
            with contextlib.suppress(HydraError):  # the user has to hear of what ended the run
                if runner.record.result is not None:  # a signal came when it was over
                    progress.hide()
                    _print(runner.record, outputs)
                outputs.write([("", runner.record)])
        raise


def _tell(record: RunRecord | None, outputs: Outputs, errors: OutputErrors) -> int:
    """Print the result and write the files. Returns the run's exit code."""
    assert record is not None
    assert record.result is not None
    _print(record, outputs)
    with errors.kept():
        outputs.write([("", record)])
    errors.raise_all()
    return record.result.exit_code


def _print(record: RunRecord, outputs: Outputs) -> None:
    from hydra.cli.show_results import print_record

    with told_beside(outputs):
        print_record(record)
