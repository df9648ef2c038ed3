"""A sweep with made-up runs: a process that a test kills at any moment. Not a test."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from hydra.options.options import Options
from hydra.run.clock import MonotonicClock
from hydra.run.protocols import SilentProgress
from hydra.sweep.folder import SweepFolder
from hydra.sweep.plan import SweepPlan, make_points
from hydra.sweep.record import SweepRecord
from hydra.sweep.runner import SweepRunner
from tests.samples import run

POINTS = 12


class RunLog:
    """Makes up runs, and logs the start and the end of each to a file with one write, which a kill cannot undo."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def measure(self, options: Options):
        os.write(self._log, f"begin {options.msg_rate:g}\n".encode())
        time.sleep(0.01)
        made = run(options)
        os.write(self._log, f"end {options.msg_rate:g}\n".encode())
        return made


def main(folder: Path) -> None:
    if (folder / "sweep.json").exists():
        kept = SweepFolder.resume(folder)
    else:
        options = Options(total_sub_apps=10, test_duration=20.0)
        plan = SweepPlan(make_points(options, [{"msg_rate": float(rate)} for rate in range(1, POINTS + 1)]))
        kept = SweepFolder.begin(folder, SweepRecord("sweep", "now", "hydra", options, plan))
    print("ready", flush=True)
    runs = RunLog(folder.with_suffix(".log"))
    SweepRunner(runs.measure, kept, MonotonicClock(), SilentProgress()).run(kept.sweep)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
