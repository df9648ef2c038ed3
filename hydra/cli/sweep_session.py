"""What all commands of more than one run have in common: a folder, a stack, points, and what is written at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from hydra.cli.flags import (
    FILES,
    SERVED,
    OutputErrors,
    Outputs,
    chosen_options,
    given_flags,
    output_flags,
    parse_outputs,
    told_beside,
    with_flags,
    write_output,
)
from hydra.cli.terminal import interruptible, printable
from hydra.errors import HydraError, UsageError
from hydra.options.options import Options
from hydra.run.clock import duration
from hydra.sweep.plan import CLIENTS, SweepPlan

if TYPE_CHECKING:
    from hydra.cli.watch import Watch
    from hydra.run.record import RunRecord
    from hydra.sweep.folder import SweepFolder
    from hydra.sweep.record import SearchSettings, SweepKind, SweepRecord

F = TypeVar("F", bound=Callable[..., object])

WITH_RESUME = {"resume", "output", *FILES, *SERVED}
"""Flags that go with ``--resume``: all others are in what is resumed."""

STACK_S = 15.0
BESIDE_SENDING_S = 3.0
"""About how long a stack takes to start, and a run takes beside its sending: for a forecast."""


def sweep_flags(command: F) -> F:
    """A decorator that gives a command the flags that every sweep and search has."""
    results_text = "folder for a file of each point  [default: hydra-COMMAND-TIME]"
    return with_flags(
        click.option("--results", metavar="DIR", help=results_text),
        click.option("--resume", metavar="DIR", help="continue the one in this folder, where it was interrupted"),
        output_flags,
    )(command)


def new_sweep(
    kind: SweepKind, options: Options, *, plan: SweepPlan | None = None, search: SearchSettings | None = None
) -> SweepRecord:
    """A sweep or search that is about to begin; ``output`` of the options is where all of it is to be written."""
    from hydra.sweep.record import SweepRecord

    return SweepRecord(
        kind=kind,
        started_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        command=" ".join(["hydra", *sys.argv[1:]]),
        options=options,
        plan=plan,
        search=search,
    )


def tell_unheeded(ctx: click.Context, varied: Mapping[str, set[object]]) -> None:
    """Name each flag for what each run has a value of its own for.

    Args:
        ctx: the command's.
        varied: the values of all runs, by the option (or ``clients``) that each of them sets.
    """
    given = given_flags(ctx)
    for flag in given:
        name = CLIENTS if flag == "total_sub_apps" else flag
        if name in varied and varied[name] != {given[flag]}:
            click.echo(printable(f"hydra: --{flag} has no effect: each run has {name} of its own"), err=True)


def check_capacity_of(points: Iterable[Options]) -> None:
    """See that this machine can hold every point before the first one runs.

    Raises:
        CapacityError: names the number that is needed.
    """
    from hydra.kafkatest.preflight import check_capacity

    for options in points:
        check_capacity(options)


def run_sweep(ctx: click.Context, kind: SweepKind, make: Callable[[], SweepRecord]) -> int:
    """Begin (with what ``make`` says) or resume a sweep or search, measure what is missing, show and write the results.

    Returns the exit code.

    Raises:
        HydraError: what could be measured is shown and written all the same.
    """
    with interruptible():  # a folder is begun as a whole, too
        resumed = ctx.params["resume"] is not None
        folder, outputs = _resumed(ctx, kind) if resumed else _begun(ctx, kind, make)
        from hydra.cli.watch import asked_watch

        with contextlib.closing(folder), asked_watch(ctx, results=str(folder.path.absolute())) as watch:
            return _measure(folder, outputs, watch)


def _begun(ctx: click.Context, kind: SweepKind, make: Callable[[], SweepRecord]) -> tuple[SweepFolder, Outputs]:
    from hydra.sweep.folder import SweepFolder

    sweep = make()
    name = ctx.params["results"] or f"hydra-{kind}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    outputs = parse_outputs(ctx, sweep.options, results=(name,))
    # A run of a search has these options, and would write itself where all of the search is to be.
    sweep = dataclasses.replace(sweep, options=dataclasses.replace(sweep.options, output=None))
    return SweepFolder.begin(Path(name), sweep), outputs


def _resumed(ctx: click.Context, kind: SweepKind) -> tuple[SweepFolder, Outputs]:
    from hydra.sweep.folder import SweepFolder

    for name in given_flags(ctx):
        if name not in WITH_RESUME:
            raise UsageError(
                f"--{name} cannot be given with --resume", hint="the folder says what is measured; only files may be"
            )
    outputs = parse_outputs(ctx, chosen_options(ctx, for_a_run=False), results=(ctx.params["resume"],))
    folder = SweepFolder.resume(Path(ctx.params["resume"]))
    if folder.sweep.kind != kind:
        folder.close()
        raise UsageError(
            f"--resume={ctx.params['resume']} is of 'hydra kafka {folder.sweep.kind}'", hint="resume it with that"
        )
    return folder, outputs


def _measure(folder: SweepFolder, outputs: Outputs, watch: Watch) -> int:
    from hydra.cli.progress import shown_progress
    from hydra.run.clock import MonotonicClock
    from hydra.sweep.comparison import saved_exit_code
    from hydra.sweep.runner import StackRunner, SweepRunner

    with shown_progress(outputs.live, watch) as progress, StackRunner(progress) as stack:

        def measure(options: Options) -> RunRecord:
            watch.begin(options)
            record = stack.measure(options)
            watch.measured(record, folder.sweep.options)
            return record

        for line in forecast_lines(folder.sweep):
            progress.note(line)
        progress.note(f"results go to {folder.path}; an interruption costs the point that runs (--resume)")
        try:
            SweepRunner(measure, folder, MonotonicClock(), progress, watch.limit_so_far).run(folder.sweep)
        except BaseException:
            progress.hide()
            with contextlib.suppress(HydraError):  # the user has to hear of what ended the sweep
                _tell(folder.whole(), outputs)  # also without points: files of yesterday would be taken for its own
            raise
        progress.hide()
        sweep = folder.whole()
        watch.finish(sweep)
        _tell(sweep, outputs)  # before the clean-up, which may fail, or be interrupted
        return saved_exit_code(sweep)


def forecast_lines(sweep: SweepRecord) -> list[str]:
    """How many runs there will be and about how long they take; the load that a Kafka of the user's own will get."""
    from hydra.report.text import load_line
    from hydra.sweep.runner import first_trial

    about, which = "at most ", "to begin with, "
    if sweep.plan is not None:
        points = [point.options for point in sweep.plan.points]
        runs = len(points) * sweep.plan.repeats
        sending_s = sum(options.test_duration for options in points) * sweep.plan.repeats
        heaviest = max(points, key=lambda options: options.client_count * options.msg_rate * options.msg_size)
        about, which = "", "at most, "
    else:
        assert sweep.search is not None
        runs, heaviest = sweep.search.max_trials * max(1, len(sweep.search.clients)), first_trial(sweep)
        if sweep.kind == "tune":
            # Two of the setting to begin with, and of each value that differs from it; more where changing one helps.
            others = [value != getattr(sweep.options, axis.name) for axis in sweep.search.axes for value in axis.values]
            about, runs = "at least ", 2 + 2 * sum(others)
        sending_s = runs * sweep.options.test_duration
    lines = [f"{about}{runs} runs, about {duration(STACK_S + sending_s + runs * BESIDE_SENDING_S)}"]
    if sweep.options.bootstrap_servers is not None:
        lines.append(f"{which}{load_line(heaviest)}")
    return lines


def _tell(sweep: SweepRecord, outputs: Outputs) -> None:
    """Show and write what there is."""
    from hydra.cli.show_results import print_sweep
    from hydra.codec import encode

    if sweep.points:
        with told_beside(outputs):
            print_sweep(sweep)
    errors = OutputErrors()
    if outputs.output is not None:
        with errors.kept():
            write_output("output", outputs.output, encode(sweep))
    with errors.kept():
        outputs.write([("", sweep)])
    errors.raise_all()
