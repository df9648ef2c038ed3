"""``hydra trend``: when the results of one plan changed."""

from __future__ import annotations

import click

from hydra.cli.flags import OutputErrors, parse_outputs, parsed_by, told_beside, write_output
from hydra.cli.help_page import HelpPage
from hydra.errors import DegradedError, UsageError
from hydra.options.parsers import number


@click.command(
    cls=HelpPage,
    examples={
        "hydra trend nightly/": "all result files and sweep folders in this folder, by their time",
        "hydra trend nightly/ --report=trend.html": "the same as a page",
    },
    codes={
        "0": "nothing changed for the worse, or it was mended since",
        "1": "a metric changed for the worse and is not as it was",
        "2": "usage: a flag, or a file that is not a result",
        "3": "no answer: too few results of every point, or the newest one has no latency that counts",
    },
)
@click.argument("results", nargs=-1, metavar="RESULT...")
@click.option("--tolerance", metavar="PERCENT", default="10", show_default=True, help="a change of less counts as none",
              callback=parsed_by(number(0, 1_000_000)))  # fmt: skip
@click.option("--output", metavar="FILE", help="write all series and their changes to this file (JSON)")
@click.option("--report", metavar="FILE", help="write a page of it to this file (HTML, on its own)")
@click.pass_context
def trend(ctx: click.Context, /, results: tuple[str, ...], tolerance: float, **_files: str | None) -> int:
    """Say when RESULTs of one plan changed: files, folders of sweeps, or folders with either in them.

    A change needs 10 results in all, 3 of them before and 3 after it; more where many series are looked at.
    """
    if not results:
        raise UsageError("no RESULT", hint="name result files, or a folder of them")
    from hydra.cli.show_results import print_trend
    from hydra.codec import encode, to_builtins
    from hydra.sweep.change_points import min_results
    from hydra.sweep.trend import load_history, named_results, trend_exit_code, unlike_over_time
    from hydra.sweep.trend import trend as series_of

    outputs = parse_outputs(ctx, results=named_results(results))
    history = load_history(results)
    found, unlike = series_of(history, tolerance_percent=tolerance), unlike_over_time(history)
    if max((len(series.values) for series in found), default=0) < min_results():
        raise DegradedError(
            f"too few to show a change: no point has {min_results()} results that count",
            hint="keep more results of the plan, and name them all",
        )
    with told_beside(outputs):
        print_trend(found, unlike)
    errors = OutputErrors()
    if outputs.output is not None:
        head = {"format": "hydra-trend", "format_version": 1}
        body = encode({**head, "series": [to_builtins(series) for series in found], "unlike": unlike})
        with errors.kept():
            write_output("output", outputs.output, body)
    if outputs.report is not None:
        from hydra.report.trend_page import trend_page

        with errors.kept():
            write_output("report", outputs.report, trend_page(found, unlike, tolerance_percent=tolerance))
    errors.raise_all()
    return trend_exit_code(found)
