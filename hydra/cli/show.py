"""``hydra show FILE``: print a result as its command printed it."""

from __future__ import annotations

import click


@click.command()
@click.argument("file")
def command(file: str) -> int:
    """Print a result FILE of a run, or a file or folder of a sweep, as its command did. Exit code: the command's."""
    from hydra.run.record import RunRecord
    from hydra.sweep.folder import load_results
    from hydra.sweep.record import SweepRecord

    saved = load_results(file)
    if isinstance(saved, SweepRecord):
        from hydra.cli.show_sweep import show_sweep

        show_sweep(saved)
        return saved.exit_code
    from hydra.cli.result_table import print_record

    for record in (saved,) if isinstance(saved, RunRecord) else saved.runs:
        print_record(record)
    return saved.exit_code
