"""How often clients fetch, and which of them keep no pace."""

import pytest

from hydra.options.fetch_pace import fetch_pace_ms
from hydra.options.options import Options
from hydra.options.order import make_order


@pytest.mark.parametrize(
    ("options", "pace_ms"),
    [
        (Options(fetch_pace_ms=0.0), 0.0),
        (Options(fetch_pace_ms=12.5), 12.5),
        (Options(), 125.0),
        (Options(total_sub_apps=1, clients_per_app=1), 0.125),
        (Options(total_sub_apps=1, clients_per_app=500), 25.0),
        (Options(total_sub_apps=20, clients_per_app=500), 555.556),
        (Options(bootstrap_servers="localhost:9092"), 125.0),
        (Options(bootstrap_servers="127.0.0.1:9092,[::1]:9093"), 125.0),
        (Options(sub_driver="my.module:Driver"), 125.0),
    ],
)
def test_on_two_cores_that_all_share_the_pace_is_the_one_measured_there(options, pace_ms):
    assert fetch_pace_ms(options, 2) == pace_ms


@pytest.mark.parametrize(("cores", "pace_ms"), [(1, 250.0), (4, 62.5), (64, 3.906), (0, 250.0)])
def test_more_cores_carry_more_fetches(cores, pace_ms):
    assert fetch_pace_ms(Options(), cores) == pace_ms


@pytest.mark.parametrize(("speed", "pace_ms"), [(0.25, 500.0), (1.0, 125.0), (2.0, 62.5)])
def test_a_faster_machine_carries_more_fetches(speed, pace_ms):
    assert fetch_pace_ms(Options(), 2, speed) == pace_ms
    assert fetch_pace_ms(Options(fetch_pace_ms=7.0), 2, speed) == 7.0


@pytest.mark.parametrize(
    "options",
    [
        Options(bootstrap_servers="10.0.0.5:9092"),
        Options(bootstrap_servers="localhost:9092,10.0.0.5:9092"),
        Options(marathon_url="http://10.0.0.2:8080", bootstrap_servers="10.0.0.5:9092"),
        Options(marathon_url="http://10.0.0.2:8080", bootstrap_servers="localhost:9092"),
        Options(sub_driver="confluent"),
        Options(sub_driver="kafka-python", fetch_pace_ms=5.0),
    ],
)
def test_there_is_no_pace_where_machines_are_several_or_the_driver_has_its_own(options):
    assert fetch_pace_ms(options, 2) == 0.0


def test_a_pace_that_is_asked_for_holds_on_any_machines():
    options = Options(marathon_url="http://m:8080", bootstrap_servers="10.0.0.5:9092", fetch_pace_ms=7.5)
    assert fetch_pace_ms(options, 2) == 7.5


@pytest.mark.parametrize(
    ("options", "unpaced"),
    [
        (Options(), [0, 500]),  # of 8,000 fetches a second a twentieth is 400, and there are 200 appends
        (Options(total_sub_apps=10, clients_per_app=10, linger_ms=500.0), [0, 50]),
        (Options(total_sub_apps=20, clients_per_app=500, linger_ms=500.0), list(range(0, 10_000, 113))),
        (Options(total_sub_apps=50, msg_rate=3000.0), [0, 250]),  # two, however many fetches they cause
        (Options(total_sub_apps=20, clients_per_app=50, msg_rate=1.0), list(range(0, 1000, 50))),  # one of fifty
        (Options(total_sub_apps=50, fetch_pace_ms=0.0), []),
        (Options(total_sub_apps=3), []),
        (Options(total_sub_apps=49, clients_per_app=1, fetch_pace_ms=50.0), []),
        (Options(sub_driver="confluent"), []),
        (Options(sub_driver="mine.py:Driver"), []),
        (Options(group="shared"), []),
    ],
)
def test_a_few_clients_keep_no_pace(options, unpaced):
    task_ids = [f"t.{number}" for number in range(options.total_sub_apps)]
    order = make_order("run-1", options, bootstrap_servers="127.0.0.1:9092", task_ids=task_ids, cores=2)
    assert [number for number, client in enumerate(order.clients) if not client.paced] == unpaced
