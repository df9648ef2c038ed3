"""The points of docs/performance.md, interleaved over several rounds: medians, and JSON on request.

    scripts/python scripts/bench/points.py [POINT ...] --rounds 3 --output points.json

Each point is the command ``hydra kafka`` with a stack of its own. Absolute figures drift on shared machines: compare
what stands in one table, and look at how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from hydra.run.record import RunRecord
from hydra.sweep.record import read_saved

SCALE = ("--clients_per_app=500", "--linger_ms=500")
POINTS: dict[str, tuple[str, ...]] = {
    "seed-500x3000": ("--total_sub_apps=50", "--msg_rate=3000"),
    "one-task-500x3000": ("--total_sub_apps=1", "--clients_per_app=500", "--msg_rate=3000"),
    "bare-1000x1000": (),
    "500x1000-linger500": ("--total_sub_apps=1", *SCALE),
    "5000x2000": ("--total_sub_apps=10", "--msg_rate=2000", *SCALE),
    "10000x1000": ("--total_sub_apps=20", *SCALE),
    "10000x2000": ("--total_sub_apps=20", "--msg_rate=2000", *SCALE),
    "wire-50x1000": ("--total_sub_apps=5", "--pub_driver=wire"),
    "confluent-50x1000": ("--total_sub_apps=5", "--sub_driver=confluent", "--pub_driver=confluent"),
    "kafka-python-50x1000": ("--total_sub_apps=5", "--sub_driver=kafka-python", "--pub_driver=kafka-python"),
}
LOOK_S = 0.05

Totals = dict[str, object]


def main() -> None:
    """Run the points and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", default=[*POINTS], metavar="POINT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flags", default="", help="more flags for all of them")
    parser.add_argument("--output", help="JSON file with every round")
    asked = parser.parse_args()
    if unknown := set(asked.points) - {*POINTS}:
        parser.error(f"no such point: {', '.join(unknown)}; there are {', '.join(POINTS)}")
    found: dict[str, list[Totals]] = {name: [] for name in asked.points}
    for number in range(asked.rounds):
        for name in asked.points:
            figures = measure((*POINTS[name], *asked.flags.split()))
            found[name].append(figures)
            print(f"round {number + 1} {name}: {_line(figures)}", flush=True)
    print("\nmedians")
    for name, rounds in found.items():
        print(f"{name}: {_line({key: median([figures[key] for figures in rounds]) for key in rounds[0]})}")
    if asked.output:
        Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(flags: tuple[str, ...]) -> Totals:
    """One command, from its start to the prompt, and what of it belongs in the table.

    Raises:
        RuntimeError: there was no result; with what the command said.
    """
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        output, live = Path(folder) / "r.json", Path(folder) / "live.jsonl"
        command = [sys.executable, "-m", "hydra", "kafka", *flags, f"--output={output}", f"--live={live}"]
        began_s = time.time()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            used = _watch(process)
            said = process.stdout.read() if process.stdout is not None else ""
        ended_s = time.time()
        if not output.exists():
            raise RuntimeError(f"{' '.join(command)}: {said[-1000:]}")
        record = read_saved(output.read_bytes(), name=str(output))
        first_s = _first_record_s(live)
    if not isinstance(record, RunRecord) or record.result is None:
        raise RuntimeError(f"{' '.join(command)}: {said[-1000:]}")
    duration_s = record.order.options.test_duration
    return {
        "exit_code": process.returncode,
        **_figures_of(record),
        "first_record_s": first_s - began_s,
        "last_record_to_prompt_s": ended_s - first_s - duration_s,
        "controller_cpu_s": used.cpu_s,
        "controller_mib": used.rss_bytes / 2**20,
    }


@dataclass(frozen=True)
class Used:
    """What the controller's process has used."""

    cpu_s: float = 0.0
    rss_bytes: int = 0
    """The most that it had."""


def _watch(process: subprocess.Popen[str]) -> Used:
    """Look at a process until it is over. It says little: nothing has to be read meanwhile."""
    looked = psutil.Process(process.pid)
    used = Used()
    while process.poll() is None:
        try:
            times, memory = looked.cpu_times(), looked.memory_info()
        except psutil.Error:
            break
        if looked.status() != psutil.STATUS_ZOMBIE:
            used = Used(times.user + times.system, max(used.rss_bytes, memory.rss))
        time.sleep(LOOK_S)
    return used


def _first_record_s(live: Path) -> float:
    """When the first record of the run was due, on the clock of the day."""
    for line in live.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "counts":
            return float(event["unix_time_s"]) - float(event["elapsed_s"])
    raise RuntimeError("no record was ever due")


def _figures_of(record: RunRecord) -> Totals:
    result = record.result
    assert result is not None
    figures, latency, phases = result.totals, result.latency, record.phases_s
    return {
        "verdict": result.verdict,
        "limit": result.bottleneck.limit,
        "lost": figures.records_lost,
        "deliveries_per_s": figures.records_delivered / record.order.options.test_duration,
        "e2e_p50_ms": latency.e2e.p50_ms,
        "e2e_p99_ms": latency.e2e.p99_ms,
        "sub_cpu_us_per_delivery": figures.subscriber_cpu_us_per_delivery,
        "sub_rss_mib": figures.subscriber_rss_bytes_sum / 2**20,
        "fetches_per_s": figures.fetches_per_s,
        "records_per_fetch": figures.records_per_fetch,
        "tx_rate_per_s": figures.tx_rate_per_s,
        "pub_cpu_percent": figures.publisher_cpu_percent,
        "lag_p99_ms": latency.publisher_lag.p99_ms,
        "broker_cpu_percent": figures.broker_cpu_percent,
        "machine_cpu_percent": figures.machine_cpu_percent,
        "ready_s": sum(phases[name] for name in ("topic", "configure", "barrier")),
        "collect_s": phases["collect"],
    }


def median(values: list[object]) -> object:
    """The median of numbers; of words, all that there were."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    return statistics.median(numbers) if len(numbers) == len(values) else "/".join(sorted(set(map(str, values))))


def _line(figures: Totals) -> str:
    return ", ".join(f"{key} {text(value)}" for key, value in figures.items())


def text(value: object) -> str:
    """A figure in three or four digits."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
