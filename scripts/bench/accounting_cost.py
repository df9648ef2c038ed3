"""What timing every delivery costs a subscriber, as a ratio within one run.

Every second subscriber task counts alone, the others also time each delivery; all of them read the same log at the
same time. Printed: CPU time per delivery of both split, while the publisher sends and clients drain, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from hydra.run.record import RunRecord

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from half_timed import is_untimed  # noqa: E402


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total_sub_apps", type=int, default=50)
    parser.add_argument("--clients_per_app", type=int, default=10)
    parser.add_argument("--msg_rate", type=float, default=3000)
    parser.add_argument("--test_duration", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE)
    options = Options(
        total_sub_apps=asked.total_sub_apps,
        clients_per_app=asked.clients_per_app,
        msg_rate=asked.msg_rate,
        test_duration=asked.test_duration,
        sub_driver="half_timed:HalfTimed",
    )
    ratios = []
    with RunTestKAFKA(options, runtest=False) as runner:
        for _ in range(asked.rounds):
            runner.run_test()
            assert runner.record is not None
            ratios.append(compare(runner.record))
    print(f"median ratio of {asked.rounds} rounds: {statistics.median(ratios):.3f}")


def compare(record: RunRecord) -> float:
    """Print one round; returns CPU per delivery of the timed half by that of the other one."""
    subscribers, result = record.evidence.subscribers, record.result
    assert result is not None
    us = {}
    for untimed in (False, True):
        half = [stats for stats in subscribers if is_untimed(stats.clients[0].name) == untimed]
        cpu_s = sum(stats.usage.cpu_percent / 100 * stats.usage.window_s for stats in half)
        us[untimed] = 1e6 * cpu_s / sum(client.received for stats in half for client in stats.clients)
    print(
        f"timed {us[False]:.3f} us, counted alone {us[True]:.3f} us a delivery, ratio {us[False] / us[True]:.3f};"
        f" {result.verdict}, lost {result.totals.records_lost}, e2e p99 {result.latency.e2e.p99_ms:.0f} ms"
    )
    return us[False] / us[True]


if __name__ == "__main__":
    main()
