"""``hydra kafka maxclients``: the most clients that the broker carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.option_flags import option_flags
from hydra.cli.output_flags import output_flags
from hydra.cli.search_flags import MOST_CLIENTS, asked_for, run_search_command, search_flags
from hydra.cli.sweep_session import sweep_flags

if TYPE_CHECKING:
    from hydra.options.options import Options
    from hydra.sweep.record import SearchSettings

START_APPS = 10


@click.command()
@option_flags()
@search_flags(start=f"{START_APPS} apps", unit="clients")
@sweep_flags
@output_flags
def command(config_file: str | None, **flags: str | None) -> int:
    """Look for the most clients without loss, at the rate that --msg_rate asks for.

    Clients come in whole apps of --clients_per_app. Otherwise as 'hydra kafka maxrate'.

    Exit code: 0 the broker's limit is known; 1 not even one app is good; 3 "at least", or not confirmed.
    """

    def asked(options: Options, own: dict[str, str | None]) -> SearchSettings:
        from hydra.sweep.plan import apps_for

        per_app = options.clients_per_app
        highest = min(MOST_CLIENTS, 10_000 * per_app) // per_app * per_app
        found = asked_for(own, start=min(START_APPS * per_app, highest), lowest=per_app, highest=highest)
        for clients in (found.start, found.lowest, found.highest):
            apps_for(round(clients), per_app)
        return found

    return run_search_command("maxclients", config_file, flags, asked)
