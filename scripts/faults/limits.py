"""Limits that are planted: what is no limit of the broker's must never be called one, and what is one must be."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from stage import House, Stage, play_in_random_order, wait_dead

from hydra.broker.java import find_java
from hydra.broker.server_properties import JVM_FLAGS_VARIABLE
from tests.commands import Command, suspend, wait_until
from tests.quotas import client_quota

LOAD = ("--total_sub_apps=2", "--clients_per_app=5", "--msg_rate=1000", "--test_duration=6", "--warmup=0",
        "--drain_timeout=5", "--output=result.json")  # fmt: skip
STRICT = "--threshold=e2e_p99<50ms"
HEAVY = ("--total_sub_apps=4", "--clients_per_app=10", "--msg_rate=20000", "--msg_size=100", "--test_duration=8",
         "--warmup=0", "--drain_timeout=5", "--output=result.json", STRICT)  # fmt: skip
LARGE = ("--total_sub_apps=1", "--clients_per_app=1", "--pub_driver=wire", "--msg_rate=20000", "--msg_size=1000",
         "--test_duration=8", "--warmup=0", "--drain_timeout=5", "--output=result.json", STRICT)  # fmt: skip
"""20 MB/s in: many bytes, which cost the harness little, in few requests."""
_SYNCED = ("--broker_property=log.flush.interval.messages=1", "--batch_size=100", "--linger_ms=0", "--msg_rate=5000")

Play = Callable[[Stage], Command]
"""Plants the limit, and returns the command of the run that met it, which has ended or will."""


@dataclass(frozen=True)
class Limit:
    """One limit."""

    name: str
    brokers: bool
    play: Play
    part: str = ""
    """What gives way inside of the broker; empty where that is not told."""


@dataclass
class Count:
    """What it was called."""

    runs: int = 0
    called: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    """Of those that were called the broker's."""
    failed: int = 0
    """Where there was no answer, or the limit could not be planted."""


LIMITS: list[Limit] = []


def planted(*, brokers: bool, part: str = "") -> Callable[[Play], Play]:
    """Make a function a limit, named after it."""

    def add(play: Play) -> Play:
        LIMITS.append(Limit(play.__name__.replace("_", "-"), brokers, play, part))
        return play

    return add


def run_limits(times: int, only: str, seed: int) -> int:
    """Plant each limit so many times; print what it was called. Returns 0 if all were called what they are."""
    print(f"seed {seed}", flush=True)
    chosen = [limit for limit in LIMITS if re.search(only, limit.name)]
    counts = {limit.name: Count() for limit in chosen}

    def play(limit: Limit, house: House, number: str) -> None:
        print(f"{number} {limit.name}: {_play(limit, house, counts[limit.name])}", flush=True)

    left = play_in_random_order(chosen, times, seed, play)
    wrong = _print_table(chosen, counts)
    print(f"left by the stack: {left or 'nothing'}")
    return 1 if wrong or left else 0


def _play(limit: Limit, house: House, count: Count) -> str:
    count.runs += 1
    with house.stage() as stage:
        try:
            command = limit.play(stage)
            code = command.end(120)
            result = stage.place.record()["result"]
            assert result is not None, (code, command.errors[-2:])
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            count.failed += 1
            if not isinstance(error, (AssertionError, pytest.fail.Exception)):
                traceback.print_exc()
            return f"NO ANSWER {type(error).__name__}: {str(error)[:300]}"
        left = house.left_by(stage)
    if left:
        house.clear()
    found = result["bottleneck"]
    count.called[found["limit"]] += 1
    count.codes[code] += 1
    if found["limit"] == "broker":
        count.parts[found["part"]] += 1
    told = f"{'; '.join(found['evidence'])[:300]}{f'; LEFT {left}' if left else ''}"
    return f"{found['limit']} {found['part']}, exit code {code}: {told}"


def _print_table(chosen: list[Limit], counts: dict[str, Count]) -> int:
    """Returns how many limits were called what they are not, or got no answer."""
    width = max((len(limit.name) for limit in chosen), default=5)
    print(f"\n{'limit':{width}}  is the broker's  runs  no answer  called, exit codes")
    wrong = 0
    for limit in chosen:
        count = counts[limit.name]
        by_broker, answered = count.called["broker"], count.runs - count.failed
        # No answer is not the right one.
        wrong += count.failed + (by_broker < 0.95 * answered if limit.brokers else by_broker)
        wrong += bool(limit.part) and count.parts[limit.part] < 0.95 * by_broker
        called = ", ".join(f"{name} {number}" for name, number in count.called.most_common())
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(count.codes.items()))
        line = f"{'yes' if limit.brokers else 'no':15}  {count.runs:4}  {count.failed:9}  {called} ({codes})"
        print(f"{limit.name:{width}}  {line}")
        if limit.part:
            parts = ", ".join(f"{name or 'unknown'} {number}" for name, number in count.parts.most_common()) or "none"
            print(f"{'':{width}}  of it {limit.part}: {parts}")
    return wrong


@planted(brokers=False)
def quota_of_clients(stage: Stage) -> Command:
    """A broker holds them back on purpose."""
    return _held_back(stage, consumer_byte_rate=2000.0)


@planted(brokers=False)
def quota_of_the_publisher(stage: Stage) -> Command:
    """The same on the way in."""
    return _held_back(stage, producer_byte_rate=2000.0)


def _held_back(stage: Stage, **quota: float) -> Command:
    with client_quota(stage.house.kafka, **quota):
        command = stage.on_stack().hydra("kafka", *LOAD)
        command.end(120)
    return command


@planted(brokers=False)
def one_cpu(stage: Stage) -> Command:
    """All of Hydra and its Kafka on one CPU."""
    return stage.hydra("kafka", *HEAVY, prefix=["taskset", "-c", "0"])


@planted(brokers=False)
def small_buffer_and_pace(stage: Stage) -> Command:
    """Fetches of 2,000 bytes, ten a second: less than is sent."""
    own = ("--consumer_max_buffer_size=2000", "--fetch_pace_ms=500", "--linger_ms=0", "--batch_size=500")
    return stage.on_stack().hydra("kafka", *LOAD, *own)


@planted(brokers=False)
def linger(stage: Stage) -> Command:
    """Records wait for half a second by our own setting."""
    return stage.on_stack().hydra("kafka", *LOAD, "--linger_ms=500", STRICT)


@planted(brokers=False)
def slow_client(stage: Stage) -> Command:
    """A driver that sleeps."""
    stage.place.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return stage.hydra("kafka", *LOAD, "--sub_driver=tests.faulty_drivers:Slow")


@planted(brokers=False)
def publisher_dead(stage: Stage) -> Command:
    """Nobody knows what it sent."""
    return _killed(stage, "kafka-pub")


@planted(brokers=False)
def subscribers_dead(stage: Stage) -> Command:
    """Nobody knows what they got."""
    return _killed(stage, "kafka-sub")


def _under_way(stage: Stage) -> Command:
    command = stage.on_stack().hydra("kafka", *LOAD, STRICT)
    command.wait_for("delivered [1-9]")
    return command


def _killed(stage: Stage, role: str) -> Command:
    command = _under_way(stage)
    for task in stage.place.tasks(role):
        task.kill()
        wait_dead(task)
    return command


@planted(brokers=False)
def publisher_suspended(stage: Stage) -> Command:
    """It stands still in the middle."""
    return _suspended(stage, "kafka-pub")


@planted(brokers=False)
def subscriber_suspended(stage: Stage) -> Command:
    """One of two stands still."""
    return _suspended(stage, "kafka-sub")


def _suspended(stage: Stage, role: str) -> Command:
    command = _under_way(stage)
    task = stage.place.tasks(role)[0]
    suspend(task)
    time.sleep(3)  # the pause itself
    assert task.status() == psutil.STATUS_STOPPED
    task.resume()
    return command


@planted(brokers=False)
def topic_deleted(stage: Stage) -> Command:
    """Somebody else's hand in the topic."""
    command = _under_way(stage)
    for name in stage.house.admin.topics():
        if name.startswith("hydra-"):
            stage.house.admin.delete_topic(name)
    return command


@planted(brokers=True, part="its CPU time")
def broker_on_a_part_of_a_cpu(stage: Stage) -> Command:
    """The JVM alone runs for 50 of every 500 ms."""
    command = stage.hydra("kafka", *LOAD, STRICT)
    command.wait_for("delivered [1-9]")
    with _duty_cycle(stage.place.kafka(), run_s=0.05, stop_s=0.45):
        command.end(120)
    return command


@planted(brokers=True, part="its network threads")
def one_network_thread(stage: Stage) -> Command:
    """One thread for all connections, which encrypts without the CPU's instructions for it; clients have them."""
    intrinsics = ("AES", "AESCTR", "GHASH", "ChaCha20")
    off = (f"-XX:-Use{name}Intrinsics" for name in intrinsics)
    stage.place.environment[JVM_FLAGS_VARIABLE] = shlex.join(["-XX:+UnlockDiagnosticVMOptions", *off])
    own = (
        "--clients_per_app=3",
        "--pub_driver=confluent",
        "--msg_rate=40000",
        "--broker_property=num.network.threads=1",
    )
    return stage.hydra("kafka", *LARGE, "--kafka_security=ssl", *own)


@planted(brokers=True, part="its request handlers")
def one_request_handler(stage: Stage) -> Command:
    """One thread for all requests, which compresses what comes in as well as gzip can."""
    own = ("num.io.threads=1", "compression.type=gzip", "compression.gzip.level=9")
    return stage.hydra("kafka", *LARGE, "--payload=random", *(f"--broker_property={setting}" for setting in own))


@planted(brokers=True, part="its garbage collector")
def small_heap(stage: Stage) -> Command:
    """Large batches in a heap that hardly holds what the broker keeps for good: all of it is collected each time."""
    flags = "-XX:+UseSerialGC -Xmn1m -Xmx40m -XX:TieredStopAtLevel=1"  # behind Hydra's own, so that it wins
    stage.place.environment[JVM_FLAGS_VARIABLE] = flags
    return stage.hydra("kafka", *LARGE, "--broker_heap_mb=64", "--batch_size=900000", "--msg_rate=30000")


@planted(brokers=True)
def disk_at_every_record(stage: Stage) -> Command:
    """The broker calls the disk after each record (fsync); how long that takes is the disk's."""
    return stage.hydra("kafka", *LOAD, *_SYNCED, STRICT)


@planted(brokers=True, part="its disk")
def slow_disk(stage: Stage) -> Command:
    """The same, and each call takes 20 ms more, in the state in which a thread waits for a disk."""
    java = stage.place.work / "slow" / "bin" / "java"
    java.parent.mkdir(parents=True)
    source, library = Path(__file__).with_name("slow_sync.c"), java.with_name("slow_sync.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
    java.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {find_java().path} "$@"\n')
    java.chmod(0o700)
    return stage.hydra("kafka", *LOAD, *_SYNCED, STRICT, f"--java={java}")


@contextlib.contextmanager
def _duty_cycle(process: psutil.Process, *, run_s: float, stop_s: float) -> Iterator[None]:
    """Within this block the process runs for a part of the time; it has been seen to stand still."""
    over = threading.Event()
    suspend(process)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 5, "the process stands still")

    def work() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while not over.is_set():
                process.resume()
                over.wait(run_s)
                process.suspend()
                over.wait(stop_s)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
