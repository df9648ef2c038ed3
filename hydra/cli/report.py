"""``hydra report``: results as one page."""

from __future__ import annotations

import click

from hydra.errors import UsageError
from hydra.files.atomic_write import check_output


@click.command()
@click.argument("results", nargs=-1, metavar="RESULT...")
@click.option("-o", "--report", metavar="FILE", help="the page (HTML, on its own)")
@click.option("--csv", metavar="FILE", help="a row for each run (CSV)")
@click.option("--junit", metavar="FILE", help="a test case for each point (JUnit XML)")
def command(results: tuple[str, ...], **files: str | None) -> int:
    """Make a page of RESULTs: files of runs, files or folders of sweeps and searches.

    Exit code: 0; 2 what is no result; 4 a file that cannot be written.
    """
    if not results:
        raise UsageError("no RESULT", hint="name a result file or the folder of a sweep")
    if not any(files.values()):
        raise UsageError("nothing to write", hint="name a file: -o report.html")
    for flag, path in files.items():
        if path is not None:
            check_output(path, flag)
    from hydra.cli.output_flags import Outputs
    from hydra.cli.write_outputs import write_named
    from hydra.sweep.folder import load_results

    write_named(Outputs(**files), [(name, load_results(name)) for name in results])
    return 0
