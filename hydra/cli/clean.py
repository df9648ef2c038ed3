"""``hydra clean``: what runs that are over have left, and its removal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from hydra.cli.flags import chosen_options, option_flags, parsed_by
from hydra.cli.help_page import HelpPage
from hydra.cli.terminal import interruptible, printable
from hydra.errors import HydraError, InfrastructureError, UsageError
from hydra.kafkatest.leftovers import KUBERNETES
from hydra.options.options import ACCESS_OPTIONS
from hydra.options.parsers import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.kafkatest.clean import Remains
    from hydra.kafkatest.leftovers import Judged, RunTrace

HOUR_S = 3600.0


@click.command(
    cls=HelpPage,
    examples={
        "hydra clean": "on this machine and its local stack",
        "hydra clean --bootstrap_servers=k1:9092 --marathon_url=http://m1:8080": "there, too",
        "hydra clean --bootstrap_servers=k1:9092 --older_than=24": "also list what other machines made a day ago",
    },
    codes={"0": "nothing is left, or it was removed", "1": "", "3": "", "4": "something cannot be asked or removed"},
)
@click.option("--force", is_flag=True, help="remove it, without asking")
@click.option(
    "--older_than",
    metavar="HOURS",
    callback=parsed_by(number(1.0, 1e6)),
    help="what no run known here has made counts as left from this age on  [default: never]",
)
@click.option(
    "--others",
    is_flag=True,
    help="with --older_than: remove that, too; a run of another machine that goes on for longer would lose it",
)
@option_flags(
    "engine",
    "kube_context",
    "kube_namespace",
    "bootstrap_servers",
    *ACCESS_OPTIONS,
    "marathon_url",
    "marathon_secrets",
    "marathon_ca_file",
    "marathon_timeout",
    "mesos_url",
    "group_prefix",
)
@click.pass_context
def clean(ctx: click.Context, /, *, force: bool, older_than: float | None, others: bool, **_flags: object) -> int:
    """List the apps, topics, groups, folders and files that runs have left, and remove those of runs that are over.

    Looks at this machine, at its local stack, and at the Marathon and the brokers that are named. Nothing is removed
    without --force or a yes, and never anything of a run that goes on, or that is not known to be Hydra's. Age proves
    nothing: what is only old is listed with --older_than, and removed with --others.
    """
    if others and older_than is None:
        raise UsageError("--others removes what is old: from which age on?", hint="add --older_than=HOURS")
    options = chosen_options(ctx, for_a_run=False)
    from hydra.kafkatest.clean import Remains

    with interruptible(), Remains(options, None if older_than is None else older_than * HOUR_S) as remains:
        found = remains.find()
        over = [each for each in found if each.state == "over"]
        mine = [each for each in over if others or not each.by_age]
        _show(found, remains, others=others)
        removed = bool(mine) and (force or _confirmed(len(mine)))
        left = [each for each in mine if not (removed and _removed(remains, each))]
        remains.forget((*left, *(each for each in found if each not in mine)))
    return InfrastructureError.exit_code if removed and left else 0


def _show(found: Sequence[Judged], remains: Remains, *, others: bool) -> None:
    from hydra.run.clock import duration

    now_s = time.time()
    for each in found:
        age = duration(now_s - each.found.last_sign_s)
        mark = "left  " if each.state == "over" and (others or not each.by_age) else "stays "
        thing = f"{each.found.kind} {each.found.name}"
        click.echo(printable(f"{mark}  {thing}  ({each.found.where}, {age} old): of {each.whose}"))
    for trace in remains.elsewhere():
        brokers = trace.brokers if trace.topics else ""
        flags = [f"--bootstrap_servers={brokers}"] if brokers and not brokers.startswith("stack:") else []
        click.echo(
            printable(
                f"perhaps more of the run {trace.run_id}, which is over: hydra clean {_engine_flags(trace, flags)}"
            )
        )
    if not any(each.state == "over" for each in found):
        click.echo("nothing is left by runs that are over")
    elif not others and any(each.by_age for each in found):
        click.echo(
            "what is only old stays: nothing here knows whether a run of another machine or user goes on with it; if"
            " you know that none does, --others removes it"
        )


def _engine_flags(trace: RunTrace, flags: list[str]) -> str:
    """The flags that name the places of a trace."""
    if trace.marathon.startswith(KUBERNETES):
        server, _space, namespace = trace.marathon[len(KUBERNETES) :].partition(" ")
        named = [f"--engine=kubernetes --kube_namespace={namespace}"]
        return " ".join([*named, *flags, f"(with a context of {server})"])
    named = [f"--marathon_url={trace.marathon}"] if trace.marathon and not trace.marathon.startswith("stack:") else []
    return " ".join([*named, *flags])


def _confirmed(count: int) -> bool:
    """Whether somebody at a terminal says yes; where there is none, it is said how to."""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        click.echo("nothing was removed: 'hydra clean --force', with the same flags, removes what is left")
        return False
    if not click.confirm(f"Remove these {count}?", err=True):
        raise UsageError("nothing was removed")
    return True


def _removed(remains: Remains, judged: Judged) -> bool:
    try:
        remains.remove(judged)
    except HydraError as error:
        click.echo(printable(f"cannot be removed: {judged.found.kind} {judged.found.name} ({error})"), err=True)
        return False
    click.echo(printable(f"removed  {judged.found.kind} {judged.found.name}"))
    return True
