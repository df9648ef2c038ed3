"""CSV and JUnit XML, as other programs read them, and the verdict in a sentence."""

import csv
import dataclasses
import io
import itertools
from xml.etree import ElementTree as ET

import pytest

from hydra.accounting.latency import LatencySummary
from hydra.options.options import Options
from hydra.report.contents import collect
from hydra.report.exports import comparison_junit, csv_text, junit_xml
from hydra.report.summary import overall_verdict, summary_lines
from hydra.sweep.comparison import Comparison, SidesCompared
from hydra.sweep.metric_change import MetricChange
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
