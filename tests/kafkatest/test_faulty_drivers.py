"""Drivers with planted faults, in real runs: the result names what each of them did, with the exact count."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from tests.commands import Place
from tests.faulty_drivers import FEW, LOG, FaultyPublisher

pytestmark = pytest.mark.integration

OPTIONS = Options(
    total_sub_apps=1, clients_per_app=3, test_duration=1.5, warmup=0.0, msg_rate=1000.0, fetch_pace_ms=60.0,
    drain_timeout=30.0,
)  # fmt: skip
CLASSES = (
    "broker_lost", "expired", "unread", "skipped", "duplicates", "reordered", "ghost", "foreign", "corrupt",
    "contradicted",
)  # fmt: skip


class Bench:
    """A runner for all runs of this module, and what faulty drivers wrote down in the latest one."""

    def __init__(self, runner, log):
        self._runner = runner
        self._log = log

    def run(self, **changes):
        self._log.unlink(missing_ok=True)
        self._runner.set_options(Options(**{**OPTIONS.__dict__, **changes}))
        self._runner.run_test()
        return self._runner.record.result

    def planted(self):
        """By client, what was done to it."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        self._log.unlink()
        return {line.pop("client"): line for line in lines}


@pytest.fixture(scope="module")
def bench(tmp_path_factory, running_stack):
    with pytest.MonkeyPatch.context() as patch:
        place = Place(tmp_path_factory.mktemp("bench"))
        place.use(running_stack)
        place.enter(patch)
        with RunTestKAFKA(OPTIONS, False) as runner:
            yield Bench(runner, running_stack.temporary / LOG)
        place.assert_nothing_left()


def found_in(client):
    return {name: count for name in CLASSES if (count := getattr(client, name))}


def planted_and_found(bench, driver):
    """A run with the driver, whose result names what it did; its result and what was done in all."""
    result = bench.run(sub_driver=f"tests.faulty_drivers:{driver}")
    planted = bench.planted()
    assert len(planted) == 3, "each client had one fault"
    assert {client.name: found_in(client) for client in result.clients} == planted
    return result, sum((Counter(counts) for counts in planted.values()), Counter())


def test_records_that_come_twice_or_in_another_order_are_counted_and_no_loss(bench):
    result, total = planted_and_found(bench, "Lossless")
    assert set(total) == {"duplicates", "reordered"}
    assert result.verdict == "pass" or result.bottleneck.harness_limited
    assert result.totals.records_lost == 0


def test_lost_records_are_named_with_their_exact_count(bench):
    result, total = planted_and_found(bench, "Lossy")
    assert set(total) == {"skipped", "corrupt", "duplicates"}
    assert result.verdict == "fail"
    assert f"{total['skipped']} were passed over while they were in the log" in result.reasons[0]
    (compensated,) = [client for client in result.clients if client.duplicates]
    assert compensated.distinct + compensated.duplicates == compensated.expected
    assert found_in(compensated) == {"skipped": FEW, "duplicates": FEW}


def test_a_publisher_whose_outcomes_are_wrong_is_named(bench):
    result = bench.run(pub_driver="tests.faulty_drivers:FaultyPublisher")
    ghosts, never_sent = FaultyPublisher.GHOSTS, FaultyPublisher.NEVER_SENT
    assert [found_in(client) for client in result.clients] == [{"ghost": ghosts, "broker_lost": never_sent}] * 3
    assert result.verdict == "fail"
    assert f"{3 * never_sent} are not in the broker's log" in result.reasons[0]
    assert f"{3 * ghosts} received records are not in the log, according to the publisher" in result.reasons
    totals = result.totals
    assert totals.records_acked - totals.records_appended == never_sent - ghosts
    assert "the log grew by" in " ".join(result.reasons)


def test_a_slow_client_has_unread_records_and_that_is_no_proof_of_loss(bench):
    result = bench.run(sub_driver="tests.faulty_drivers:Slow", drain_timeout=1.0)
    assert result.verdict == "indeterminate"
    for client in result.clients:
        assert client.unread > 0
        assert found_in(client) == {"unread": client.expected - client.distinct}
    assert result.bottleneck.symptoms
