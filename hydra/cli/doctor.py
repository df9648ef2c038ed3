"""``hydra doctor``: is everything there that a run needs, here and on the agents?"""

from __future__ import annotations

import dataclasses

import click

from hydra.cli.interruption import interruptible
from hydra.cli.listing import json_flag, show_json
from hydra.cli.option_flags import given, option_flags

MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
ERROR = 4


@click.command()
@option_flags()
@json_flag
def command(config_file: str | None, as_json: bool, **flags: str | None) -> int:  # noqa: FBT001  # click's way
    """Look at the controller, Kafka, Marathon and, with a small task on each, at the agents; say what to do.

    Takes the options of the run that is to be. Exit code: 0 all is well; 4 something is not.
    """
    from hydra.cli.printable import printable
    from hydra.options.reader import options_from_flags

    options = options_from_flags(given(flags), config_file)
    from hydra.kafkatest.doctor import Doctor

    findings = []
    with interruptible():
        for finding in Doctor(options).examine():
            findings.append(finding)
            if not as_json:
                click.echo(f"{MARKS[finding.status]}  {printable(f'{finding.subject}: {finding.text}')}")
                if finding.remedy:
                    click.echo(f"         -> {printable(finding.remedy)}")
    if as_json:
        show_json([dataclasses.asdict(finding) for finding in findings])
    return ERROR if any(finding.status == "error" for finding in findings) else 0
