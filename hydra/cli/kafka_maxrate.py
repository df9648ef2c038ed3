"""``hydra kafka maxrate``: the highest rate that the broker carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.option_flags import option_flags
from hydra.cli.output_flags import output_flags
from hydra.cli.search_flags import HIGHEST_RATE, LOWEST_RATE, asked_for, run_search_command, search_flags
from hydra.cli.sweep_session import sweep_flags

if TYPE_CHECKING:
    from hydra.options.options import Options
    from hydra.sweep.record import SearchSettings


@click.command()
@option_flags()
@search_flags(start="--msg_rate", unit="records/s")
@sweep_flags
@output_flags
def command(config_file: str | None, **flags: str | None) -> int:
    """Look for the highest rate without loss, for the clients that --total_sub_apps and --clients_per_app ask for.

    Doubles the rate until it is too much, split the bracket, and repeats the best one. Where the harness gave way
    before the broker, the answer says "at least".

    Exit code: 0 the broker's limit is known; 1 not even the lowest rate is good; 3 "at least", or not confirmed.
    """

    def asked(options: Options, own: dict[str, str | None]) -> SearchSettings:
        return asked_for(own, start=options.msg_rate, lowest=LOWEST_RATE, highest=HIGHEST_RATE)

    return run_search_command("maxrate", config_file, flags, asked)
