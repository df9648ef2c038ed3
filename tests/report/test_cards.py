"""The head of a report: which cards, and in which words."""

import dataclasses

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.latency import LatencySummary
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.report.contents import collect
from hydra.report.summary import overall_verdict, summary_lines
from hydra.report.sweep_cards import best_point, cards
from hydra.sweep.record import SearchResult, SearchSettings
from hydra.sweep.search import SearchAnswer
from hydra.sweep.tuning import TuningResult
from tests.samples import latencies, result, run, sweep

RUN_CARDS = ["Verdict", "Clients", "Rate", "Loss", "Latency, p99", "Limit"]


def of(record):
    """The cards by their heading: (value, detail, look)."""
    contents = collect([("", record)])
    return {card.heading: (card.value, card.detail, card.look) for card in cards(contents, overall_verdict(contents))}


def record(made=None, **given):
    return run(Options(total_sub_apps=2), made, **given)


def test_a_run_that_passed():
    found = of(record())
    assert list(found) == RUN_CARDS
    assert found["Verdict"] == ("Passed", "every record arrived", "pass")
    assert found["Clients"][0] == "20"
    assert found["Rate"][0] == "1,000 records/s"
    assert found["Rate"][1] == "1,000 records/s were asked for; 20,000 deliveries/s to all clients"
    assert found["Loss"] == ("none", "of 200,000 deliveries", "")
    assert found["Latency, p99"][0] == "8 ms"
    assert "of which harness: pace <= 1 ms, linger <= 5 ms" in found["Latency, p99"][1]
    assert found["Limit"][0] == "not reached"


def test_loss_is_a_count_a_share_and_a_fail():
    found = of(record(verdict="fail", lost=5))
    assert found["Verdict"] == ("Failed", "records were lost", "fail")
    assert found["Loss"] == ("100 deliveries", "0.05 % of 200,000", "fail")
    assert found["Clients"][1] == "20 of them lost records"


def test_a_broken_threshold_is_named():
    outcome = ThresholdOutcome("e2e_p99<5ms", "e2e_p99", 8.0, 5.0, "ms", kept=False)
    bottleneck = Bottleneck("broker", False, ("e2e_p99<5ms was broken: 8 ms",), part="its request handlers")
    made = dataclasses.replace(result("fail", clients=20), thresholds=(outcome,), bottleneck=bottleneck)
    found = of(record(made))
    assert found["Verdict"][:2] == ("Failed", "e2e_p99<5ms was broken")
    assert found["Latency, p99"][2] == "fail"
    assert found["Limit"] == ("the broker: its request handlers", "e2e_p99<5ms was broken: 8 ms", "")


def test_the_harness_as_the_limit_says_nothing_about_the_broker():
    found = of(record(verdict="indeterminate", harness_limited=True))
    assert found["Verdict"][::2] == ("No answer", "indeterminate")
    assert found["Limit"][0] == "the harness"
    assert "nothing about the broker" in found["Limit"][1]


def test_what_nobody_measured_is_never_a_zero():
    """No client and no publisher reported: every total is 0, and none of it is a figure."""
    made = result("indeterminate", clients=20, missing=20, reasons=("nobody reported",))
    totals = dataclasses.replace(made.totals, records_planned=0, tx_rate_per_s=0.0, records_delivered=0, records_lost=0)
    latency = dataclasses.replace(made.latency, e2e=LatencySummary(), service=LatencySummary())
    bottleneck = Bottleneck("unknown", False, evidence=("the publisher did not report what it sent",))
    found = of(record(dataclasses.replace(made, totals=totals, latency=latency, bottleneck=bottleneck)))
    assert found["Clients"][0] == "0 of 20"  # that none of them reported is known
    for heading in ("Rate", "Loss", "Latency, p99"):
        assert found[heading][0] == "not measured"
    assert found["Limit"][:2] == ("not known", "the publisher did not report what it sent")


@pytest.mark.parametrize(("status", "told"), [("interrupted", "the run was interrupted"), ("failed", "the run failed")])
def test_a_run_without_a_result_has_nothing_measured(status, told):
    broken = dataclasses.replace(record(error="Ctrl-C", exit_code=130), status=status)
    found = of(broken)
    assert found["Verdict"] == ("Not measured", told, "error")
    assert {found[heading][0] for heading in RUN_CARDS[1:]} == {"not measured"}
    assert found["Clients"][1] == "20 were asked for"
    assert summary_lines(collect([("", broken)])) == [f"NO RESULT  {told}: Ctrl-C (exit code 130)"]


def test_clients_that_did_not_report_are_not_in_the_loss():
    found = of(record(verdict="indeterminate", missing=3))
    assert found["Clients"] == ("17 of 20", "3 did not report, or never started", "indeterminate")
    assert found["Loss"][1].endswith("; without those of 3 clients that did not report")


def test_unread_is_no_proof_of_loss_and_no_proof_of_none():
    made = result("indeterminate", clients=20)
    totals = dataclasses.replace(made.totals, records_lost=7, records_unread=7)
    found = of(record(dataclasses.replace(made, totals=totals)))
    assert found["Loss"][0] == "none proven"
    assert "7 were still unread" in found["Loss"][1]
    assert found["Loss"][2] == "indeterminate"


def test_repeats_are_a_range():
    p50s = (4.0, 6.0, 5.0)
    made = sweep([{"clients": 20}], repeats=3, of=lambda point, repeat: run(point.options, p50_ms=p50s[repeat]))
    found = of(made)
    assert found["Verdict"][1] == "3 of 3 runs passed"
    assert found["Latency, p99"][0] == "8 to 12 ms"
    assert found["Latency, p99"][1].endswith("the slowest took 30 ms in 3 runs")
    assert found["Limit"][1] == "of 3 runs: not reached in 3"


def grid(point, _repeat):
    clients, rate = point.options.client_count, point.options.msg_rate
    if clients * rate <= 20_000:
        return run(point.options, p50_ms=clients / 10)
    made = result("fail", clients=clients, rate=rate, lost=5)
    return run(point.options, dataclasses.replace(made, bottleneck=Bottleneck("broker", False, ("late",))))


POINTS = [{"clients": clients, "msg_rate": rate} for clients in (10, 20) for rate in (500.0, 1000.0, 2000.0)]


def test_of_a_sweep_the_highest_load_that_passed_and_what_was_tried():
    found = of(sweep(POINTS, of=grid))
    assert found["Verdict"] == ("Failed", "of 6 points 5 passed, 1 failed", "fail")
    # 20 x 1,000 and 10 x 2,000 are one load: more clients are more.
    assert found["Highest load that passed"] == (
        "20 clients, 1,000 records/s", "1 point of a higher load did not pass", "",
    )  # fmt: skip
    assert found["Tried"][:2] == ("10 to 20 clients, 500 to 2,000 records/s", "6 runs")
    assert found["Loss"][0] == "100 deliveries"
    assert "at 1 of 6 points" in found["Loss"][1]
    assert found["p99 at that point"][0] == "4 ms"
    assert found["What gave way"][:2] == ("the broker", "the broker at 1 of 6 points")


def test_where_all_points_have_one_load_the_best_has_the_lowest_p99():
    p50s = {0.0: 3.0, 5.0: 2.0, 20.0: 9.0}
    made = sweep(
        [{"linger_ms": linger} for linger in p50s],
        of=lambda point, _: run(point.options, p50_ms=p50s[point.options.linger_ms]),
    )
    found = of(made)
    assert found["Lowest p99 that passed"][0] == "linger_ms=5"
    assert found["p99 at that point"][0] == "4 ms"
    assert found["Tried"][1] == "linger_ms=0, 5, 20; 3 runs"


def test_in_a_shared_group_the_load_is_the_rate():
    made = sweep(POINTS, options=Options(group="shared"))
    assert best_point(collect([("", made)]).points).clients == 20
    one = [{"clients": 10, "msg_rate": 2000.0}, {"clients": 100, "msg_rate": 1000.0}]
    assert best_point(collect([("", sweep(one, options=Options(group="shared")))]).points).clients == 10


def test_a_sweep_that_was_not_finished_is_no_pass():
    made = sweep(POINTS[:2])
    part = dataclasses.replace(made, points=made.points[:1])
    assert of(part)["Verdict"] == (
        "No answer",
        "every record arrived; 1 of 2 points were not measured",
        "indeterminate",
    )
    assert summary_lines(collect([("", part)]))[0] == "Not complete: 1 of 2 points were not measured."
    begun = sweep(POINTS[:2], repeats=2)
    points = (begun.points[0], dataclasses.replace(begun.points[1], runs=begun.points[1].runs[:1]))
    contents = collect([("", dataclasses.replace(begun, points=points))])
    assert contents.missing == "1 of 4 runs were not made"
    assert overall_verdict(contents) == "indeterminate"


def searched(*answers, kind="maxrate", of_point=grid, clients=()):
    made = sweep(POINTS[3:], kind=kind, of=of_point)
    return dataclasses.replace(made, plan=None, search=SearchSettings(clients=clients), answers=answers)


def test_of_a_search_the_limit_and_the_p99_at_it():
    answer = SearchAnswer(1000.0, 2000.0, "broker", True, 3, interval=(900.0, 1900.0))
    found = of(searched(SearchResult("highest rate for 20 clients", "records/s", answer, clients=20)))
    assert found["Verdict"][0] == "Found"
    assert found["Limit found"] == (
        "1,000 records/s",
        "highest rate for 20 clients; 900 to 1,900 in 95 %; 2,000 is too much for the broker",
        "pass",
    )
    assert found["p99 at the limit"][0] == "4 ms"


@pytest.mark.parametrize(
    ("answer", "verdict", "value", "told"),
    [
        (SearchAnswer(1000.0, 2000.0, "harness", True, 3), "No answer", "at least 1,000 records/s", "the harness, not"),
        (SearchAnswer(1000.0, 2000.0, "trials", True, 3), "No answer", "at least 1,000 records/s", "to look between"),
        (SearchAnswer(None, 500.0, "harness", False, 3), "No answer", "not known", "the harness, not the broker"),
        (SearchAnswer(2000.0, None, "range", True, 3), "All of the range passed", "at least 2,000 records/s", "all of"),
        (SearchAnswer(None, 500.0, "broker", False, 3), "Nothing passed", "none", "not even 500 records/s is good"),
        (SearchAnswer(1000.0, 2000.0, "broker", False, 3), "No answer", "1,000 records/s", "not confirmed by a repeat"),
    ],
)  # fmt: skip
def test_an_answer_is_told_as_its_exit_code_has_it(answer, verdict, value, told):
    found = of(searched(SearchResult("highest rate for 20 clients", "records/s", answer, clients=20)))
    assert found["Verdict"][0] == verdict
    assert found["Limit found"][0] == value
    assert told in found["Limit found"][1]


def test_a_search_that_was_interrupted_has_no_answer_however_its_trials_went():
    contents = collect([("", searched())])
    assert contents.missing == "the search has not ended"
    assert overall_verdict(contents) == "indeterminate"
    answer = SearchResult("q", "records/s", SearchAnswer(1000.0, 2000.0, "broker", True, 3), clients=20)
    two = collect([("", searched(answer, kind="frontier", clients=(20, 50)))])
    assert two.missing == "1 of 2 limits were not found"
    assert overall_verdict(two) == "indeterminate"


def test_of_a_tuning_the_best_setting():
    tuned = TuningResult(
        "e2e_p99", "ms", {"linger_ms": 5.0}, {"linger_ms": 0.0}, (9.0, 9.5), (4.0, 4.5), 8, gained=True
    )
    found = of(dataclasses.replace(searched(kind="tune"), tuned=tuned))
    assert found["Verdict"][0] == "Found"
    assert found["Best setting"][:2] == ("linger_ms=0", "better than the start")
    assert found["p99 with it"] == ("4 to 4.5 ms", "with the setting to begin with: 9 to 9.5 ms", "")


def test_a_setting_that_is_not_shown_to_be_better_is_no_winner():
    tuned = TuningResult("e2e_p99", "ms", {"linger_ms": 5.0}, {"linger_ms": 0.0}, (9.0, 4.2), (4.0, 4.5), 8)
    found = of(dataclasses.replace(searched(kind="tune"), tuned=tuned))
    assert found["Verdict"][0] == "No gain shown"
    told = "linger_ms=0: no difference beyond the noise to linger_ms=5, the start"
    assert found["Best setting"] == ("no winner", told, "indeterminate")
    assert "p99 with it" not in found
    blind = dataclasses.replace(tuned, best=tuned.start, best_costs=(), start_costs=(), unjudged=8)
    found = of(dataclasses.replace(searched(kind="tune"), tuned=blind))
    assert found["Best setting"][:2] == ("not known", "no run passed, and 8 of 8 were not judged")
    assert found["Verdict"][0] == "No answer"


def test_no_point_at_all():
    made = sweep(POINTS[:2])
    found = of(dataclasses.replace(made, points=()))
    assert found == {"Verdict": ("Not measured", "2 of 2 points were not measured", "error")}


def test_what_nobody_measured_is_not_in_the_means_of_a_point():
    made = result(clients=20, missing=20)
    (point,) = collect([("", record(made))]).points
    assert (point.mean("average_packet_loss"), point.mean("average_rate")) == (None, None)
    assert point.mean("average_tx_rate") == 1000
    assert latencies().deliveries
