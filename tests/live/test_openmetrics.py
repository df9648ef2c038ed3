"""The metrics of a run, read by a parser of the format that is not ours."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hydra.accounting.live_figures import LiveFigures
from hydra.live.history import MAX_RUNS, LiveHistory, MeasuredRun, RunPlan
from hydra.live.openmetrics import PHASES, openmetrics
from hydra.run.protocols import LiveCounts

FIGURES = LiveFigures(1.5, 20.0, 30.25, 1.4, 19.0, 40.0, 2.0, 10.0, 120.0, 15.0, 90.0, 70.0)


def families(history):
    text = openmetrics(history.picture())
    assert text.endswith("# EOF\n")
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family):
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_before_a_run_counts_there_is_what_is_known_and_nothing_more():
    found = families(LiveHistory())
    assert set(found) == {"hydra", "hydra_phase", "hydra_runs"}
    assert not any(samples(found["hydra_phase"]).values())


def test_a_run_that_sends():
    history = LiveHistory()
    history.begin(RunPlan("10 clients", 10.0, 1000.0, ()))
    history.phase("sending", "")
    history.counts(LiveCounts(2.5, 10_000, 2500, 2400, 123_456_789_012, 7, 10, 10, FIGURES))
    found = families(history)
    assert samples(found["hydra_phase"]) == {(phase,): float(phase == "sending") for phase in PHASES}
    assert {name: samples(found[name])[()] for name in found if () in samples(found[name])} == {
        "hydra_runs": 0, "hydra_asked_rate": 1000, "hydra_elapsed_seconds": 2.5, "hydra_records_planned": 10_000,
        "hydra_records_sent": 2500, "hydra_records_acked": 2400, "hydra_deliveries": 123_456_789_012,
        "hydra_backlog_deliveries": 7, "hydra_clients_missing": 10, "hydra_publisher_lag_seconds": 0.002,
        "hydra_machine_cpu_ratio": 0.7,
    }  # fmt: skip
    assert samples(found["hydra_e2e_latency_seconds"]) == {("0.5",): 0.0015, ("0.99",): 0.02, ("1",): 0.03025}
    assert samples(found["hydra_cpu_cores"]) == {
        ("publisher",): 0.1, ("subscribers",): 1.2, ("busiest_subscriber",): 0.15, ("broker",): 0.9,
    }  # fmt: skip
    assert {family.type for family in found.values()} == {"info", "stateset", "counter", "gauge", "summary"}


@pytest.mark.parametrize("sent", [2**53 - 1, 12_345_678_901_234])
def test_large_counts_are_exact(sent):
    history = LiveHistory()
    history.counts(LiveCounts(1.0, sent, sent, sent, sent, 0, 0))
    assert samples(families(history)["hydra_records_sent"])[()] == sent


def test_runs_are_counted_beyond_those_that_a_page_lists():
    history = LiveHistory()
    for _ in range(MAX_RUNS + 5):
        history.measured(MeasuredRun("clients=1", "pass", 100.0, 2.0, 0, "none"))
    assert samples(families(history)["hydra_runs"])[()] == MAX_RUNS + 5


def test_what_is_not_known_has_no_sample():
    history = LiveHistory()
    history.counts(LiveCounts(1.0, 10, 10, 10, 10, 0, 0))
    assert not {"hydra_e2e_latency_seconds", "hydra_cpu_cores", "hydra_machine_cpu_ratio"} & set(families(history))


def test_no_two_names_clash_and_every_unit_is_the_names_end():
    history = LiveHistory()
    history.counts(LiveCounts(1.0, 10, 10, 10, 10, 0, 0, 1, FIGURES))
    for family in families(history).values():
        assert family.documentation.endswith(".")
        assert not family.unit or family.name.endswith(f"_{family.unit}")


def test_the_dashboard_and_the_page_of_docs_ask_for_metrics_that_there_are():
    history = LiveHistory()
    history.begin(RunPlan("10 clients", 10.0, 1000.0, ()))
    history.counts(LiveCounts(1.0, 10, 10, 10, 10, 0, 0, 1, FIGURES))
    served = {sample.name for family in families(history).values() for sample in family.samples}
    docs = Path(__file__).parent.parent.parent / "docs"
    panels = json.loads((docs / "grafana.json").read_text())["panels"]
    asked = {name for panel in panels for each in panel["targets"] for name in re.findall(r"hydra_\w+", each["expr"])}
    told = set(re.findall(r"hydra_\w+", (docs / "watching.md").read_text()))
    assert asked <= served
    assert told == served - {"hydra_info"}
