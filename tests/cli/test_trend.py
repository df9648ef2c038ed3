"""The history of a plan."""

import dataclasses
import json
import random
from pathlib import Path

import pytest

from hydra.codec import encode
from hydra.options.options import Options
from tests.samples import result, run, sweep


def night(number, p50_ms):
    made = sweep([{"clients": 10}], of=lambda point, _repeat: run(point.options, p50_ms=p50_ms))
    return dataclasses.replace(made, started_at=f"2026-11-{number:02}T03:17:00.000+00:00")


def write_nights(middles):
    chance = random.Random(1)
    Path("nights").mkdir()
    for number, middle in enumerate(middles, 1):
        # The names are not in the order of time.
        path = Path("nights") / f"{99 - number}.json"
        path.write_bytes(encode(night(number, middle * chance.uniform(0.97, 1.03))))


def test_a_night_from_which_on_it_is_slower_is_named(call):
    write_nights([10.0] * 8 + [14.0] * 6)
    code, out, err = call("trend", "nights", "--output=t.json", "--report=t.html")
    assert (code, err) == (1, "")
    assert "2026-11-09T03:17" in out
    assert "worse" in out
    series = json.loads(Path("t.json").read_text())["series"]
    p99 = next(each for each in series if each["metric"] == "e2e_p99")
    assert [change["at"][:10] for change in p99["changes"]] == ["2026-11-09"]
    assert len(p99["values"]) == len(p99["ranges"]) == 14
    low, high = p99["changes"][0]["interval"]
    assert low < p99["changes"][0]["after"] - p99["changes"][0]["before"] < high
    assert "WORSE since 2026-11-09: clients=10: e2e_p99" in Path("t.html").read_text()


def test_a_faster_night_and_a_steady_series_are_no_failure(call):
    write_nights([14.0] * 8 + [10.0] * 6)
    code, out, _err = call("trend", "nights")
    assert code == 0
    assert "better" in out
    assert call("trend", "nights", "--tolerance=50")[0] == 0


def test_too_few_results_are_no_answer(call):
    write_nights([10.0] * 5 + [20.0] * 4)
    code, out, err = call("trend", "nights")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "too few to show a change: no point has 10 results that count" in err


def test_ten_results_are_enough_and_series_with_fewer_are_named(call):
    write_nights([10.0] * 5 + [20.0] * 5)
    for number in range(1, 7):
        made = sweep([{"clients": 20}], of=lambda point, _repeat: run(point.options))
        made = dataclasses.replace(made, started_at=f"2026-11-{number:02}T04:00:00.000+00:00")
        (Path("nights") / f"other-{number}.json").write_bytes(encode(made))
    code, out, err = call("trend", "nights")
    assert (code, err) == (1, "")
    assert "WORSE since 2026-11-06: clients=10: e2e_p99" in out
    assert "7 series have too few results to show a change: it takes 10" in out
    assert "7 of 14 series have no figure that counts in the newest result" in out


@pytest.mark.parametrize("how", ["no result", "harness"])
def test_a_newest_result_of_which_nothing_counts_is_not_green(call, how):
    write_nights([10.0] * 12)
    of = {"no result": {"error": "no broker"}, "harness": {"made": result("indeterminate", harness_limited=True)}}[how]
    made = sweep([{"clients": 10}], of=lambda point, _repeat: run(point.options, **of))
    made = dataclasses.replace(made, started_at="2026-12-01T03:17:00.000+00:00")
    (Path("nights") / "newest.json").write_bytes(encode(made))
    code, out, err = call("trend", "nights", "--report=t.html")
    assert (code, err) == (3, "")
    assert "NO ANSWER: the newest result has no latency that counts" in out
    assert "the newest result has no latency that counts" in Path("t.html").read_text()


def test_what_holds_no_results_is_one_line(call):
    Path("empty").mkdir()
    code, _out, err = call("trend", "empty")
    assert (code, err.count("\n")) == (2, 1)
    assert "'empty' holds no results" in err


def test_what_else_differs_since_a_night_is_said(call):
    write_nights([10.0] * 12)
    for number in (6, 7):
        options = Options(linger_ms=20)
        made = sweep([{"clients": 10}], options=options, of=lambda point, _repeat: run(point.options, p50_ms=10.0))
        made = dataclasses.replace(made, started_at=f"2026-11-{number:02}T03:17:00.000+00:00")
        (Path("nights") / f"{99 - number}.json").write_bytes(encode(made))
    code, out, _err = call("trend", "nights", "--output=t.json", "--report=t.html")
    assert code == 0
    told = [
        "unlike since 2026-11-06T03:17: option linger_ms: 5 -> 20",
        "unlike since 2026-11-08T03:17: option linger_ms: 20 -> 5",
    ]
    assert [line for line in out.splitlines() if "unlike" in line] == told
    assert json.loads(Path("t.json").read_text())["unlike"] == told
    assert "option linger_ms: 20 -&gt; 5" in Path("t.html").read_text()
