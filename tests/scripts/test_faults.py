"""scripts/faults: its doors take bad input as they should, and its census counts what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.integration
@pytest.mark.release
@pytest.mark.timeout(240)
def test_the_census_plays_a_fault_of_kubernetes_and_counts_what_came_of_it():
    ended = subprocess.run(
        [sys.executable, FAULTS, "census", "--seed=13", "--only=^kube-(list-expired|refused-401)$"],
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = {line.split()[0]: line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("kube-")}
    assert {name: row[:3] + row[4:] for name, row in table.items()} == {
        "kube-list-expired": ["1", "1", "0", "0"],
        "kube-refused-401": ["1", "1", "0", "0"],
    }
    assert ended.stdout.endswith("left by the stack: nothing\n")
