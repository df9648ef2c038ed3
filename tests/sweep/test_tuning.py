"""Tuning follows what helps, and tells a gain from noise."""

import dataclasses
import json

import pytest

from hydra.codec import encode
from hydra.options.options import Options
from hydra.sweep.plan import Axis
from hydra.sweep.runner import tuning_trial
from hydra.sweep.tuning import TuningResult, TuningTrial, next_setting, tuning_cost, tuning_sentence
from tests.samples import result, run

AXES = (Axis("linger_ms", (0, 5, 20)), Axis("fetch_min_bytes", (1, 1000)), Axis("fetch_wait_max_ms", (20, 500)))
START = {"linger_ms": 5, "fetch_min_bytes": 1, "fetch_wait_max_ms": 500}


def tune(cost_of):
    trials = []
    while True:
        step = next_setting(trials, AXES, START)
        if isinstance(step, TuningResult):
            return step, trials
        trials.append(TuningTrial(step, cost_of(step, len(trials))))
        assert len(trials) < 60


def test_the_best_of_independent_options_is_found_without_the_whole_grid():
    def cost(setting, _n):
        return (
            10
            + setting["linger_ms"]
            + (0 if setting["fetch_min_bytes"] == 1000 else 3)
            + setting["fetch_wait_max_ms"] / 100
        )

    found, trials = tune(cost)
    assert found.best == {"linger_ms": 0, "fetch_min_bytes": 1000, "fetch_wait_max_ms": 20}
    assert found.gained
    assert found.trials == len(trials)
    assert len({str(trial.setting) for trial in trials}) < 12
    assert len(found.best_costs) == len(found.start_costs) == 4
    assert "instead of" in tuning_sentence(found)


def test_noise_is_not_called_a_gain():
    found, _ = tune(lambda _setting, n: 10 + (n * 7919 % 13))
    assert not found.gained
    assert found.best == START or "no difference beyond the noise" in tuning_sentence(found)


def test_a_moment_of_bad_luck_does_not_hide_the_best_setting():
    def cost(setting, n):
        return 500.0 if n == 2 else 10.0 + setting["linger_ms"]

    found, trials = tune(cost)
    assert trials[2].setting["linger_ms"] == found.best["linger_ms"] == 0


def test_a_setting_that_gives_no_pass_is_never_the_best():
    found, _ = tune(lambda setting, _n: None if setting["linger_ms"] == 0 else 10.0 + setting["linger_ms"])
    assert found.best["linger_ms"] == 5


def test_nothing_passes():
    found, _ = tune(lambda _setting, _n: None)
    assert not found.best_costs
    assert "no setting passed" in tuning_sentence(found)


def test_the_start_did_not_pass():
    found, _ = tune(lambda setting, _n: None if setting == START else 5.0)
    assert found.gained
    assert "did not pass" in tuning_sentence(found)


@pytest.mark.parametrize("known", [0, 3, 5])
def test_an_interrupted_tuning_goes_on_as_if_it_had_not_been(known):
    def cost(setting, _n):
        return float(setting["linger_ms"] + setting["fetch_wait_max_ms"])

    _, trials = tune(cost)
    step = next_setting(trials[:known], AXES, START)
    assert step == trials[known].setting


def test_the_cost_of_a_setting_is_its_p99_and_only_a_pass_has_one():
    assert tuning_cost(run(Options(total_sub_apps=1), p50_ms=3.0)) == 6.0
    assert tuning_cost(run(made=result("fail", lost=1))) is None
    assert tuning_cost(run(error="gone")) is None


def test_a_setting_that_passes_now_and_then_is_no_winner():
    def cost(setting, n):
        return 10.0 if setting == START else 5.0 if setting["linger_ms"] == 0 and n % 2 == 0 else None

    found, _ = tune(cost)
    assert found.best["linger_ms"] == 0
    assert not found.gained
    assert "no winner: " in tuning_sentence(found)
    assert f", passed in {len(found.best_costs)} of {found.best_trials} instead of" in tuning_sentence(found)


def tune_with(start_judged):
    trials = []
    while not isinstance(step := next_setting(trials, AXES, START), TuningResult):
        passed = step["linger_ms"] == 0 and start_judged is not None
        trials.append(TuningTrial(step, 5.0 if passed else None, judged=passed or bool(start_judged)))
    return step


def test_what_was_not_judged_is_not_beaten():
    assert tune_with(start_judged=True).gained
    blind = tune_with(start_judged=False)
    assert not blind.gained
    assert "which does not show a gain" in tuning_sentence(blind)
    assert "were not judged" in tuning_sentence(blind)


def test_nothing_passed_is_no_answer_where_runs_were_not_judged():
    nothing = tune_with(start_judged=None)
    assert (nothing.unjudged, nothing.exit_code) == (nothing.trials, 3)
    assert tuning_sentence(nothing).startswith("no answer: no run passed; ")
    assert dataclasses.replace(nothing, unjudged=0).exit_code == 1
    assert json.loads(encode(nothing))["gained"] is False


@pytest.mark.parametrize(
    ("made", "judged"),
    [
        (run(made=result("fail", lost=1, harness_limited=True)), True),
        (run(made=result("indeterminate", harness_limited=True)), False),
        (run(made=result("indeterminate", missing=1)), False),
        (run(error="gone"), False),
        (run(), True),
    ],
)
def test_a_trial_is_judged_as_a_run_of_a_comparison(made, judged):
    assert tuning_trial({}, made).judged is judged
