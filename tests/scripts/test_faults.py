"""scripts/faults: its doors take bad input as they should, and its census counts what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[2] / "scripts" / "faults"


def test_bad_input_at_every_door():
    ended = subprocess.run(
        [sys.executable, FAULTS, "inputs", "--count=600", "--seed=13", "--only=^(?!live)"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("seed 13\n")
    assert ended.stdout.endswith(" 0 wrong\n")
