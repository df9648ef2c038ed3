"""Short runs on one stack that stays: what of it grows?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
from stage import House

RUN = (
    "kafka", "--total_sub_apps=1", "--clients_per_app=2", "--msg_rate=100", "--test_duration=1", "--warmup=0",
    "--keep_running",
)  # fmt: skip
SAMPLES = 50
MIB = 2**20


def run_soak(runs: int) -> int:
    """Make the runs; print a line for each sample, and what a run adds. Returns 0 if all runs ended as they should."""
    samples: list[tuple[int, ...]] = []
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder))
        try:
            house.open()
            with house.stage() as stage:
                stage.on_stack()
                print("   run  stack MiB  fds  threads  Kafka MiB  fds  threads  files", flush=True)
                for number in range(1, runs + 1):
                    command = stage.hydra(*RUN)
                    code = command.end(120)
                    stage.commands.clear()
                    if code not in {0, 3}:
                        wrong += 1
                        print(f"run {number}: exit code {code}: {command.errors[-2:]}", flush=True)
                    if number % max(1, runs // SAMPLES) == 0:
                        samples.append((number, *_sample(house)))
                        print("".join(f"{value:8}" for value in samples[-1]), flush=True)
        finally:
            left = house.close()
    names = ("stack MiB", "stack fds", "stack threads", "Kafka MiB", "Kafka fds", "Kafka threads", "files")
    later = samples[len(samples) // 2 :]
    for column, name in enumerate(names, start=1):
        slope = _slope([(each[0], each[column]) for each in later])
        print(f"{name:14} {samples[0][column]} to {samples[-1][column]}, {1000 * slope:+.2f} per 1,000 later runs")
    print(f"{runs} runs, {wrong} ended wrong; left: {left or 'nothing'}")
    return 1 if wrong or left else 0


def _sample(house: House) -> tuple[int, ...]:
    stack = psutil.Process(house.record["process"]["pid"])
    kafka = psutil.Process(house.record["kafka_pids"][0])
    files = sum(1 for folder in (house.stack.temporary, house.stack.state) for _path in folder.rglob("*"))
    return (*_usage(stack), *_usage(kafka), files)


def _usage(process: psutil.Process) -> tuple[int, int, int]:
    return process.memory_info().rss // MIB, process.num_fds(), process.num_threads()


def _slope(points: list[tuple[int, int]]) -> float:
    """By least squares."""
    if len(points) < 2:
        return 0.0
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
