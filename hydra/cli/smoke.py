"""``hydra smoke``: does Hydra work here? A short, small run of the real thing, in a group of its own."""

from __future__ import annotations

import click

from hydra.cli.interruption import interruptible
from hydra.cli.option_flags import given, option_flags
from hydra.errors import HydraError, InterruptedRunError

SMALL = {"total_sub_apps": "2", "clients_per_app": "2", "test_duration": "3", "msg_rate": "200"}
GROUP = "hydra-smoke"


@click.command()
@option_flags()
def command(config_file: str | None, **flags: str | None) -> int:
    """Run a publisher and two subscribers for three seconds, wherever the options say, and tell whether it worked.

    Every option may be given; those of the load are small where they are not. The apps are created in the group
    hydra-smoke. Exit codes are those of 'hydra kafka'.
    """
    from hydra.options.reader import options_from_flags

    options = options_from_flags({**SMALL, "app_prefix": GROUP, **given(flags)}, config_file)
    from hydra.cli.live import progress_display
    from hydra.kafkatest.runtest import RunTestKAFKA

    try:
        with (
            interruptible(),
            progress_display() as progress,
            RunTestKAFKA(options, runtest=False, progress=progress) as runner,
        ):
            runner.run_test()
    except InterruptedRunError:
        raise
    except HydraError:
        click.echo("Hydra does NOT work here: see the reason below, and 'hydra doctor'")
        raise
    record = runner.record
    assert record is not None
    assert record.result is not None
    result = record.result
    if result.exit_code != 0:
        click.echo(f"Hydra does NOT work here as it should: {'; '.join(result.reasons)}")
        return result.exit_code
    cluster = record.cluster
    click.echo(
        f"Hydra works here: each of {options.client_count} clients in {options.total_sub_apps} subscribers received"
        f" every one of {result.seed_keys()['packet_tx']} records"
    )
    click.echo(f"Marathon {cluster['marathon']} {cluster['marathon_version']}, Kafka {cluster['kafka']}")
    return 0
