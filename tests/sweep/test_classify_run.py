"""What a run says about the broker's limit."""

import pytest

from hydra.options.options import Options
from hydra.sweep.classify_run import judge, tuning_cost
from tests.samples import result, run


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, "good"),
        ({"tx_rate": 951.0}, "good"),
        ({"tx_rate": 949.0}, "bad"),
        ({"verdict": "fail", "lost": 5}, "bad"),
        ({"verdict": "indeterminate"}, "bad"),
        ({"verdict": "indeterminate", "missing": 1}, "unknown"),
        ({"verdict": "indeterminate", "harness_limited": True}, "harness"),
        ({"verdict": "fail", "lost": 5, "harness_limited": True}, "harness"),
        ({"verdict": "pass", "harness_limited": True}, "harness"),
    ],
)
def test_outcomes(given, outcome):
    found, reason = judge(run(made=result(**given)), asked_rate_per_s=1000)
    assert found == outcome
    assert bool(reason) == (outcome != "good")


def test_a_run_that_failed_says_nothing_and_a_machine_that_is_too_small_is_the_harness():
    assert judge(run(error="not ready", exit_code=3), asked_rate_per_s=1) == ("unknown", "not ready")
    assert judge(run(error="broker died", exit_code=4), asked_rate_per_s=1) == ("unknown", "broker died")
    assert judge(run(error="too few descriptors", exit_code=2), asked_rate_per_s=1)[0] == "harness"


def test_the_cost_of_a_setting_is_its_p99_and_only_a_pass_has_one():
    assert tuning_cost(run(Options(total_sub_apps=1), p50_ms=3.0)) == 6.0
    assert tuning_cost(run(made=result("fail", lost=1))) is None
    assert tuning_cost(run(error="gone")) is None
