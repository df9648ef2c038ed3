"""``hydra show``, ``report`` and ``compare``: commands on results that were saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hydra.cli.flags import OutputErrors, Outputs, parse_outputs, parsed_by, told_beside, write_output
from hydra.cli.help_page import HelpPage
from hydra.errors import DegradedError, UsageError
from hydra.options.parsers import number

if TYPE_CHECKING:
    from hydra.sweep.comparison import Comparison


@click.command()
@click.argument("file")
def show(file: str) -> int:
    """Print a result FILE of a run, or a file or folder of a sweep, as its command did. Exit code: the command's."""
    from hydra.cli.show_results import print_record, print_sweep
    from hydra.run.record import RunRecord
    from hydra.sweep.comparison import saved_exit_code
    from hydra.sweep.folder import load_results
    from hydra.sweep.record import SweepRecord

    saved = load_results(file)
    if isinstance(saved, SweepRecord):
        print_sweep(saved)
    else:
        for record in (saved,) if isinstance(saved, RunRecord) else saved.runs:
            print_record(record)
    return saved_exit_code(saved)


@click.command(
    cls=HelpPage,
    examples={"hydra report results/ yesterday.json -o report.html": "one page of a sweep and of another result"},
)
@click.argument("results", nargs=-1, metavar="RESULT...")
@click.option("-o", "--report", metavar="FILE", help="the page (HTML, on its own)")
@click.option("--csv", metavar="FILE", help="a row for each run (CSV)")
@click.option("--junit", metavar="FILE", help="a test case for each point (JUnit XML)")
@click.pass_context
def report(ctx: click.Context, /, results: tuple[str, ...], **_files: str | None) -> int:
    """Make a page of RESULTs: files of runs, files or folders of sweeps and searches."""
    if not results:
        raise UsageError("no RESULT", hint="name a result file or the folder of a sweep")
    outputs = parse_outputs(ctx, results=results)
    if outputs == Outputs():
        raise UsageError("nothing to write", hint="name a file: -o report.html")
    from hydra.sweep.folder import load_several

    outputs.write(load_several(results, copies=True))
    return 0


@click.command(
    cls=HelpPage,
    examples={
        "hydra compare yesterday/ today/ --tolerance=15": "has anything become worse by more than 15 %?",
        "hydra compare yesterday/ today/ --report=compared.html": "the same as a page",
    },
    codes={
        "0": "nothing is shown to be worse",
        "1": "something is worse",
        "2": "usage: a flag, or a file that is not a result",
        "3": "no answer: no point in common, nothing that could be judged, or B was cut short",
    },
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--tolerance", metavar="PERCENT", default="10", show_default=True, help="a change of less counts as none",
              callback=parsed_by(number(0, 1_000_000)))  # fmt: skip
@click.option("--output", metavar="FILE", help="write what was found to this file (JSON)")
@click.option("--report", metavar="FILE", help="write a page of it to this file (HTML, on its own)")
@click.option("--csv", metavar="FILE", help="write a row for each difference to this file (CSV)")
@click.option("--junit", metavar="FILE", help="write a test case for each point to this file (JUnit XML)")
@click.pass_context
def compare(ctx: click.Context, /, before: str, after: str, tolerance: float, **_files: str | None) -> int:
    """Compare B with A: two runs, or two sweeps or searches, point by point.

    A difference counts beyond --tolerance, if a rank test over the runs shows it among all that were compared: that
    takes 4 repeats a side, and more for many points. Below a millisecond no latency counts; any loss does where there
    was none.
    """
    outputs = parse_outputs(ctx, results=(before, after))
    from hydra.cli.show_results import print_comparison
    from hydra.sweep.comparison import compare as compare_results
    from hydra.sweep.folder import load_several

    (_, old), (_, new) = load_several((before, after))
    found = compare_results(old, new, tolerance_percent=tolerance)

    def page() -> str:
        from hydra.report.comparison_page import comparison_page

        return comparison_page(found, names=(before, after), tolerance_percent=tolerance)

    if found.nothing_in_common:
        _write(found, outputs, page)  # those of yesterday would be taken for these
        raise DegradedError(f"{before} and {after} have no point in common", hint="compare sweeps of the same plan")
    with told_beside(outputs):
        print_comparison(found, tolerance_percent=tolerance)
    _write(found, outputs, page)
    return found.exit_code


def _write(found: Comparison, outputs: Outputs, page: Callable[[], str]) -> None:
    from hydra.codec import encode, to_builtins
    from hydra.report.exports import comparison_csv, comparison_junit

    body = to_builtins(found)
    assert isinstance(body, dict)
    head = {"format": "hydra-comparison", "format_version": 2}
    errors = OutputErrors()
    make: Callable[[], str | bytes]
    for flag, make in (
        ("output", lambda: encode({**head, **body, "regressions": found.regressions})),
        ("report", page),
        ("csv", lambda: comparison_csv(found)),
        ("junit", lambda: comparison_junit(found)),
    ):
        path = getattr(outputs, flag)
        if path is not None:
            with errors.kept():
                write_output(flag, path, make())
    errors.raise_all()
