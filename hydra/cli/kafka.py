"""``hydra kafka``: one run; and the commands below it."""

from __future__ import annotations

import contextlib

import click

from hydra.cli.interruption import interruptible
from hydra.cli.kafka_commands import KafkaCommands, refuse_flags_before
from hydra.cli.option_flags import given, option_flags
from hydra.cli.output_flags import output_flags, taken_outputs


@click.group(cls=KafkaCommands, invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]")
@option_flags()
@output_flags
def command(config_file: str | None, **flags: str | None) -> int:
    """Deploy one publisher and N subscribers, send at the asked rate, count every record, say what it means.

    Exit code: 0 nothing lost; 1 loss; 2 usage; 3 no answer (someone is missing, or the plan was not kept);
    4 Kafka, Marathon or Java cannot be used; 130 or 143 interrupted.
    """
    below = click.get_current_context().invoked_subcommand
    if below is not None:
        refuse_flags_before(below, {"config_file": config_file, **flags})
        return 0
    from hydra.options.reader import options_from_flags

    outputs = taken_outputs(flags)
    options = options_from_flags(given(flags), config_file)
    outputs.check()
    from hydra.cli.jsonl_progress import with_lines
    from hydra.cli.live import progress_display
    from hydra.cli.result_table import print_record
    from hydra.cli.write_outputs import write_outputs
    from hydra.errors import HydraError, OutputError
    from hydra.kafkatest.runtest import RunTestKAFKA

    unwritten: OutputError | None = None
    with (
        interruptible(),
        progress_display() as display,
        with_lines(display, outputs.live) as progress,
        RunTestKAFKA(options, runtest=False, progress=progress) as runner,
    ):
        try:
            runner.run_test()
        except OutputError as error:
            if runner.record is None:
                raise
            unwritten = error
        except HydraError:
            if runner.record is not None:
                with contextlib.suppress(HydraError):  # what ended the run is what the user has to hear of
                    write_outputs(outputs, runner.record)
            raise
    record = runner.record
    assert record is not None
    assert record.result is not None
    print_record(record)
    write_outputs(outputs, record)
    if unwritten is not None:
        raise unwritten
    return record.result.exit_code
