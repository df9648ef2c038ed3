"""Files that commands on results are given and that are none, or none of these: a line, exit code 2, nothing else."""

import dataclasses
import os
from pathlib import Path

import pytest

from hydra.codec import encode, to_builtins
from tests.samples import sweep


@pytest.mark.parametrize("command", [["compare"], ["trend"], ["report", "-o", "r.html"]])
@pytest.mark.parametrize("second", ["a.json", "./a.json", "copy.json"])
def test_the_same_result_twice_is_one_line(call, command, second):
    saved = encode(sweep([{"clients": 10}], repeats=4))
    for name in ("a.json", "copy.json"):
        Path(name).write_bytes(saved)
    code, out, err = call(*command, "a.json", second)
    if command[0] == "report" and second == "copy.json":
        assert code == 0, "a page of two files may show the same"
        return
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{second.removeprefix('./')} hold the same result: name it once" in err
    assert err.startswith("hydra: a.json and ")


def broken_results():
    whole = to_builtins(sweep([{"clients": 10}, {"clients": 20}, {"clients": 30}]))
    yield "cut", encode(whole)[:999], "Input data was truncated"
    yield "latin", encode(whole).replace(b"hydra kafka sweep", b"hydra \xe9"), "'utf-8' codec can't decode"
    yield "binary", bytes(range(256)), "JSON is malformed"
    yield "other version", encode({**whole, "format_version": 1}), "has hydra-sweep version 1"
    yield "no runs", encode({**whole, "points": [{**whole["points"][0], "runs": []}]}), "a point without runs"
    yield "empty point", encode({**whole["points"][0], "runs": []}), "a point without runs"
    yield "no plan", encode({**whole, "plan": None}), "a sweep without its plan"
    yield "no search", encode({**whole, "kind": "maxrate"}), "a maxrate without its search"
    yield "no side", encode({**whole, "kind": "ab"}), "a point of an ab that is of neither side"


BROKEN = {name: (content, words) for name, content, words in broken_results()}


@pytest.mark.parametrize(
    "command", [["compare", "good.json"], ["trend", "good.json"], ["report", "-o", "r.html"], ["show"]]
)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_result_is_one_line_with_a_way_out_and_nothing_else(call, command, name):
    content, words = BROKEN[name]
    Path("good.json").write_bytes(encode(sweep([{"clients": 10}], repeats=4)))
    Path("bad.json").write_bytes(content)
    code, out, err = call(*command, "bad.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert err.startswith("hydra: bad.json ")
    assert err.endswith((": name a file that --output wrote, or a sweep's folder\n", ": use the Hydra that wrote it\n"))
    assert not Path("r.html").exists()


def test_a_file_that_is_too_large_is_not_read(call, monkeypatch):
    with open("huge.json", "wb") as file:
        file.truncate(2 * 1024**3)
    monkeypatch.setattr("hydra.sweep.folder.read_bounded", None)
    code, out, err = call("show", "huge.json")
    assert (code, out) == (2, "")
    assert "huge.json cannot be read (larger than 1,073,741,824 bytes): name a file" in err


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(call):
    os.mkfifo("pipe")
    code, out, err = call("trend", "pipe")
    assert (code, out) == (2, "")
    assert "pipe cannot be read (not a regular file)" in err


def test_a_result_of_another_plan_is_no_part_of_a_trend(call):
    Path("nights").mkdir()
    for number, changes in enumerate(({"clients": 10}, {"clients": 10}, {"linger_ms": 5})):
        made = dataclasses.replace(sweep([changes]), started_at=f"2026-11-0{number + 1}T00:00:00.000+00:00")
        Path(f"nights/{number}.json").write_bytes(encode(made))
    code, out, err = call("trend", "nights")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "nights/2.json has no point in common with the other results: name results of one plan only" in err


def test_a_folder_with_a_whole_sweep_of_this_name_has_its_points(call):
    """As a CI server keeps them: night/sweep.json, from --output=sweep.json."""
    Path("night").mkdir()
    Path("night/sweep.json").write_bytes(encode(sweep([{"clients": 10}, {"clients": 20}])))
    code, out, _err = call("show", "night")
    assert (code, out.count(" pass ")) == (0, 2)
    code, out, err = call("kafka", "sweep", "--resume=night")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'night' holds a whole result, which cannot be continued: name the folder of --results" in err
