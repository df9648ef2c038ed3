"""CSV and JUnit XML, as other programs read them, and the verdict in a sentence."""

import csv
import dataclasses
import io
import itertools
from xml.etree import ElementTree as ET

import pytest

from hydra.accounting.latency import LatencySummary
from hydra.options.options import Options
from hydra.report.comparison_text import detail_lines, judgement
from hydra.report.contents import collect
from hydra.report.exports import comparison_csv, comparison_junit, csv_text, junit_xml
from hydra.report.summary import overall_verdict, summary_lines
from hydra.sweep.comparison import Comparison, SidesCompared, compare, saved_exit_code
from hydra.sweep.metric_change import MetricChange
from hydra.sweep.record import SearchResult, SearchSettings
from hydra.sweep.search import SearchAnswer
from hydra.sweep.tuning import TuningResult
from tests.samples import result, run, sweep

HOSTILE = "=cmd|' /C calc'!A0,\"<x>\"\n\x00\ud800\x1b"


def of(point, _repeat):
    if point.number == 2:
        return run(point.options, result("fail", lost=5, reasons=("5 were lost", HOSTILE)))
    if point.number == 3:
        return run(point.options, result("indeterminate", missing=1, reasons=("1 is missing",)))
    if point.number == 4:
        return run(point.options, error="the broker died")
    return run(point.options)


MEASURED = collect([("", sweep([{"clients": 10, "linger_ms": linger} for linger in (0, 5, 20, 50)], of=of, repeats=2))])


def test_a_row_for_each_run_with_what_varies_and_every_figure():
    rows = list(csv.DictReader(io.StringIO(csv_text(MEASURED))))
    assert len(rows) == 8
    assert [row["linger_ms"] for row in rows] == ["0", "0", "5", "5", "20", "20", "50", "50"]
    assert [row["verdict"] for row in rows[::2]] == ["pass", "fail", "indeterminate", "error"]
    assert [row["run"] for row in rows[:2]] == ["1", "2"]
    assert rows[0]["average_rate"] == "1000.0"
    assert rows[0]["e2e_p99"] == "8.0"
    assert rows[2]["loss"] == "50"
    assert rows[6]["average_rate"] == ""
    assert rows[6]["reason"] == "the broker died"
    assert None not in rows[0]


def test_a_metric_that_nobody_measured_is_an_empty_cell_and_no_zero():
    made = result()
    made = dataclasses.replace(made, latency=dataclasses.replace(made.latency, service=LatencySummary()))
    contents = collect([("", run(made=made))])
    (row,) = csv.DictReader(io.StringIO(csv_text(contents)))
    assert (row["service_p99"], row["e2e_p99"], row["loss"]) == ("", "8.0", "0")
    assert contents.points[0].metric("service_p99") is None
    (row,) = csv.DictReader(io.StringIO(csv_text(collect([("", run(missing=10))]))))
    assert (row["loss"], row["rx_rate"], row["failing_clients"]) == ("", "", "10")
    seeds = ("average_packet_loss", "average_packets", "average_rate", "failing_clients_rate")
    assert [row[key] for key in seeds] == [""] * 4
    silent = {"records_planned": 0, "records_counted": 0, "tx_rate_per_s": 0.0, "publisher_cpu_percent": 0.0}
    no_publisher = dataclasses.replace(made, totals=dataclasses.replace(made.totals, **silent))
    contents = collect([("", run(made=no_publisher))])
    (row,) = csv.DictReader(io.StringIO(csv_text(contents)))
    seeds = ("packet_tx", "average_tx_rate", "pub_cpu", "pub_net_txrate", "pub_net_rxrate", "tx_rate")
    assert [row[key] for key in seeds] == [""] * 6
    told = next(ET.fromstring(junit_xml(contents)).iter("system-out")).text
    assert "average_tx_rate = not measured\n" in told


def test_a_time_that_is_none_breaks_no_xml():
    (suite,) = ET.fromstring(junit_xml(dataclasses.replace(MEASURED, started_at="2026\0\x1b\ud800")))
    assert suite.get("timestamp") == "2026" + 3 * "\ufffd"


def test_text_is_no_formula_in_a_spreadsheet():
    record = run(Options(total_sub_apps=1), error="=1+1")
    (row,) = csv.DictReader(io.StringIO(csv_text(collect([("", record)]))))
    assert row["reason"] == "'=1+1"


def test_a_nul_in_a_text_is_written_so_that_every_python_can_read_it():
    (row,) = csv.DictReader(io.StringIO(csv_text(collect([("", run(error="no\0body"))]))))
    assert row["reason"] == "no\ufffdbody"


def test_a_point_is_a_test_case():
    suites = ET.fromstring(junit_xml(MEASURED))
    suite = suites.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases][:2] == [
        "10 clients, 1,000 records/s, linger_ms=0",
        "10 clients, 1,000 records/s, linger_ms=5",
    ]
    assert [[child.tag for child in case][:1] for case in cases] == [["system-out"], ["failure"], ["error"], ["error"]]
    failure = cases[1].find("failure")
    assert failure.get("message") == "5 were lost"
    assert "<x>" in failure.text
    assert cases[0].get("time") == "12.500"
    assert "average_rate = 1,000\n" in cases[0].find("system-out").text


@pytest.mark.parametrize("make", [csv_text, junit_xml])
def test_several_results_are_told_apart(make):
    made = make(collect([("a.json", run()), ("b.json", run())]))
    text = made if isinstance(made, str) else made.decode()
    assert "a.json" in text
    assert "b.json" in text


def test_the_verdict_in_a_sentence():
    assert overall_verdict(MEASURED) == "error"
    assert summary_lines(MEASURED)[0] == "Of 4 points 1 passed, 1 failed, 1 gave no answer, 1 could not be measured."
    assert summary_lines(collect([("", run(reasons=("all is well",)))]))[0] == "PASS: all is well"
    assert overall_verdict(collect([("", run())])) == "pass"
    assert summary_lines(collect([("", sweep([{"clients": 10}, {"clients": 20}]))])) == ["All 2 points passed."]


STATES = ("worse", "better", "no difference shown", "not comparable", "not judged")


def changed(name, metric, state):
    return MetricChange(name, metric, "ms", 10.0, 20.0, (4, 4), state, "a reason")


def comparisons():
    """Of two points, each with every state of a figure and of its loss, or of neither; with all that may be beside."""
    each = [(None, None), *itertools.product(STATES, ("worse", "no difference shown", "not judged"))]
    beside = [
        {}, {"unmeasured": ("b",)}, {"only_before": ("c",)}, {"only_after": ("d",)},
        {"unmeasured": ("b",), "only_before": ("c",), "only_after": ("d",)},
    ]  # fmt: skip
    for first, second, more in itertools.product(each, each, beside):
        found = [
            changed(name, metric, state)
            for name, states in (("a", first), ("b", second))
            for metric, state in zip(("e2e_p99", "loss"), states, strict=True)
            if state is not None
        ]
        given = {"only_before": (), "only_after": (), **more}
        yield Comparison(tuple(found), (), (), common=("a", "b"), **given)
    yield Comparison((), (), (), (), ())
    yield Comparison((), (), (), ("c",), ("d",))


def junit_exit_code(document):
    """The exit code that a CI server's colours stand for."""
    suite = document.find("testsuite")
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(attribute) == str(len(suite.findall(f"testcase/{tag}")))
    return 1 if suite.get("failures") != "0" else 3 if suite.get("errors") != "0" else 0


def test_the_cases_of_a_comparison_are_as_red_as_the_exit_code():
    seen = set()
    for found in comparisons():
        document = ET.fromstring(comparison_junit(found))
        assert junit_exit_code(document) == found.exit_code, found
        names = [case.get("name") for case in document.iter("testcase")]
        assert set(names) >= {*found.common, *found.only_before, *found.only_after}
        assert len(names) == len(set(names)) > 0
        seen.add(found.exit_code)
    assert seen == {0, 1, 3}


def test_each_point_of_a_comparison_is_told_as_what_it_is():
    differences = (
        changed("worse: here", "e2e_p99", "worse"), changed("fine", "e2e_p99", "better"),
        changed("few", "e2e_p99", "not judged"), changed("gone", "e2e_p99", "not comparable"),
        changed("lossless", "loss", "no difference shown"),
    )  # fmt: skip
    found = Comparison(differences, (("gone", "pass", "error"),), (), ("a",), ("b",), ("gone",))
    cases = {case.get("name"): case for case in ET.fromstring(comparison_junit(found)).iter("testcase")}
    told = {name: [(child.tag, child.get("message")) for child in case] for name, case in cases.items()}
    assert told == {
        "worse: here": [("failure", "worse: here: e2e_p99 10 -> 20 ms")],
        "fine": [],
        "few": [("skipped", "not judged")],
        "gone": [("error", "no result in B")],
        "lossless": [("skipped", "not judged")],
        "a": [("skipped", "only in A")],
        "b": [("skipped", "only in B")],
    }
    assert cases["gone"][0].text == "no result in B\nverdict: pass -> error\ne2e_p99: not comparable (a reason)"


@pytest.mark.parametrize("effect", [*STATES, None])
@pytest.mark.parametrize("machine", [*STATES, None])
def test_what_was_judged_of_two_settings_is_a_case_as_red_as_the_exit_code(effect, machine):
    def one(state):
        differences = () if state is None else (changed("of two", "e2e_p99", state),)
        return Comparison(differences, (), (), (), ())

    sides = SidesCompared(one(machine), one(effect))
    contents = collect([("", run(reasons=()))])
    document = ET.fromstring(junit_xml(dataclasses.replace(contents, kind="ab", sides=sides)))
    assert [case.get("name") for case in document.iter("testcase")][1:] == ["B / A"]
    assert junit_exit_code(document) == sides.exit_code


def ab(b_verdict="pass", **given):
    """A comparison of two settings in which B is as A, and its runs may break a threshold."""
    made = sweep([{"clients": number} for number in (10, 20, 30)], kind="ab", repeats=6, **given)
    points = tuple(
        dataclasses.replace(
            point,
            changes={"side": side},
            runs=tuple(run(made=result(verdict, p50_ms=40 + n / 10)) for n in range(6)),
        )
        for point, side, verdict in zip(made.points, ("A", "B", "A again"), ("pass", b_verdict, "pass"), strict=True)
    )
    return dataclasses.replace(made, points=points)


def searched(answers=(), tuned=None, kind="maxrate", wanted=()):
    made = sweep([{"clients": 10, "msg_rate": rate} for rate in (1000.0, 2000.0, 4000.0)], kind=kind, of=of)
    found = tuple(SearchResult(f"q{index}", "records/s", answer) for index, answer in enumerate(answers))
    return dataclasses.replace(made, plan=None, search=SearchSettings(clients=wanted), answers=found, tuned=tuned)


LIMIT = SearchAnswer(1000.0, 1040.0, "broker", confirmed=True, trials=9)
UNKNOWN = SearchAnswer(1000.0, 1040.0, "harness", confirmed=True, trials=9)
NOTHING = SearchAnswer(None, 1.0, "broker", confirmed=False, trials=9)
TUNED = TuningResult("e2e_p99", "ms", {"linger_ms": 5.0}, {"linger_ms": 0.0}, (9.0,), (4.0,), 8)
CUT = dataclasses.replace(ab(), points=tuple(dataclasses.replace(p, runs=p.runs[:5]) for p in ab().points))
SWEPT = sweep([{"clients": 10}, {"clients": 20}])
A, B, A_AGAIN = ab().points
BLIND = tuple(run(made=result("indeterminate", harness_limited=True)) for _ in range(6))
UNCHECKED = dataclasses.replace(ab(), points=(A, B, dataclasses.replace(A_AGAIN, runs=BLIND)))
HALF_BROKEN = dataclasses.replace(ab(), points=(A, dataclasses.replace(B, runs=(*B.runs[1:], run(error="x"))), A_AGAIN))


@pytest.mark.parametrize(
    ("saved", "code"),
    [
        (ab(), 0),
        (ab("fail"), 0),
        (CUT, 3),
        (UNCHECKED, 3),
        (HALF_BROKEN, 4),
        (searched([LIMIT]), 0),
        (searched([UNKNOWN]), 3),
        (searched([NOTHING]), 1),
        (searched(), 3),
        (searched([LIMIT], kind="frontier", wanted=(10, 20)), 3),
        (searched(tuned=TUNED, kind="tune"), 0),
        (searched(tuned=dataclasses.replace(TUNED, best_costs=()), kind="tune"), 1),
        (searched(tuned=dataclasses.replace(TUNED, best_costs=(), unjudged=1), kind="tune"), 3),
        (SWEPT, 0),
        (dataclasses.replace(SWEPT, points=SWEPT.points[:1]), 3),
        (dataclasses.replace(SWEPT, points=()), 3),
    ],
)
def test_exit_code_junit_and_page_are_of_one_colour(saved, code):
    contents = collect([("", saved)])
    document = ET.fromstring(junit_xml(contents))
    assert saved_exit_code(saved) == code
    assert junit_exit_code(document) == min(code, 3)
    assert overall_verdict(contents) == {0: "pass", 1: "fail", 3: "indeterminate", 4: "error"}[code]
    names = [case.get("name") for case in document.iter("testcase")]
    assert ("complete" in names) == bool(saved.missing)
    if saved.answers:
        told = next(case for case in document.iter("testcase") if case.get("name") == "q0")
        assert ("at least 1,000 records/s" in ET.tostring(told).decode()) == (saved.answers[0].answer == UNKNOWN)


def test_several_files_are_as_red_as_the_worst_of_them():
    failed = sweep([{"clients": 10}, {"clients": 20}], of=lambda point, _repeat: run(made=result("fail", lost=1)))
    contents = collect([("search.json", searched([LIMIT])), ("ab.json", ab("fail")), ("sweep.json", failed)])
    document = ET.fromstring(junit_xml(contents))
    suites = {suite.get("name"): suite.get("failures") for suite in document.iter("testsuite")}
    assert suites == {"hydra kafka maxrate": "0", "hydra kafka ab": "0", "hydra kafka sweep": "2"}
    assert overall_verdict(contents) == "fail"
    assert summary_lines(contents)[0].startswith("search.json: Q0: 1,000 records/s")
    assert "sweep.json: Of 2 points 2 failed." in summary_lines(contents)


def test_a_comparison_with_what_was_cut_short_says_so_and_is_not_green():
    whole = sweep([{"clients": 10}], repeats=4)
    cut = dataclasses.replace(whole, points=tuple(dataclasses.replace(p, runs=p.runs[:4]) for p in whole.points))
    cut = dataclasses.replace(cut, plan=dataclasses.replace(whole.plan, repeats=9))
    found = compare(whole, cut, tolerance_percent=10)
    told = "5 of 9 runs were not made"
    assert found.exit_code == junit_exit_code(ET.fromstring(comparison_junit(found))) == 3
    assert judgement(found, tolerance_percent=10) == ("indeterminate", [f"NO ANSWER: B is not complete: {told}"])
    assert f"not complete: B: {told}" in detail_lines(found)
    back = compare(cut, whole, tolerance_percent=10)
    assert (back.exit_code, back.missing) == (0, (told, "")), "what A lacks is said, and hides nothing of B"
    assert f"not complete: A: {told}" in detail_lines(back)


def test_a_machine_that_was_not_judged_gives_no_green_answer():
    contents = collect([("", UNCHECKED)])
    told = "NO ANSWER: A was not judged against A: whether the machine is steady is not known"
    assert summary_lines(contents) == [told]
    assert told in junit_xml(contents).decode()


def test_what_was_zero_or_nothing_has_no_percent_and_no_zero():
    lossy = dataclasses.replace(changed("a", "loss", "worse"), before=0.0, after=7.0)
    nothing = dataclasses.replace(changed("b", "answer", "worse"), after=None)
    found = Comparison((lossy, nothing), (), (), (), ())
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert [(row["before"], row["after"], row["change_percent"]) for row in rows] == [
        ("0.0", "7.0", ""),
        ("10.0", "", ""),
    ]
    assert found.regressions[1] == "b: answer 10 -> none ms"


def test_the_differences_of_many_points_are_not_gone_through_for_each():
    class Counted(tuple):
        passes = 0

        def __iter__(self):
            Counted.passes += 1
            return super().__iter__()

    before = sweep([{"clients": 10, "msg_rate": float(rate)} for rate in range(1, 31)])
    found = compare(before, dataclasses.replace(before, started_at="2026-11-27"), tolerance_percent=10)
    comparison_junit(dataclasses.replace(found, differences=Counted(found.differences)))
    assert Counted.passes < 10
