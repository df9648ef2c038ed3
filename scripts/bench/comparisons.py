"""Whether comparisons and searches can be believed: their answers where the truth is known, counted.

    scripts/python scripts/bench/comparisons.py same --times=60 --resampled=1000     sides drawn from runs of one point
    scripts/python scripts/bench/comparisons.py again --times=50                   ``hydra kafka ab``, A against A
    scripts/python scripts/bench/comparisons.py slower --percent=20 --times=20     the same, B is that much slower
    scripts/python scripts/bench/comparisons.py searches --times=30        ``maxrate`` before a brake of known width

All of it runs on one Kafka behind a proxy: a delay line, which may be longer for B, or a limit on bytes a second. The
settings that are compared differ in ``client_id_prefix`` alone, by which the proxy tells B. A run sends for a second;
p99 is that of its delay line of 50 ms and of what broker, clients and machine add.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hydra.broker.embedded import EmbeddedBroker
from hydra.run.record import RunRecord
from hydra.sweep.comparison import compare_points, compare_sides
from hydra.sweep.counted_runs import COMPARED_METRICS
from hydra.sweep.folder import load_results
from hydra.sweep.judgement import advised_runs
from hydra.sweep.record import SweepRecord

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from accounting_cost import seconds_of_additions

from tests.kafka_parts import kafka_parts
from tests.proxies import PublisherProxy

LOAD = ("--total_sub_apps=1", "--clients_per_app=4", "--msg_rate=1000", "--test_duration=1", "--fetch_pace_ms=0")
SIDES = ("--a", "client_id_prefix=a-", "--b", "client_id_prefix=b-")
B_PREFIX = b"b-hydra"
DELAY_S = 0.05
POINTS = 16
TOLERANCE_PERCENT = 10.0
DEADLINE_S = 1800
DIFFERENT = frozenset({"worse", "better"})

MSG_SIZE = 1000
RECORD_BYTES = MSG_SIZE + 12
"""On the wire, with its share of the batch's and the request's head."""
SEARCH_S = 2
LONGEST_P50_S = 0.2


@dataclass(frozen=True)
class Place:
    """Where commands run: their folder, and the Kafka behind the proxy."""

    folder: Path
    proxy: PublisherProxy
    environment: dict[str, str]

    def hydra(self, *arguments: str) -> tuple[int, SweepRecord, list[str]]:
        """Run ``hydra kafka``; returns the exit code, what it saved, and the lines that it printed."""
        with tempfile.TemporaryDirectory(dir=self.folder) as results:
            command = [
                sys.executable, "-m", "hydra", "kafka", *arguments, f"--results={results}/r", "--warmup=0",
                f"--bootstrap_servers=127.0.0.1:{self.proxy.port}", "--audit=never",
            ]  # fmt: skip
            ended = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
            lines = (ended.stdout + ended.stderr).splitlines()
            saved = load_results(f"{results}/r")
        assert isinstance(saved, SweepRecord)
        return ended.returncode, saved, lines


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("same", "again", "slower", "searches"))
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9, help="runs of each side of a comparison")
    parser.add_argument("--percent", type=float, default=20, help="of its p99, by which B is slower")
    parser.add_argument("--resampled", type=int, default=1000)
    parser.add_argument("--max_runs", type=int, default=16, help="of a search")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--output", help="JSON file with what came of each")
    asked = parser.parse_args()
    print(f"this machine: 10 million additions in a Python loop take {seconds_of_additions():.2f} s of CPU")
    print(f"seed {asked.seed}", flush=True)
    parts = {"same": same, "again": compared_sides, "slower": compared_sides, "searches": searches}
    with place() as where:
        found = parts[asked.part](where, asked)
    if asked.output:
        Path(asked.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A Kafka behind a proxy that has carried some load."""
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as name, PublisherProxy() as proxy:
        folder = Path(name)
        with EmbeddedBroker(**kafka_parts(folder / "kafka"), advertised_port=proxy.port) as broker:
            proxy.to(int(broker.bootstrap_servers.rpartition(":")[2]))
            where = Place(folder, proxy, {**os.environ, "XDG_STATE_HOME": str(folder / "state")})
            where.hydra("sweep", *LOAD, "--sweep", "linger_ms=5", "--repeats=5")
            yield where


def same(where: Place, asked: argparse.Namespace) -> list[dict[str, object]]:
    """Runs of one point; both sides of 16 points are drawn from them, again and again."""
    where.proxy.delay_s = DELAY_S
    _, saved, _ = where.hydra("sweep", *LOAD, "--sweep", "linger_ms=5", f"--repeats={asked.times}")
    (point,) = saved.points
    runs = [run for run in point.runs if run.result is not None]
    print(f"{len(runs)} runs of one point: {_p99s(runs)}", flush=True)
    side = advised_runs(POINTS * len(COMPARED_METRICS))
    found: list[dict[str, object]] = []
    false = 0
    # The processes are new ones: a fork would have the proxy's threads in the middle of what they do.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        resample = functools.partial(_resampled, runs, side, asked.seed)
        for number, (called, family) in enumerate(processes.map(resample, range(asked.resampled), chunksize=25), 1):
            false += bool(called)
            found.append({"called": called, "family": family})
            if called or number % 100 == 0:
                print(f"{number}: {false} with a false difference {', '.join(called)}", flush=True)
    what = f"comparisons of {POINTS} points x {len(COMPARED_METRICS)} metrics, {side} runs a side"
    print(f"\n{false} of {asked.resampled} {what}, call a difference: {100 * false / asked.resampled:.1f} %")
    return found


def _resampled(runs: Sequence[RunRecord], side: int, seed: int, number: int) -> tuple[list[str], int]:
    """(the differences that were called, the size of the family) of one comparison in which nothing differs."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311
    drawn = {f"point {index}": chance.sample(runs, 2 * side) for index in range(POINTS)}
    compared = compare_points(
        {name: each[:side] for name, each in drawn.items()},
        {name: each[side:] for name, each in drawn.items()},
        tolerance_percent=TOLERANCE_PERCENT,
    )
    different = [item for item in compared.differences if item.state in DIFFERENT]
    return [f"{item.point} {item.metric} {item.state}" for item in different], compared.family


def compared_sides(where: Place, asked: argparse.Namespace) -> list[dict[str, object]]:
    """``hydra kafka ab``: A against A, or against a B behind a longer delay line."""
    more_percent = asked.percent if asked.part == "slower" else 0.0
    where.proxy.delay_s = DELAY_S
    _, saved, _ = where.hydra("sweep", *LOAD, "--sweep", "linger_ms=5", "--repeats=9")
    p99_ms = statistics.median(_values(saved.points[0].runs))
    where.proxy.more_delay_s = {B_PREFIX: p99_ms / 1000 * more_percent / 100}
    print(f"p99 of A: {_p99s(saved.points[0].runs)}; B gets {p99_ms * more_percent / 100:.1f} ms more", flush=True)
    found: list[dict[str, object]] = []
    codes, states = Counter[int](), Counter[str]()
    for number in range(1, asked.times + 1):
        code, saved, lines = where.hydra("ab", *LOAD, *SIDES, f"--repeats={asked.repeats}")
        compared = compare_sides(saved)
        called = {item.metric: item.state for item in compared.effect.differences if item.state in DIFFERENT}
        changes = {item.metric: item.change_percent for item in compared.effect.differences}
        codes[code] += 1
        states[f"p99 {called.get('e2e_p99', 'no difference shown')}"] += 1
        states["any difference called"] += bool(called)
        found.append({"code": code, "called": called, "change_percent": changes, "unsteady": compared.unsteady})
        change = changes.get("e2e_p99")
        told = "no p99" if change is None else f"p99 {change:+.1f} %"
        print(
            f"{number}: exit code {code}, {told}, called {called or 'nothing'}"
            f"{f', A differs from A in {compared.unsteady}' if compared.unsteady else ''}"
            f"{'' if code in {0, 1} else f': {_said(lines)}'}", flush=True,
        )  # fmt: skip
    print(f"\n{asked.times} comparisons of {asked.repeats} runs a side, B {more_percent:g} % slower: {dict(states)}")
    print(f"exit codes {dict(codes)}")
    return found


def searches(where: Place, asked: argparse.Namespace) -> list[dict[str, object]]:
    """``maxrate`` before a brake, another one each time.

    At r records/s through a brake for w the middle one of a run of d seconds waits for d / 2 * (r / w - 1) seconds.
    """
    chance = random.Random(asked.seed)  # noqa: S311
    found: list[dict[str, object]] = []
    codes = Counter[int]()
    held = given = 0
    for number in range(1, asked.times + 1):
        width = chance.uniform(1500, 6000)
        limit = width * (1 + 2 * LONGEST_P50_S / SEARCH_S)
        where.proxy.bytes_per_s = width * RECORD_BYTES
        start = round(limit * chance.uniform(0.3, 1.2))
        code, saved, lines = where.hydra(
            "maxrate", "--total_sub_apps=1", "--clients_per_app=2", f"--msg_size={MSG_SIZE}",
            f"--test_duration={SEARCH_S}", f"--threshold=e2e_p50<{1000 * LONGEST_P50_S:g}ms", "--fetch_pace_ms=0",
            f"--start={start}", f"--max_runs={asked.max_runs}",
        )  # fmt: skip
        answer = saved.answers[0].answer if saved.answers else None
        interval = None if answer is None else answer.interval
        given += interval is not None
        is_held = interval is not None and interval[0] <= limit <= interval[1]
        held += is_held
        codes[code] += 1
        found.append({"limit": limit, "start": start, "code": code, "interval": interval, "held": is_held,
                      "best": None if answer is None else answer.best})  # fmt: skip
        told = "no interval" if interval is None else f"{interval[0]:,.0f} to {interval[1]:,.0f}"
        print(
            f"{number}: limit {limit:,.0f}: {told}, {'held' if is_held else 'NOT held'}, exit code {code}"
            f"{'' if interval else f': {_said(lines)}'}", flush=True,
        )  # fmt: skip
    print(f"\n{asked.times} searches, {given} with an interval, which held the limit in {held}")
    print(f"exit codes {dict(codes)}")
    return found


def _said(lines: Sequence[str]) -> list[str]:
    """The last lines of a command's answer, without those that tell how far it is."""
    return [line for line in lines if line and not line.startswith("hydra: ")][-3:]


def _values(runs: Sequence[RunRecord]) -> list[float]:
    return [run.result.latency.e2e.p99_ms for run in runs if run.result is not None]


def _p99s(runs: Sequence[RunRecord]) -> str:
    values = sorted(_values(runs))
    return f"{values[0]:.1f}, median {statistics.median(values):.1f}, {values[-1]:.1f} ms"


if __name__ == "__main__":
    main()
