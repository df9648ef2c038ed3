"""What all commands of more than one run have in common: a folder, a stack, points, and what is written at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from hydra.errors import HydraError, UsageError
from hydra.options.options import Options
from hydra.sweep.plan import SweepPlan

if TYPE_CHECKING:
    from hydra.cli.output_flags import Outputs
    from hydra.run.progress import Progress
    from hydra.sweep.folder import SweepFolder
    from hydra.sweep.record import SearchSettings, SweepKind, SweepRecord

F = TypeVar("F", bound=Callable[..., object])


def sweep_flags(command: F) -> F:
    """A decorator that gives a command the flags that every sweep and search has."""
    flags = (
        click.option("--results", metavar="DIR", help="folder for a file of each point  [hydra-COMMAND-TIME]"),
        click.option("--resume", metavar="DIR", help="go on with the one in this folder, where it was interrupted"),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


@dataclass(frozen=True)
class Folders:
    """Where a sweep is kept."""

    results: str | None
    resume: str | None


def begin(
    kind: SweepKind,
    options: Options,
    *,
    plan: SweepPlan | None = None,
    search: SearchSettings | None = None,
) -> SweepRecord:
    """A sweep or search that is about to begin."""
    from hydra.sweep.record import SweepRecord

    return SweepRecord(
        kind=kind,
        started_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        command=" ".join(["hydra", *sys.argv[1:]]),
        options=dataclasses.replace(options, output=None),
        plan=plan,
        search=search,
    )


def refuse_flags_with_resume(flags: dict[str, object]) -> None:
    """What is resumed is what was begun: no other options.

    Raises:
        UsageError: names a flag that was given.
    """
    for name, value in flags.items():
        if value:
            raise UsageError(
                f"--{name} cannot be given with --resume", hint="the folder says what is measured; only files may be"
            )


def check_points(plan: SweepPlan) -> None:
    """See that this machine can hold every point before the first one runs.

    Raises:
        CapacityError: names the number that is needed.
    """
    from hydra.kafkatest.preflight import check_capacity

    for point in plan.points:
        if point.options.marathon_url is None:
            check_capacity(point.options, embedded=point.options.bootstrap_servers is None)


def carry_out(
    kind: SweepKind, make: Callable[[], SweepRecord], folders: Folders, outputs: Outputs, output: str | None
) -> int:
    """Begin or resume, measure what is missing, show and write what came of it.

    Args:
        kind: the command's; what is resumed must be of it.
        make: says what is to be measured, where nothing is resumed.
        folders: where it is kept.
        outputs: what is written beside it.
        output: a file for all of it (JSON).

    Returns:
        The exit code.

    Raises:
        HydraError: what could be measured is shown and written all the same.
    """
    from hydra.files.atomic_write import check_output
    from hydra.sweep.folder import SweepFolder

    outputs.check()
    if output is not None:
        check_output(output, "output")
    if folders.resume is not None:
        folder = SweepFolder.resume(Path(folders.resume))
        if folder.sweep.kind != kind:
            folder.close()
            raise UsageError(
                f"--resume={folders.resume} is of 'hydra kafka {folder.sweep.kind}'", hint="resume it with that"
            )
    else:
        sweep = make()
        name = folders.results or f"hydra-{kind}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
        folder = SweepFolder.begin(Path(name), sweep)
    try:
        return _measure(folder, outputs, output)
    finally:
        folder.close()


def _measure(folder: SweepFolder, outputs: Outputs, output: str | None) -> int:
    from hydra.cli.interruption import interruptible
    from hydra.cli.jsonl_progress import with_lines
    from hydra.cli.live import progress_display

    try:
        with interruptible(), progress_display() as display, with_lines(display, outputs.live) as progress:
            progress.note(f"results go to {folder.path}; an interruption costs the point that runs (--resume)")
            _run(folder, progress)
    except BaseException:
        with contextlib.suppress(HydraError):  # what ended the sweep is what the user has to hear of
            _tell(folder, outputs, output, whole=False)
        raise
    _tell(folder, outputs, output, whole=True)
    return folder.whole().exit_code


def _run(folder: SweepFolder, progress: Progress) -> None:
    from hydra.run.clock import MonotonicClock
    from hydra.sweep.point_runner import StackRunner
    from hydra.sweep.runner import SweepRunner

    with StackRunner(progress) as stack:
        SweepRunner(stack.measure, folder, MonotonicClock(), progress).run(folder.sweep)


def _tell(folder: SweepFolder, outputs: Outputs, output: str | None, *, whole: bool) -> None:
    """Show and write what there is; after an error only if there is anything."""
    from hydra.cli.show_sweep import show_sweep
    from hydra.cli.write_outputs import write_outputs
    from hydra.codec import encode
    from hydra.files.atomic_write import atomic_write

    sweep = folder.whole()
    if not whole and not sweep.points:
        return
    show_sweep(sweep)
    if output is not None:
        atomic_write(Path(output), encode(sweep), origin=f"--output={output}")
    write_outputs(outputs, sweep)
