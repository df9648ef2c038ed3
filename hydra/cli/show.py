"""``hydra show FILE``: print a result file as the run printed it."""

from __future__ import annotations

import click


@click.command()
@click.argument("file")
def command(file: str) -> int:
    """Print a result FILE as its run did. Exit code: the run's."""
    from hydra.cli.result_table import print_record
    from hydra.kafkatest.result_file import read_record

    record = read_record(file)
    print_record(record)
    return record.exit_code
