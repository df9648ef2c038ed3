"""``hydra compare``: two results side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hydra.cli.option_flags import number_flag
from hydra.errors import DegradedError

if TYPE_CHECKING:
    from hydra.sweep.comparison import Comparison

TOLERANCE_PERCENT = 10.0


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--tolerance", metavar="PERCENT", help=f"what is no difference yet  [{TOLERANCE_PERCENT:g}]")
@click.option("--output", metavar="FILE", help="write what was found to this file (JSON)")
@click.option("--csv", metavar="FILE", help="write a row for each difference to this file (CSV)")
@click.option("--junit", metavar="FILE", help="write a test case for each point to this file (JUnit XML)")
def command(before: str, after: str, tolerance: str | None, **files: str | None) -> int:
    """Compare B with A: two runs, or two sweeps or searches, point by point.

    A difference counts beyond --tolerance, if the repeats of the two sides do not overlap. Below a millisecond no
    latency counts; any loss does where there was none.

    Exit code: 0 nothing is worse; 1 something is; 2 what is no result; 3 the two have no point in common.
    """
    from hydra.cli.show_comparison import show_comparison
    from hydra.files.atomic_write import check_output
    from hydra.sweep.comparison import compare, points_by_name
    from hydra.sweep.folder import load_results

    percent = number_flag("tolerance", tolerance or str(TOLERANCE_PERCENT), 0, 1_000_000)
    for flag, path in files.items():
        if path is not None:
            check_output(path, flag)
    old, new = load_results(before), load_results(after)
    if not set(points_by_name(old)) & set(points_by_name(new)):
        raise DegradedError(f"{before} and {after} have no point in common", hint="compare sweeps of the same plan")
    found = compare(old, new, tolerance_percent=percent)
    show_comparison(found, tolerance_percent=percent)
    _write(found, files)
    return 1 if found.regressions else 0


def _write(found: Comparison, files: Mapping[str, str | None]) -> None:
    from hydra.files.atomic_write import atomic_write
    from hydra.report.csv_rows import comparison_csv
    from hydra.report.junit import comparison_junit

    make: Mapping[str, Callable[[Comparison], bytes]] = {
        "output": _json,
        "csv": lambda found: comparison_csv(found).encode("utf-8", errors="backslashreplace"),
        "junit": comparison_junit,
    }
    for flag, path in files.items():
        if path is not None:
            atomic_write(Path(path), make[flag](found), origin=f"--{flag}={path}")


def _json(found: Comparison) -> bytes:
    from hydra.codec import encode, to_builtins

    body = to_builtins(found)
    assert isinstance(body, dict)
    return encode({"format": "hydra-comparison", "format_version": 1, **body, "regressions": found.regressions})
