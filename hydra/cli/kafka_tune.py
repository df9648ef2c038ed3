"""``hydra kafka tune``: settings with the lowest latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hydra.cli.option_flags import option_flags
from hydra.cli.output_flags import output_flags
from hydra.cli.search_flags import run_search_command
from hydra.cli.sweep_session import sweep_flags

if TYPE_CHECKING:
    from hydra.options.options import Options
    from hydra.sweep.record import SearchSettings

TRIED = {
    "linger_ms": "0,5,20,50",
    "fetch_min_bytes": "1,1000,10000",
    "fetch_wait_max_ms": "20,100,500",
}
"""Values by option, in the order in which they are tried."""


@click.command()
@option_flags()
@click.option("--linger_ms_set", metavar="V,V,...", help=f"values of linger_ms to try  [{TRIED['linger_ms']}]")
@click.option("--fetch_min_bytes_set", metavar="V,V,...", help=f"of fetch_min_bytes  [{TRIED['fetch_min_bytes']}]")
@click.option(
    "--fetch_wait_max_ms_set", metavar="V,V,...", help=f"of fetch_wait_max_ms  [{TRIED['fetch_wait_max_ms']}]"
)
@sweep_flags
@output_flags
def command(config_file: str | None, **flags: str | None) -> int:
    """Look for linger_ms, fetch_min_bytes and fetch_wait_max_ms with the lowest p99, at the rate and clients asked for.

    One option after the other, as long as that helps, two runs of each setting; the best one and the one to begin with
    are then run again in turns, so that a gain can be told from noise.

    Exit code: 0 a setting passed; 1 none did.
    """

    def asked(_options: Options, own: dict[str, str | None]) -> SearchSettings:
        from hydra.sweep.plan import make_axis
        from hydra.sweep.record import SearchSettings

        axes = tuple(
            make_axis(name, (own[f"{name}_set"] or default).split(","), origin=f"--{name}_set")
            for name, default in TRIED.items()
        )
        return SearchSettings(axes=axes)

    return run_search_command("tune", config_file, flags, asked)
