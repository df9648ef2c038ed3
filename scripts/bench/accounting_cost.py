"""What a part of the accounting costs or saves a subscriber, as a ratio within one run.

    scripts/python scripts/bench/accounting_cost.py [timing | log] --rounds 3

Every second subscriber task goes without it: without timing each delivery, or without the log of proven bytes that the
clients of a task share. All tasks read the same log at the same time. Printed: CPU time per delivery of both halves,
while the publisher sends and clients drain, and their ratio (with / without).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from hydra.run.record import RunRecord

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from halves import goes_without  # noqa: E402

DRIVERS = {"timing": "halves:HalfTimed", "log": "halves:HalfShared"}
ADDITIONS = 10_000_000


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=[*DRIVERS], default="timing")
    parser.add_argument("--total_sub_apps", type=int, default=50)
    parser.add_argument("--clients_per_app", type=int, default=10)
    parser.add_argument("--msg_rate", type=float, default=3000)
    parser.add_argument("--test_duration", type=float, default=10)
    parser.add_argument("--fetch_pace_ms", type=float)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE)
    options = Options(
        total_sub_apps=asked.total_sub_apps,
        clients_per_app=asked.clients_per_app,
        msg_rate=asked.msg_rate,
        test_duration=asked.test_duration,
        fetch_pace_ms=asked.fetch_pace_ms,
        sub_driver=DRIVERS[asked.part],
    )
    print(f"this machine: 10 million additions in a Python loop take {seconds_of_additions():.2f} s of CPU")
    ratios = []
    with RunTestKAFKA(options, runtest=False) as runner:
        for _ in range(asked.rounds):
            runner.run_test()
            assert runner.record is not None
            ratios.append(compare(runner.record))
    print(f"median ratio of {asked.rounds} rounds: {statistics.median(ratios):.3f}")


def seconds_of_additions() -> float:
    """How fast this machine is at the moment."""
    began_s, total = time.process_time(), 0
    while total < ADDITIONS:
        total += 1
    return time.process_time() - began_s


def compare(record: RunRecord) -> float:
    """Print one round; returns CPU per delivery of the tasks that have it by that of those without."""
    subscribers, result = record.evidence.subscribers, record.result
    assert result is not None
    us = {}
    for without in (False, True):
        half = [stats for stats in subscribers if goes_without(stats.clients[0].name) == without]
        cpu_s = sum(stats.usage.cpu_percent / 100 * stats.usage.window_s for stats in half)
        us[without] = 1e6 * cpu_s / sum(client.received for stats in half for client in stats.clients)
    print(
        f"with it {us[False]:.3f} us, without {us[True]:.3f} us a delivery, ratio {us[False] / us[True]:.3f};"
        f" {result.verdict}, lost {result.totals.records_lost}, e2e p99 {result.latency.e2e.p99_ms:.0f} ms",
        flush=True,
    )
    return us[False] / us[True]


if __name__ == "__main__":
    main()
