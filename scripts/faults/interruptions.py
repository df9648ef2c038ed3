"""Signals at random points of runs and of sweeps on one stack that stays: nothing is left, and files can be read."""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from stage import House, Stage

SMALL = ("--total_sub_apps=1", "--clients_per_app=2", "--msg_rate=100", "--warmup=0")
COMMANDS = {
    "run": ("kafka", *SMALL, "--test_duration=2", "--output=result.json"),
    "sweep": (
        "kafka", "sweep", *SMALL, "--test_duration=1", "--client_set=2,4", "--msg_rate_set=100", "--results=results",
        "--output=sweep.json",
    ),
}  # fmt: skip
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END_S = 20.0


def run_interruptions(points: int, seed: int) -> int:
    """Interrupt each kind of command at that many points, spread over its life. Returns 0 if all was right."""
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder))
        try:
            house.open()
            for kind, arguments in COMMANDS.items():
                whole_s = _whole_s(house, arguments)
                for number in range(points):
                    at_s = whole_s * (number + chance.random()) / points
                    wrong += not _interrupt(house, kind, arguments, at_s, SIGNALS[number % 3])
        finally:
            left = house.close()
    print(f"{2 * points} points, {wrong} wrong; left by the stack: {left or 'nothing'}")
    return 1 if wrong or left else 0


def _whole_s(house: House, arguments: tuple[str, ...]) -> float:
    """How long the command takes when nobody interrupts it."""
    with house.stage() as stage:
        began_s = time.monotonic()
        command = stage.on_stack().hydra(*arguments)
        code = command.end(180)
        assert code in {0, 3}, command.errors
        return time.monotonic() - began_s


def _interrupt(house: House, kind: str, arguments: tuple[str, ...], at_s: float, number: signal.Signals) -> bool:
    trouble: list[str] = []
    with house.stage() as stage:
        command = stage.on_stack().hydra(*arguments)
        time.sleep(at_s)  # the point itself
        command.send(number)
        sent_s = time.monotonic()
        try:
            code = command.end(END_S)
        except pytest.fail.Exception as error:
            trouble.append(f"HANG {error}")
            code = 128 + number
        took_s = time.monotonic() - sent_s
        # Before it began and after it cleaned up the kernel ends it, or it ends as it would have.
        if code not in {128 + number, -number, 0, 3}:
            trouble.append(f"exit code {code}: {command.errors[-2:]}")
        if any(re.search("Traceback|a bug of Hydra", line) for line in command.errors):
            trouble.append(f"a traceback: {command.errors[-3:]}")
        trouble += _unreadable(stage)
        if left := house.left_by(stage):
            trouble.append(f"LEFT {left}")
            house.clear()
    told = "; ".join(trouble) or "right"
    print(f"{kind} {number.name} at {at_s:.2f} s: exit code {code} after {took_s:.1f} s, {told}", flush=True)
    sys.stdout.flush()
    return not trouble


def _unreadable(stage: Stage) -> list[str]:
    """Files of results that are not whole, or drafts that stayed."""
    found = []
    for path in stage.place.work.rglob("*"):
        if path.suffix == ".draft" or path.name.startswith(".hydra-"):
            found.append(f"draft {path.name}")
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError as error:
                found.append(f"{path.name} cannot be read ({error})")
    return found
