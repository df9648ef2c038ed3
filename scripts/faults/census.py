"""Every fault so many times, and what came of it."""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field

import access_rows  # noqa: F401  # its rows
import kube_scripted_rows  # noqa: F401  # its rows
import kube_way_rows  # noqa: F401  # its rows
import pytest
from kube_rows import NOT_HERE
from more_rows import ELSEWHERE
from rows import ROWS, Row
from stage import House, play_in_random_order

HUNG = re.compile(r"still running after|not within")


@dataclass
class Count:
    """What came of one fault."""

    runs: int = 0
    right: int = 0
    hangs: int = 0
    leaks: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def run_census(times: int, only: str, seed: int) -> int:
    """Run the rows whose names match in random order; print a table. Returns 0 if all was right."""
    print(f"seed {seed}", flush=True)
    chosen = [row for row in ROWS if re.search(only, row.name)]
    counts = {row.name: Count() for row in chosen}
    left = play_in_random_order(
        chosen, times, seed, lambda row, house, number: _play(row, house, counts[row.name], number)
    )
    _print_table(counts)
    print("\nnot here:")
    for what, why in {**ELSEWHERE, **NOT_HERE}.items():
        print(f"  {what}: {why}")
    print(f"left by the stack: {left or 'nothing'}")
    wrong = sum(count.runs - count.right + sum(count.leaks.values()) for count in counts.values())
    return 1 if wrong or left else 0


def _play(row: Row, house: House, count: Count, number: str) -> None:
    count.runs += 1
    began_s = time.monotonic()
    told = "right"
    with house.stage() as stage:
        try:
            row.play(stage)
            count.right += 1
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            told = f"WRONG {type(error).__name__}: {str(error)[:600]}"
            count.hangs += bool(HUNG.search(str(error)))
            if not isinstance(error, (AssertionError, pytest.fail.Exception)):
                traceback.print_exc(file=sys.stdout)
            stage.end_commands()
        left = house.left_by(stage)
    if left:
        count.leaks.update(each.partition(" ")[0] for each in left)
        told += f"; LEFT {left}"
        house.clear()
    count.seconds += time.monotonic() - began_s
    print(f"{number} {row.name}: {told} ({time.monotonic() - began_s:.1f} s)", flush=True)


def _print_table(counts: dict[str, Count]) -> None:
    width = max(map(len, counts), default=5)
    print(f"\n{'fault':{width}}  runs  right  hangs  s each  leaks")
    for name, count in counts.items():
        leaks = ", ".join(f"{number} {kind}" for kind, number in count.leaks.items()) or "0"
        line = f"{count.runs:4}  {count.right:5}  {count.hangs:5}  {count.seconds / max(1, count.runs):6.1f}"
        print(f"{name:{width}}  {line}  {leaks}")
