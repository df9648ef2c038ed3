"""When each record is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.records.send_plan import SendPlan

RATES = st.one_of(st.integers(1, 1_000_000).map(float), st.floats(0.1, 10_000_000))
PLANS = st.builds(SendPlan, msg_rate=RATES, test_duration=st.floats(0.1, 3600))


@pytest.mark.parametrize(
    ("rate", "duration", "records"),
    [(1000, 10, 10_000), (0.1, 0.1, 1), (3, 0.5, 2), (1.4, 1, 1), (2000, 0.1, 200), (33.3, 10, 333)],
)
def test_a_plan_has_rate_times_duration_records_and_at_least_one(rate, duration, records):
    assert SendPlan(rate, duration).records == records


@given(PLANS, st.floats(-10, 4000), st.floats(-10, 4000))
def test_what_is_due_never_becomes_less(plan, one_s, other_s):
    earlier_s, later_s = sorted((one_s, other_s))
    assert 0 <= plan.due(earlier_s) <= plan.due(later_s) <= plan.records


@given(PLANS, st.data())
def test_a_record_is_due_at_its_intended_time(plan, data):
    """However the division and the multiplication round."""
    index = data.draw(st.integers(0, plan.records - 1))
    assert plan.due(plan.intended_s(index)) >= index + 1


@given(PLANS, st.data())
def test_a_record_is_not_due_before_its_intended_time(plan, data):
    index = data.draw(st.integers(1, max(1, plan.records - 1)))
    before_s = plan.intended_s(index) - 0.01 / plan.msg_rate
    assert plan.due(before_s) <= index


@given(PLANS)
def test_nothing_is_due_before_the_start_and_everything_at_the_end(plan):
    assert plan.due(-0.001) == 0
    assert plan.due(0) == 1
    assert plan.due(plan.test_duration + 2 / plan.msg_rate + 1) == plan.records


@pytest.mark.parametrize("rate", [49.0, 98.0, 103.0, 1000.0, 3333.0])
def test_every_record_of_a_second_is_due_in_time(rate):
    plan = SendPlan(rate, 1.0)
    late = [index for index in range(plan.records) if plan.due(plan.intended_s(index)) < index + 1]
    assert late == []
