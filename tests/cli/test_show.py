"""``hydra show``: a result file on the terminal."""

import dataclasses
import json
from pathlib import Path

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.latency import LatencySummary
from hydra.accounting.totals import ThresholdOutcome
from hydra.codec import to_builtins
from hydra.files.atomic_write import write_json
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run.record import RunRecord
from hydra.sweep.record import SearchSettings
from tests.facts import NO_LATENCY, made_result
from tests.samples import result as sample_result
from tests.samples import run as sample_run
from tests.samples import sweep as sample_sweep

ASKED = Options(total_sub_apps=3)
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nfaked \u202e\x00"


def make_record(verdict="pass", options=ASKED, **changes):
    latency = dataclasses.replace(NO_LATENCY, e2e=LatencySummary(10, 1.0, 2.0, 3.25, 4.0, 5.0, 678.9))
    result = made_result(verdict, ("because",), ("by the way",), latency=latency, **changes)
    order = RunOrder("run-1", options)
    return RunRecord(order, "complete", "2026-01-01", result.exit_code, seed_keys=result.seed_keys(), result=result)


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("indeterminate", 3)])
def test_a_file_is_shown_as_its_run_was_and_has_its_exit_code(call, verdict, code):
    write_json(Path("result.json"), make_record(verdict))
    found, out, err = call("show", "result.json")
    assert (found, err) == (code, "")
    assert "30 clients (3 apps x 10)" in out
    unmeasured = "what was sent of 1,000 records/s not measured, loss not measured"
    line = f"0 clients, {unmeasured}, p99 3.25 ms (of which harness: linger <= 5 ms)"
    assert out.startswith(f"{verdict.upper()}  {line}\n  because\n")
    assert "  note: by the way\n" in out
    assert "  limit: not reached\n" in out
    assert out.rstrip().splitlines()[-1].startswith(("RES = {", " "))
    (row,) = [line for line in out.splitlines() if line.split()[:3] == ["end", "to", "end"]]
    assert row.split()[3:9] == ["1", "2", "3.25", "4", "5", "679"]


def test_a_run_without_a_result_says_why(call):
    record = RunRecord(RunOrder("r", Options()), "failed", "2026-01-01", 4, error="no broker at x:1")
    write_json(Path("result.json"), record)
    code, out, err = call("show", "result.json")
    assert (code, err) == (4, "")
    assert "NO RESULT  the run failed: no broker at x:1 (exit code 4)" in out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "is not a result file of Hydra"),
        ("{}", "is not a result file of Hydra"),
        ('{"format": "hydra-result"', "is not a result file of Hydra"),
        ('{"format": "hydra-result", "format_version": 99}', "has hydra-result version 99"),
        ('{"format": "\\u001b[2J", "format_version": 2}', "is not a result file of Hydra"),
    ],
)
def test_a_file_that_is_none_is_one_line_and_exit_code_2(call, content, words):
    if content is not None:
        Path("result.json").write_text(content)
    code, out, err = call("show", "result.json")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
    assert "result.json" in err


def with_threshold(saved):
    saved["order"]["options"]["threshold"] = ["e2e_p98<5ms"]


def with_fewer_counts(saved):
    saved["evidence"]["subscribers"][0]["e2e"] = {
        "bits": 11,
        "buckets": [1, 2],
        "counts": [1],
        "max_us": 2,
        "negative": 0,
    }


def with_endless_buckets(saved):
    saved["evidence"]["subscribers"][0]["e2e"]["buckets"] = [2**60]
    saved["evidence"]["subscribers"][0]["e2e"]["counts"] = [1]


def with_endless_bits(saved):
    saved["evidence"]["subscribers"][0]["e2e"]["bits"] = 10**9


@pytest.mark.parametrize("command", [("show",), ("report", "-o", "page.html")])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_threshold, "threshold 'e2e_p98<5ms' names no metric: did you mean"),
        (with_fewer_counts, "2 buckets, 1 counts"),
        (with_endless_buckets, "no histogram: a bucket that no latency has"),
        (with_endless_bits, "no histogram: 1000000000 bits"),
    ],
)
def test_a_result_that_somebody_changed_is_one_line_and_exit_code_2(call, command, change, words):
    saved = to_builtins(sample_run(Options(total_sub_apps=1, test_duration=1)))
    change(saved)
    Path("result.json").write_text(json.dumps(saved))
    code, out, err = call(*command, "result.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert "result.json is not a result file of Hydra" in err


@pytest.mark.parametrize("name", ["\x1b[2J.json", "a\nb.json"])
def test_a_hostile_name_is_one_plain_line(call, name):
    code, out, err = call("show", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "\x1b" not in err


def hostile_records():
    bottleneck = Bottleneck("harness", True, (HOSTILE,), (HOSTILE,), HOSTILE)
    outcome = ThresholdOutcome(HOSTILE, HOSTILE, 1.0, 1.0, HOSTILE, kept=False)
    whole = make_record(bottleneck=bottleneck, thresholds=(outcome,))
    result = dataclasses.replace(whole.result, reasons=(HOSTILE,) * 2, notes=(HOSTILE,))
    options = Options(acks=HOSTILE, pub_driver=HOSTILE, sub_driver=HOSTILE)
    return [
        dataclasses.replace(whole, order=RunOrder(HOSTILE, Options()), result=result, seed_keys={HOSTILE: 1}),
        make_record(options=options),
        RunRecord(RunOrder(HOSTILE, Options()), "failed", HOSTILE, 4, error=HOSTILE),
        RunRecord(RunOrder("r", options), "failed", "", 4, error="x"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_hostile_text_does_nothing_to_the_terminal(call, number):
    write_json(Path("result.json"), hostile_records()[number])
    assert "owned" in json.dumps(json.loads(Path("result.json").read_text()))
    _, out, err = call("show", "result.json")
    assert "owned" in out
    assert all(char.isprintable() for char in (out + err).replace("\n", ""))
    assert not any(line.startswith("faked") for line in out.splitlines())


@pytest.mark.parametrize("kind", ["sweep", "ab"])
def test_what_was_cut_short_says_what_is_missing_and_is_not_green(call, kind):
    made = sample_sweep([{"clients": clients} for clients in (10, 20, 30)], kind=kind, repeats=4)
    sides = [{"side": side} if kind == "ab" else {"clients": 10} for side in ("A", "B", "A again")]
    points = (dataclasses.replace(point, changes=side) for point, side in zip(made.points, sides, strict=True))
    made = dataclasses.replace(made, points=tuple(points))
    write_json(Path("whole.json"), made)
    cut = dataclasses.replace(made, points=tuple(dataclasses.replace(p, runs=p.runs[:3]) for p in made.points))
    write_json(Path("cut.json"), cut)
    assert call("show", "whole.json")[0] == 0
    code, out, err = call("show", "cut.json")
    assert (code, err) == (3, "")
    assert out.endswith("NOT COMPLETE: 3 of 12 runs were not made\n")


def test_a_search_that_was_cut_short_has_no_answer_whatever_its_trials_were(call):
    failed = sample_sweep([{"msg_rate": 9e5}], kind="maxrate", of=lambda *_: sample_run(made=sample_result("fail")))
    write_json(Path("cut.json"), dataclasses.replace(failed, plan=None, search=SearchSettings()))
    code, out, _err = call("show", "cut.json")
    assert code == 3
    assert out.endswith("NOT COMPLETE: the search has not ended\n")


def test_a_sweeps_table_says_that_unread_is_no_proven_loss(call):
    lossy = sample_result("indeterminate", lost=640)
    unread = dataclasses.replace(lossy, totals=dataclasses.replace(lossy.totals, records_unread=6400))
    saved = sample_sweep(
        [{"clients": 10}, {"clients": 20}],
        of=lambda point, _repeat: sample_run(made=unread if point.number == 1 else sample_result()),
    )
    write_json(Path("s.json"), saved)
    _code, out, _err = call("show", "s.json")
    assert "at 1 of 2 points deliveries were still unread at the end" in out
    write_json(Path("s.json"), sample_sweep([{"clients": 10}]))
    assert "unread" not in call("show", "s.json")[1]
