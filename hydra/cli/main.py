"""Runs a command. Every command ends here, with an exit code and, where something was wrong, one line.

cli/help_page.py lists the exit codes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

from hydra.cli.commands import COMMANDS, hydra
from hydra.cli.streams import tolerant_streams
from hydra.cli.terminal import printable
from hydra.errors import AccountingError, HydraError, InterruptedRunError
from hydra.files.atomic_write import file_errors
from hydra.files.folders import write_bug_log

BUG = 70


def run(arguments: Sequence[str]) -> int:
    """Run the command line. Returns the exit code; prints at most one line of its own, on stderr.

    A stdout that cannot be written changes what is shown, and not the exit code.
    """
    # Libraries log what we report in our own words; without a handler Python would print it beside them.
    logging.getLogger().addHandler(logging.NullHandler())
    with tolerant_streams() as stdout:
        code = _run(arguments)
        stdout.flush()
        if stdout.failure is not None and not stdout.reader_has_gone:
            _say(f"stdout cannot be written ({stdout.failure.strerror}): what was to be printed there is incomplete", 0)
        return code


def _run(arguments: Sequence[str]) -> int:  # noqa: PLR0911  # one return for each way to end
    try:
        with file_errors():
            code = hydra.main(args=list(arguments), prog_name="hydra", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = f"hydra {arguments[0]}" if arguments and arguments[0] in COMMANDS else "hydra"
        path = error.ctx.command_path if error.ctx else command
        text = error.format_message().rstrip(".")
        return _say(f"{text}{'' if text.endswith('?') else ':'} see '{path} --help'", error.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except AccountingError as error:
        return _bug(error)
    except (HydraError, InterruptedRunError) as error:
        return _say(str(error), error.exit_code)
    except SystemExit:
        return 0  # click has completed a word for a shell
    except Exception as error:  # noqa: BLE001  # whatever was not expected is a bug of ours
        return _interrupted(error) or _bug(error)
    return code if isinstance(code, int) else 0


def _interrupted(error: BaseException) -> int:
    """The exit code where a signal came while a class was made, of which older Pythons make a RuntimeError; else 0."""
    cause = error.__cause__
    if isinstance(cause, KeyboardInterrupt):
        return _say("interrupted", 130)
    return _say(str(cause), cause.exit_code) if isinstance(cause, InterruptedRunError) else 0


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"hydra: {printable(' '.join(text.split()))}\n")
    return code


def _bug(error: BaseException) -> int:
    return _say(write_bug_log(error, ""), BUG)
