"""``hydra doctor`` and ``hydra smoke``: does Hydra work here?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from hydra.cli.flags import chosen_options, controller_flag, option_flags
from hydra.cli.help_page import HelpPage
from hydra.cli.terminal import interruptible, print_json, printable
from hydra.errors import HydraError, InfrastructureError

if TYPE_CHECKING:
    from hydra.run.record import RunRecord

MARKS = {"ok": "ok     ", "warning": "warning"}
ERROR = "ERROR  "

SMALL = {
    "total_sub_apps": 2, "clients_per_app": 2, "test_duration": 3.0, "msg_rate": 200.0, "app_prefix": "hydra-smoke",
    "output": None,  # what hydra.ini names is the place of real results
}  # fmt: skip
"""The options of a smoke test, where no flag says otherwise."""

WHERE = ("bootstrap_servers", "kafka_config", "engine", "marathon_url")
ON_YOUR_BROKERS = "--bootstrap_servers=k1:9092,k2:9092"


@click.command(
    cls=HelpPage,
    examples={"hydra doctor": "this machine", f"hydra doctor {ON_YOUR_BROKERS}": "this machine and your own brokers"},
    first=WHERE,
    codes={"0": "all is well", "1": "", "3": "", "4": "something cannot be used; the lines say what to do"},
)
@click.option("--json", "as_json", is_flag=True, help="print JSON in place of lines")
@option_flags()
@controller_flag
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, kube_controller: str | None, **_flags: object) -> int:  # noqa: FBT001  # click's way
    """Check the controller, Kafka, Marathon and, with a small task on each, the agents; say what to do.

    Takes the options of the run that is to be.
    """
    options = chosen_options(ctx)
    from hydra.kafkatest.doctor import Doctor

    findings = []
    with interruptible():
        for finding in Doctor(options, kube_controller).examine():
            findings.append(finding)
            if not as_json:
                click.echo(f"{MARKS.get(finding.status, ERROR)}  {printable(f'{finding.subject}: {finding.text}')}")
                if finding.remedy:
                    click.echo(f"         -> {printable(finding.remedy)}")
                for line in finding.document.splitlines():
                    click.echo(printable(line))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    failed = any(finding.status not in MARKS for finding in findings)
    return InfrastructureError.exit_code if failed else 0


@click.command(
    cls=HelpPage,
    examples={"hydra smoke": "on this machine", f"hydra smoke {ON_YOUR_BROKERS}": "on your own brokers"},
    first=WHERE,
    codes={},
)
@option_flags()
@click.pass_context
def smoke(ctx: click.Context, /, **_flags: object) -> int:
    """Run a publisher and two subscribers for three seconds, wherever the options say, and tell whether it worked.

    Every option may be given; those of the load are small where they are not. The apps are created in the group
    hydra-smoke.
    """
    options = chosen_options(ctx, under=SMALL)
    from hydra.cli.progress import shown_progress
    from hydra.kafkatest.runtest import RunTestKAFKA

    try:
        with (
            interruptible(),
            shown_progress() as progress,
            RunTestKAFKA(options, runtest=False, progress=progress) as runner,
        ):
            runner.run_test()
            progress.hide()
            assert runner.record is not None
            return _tell(runner.record)
    except HydraError:
        click.echo("Hydra does NOT work here: see the reason below, and 'hydra doctor'")
        raise


def _tell(record: RunRecord) -> int:
    """Say what came of a smoke test. Returns its exit code."""
    result, options = record.result, record.order.options
    assert result is not None
    if result.exit_code != 0:
        click.echo(printable(f"Hydra does NOT work here as it should: {'; '.join(result.reasons)}"))
        return result.exit_code
    cluster = record.cluster
    click.echo(
        f"Hydra works here: each of {options.client_count} clients in {options.total_sub_apps} subscribers received"
        f" every one of {result.totals.records_counted} records"
    )
    engine = options.engine
    where = f"{cluster[engine]} {cluster[f'{engine}_version']}"
    click.echo(printable(f"{engine.capitalize()} {where}, Kafka {cluster['kafka']}"))
    return 0
