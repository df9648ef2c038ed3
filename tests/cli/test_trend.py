"""The history of a plan."""

import dataclasses
import json
import random
from pathlib import Path

from hydra.codec import encode
from tests.samples import run, sweep


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
    write_nights([10.0] * 5)
    code, _out, err = call("trend", "nights")
    assert code == 3
    assert "no point has 6 results" in err


def test_what_holds_no_results_is_one_line(call):
    Path("empty").mkdir()
    code, _out, err = call("trend", "empty")
    assert (code, err.count("\n")) == (2, 1)
    assert "'empty' holds no results" in err
