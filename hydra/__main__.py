"""``hydra`` and ``python -m hydra``.

A task is started a hundred times at once: it goes to its module straight away, without the command line's imports.
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Run one command and end the process with its exit code."""
    # PYTHONWARNINGS and PYTHONDEVMODE are for the user's programs: as errors, warnings of libraries would end this one.
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["task"]:
        from hydra.tasks.task import task

        sys.exit(task(sys.argv[2:]))
    from hydra.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
