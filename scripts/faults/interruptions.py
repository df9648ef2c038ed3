"""Signals at random points of runs and of sweeps on one stack that stays: nothing is left, and files can be read."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
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
        has_handler = _send(psutil.Process(command.process.pid), number)
        sent_s = time.monotonic()
        try:
            code = command.end(END_S)
        except pytest.fail.Exception as error:
            trouble.append(f"HANG {error}")
            code = 128 + number
        took_s = time.monotonic() - sent_s
        # At the very end it ends as it would have.
        allowed = {128 + number, 0, 3}
        if not has_handler and (not command.errors or _complete(stage)):
            allowed.add(-number)  # Python had not begun yet, or had all done
        if code not in allowed:
            trouble.append(f"exit code {code}, {'with' if has_handler else 'no'} handler: {command.errors[-2:]}")
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


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send it a signal. Returns whether it had a handler for it at that moment, by /proc/PID/status (proc(5))."""
    try:
        process.suspend()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(number)
        process.resume()
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def _complete(stage: Stage) -> bool:
    """Whether the result of the whole command is written."""
    for name in ("result.json", "sweep.json"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads((stage.place.work / name).read_text()).get("status") == "complete":
                return True
    return False


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
