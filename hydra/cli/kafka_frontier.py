"""``hydra kafka frontier``: the highest rate for each number of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.kafka_sweep import CLIENT_SET
from hydra.cli.option_flags import option_flags
from hydra.cli.output_flags import output_flags
from hydra.cli.search_flags import HIGHEST_RATE, LOWEST_RATE, asked_for, run_search_command, search_flags
from hydra.cli.sweep_session import sweep_flags

if TYPE_CHECKING:
    from hydra.options.options import Options
    from hydra.sweep.record import SearchSettings


@click.command()
@option_flags()
@click.option("--client_set", metavar="N,N,...", help=f"numbers of clients  [{CLIENT_SET}]")
@search_flags(start="--msg_rate, then the answer before", unit="records/s")
@sweep_flags
@output_flags
def command(config_file: str | None, **flags: str | None) -> int:
    """Draw the line between what is carried and what is not: 'hydra kafka maxrate' for each number of clients.

    Exit code: the gravest of the answers', as in 'hydra kafka maxrate'.
    """

    def asked(options: Options, own: dict[str, str | None]) -> SearchSettings:
        from hydra.sweep.plan import CLIENTS, apps_for, make_axis

        axis = make_axis(CLIENTS, (own["client_set"] or CLIENT_SET).split(","), origin="--client_set")
        clients = tuple(value for value in axis.values if isinstance(value, int))
        for count in clients:
            apps_for(count, options.clients_per_app)
        return asked_for(own, start=options.msg_rate, lowest=LOWEST_RATE, highest=HIGHEST_RATE, clients=clients)

    return run_search_command("frontier", config_file, flags, asked)
