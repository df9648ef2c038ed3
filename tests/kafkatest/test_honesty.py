"""Drivers that lie, in real runs: the result names what each of them did, with the exact count.

All on one stack, one run after the other.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from tests import liars
from tests.conftest import skip_where_others_have_the_machine

pytestmark = [pytest.mark.integration, pytest.mark.alone]

OPTIONS = Options(
    total_sub_apps=1, clients_per_app=3, test_duration=1.5, warmup=0.0, msg_rate=1000.0, fetch_pace_ms=60.0,
    drain_timeout=5.0,
)  # fmt: skip
RUNS = 3
"""At most, until one of them was not held up by something else on this machine."""
CLASSES = (
    "broker_lost", "expired", "unread", "skipped", "duplicates", "reordered", "ghost", "foreign", "corrupt",
    "contradicted",
)  # fmt: skip


class Stage:
    """A runner whose stack serves every run of this module, and what liars confessed in the latest one."""

    def __init__(self, place, runner):
        self._log = place.temporary / liars.LOG
        self._runner = runner

    def measure(self, **changes):
        """A run in which Hydra had room; where others took it, another one, as Hydra's own advice is."""
        for _ in range(RUNS):
            result = self.run(**changes)
            if not result.bottleneck.harness_limited:
                return result
        skip_where_others_have_the_machine(result.bottleneck.evidence)
        return result

    def run(self, **changes):
        self._log.unlink(missing_ok=True)
        self._runner.set_options(Options(**{**OPTIONS.__dict__, **changes}))
        self._runner.run_test()
        return self._runner.record.result

    def confessed(self):
        """By client, what it did."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        self._log.unlink()
        return {line.pop("client"): line for line in lines}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    from tests.conftest import Place

    with pytest.MonkeyPatch.context() as patch:
        place = Place(tmp_path_factory.mktemp("honesty"))
        patch.chdir(place.work)
        patch.setenv("TMPDIR", str(place.temporary))
        patch.setenv("XDG_STATE_HOME", str(place.state))
        patch.setattr("tempfile.tempdir", None)
        with RunTestKAFKA(OPTIONS, False) as runner:
            yield Stage(place, runner)
        place.assert_nothing_left()


def found_in(client):
    return {name: count for name in CLASSES if (count := getattr(client, name))}


@pytest.mark.parametrize("liar", ["Dropping", "Repeating", "Swapping", "Corrupting", "Compensating"])
def test_what_a_driver_did_is_named_with_its_exact_count(stage, liar):
    result = stage.measure(sub_driver=f"tests.liars:{liar}")
    confessed = stage.confessed()
    assert len(confessed) == 3, "each client lied once"
    assert {client.name: found_in(client) for client in result.clients} == confessed
    total = sum((Counter(lie) for lie in confessed.values()), Counter())
    assert result.verdict == ("fail" if total["skipped"] else "pass")
    if total["skipped"]:
        assert f"{total['skipped']} were passed over while they were in the log" in result.reasons[0]
    if liar == "Compensating":
        assert all(client.distinct + client.duplicates == client.expected for client in result.clients)
        assert total == {"skipped": 15, "duplicates": 15}


def test_a_publisher_that_lies_is_named(stage):
    result = stage.measure(pub_driver="tests.liars:LyingPublisher")
    ghosts, never_sent = liars.LyingPublisher.GHOSTS, liars.LyingPublisher.NEVER_SENT
    assert [found_in(client) for client in result.clients] == [{"ghost": ghosts, "broker_lost": never_sent}] * 3
    assert result.verdict == "fail"
    assert f"{3 * never_sent} are not in the broker's log" in result.reasons[0]
    assert f"{3 * ghosts} received records are not in the log, according to the publisher" in result.reasons
    figures = result.totals
    assert figures.records_acked - figures.records_appended == never_sent - ghosts
    assert "the log grew by" in " ".join(result.reasons)


def test_a_slow_client_has_unread_records_and_that_is_no_proof_of_loss(stage):
    result = stage.run(sub_driver="tests.liars:Slow", drain_timeout=1.0)
    assert result.verdict == "indeterminate"
    for client in result.clients:
        assert client.unread > 0
        assert found_in(client) == {"unread": client.expected - client.distinct}
    assert result.bottleneck.symptoms


def test_an_honest_run_on_the_same_stack_is_clean(stage):
    result = stage.measure(threshold=("loss==0", "e2e_p50<5000ms", "tx_rate>=0.9*asked"))
    assert result.verdict == "pass"
    assert [found_in(client) for client in result.clients] == [{}] * 3
    assert result.bottleneck.limit == "none"
    assert [outcome.kept for outcome in result.thresholds] == [True] * 3
    assert result.totals.records_delivered == 4500
    assert (result.latency.e2e.deliveries, result.latency.service.deliveries) == (4500, 4500)
    assert sum(point.delivered for point in result.points) == 4500
    assert sum(point.sent for point in result.points) == 1500


def test_a_broken_threshold_fails_the_run(stage):
    result = stage.measure(threshold=("e2e_p50<0.001ms",))
    assert result.verdict == "fail"
    assert result.reasons[0].startswith("e2e_p50<0.001ms is broken: it was ")
    assert result.bottleneck.limit == "broker"


def test_without_the_audit_the_result_says_so(stage):
    result = stage.measure(audit="never")
    assert (result.verdict, result.notes) == ("pass", ("the log was not audited: --audit=never",))
