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
    import signal

    # As long as nothing is started, Ctrl-C ends this process as other signals do: at once, and without a traceback.
    python_s = signal.getsignal(signal.SIGINT)
    if python_s is signal.default_int_handler:  # else whoever started it has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hydra.cli.main import run

    signal.signal(signal.SIGINT, python_s)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
