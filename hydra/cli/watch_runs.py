"""``hydra watch``: a run that is under way, from another terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from hydra.cli.help_page import HelpPage
from hydra.cli.terminal import interruptible, printable
from hydra.errors import DegradedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hydra.cli.progress import Display
    from hydra.live.history import LiveEvent, LivePicture
    from hydra.live.underway import RunUnderWay

FORMER = 5
"""Notes, and runs of a sweep, from before it was watched: the last ones."""

ENDING_S, LOOK_EVERY_S = 5.0, 0.1
"""How long a process may take to end when its page is gone, and how often it is looked for."""


@click.command(
    cls=HelpPage,
    examples={
        "hydra watch": "the run of yours that is under way on this machine",
        "hydra watch 4711": "the one of this process, where there are several",
    },
    codes={
        "0": "it was watched to its end, whatever came of it",
        "1": "",
        "2": "usage: several runs are under way, or none of that process",
        "3": "no run is under way, it has no live page, or its process died",
        "4": "",
    },
)
@click.argument("pid", required=False, type=int)
def watch(pid: int | None) -> int:
    """Print the link of a run's live page, and show what it does in this terminal.

    The run goes on whether it is watched or not. Ctrl-C ends the watching alone.
    """
    from hydra.cli.progress import shown_progress
    from hydra.live.pictures import pictures
    from hydra.live.underway import runs_under_way

    run = chosen_run(runs_under_way(), pid)
    if not run.url:
        kept = f"; 'hydra show {run.results}' prints the points so far" if run.results else ""
        raise DegradedError(
            f"{_named(run)} has no live page{kept}", hint="start the next one with --ui; this one goes on as it is"
        )
    click.echo(f"{_named(run)}: {run.url}")
    with interruptible():
        with shown_progress() as display:
            ended = follow(pictures(run.url), display)
            display.hide()
        if not ended:
            see_how_it_ended(run)
    click.echo("it is over: its result is where it was started")
    return 0


def see_how_it_ended(run: RunUnderWay, pause: Callable[[float], None] = time.sleep) -> None:
    """See that a run ended in good order whose page went away without saying so.

    Raises:
        DegradedError: its process died, or lives on without its page.
    """
    from hydra.live.underway import is_announced

    for _ in range(round(ENDING_S / LOOK_EVERY_S)):
        if not is_announced(run):
            return
        if not run.process.alive():
            kept = f"'hydra show {run.results}' prints the points so far" if run.results else "start it again"
            raise DegradedError(
                printable(f"process {run.process.pid} died before its run was over"),
                hint=printable(f"{kept}; 'hydra clean' removes what it has left"),
            )
        pause(LOOK_EVERY_S)
    raise DegradedError(
        f"the live page of process {run.process.pid} is gone, and its process lives on",
        hint="'hydra watch' looks for it once more",
    )


def chosen_run(runs: Sequence[RunUnderWay], pid: int | None) -> RunUnderWay:
    """The run of that process, or the only one.

    Raises:
        DegradedError: there is none.
        UsageError: there are several, or none of that process.
    """
    if not runs:
        raise DegradedError(
            "no run of yours is under way on this machine", hint="start one with --ui, such as 'hydra kafka --ui'"
        )
    chosen = [run for run in runs if pid in {None, run.process.pid}]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        listed = "; ".join(map(_named, chosen))
        raise UsageError(f"{len(chosen)} runs are under way: {listed}", hint="name a process: 'hydra watch PID'")
    listed = ", ".join(str(run.process.pid) for run in runs)
    raise UsageError(f"no run of yours is under way in the process {pid}", hint=f"there is one in {listed}")


def _named(run: RunUnderWay) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(run.started_s))
    return printable(f"process {run.process.pid} since {since} ({run.command})")


def follow(told: Iterable[LivePicture], display: Display) -> bool:
    """Show one picture after the other: what is new in each. Returns whether the last one said that it is over."""
    shown_s, shown_runs = -1.0, -1
    seen: frozenset[LiveEvent] | None = None
    for picture in told:
        notes = [event.text for event in picture.events if event.kind == "note" and event not in (seen or ())]
        runs = [f"{run.label}: {run.verdict}{run.limit and f' (limit: {run.limit})'}" for run in picture.runs]
        for line in notes if seen is not None else notes[-FORMER:]:
            display.note(line)
        new_runs = FORMER if shown_runs < 0 else picture.runs_over - shown_runs
        for line in runs[max(0, len(runs) - new_runs) :]:
            display.note(line)
        seen, shown_runs = frozenset(picture.events), picture.runs_over
        if picture.over:
            return True
        display.phase(picture.phase or "starting", picture.detail)
        if picture.moments and picture.moments[-1].elapsed_s < shown_s:
            shown_s = -1.0
        for moment in picture.moments:
            if moment.elapsed_s > shown_s:
                display.counts(moment)
                shown_s = moment.elapsed_s
    return False
