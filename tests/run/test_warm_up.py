"""When a broker is warm."""

import pytest

from hydra.accounting.broker_inside import BrokerCpu
from hydra.options.options import Options
from hydra.options.order import make_order
from hydra.run.warm_up import (
    MAX_S,
    MIN_S,
    WARM_UP_SPEED,
    FetchReading,
    Warmth,
    WarmUpPlan,
    has_settled,
    measured_speed,
    until_warm,
)


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


def noted(*looks):
    """Of (CPU time of the broker, of its compilers, fetches) every half a second."""
    warmth = Warmth()
    for number, (work_s, compilers_s, fetches) in enumerate(looks):
        warmth.note(FetchReading(number / 2, BrokerCpu(work_s, compilers_s), 0.0, fetches, work_s + compilers_s))
    return warmth


FALLING = ((10.0, 0.0, 0), (10.3, 0.0, 1000), (10.4, 0.0, 2000), (10.46, 0.0, 3000), (10.52, 0.0, 4000))


def test_the_cost_is_of_the_fetches_between_two_looks():
    warmth = noted(*FALLING)
    assert warmth.costs_us == pytest.approx([300, 100, 60, 60])
    assert str(warmth) == (
        "a fetch cost the broker 200 us of CPU at first and 60 us in the end, and that was still falling"
    )
    warmth = noted(*FALLING, (10.58, 0.0, 5000), (10.64, 0.0, 6000))
    assert str(warmth) == "a fetch cost the broker 200 us of CPU at first and 60 us in the end"


@pytest.mark.parametrize(("compiling_cores", "settled"), [(0.0, True), (0.2, True), (0.3, False), (0.9, False)])
def test_as_long_as_the_compilers_are_at_work_another_step_is_to_come(compiling_cores, settled):
    """A cost that does not fall for a while: the code is as it was, and what comes next is in the compilers' queue."""
    warmth = noted(*((0.2 * number, 0.5 * compiling_cores * number, 1000 * number) for number in range(6)))
    assert (warmth.settled, has_settled(warmth.costs_us)) == (settled, True)
    told = "" if settled else f", and its compilers were still at work for {100 * compiling_cores:.0f} % of the time"
    assert str(warmth) == f"a fetch cost the broker 200 us of CPU at first and 200 us in the end{told}"


@pytest.mark.parametrize(("waited_ratio", "settled"), [(0.1, True), (0.3, False)])
def test_compilers_that_wait_for_a_cpu_are_at_work(waited_ratio, settled):
    """Others may have the machine: then compilers get little done, and what is called often is not compiled yet."""
    warmth = Warmth()
    for number in range(6):
        broker = BrokerCpu(0.2 * number, 0.05 * number, 0.5 * waited_ratio * number)
        warmth.note(FetchReading(number / 2, broker, 0.0, 1000 * number, 1.0 * number))
    assert (warmth.settled, has_settled(warmth.costs_us)) == (settled, True)
    assert warmth.compiling_cores == pytest.approx(0.1)
    assert warmth.compiling_ratio == pytest.approx(0.1 + waited_ratio)


def test_compilers_that_have_been_at_work_are_forgotten():
    busy = [(0.2 * number, 0.4 * number, 1000 * number) for number in range(4)]
    quiet = [(0.2 * number, 1.2, 1000 * number) for number in range(4, 7)]
    assert not noted(*busy, *quiet[:1]).settled
    assert noted(*busy, *quiet).settled


def test_where_nothing_was_fetched_there_is_no_cost():
    """An interval without a fetch goes on until there is one; its CPU time is not lost."""
    warmth = noted((1.0, 0.0, 100), (1.1, 0.0, 100), (1.2, 0.0, 200))
    assert warmth.costs_us == pytest.approx([2000])
    assert str(warmth) == ""


def warmed(fetches_per_s, cost_us, *, intervals=6, clients_share=0.5, others_cores=0.0):
    """A warm-up whose fetches cost this from the first on, broker and clients together."""
    warmth = Warmth()
    for number in range(intervals):
        at_s = number / 2
        used_s = cost_us / 1e6 * fetches_per_s * at_s
        fetches = int(fetches_per_s * at_s)
        broker, busy_s = BrokerCpu(used_s * (1 - clients_share)), used_s + others_cores * at_s
        warmth.note(FetchReading(at_s, broker, used_s * clients_share, fetches, busy_s))
    return warmth


def test_what_a_fetch_costs_is_the_brokers_time_and_the_clients():
    warmth = warmed(8000, 137.5)
    assert warmth.fetch_cost_us(4000, 2.0) == pytest.approx(137.5)
    assert warmth.fetch_cost_us(8001, 1.2) is None
    assert warmth.fetch_cost_us(8001, 1.0) == pytest.approx(137.5)  # no more of them, since the cores were busy
    busy = warmed(2000, 137.5, others_cores=1.0)
    assert busy.fetch_cost_us(8001, 1.2) == pytest.approx(137.5)  # no more of them, since others had the cores
    assert warmed(8000, 137.5, intervals=3).fetch_cost_us(4000, 2.0) == pytest.approx(137.5)  # warm or not
    assert warmed(8000, 137.5, intervals=2).fetch_cost_us(4000, 2.0) is None


@pytest.mark.parametrize(
    ("options", "fetches_per_s", "cost_us", "speed"),
    [
        ({}, 2000, 206.0, 1.0),  # 4,000 a second and core take 0.55 of it, and a quarter of them is dearer by half
        ({}, 2000, 150.0, 1.0),
        ({}, 2000, 285.0, 1.0),
        ({}, 2000, 90.0, 2.0),
        ({}, 2000, 390.0, 0.5),
        ({}, 2000, 1.0, 4.0),
        ({}, 1100, 9999.0, 0.25),
        ({}, 900, 9999.0, 0.25),
        ({}, 250, 6000.0, 0.25),
        ({}, 900, 200.0, None),  # whatever the broker did then, it was not these fetches
        ({"total_sub_apps": 1, "clients_per_app": 500}, 5000, 82.0, 1.0),
        ({"total_sub_apps": 1, "clients_per_app": 500}, 5000, 38.0, 2.0),
        ({"fetch_pace_ms": 50.0}, 5000, 82.0, None),
        ({"bootstrap_servers": "10.0.0.5:9092"}, 5000, 82.0, None),
    ],
)
def test_the_speed_of_a_machine_follows_from_what_a_fetch_costs_there(options, fetches_per_s, cost_us, speed):
    task_options = Options(**options)
    task_ids = [f"t{number}" for number in range(task_options.total_sub_apps)]
    order = make_order(
        "run-1", task_options, bootstrap_servers="h:1", task_ids=task_ids, cores=2, machine_speed=WARM_UP_SPEED
    )
    assert measured_speed(order, warmed(fetches_per_s, cost_us), 2.0) == speed


@pytest.mark.parametrize(
    ("bytes_per_s", "max_s"), [(1.0, MAX_S), (42_000.0, MAX_S), (1024.0**3 / 2, 4.0), (1e12, MIN_S)]
)
def test_a_load_of_many_bytes_goes_on_for_less_time(bytes_per_s, max_s):
    assert until_warm(bytes_per_s) == WarmUpPlan(max_s, until_warm=True)


def test_what_compilers_still_take_is_not_there_for_fetches():
    order = make_order(
        "run-1", Options(), bootstrap_servers="h:1", task_ids=[f"t{n}" for n in range(100)], cores=2,
        machine_speed=WARM_UP_SPEED,
    )  # fmt: skip

    def speed(compiling_cores):
        work_s, fetches = 270e-6 * 1000, 1000  # of half a second, at 2,000 a second
        looks = [(work_s * n, 0.5 * compiling_cores * n, fetches * n) for n in range(6)]
        return measured_speed(order, noted(*looks), 2.0)

    assert [speed(cores) for cores in (0.0, 0.4, 5.0)] == [1.0, 0.5, 0.5]
