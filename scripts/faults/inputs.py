"""Bad input at every door, in this process: no traceback, no hang, only the errors that are documented."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from doors import DOORS, Door
from live_doors import ALIVE, LIVE_DOORS

DEADLINE_S = 5.0


class HangError(BaseException):
    """An input took longer than its deadline."""


@dataclasses.dataclass
class Outcome:
    """What came of the inputs of one door."""

    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    wrong: Counter[str] = dataclasses.field(default_factory=Counter)
    codes: Counter[str] = dataclasses.field(default_factory=Counter)


def run_inputs(count: int, only: str, seed: int) -> int:
    """Give that many inputs to the doors whose names match. Returns 0 if all was right."""
    print(f"seed {seed}", flush=True)
    chosen = [door for door in (*DOORS, *LIVE_DOORS) if re.search(only, door.name)]
    shares = sum(door.share for door in chosen)
    outcomes: dict[str, Outcome] = {}
    signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, _working_in(folder), ALIVE:
        for door in chosen:
            outcomes[door.name] = _knock(door, count * door.share // shares, random.Random(f"{seed} {door.name}"))  # noqa: S311
            _tell(door.name, outcomes[door.name])
    wrong = sum(sum(outcome.wrong.values()) for outcome in outcomes.values())
    print(f"{sum(outcome.inputs for outcome in outcomes.values())} inputs, {wrong} wrong")
    return 1 if wrong else 0


def _knock(door: Door, count: int, chance: random.Random) -> Outcome:
    outcome = Outcome()
    began_s = time.monotonic()
    for _ in range(count):
        given = door.make(chance)
        asked_s = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
        try:
            outcome.codes[str(door.give(given))] += 1
        except door.allowed as error:
            outcome.codes[type(error).__name__] += 1
        except (Exception, HangError, SystemExit) as error:  # noqa: BLE001
            _note_wrong(outcome, given, error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - asked_s)
        outcome.inputs += 1
    outcome.seconds = time.monotonic() - began_s
    return outcome


def _note_wrong(outcome: Outcome, given: object, error: BaseException) -> None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/hydra/" in frame.filename]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    key = f"{type(error).__name__}{where}: {str(error)[:200]}"[:300]
    if key not in outcome.wrong and len(outcome.wrong) < 20:
        print(f"  WRONG {key}\n    given: {ascii(given)[:800]}", flush=True)
    outcome.wrong[key] += 1


def _tell(name: str, outcome: Outcome) -> None:
    codes = ", ".join(f"{code} {number}" for code, number in outcome.codes.most_common(8))
    print(
        f"{name:16} {outcome.inputs:7} inputs, {outcome.seconds:6.1f} s, slowest {outcome.slowest_s:.2f} s,"
        f" wrong {sum(outcome.wrong.values())}: {codes}",
        flush=True,
    )


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"longer than {DEADLINE_S:g} s")


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    os.environ.update(TMPDIR=folder, XDG_STATE_HOME=folder, HOME=folder)
    try:
        yield
    finally:
        os.chdir(before)
