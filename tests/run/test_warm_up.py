"""When a broker is warm."""

import pytest

from hydra.run.warm_up import MAX_S, MIN_S, Warmth, WarmUpPlan, has_settled, until_warm


@pytest.mark.parametrize(
    ("costs", "settled"),
    [
        ([], False),
        ([300.0], False),
        ([60.0, 60.0, 60.0], False),  # as long as there is nothing to compare with
        ([60.0, 60.0, 60.0, 60.0], True),
        ([300.0, 200.0, 120.0, 100.0], False),
        ([300.0, 200.0, 120.0, 100.0, 80.0, 70.0], False),
        ([300.0, 200.0, 120.0, 100.0, 100.0, 99.0], True),
        ([60.0, 60.0, 70.0, 60.0], True),  # what rises does not fall
        ([100.0, 100.0, 91.0, 90.0], True),
        ([100.0, 100.0, 90.0, 89.0], False),
    ],
)
def test_a_cost_that_does_not_fall_by_a_tenth_has_settled(costs, settled):
    assert has_settled(costs) is settled


def test_the_cost_is_of_the_fetches_between_two_looks():
    warmth = Warmth()
    for broker_cpu_s, fetches in ((10.0, 0), (10.3, 1000), (10.4, 2000), (10.46, 3000), (10.52, 4000)):
        warmth.note(broker_cpu_s, fetches)
    assert warmth.costs_us == pytest.approx([300, 100, 60, 60])
    assert str(warmth) == (
        "a fetch cost the broker 200 us of CPU at first and 60 us in the end, and that was still falling"
    )
    warmth.note(10.58, 5000)
    warmth.note(10.64, 6000)
    assert str(warmth) == "a fetch cost the broker 200 us of CPU at first and 60 us in the end"


def test_where_nothing_was_fetched_there_is_no_cost():
    """An interval without a fetch goes on until there is one; its CPU time is not lost."""
    warmth = Warmth()
    for broker_cpu_s, fetches in ((1.0, 100), (1.1, 100), (1.2, 200)):
        warmth.note(broker_cpu_s, fetches)
    assert warmth.costs_us == pytest.approx([2000])
    assert str(warmth) == ""


def test_a_broker_whose_cpu_time_nobody_sees_has_no_cost():
    warmth = Warmth()
    for fetches in range(10):
        warmth.note(None, 100 * fetches)
    assert (warmth.costs_us, warmth.settled, str(warmth)) == ([], False, "")


@pytest.mark.parametrize(
    ("bytes_per_s", "max_s"), [(1.0, MAX_S), (42_000.0, MAX_S), (1024.0**3 / 2, 4.0), (1e12, MIN_S)]
)
def test_a_load_of_many_bytes_goes_on_for_less_time(bytes_per_s, max_s):
    assert until_warm(bytes_per_s) == WarmUpPlan(max_s, until_warm=True)
