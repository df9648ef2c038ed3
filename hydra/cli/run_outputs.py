"""What a command that has a run tells of it, and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra.cli.flags import OutputErrors, Outputs, told_beside, write_output

if TYPE_CHECKING:
    from hydra.run.record import RunRecord


def tell_run(record: RunRecord, outputs: Outputs, errors: OutputErrors, workload: str = "") -> int:
    """Print the result and write the files. Returns the run's exit code.

    Raises:
        OutputError: when all that can be written has been.
    """
    assert record.result is not None
    print_run(record, outputs)
    write_files(record, outputs, errors, workload)
    errors.raise_all()
    return record.result.exit_code


def write_files(record: RunRecord, outputs: Outputs, errors: OutputErrors, workload: str = "") -> None:
    """Write all files but ``--output``; also without a result: those of yesterday would be taken for the run's."""
    with errors.kept():
        outputs.write([("", record)])
    if outputs.omb_result is not None:
        from hydra.codec import encode
        from hydra.report.omb_result import omb_result

        with errors.kept():
            write_output("omb_result", outputs.omb_result, encode(omb_result(record, workload)))


def print_run(record: RunRecord, outputs: Outputs) -> None:
    """Print the result; beside stdout where that is for a file."""
    from hydra.cli.show_results import print_record

    with told_beside(outputs):
        print_record(record)
