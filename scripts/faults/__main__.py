"""Faults on purpose, counted: what came of a run, what hung, and what was left behind.

    scripts/python scripts/faults census --times=20 [--only=PATTERN] [--seed=N]   every fault so many times, as a table
    scripts/python scripts/faults signals --points=100         INT, TERM and HUP at so many points of runs and of sweeps
    scripts/python scripts/faults soak --runs=1000              short runs on one stack that stays: does it grow?
    scripts/python scripts/faults inputs --count=150000 [--seed=N]                          bad input, in this process
    scripts/python scripts/faults strangers --count=10000 [--seed=N]         commands by strangers to a stack at work
    scripts/python scripts/faults limits --times=20 [--only=PATTERN]     planted limits: is the right one named?

Ends with 0 if all was right. A machine that is busy with other things makes honest runs indeterminate, and no more.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]


def main() -> int:
    """The part that is asked for."""
    # A shell starts what it puts in the background, and nohup what it guards, with some of these ignored; so would the
    # commands be, whose handling of signals is looked at here. The stack goes with whoever is ended.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    census = parts.add_parser("census")
    census.add_argument("--times", type=int, default=1)
    census.add_argument("--only", default="", metavar="PATTERN", help="a regular expression for names of rows")
    signals = parts.add_parser("signals")
    signals.add_argument("--points", type=int, default=100, help="for each kind of command, over all three signals")
    soak = parts.add_parser("soak")
    soak.add_argument("--runs", type=int, default=1000)
    inputs = parts.add_parser("inputs")
    inputs.add_argument("--count", type=int, default=150_000)
    inputs.add_argument("--only", default="", metavar="PATTERN", help="a regular expression for names of doors")
    strangers = parts.add_parser("strangers")
    strangers.add_argument("--count", type=int, default=10_000)
    limits = parts.add_parser("limits")
    limits.add_argument("--times", type=int, default=1)
    limits.add_argument("--only", default="", metavar="PATTERN", help="a regular expression for names of limits")
    for part in (census, signals, inputs, strangers, limits):
        part.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    if arguments.part == "census":
        from census import run_census  # noqa: PLC0415  # only what is asked for

        return run_census(arguments.times, arguments.only, arguments.seed)
    if arguments.part == "signals":
        from interruptions import run_interruptions  # noqa: PLC0415  # only what is asked for

        return run_interruptions(arguments.points, arguments.seed)
    if arguments.part == "soak":
        from soak import run_soak  # noqa: PLC0415  # only what is asked for

        return run_soak(arguments.runs)
    if arguments.part == "strangers":
        from strangers import run_strangers  # noqa: PLC0415  # only what is asked for

        return run_strangers(arguments.count, arguments.seed)
    if arguments.part == "limits":
        from limits import run_limits  # noqa: PLC0415  # only what is asked for

        return run_limits(arguments.times, arguments.only, arguments.seed)
    from inputs import run_inputs  # noqa: PLC0415  # only what is asked for

    return run_inputs(arguments.count, arguments.only, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
