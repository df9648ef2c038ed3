"""A sweep's folder: whatever happens to the controller, every file in it is whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from hydra.errors import OutputError, UsageError
from hydra.sweep.folder import SweepFolder, load_results, read_points
from hydra.sweep.record import read_saved
from tests.examples import examples
from tests.samples import sweep
from tests.sweep.sweep_stand_in import POINTS

ROOT = Path(__file__).parent.parent.parent
SWEEP = sweep([{"clients": 10}, {"clients": 20}])


def test_what_is_kept_is_found_again(tmp_path):
    folder = SweepFolder.begin(tmp_path / "s", SWEEP)
    for point in SWEEP.points:
        folder.keep(point)
    folder.close()
    folder.close()
    assert sorted(path.name for path in (tmp_path / "s" / "points").iterdir()) == ["0001.json", "0002.json"]
    again = SweepFolder.resume(tmp_path / "s")
    assert sorted(again.finished()) == [1, 2]
    assert again.whole().plan == SWEEP.plan
    again.close()
    assert len(load_results(str(tmp_path / "s")).points) == 2


def test_a_folder_that_holds_something_is_not_begun_in(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty: use --resume"):
        SweepFolder.begin(tmp_path, SWEEP)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_no_sweeps_folder_is_not_resumed(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="is not the folder of a sweep"):
            SweepFolder.resume(path)


def test_two_hydras_do_not_work_on_one_folder(tmp_path):
    first = SweepFolder.begin(tmp_path / "s", SWEEP)
    with pytest.raises(UsageError, match="another Hydra is using"):
        SweepFolder.resume(tmp_path / "s")
    first.close()
    SweepFolder.resume(tmp_path / "s").close()


def test_a_broken_point_is_named(tmp_path):
    folder = SweepFolder.begin(tmp_path / "s", SWEEP)
    folder.close()
    (tmp_path / "s" / "points" / "0001.json").write_text("{")
    with pytest.raises(UsageError, match=r"0001.json is not a result file of Hydra"):
        read_points(tmp_path / "s")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be created"):
        SweepFolder.begin(tmp_path / "s", SWEEP)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        SweepFolder.begin(tmp_path / "s", SWEEP)


@pytest.mark.parametrize("path", ["missing.json", "a\0b"])
def test_a_result_that_cannot_be_read(path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_results(path)


def begin(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweep.sweep_stand_in", str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )


@pytest.mark.parametrize("seed", range(examples(4)))
def test_a_sweep_that_is_killed_again_and_again_has_every_point_once_and_whole(tmp_path, seed):
    """Killed at random moments, also while it saves a point, until it gets through."""
    chance = random.Random(seed)
    folder = tmp_path / "s"
    killed = 0
    deadline_s = time.monotonic() + 90
    while True:
        assert time.monotonic() < deadline_s
        process = begin(folder)
        with process.stdout as said:
            if said.readline() and killed < 6:
                time.sleep(chance.uniform(0.0, 0.12))
                process.kill()
        code = process.wait(30)
        if code == 0:
            break
        assert code == -9
        killed += 1
        for file in (folder / "points").glob("[0-9]*.json"):
            assert read_saved(file.read_bytes(), name=file.name).runs[0].result is not None
    assert killed >= 1
    points = read_points(folder)
    assert sorted(points) == list(range(1, POINTS + 1))
    assert [record.runs[0].order.options.msg_rate for record in points.values()] == list(range(1, POINTS + 1))
    # A run may be started again after a kill; a point that was saved is never run again.
    lines = (tmp_path / "s.log").read_text().splitlines()
    ended = Counter(line for line in lines if line.startswith("end"))
    assert len(ended) == POINTS
    assert sum(ended.values()) - POINTS <= killed
    assert not list((folder / "points").glob(".*"))
