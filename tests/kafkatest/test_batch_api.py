"""The batch API: the notebook's calls in its order, and every option that changes how a run is made, on one stack."""

from __future__ import annotations

from pprint import pformat

import pytest

from hydra.errors import UsageError
from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from hydra.report.text import MEANINGS
from tests.commands import Place

pytestmark = pytest.mark.integration


@pytest.mark.release
def test_the_notebook_cell_by_cell(place, monkeypatch) -> None:
    place.enter(monkeypatch)

    class Options:
        test_duration = 0.5
        warmup = 0
        msg_batch = 100
        msg_rate = 4000
        total_sub_apps = 1
        config_file = "hydra.ini"
        keep_running = False

    global_results = {}
    options = Options()
    runner = RunTestKAFKA(options, False)

    def run_test(test_name, first_test):
        if not first_test:
            runner.start_appserver()
            first_test = True
        else:
            runner.set_options(options)
            runner.scale_sub_app()
        res = runner.run_test()
        assert pformat(res).startswith("{'average_packet_loss': 0")
        if options.total_sub_apps not in global_results:
            global_results[options.total_sub_apps] = {}
        global_results[options.total_sub_apps][test_name] = res

    first_test = False
    for client_num in [10, 30, 20]:
        options.total_sub_apps = int(client_num / 10)
        for msg_rate in [2000, 3000]:
            options.msg_rate = msg_rate
            run_test(msg_rate, first_test)
            first_test = True
    runner.delete_all_launched_apps()
    runner.stop_appserver()

    for apps, by_rate in global_results.items():
        for rate, res in by_rate.items():
            assert set(res) == set(MEANINGS)
            assert (res["client_count"], res["packet_tx"], res["average_packets"]) == (apps * 10, rate / 2, rate / 2)
            assert res["failing_clients"] == res["average_packet_loss"] == 0
    place.assert_nothing_left()


SHORT = {"total_sub_apps": 2, "clients_per_app": 3, "test_duration": 0.5, "msg_rate": 2000.0, "warmup": 0.0}
"""A thousand records, in half a second."""


@pytest.fixture(scope="module")
def runner(tmp_path_factory, running_stack):
    """One for all the runs below."""
    with pytest.MonkeyPatch.context() as patch:
        place = Place(tmp_path_factory.mktemp("batch"))
        place.use(running_stack)
        place.enter(patch)
        with RunTestKAFKA(Options(**SHORT), False) as shared:
            yield shared
        place.assert_nothing_left()


def run(runner: RunTestKAFKA, **changes: object) -> dict[str, int | float]:
    """A run with these options."""
    runner.set_options(Options(**{**SHORT, **changes}))
    return runner.run_test()


def assert_no_word_against_the_broker(result) -> None:
    """It passed; or the tests beside it have starved Hydra, and then it says so and nothing else."""
    assert result.verdict in {"pass", "indeterminate"}, result.reasons
    assert result.verdict == "pass" or result.bottleneck.harness_limited, result.reasons


@pytest.mark.parametrize(
    ("acks", "pub_driver", "partitions"), [("0", "wire", 3), ("1", "kafka-python", 1), ("all", "confluent", 3)]
)
def test_acks_and_publishers(runner, acks, pub_driver, partitions) -> None:
    res = run(runner, acks=acks, pub_driver=pub_driver, partitions=partitions, audit="always")
    assert (res["packet_tx"], res["average_packets"], res["failing_clients"]) == (1000, 1000, 0)
    record = runner.record
    totals, publisher = record.result.totals, record.evidence.publisher
    assert (publisher.attempted, publisher.failed, publisher.error) == (1000, 0, "")
    assert totals.records_acked == (0 if acks == "0" else 1000)
    assert totals.records_appended == 1000
    assert (totals.records_lost, totals.records_duplicated_in_log) == (0, 0)
    assert sum(part.next_offset for part in record.evidence.audit.partitions.values()) == 1000
    assert_no_word_against_the_broker(record.result)


@pytest.mark.parametrize(
    ("sub_driver", "group"),
    [
        ("wire", "shared"),
        pytest.param("confluent", "own", marks=pytest.mark.release),
        pytest.param("kafka-python", "shared", marks=pytest.mark.release),
    ],
)
def test_group(runner, sub_driver, group) -> None:
    res = run(runner, sub_driver=sub_driver, group=group, partitions=4, msg_batch=10)
    copies = 6 if group == "own" else 1
    totals = runner.record.result.totals
    assert totals.records_delivered == 1000 * copies
    assert totals.clients_expecting == (6 if group == "own" else 4)
    assert (res["average_packets"], res["average_packet_loss"]) == (1000 * copies / 6, 0)
    assert totals.records_duplicated == totals.records_reordered == totals.records_foreign == 0
    assert_no_word_against_the_broker(runner.record.result)


@pytest.mark.parametrize(
    "changes",
    [
        {"msg_size": 200, "msg_batch": 7, "linger_ms": 0, "retention_ms": 60_000},
        {"msg_size": 300_000, "msg_rate": 40.0},
        {"batch_size": 100_000, "linger_ms": 100, "fetch_min_bytes": 5000, "fetch_wait_max_ms": 50,
         "fetch_pace_ms": 0.0},
        {"consumer_max_buffer_size": 2000},
        {"msg_rate": 2.0},
        {"msg_rate": 30_000.0},
    ],
    ids=lambda changes: ",".join(f"{name}={value:g}" for name, value in changes.items()),
)  # fmt: skip
def test_options(runner, changes) -> None:
    res = run(runner, **changes)
    sent = changes.get("msg_rate", 2000) / 2
    assert (res["packet_tx"], res["average_packets"], res["failing_clients"]) == (sent, sent, 0)


def test_scaling_up_and_down_between_runs(runner) -> None:
    for apps in (4, 1, 3):
        res = run(runner, total_sub_apps=apps)
        assert (res["client_count"], res["average_packets"]) == (apps * 3, 1000)


def test_start_twice_and_not_at_all(runner) -> None:
    runner.start_appserver()
    runner.start_appserver()
    assert run(runner)["failing_clients"] == 0
    runner.delete_all_launched_apps()
    runner.delete_all_launched_apps()
    assert run(runner)["failing_clients"] == 0


def test_what_a_running_stack_cannot_follow(runner) -> None:
    runner.start_appserver()
    with pytest.raises(UsageError, match="app_prefix cannot change from 'g1' to 'other'"):
        runner.set_options(Options(app_prefix="other"))


def test_misspelt_attribute() -> None:
    class Misspelt:
        msg_rates = 5

    with pytest.raises(UsageError, match=r"options.msg_rates is no option: did you mean msg_rate\?"):
        RunTestKAFKA(Misspelt(), False)
