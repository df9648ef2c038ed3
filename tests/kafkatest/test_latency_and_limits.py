"""Latencies and limits against causes that were put there: a slow way, a pause, an overload."""

from __future__ import annotations

import re
import signal
import threading
import time

import psutil
import pytest

from tests.commands import skip_if_others_use_the_machine, suspend
from tests.quotas import client_quota

pytestmark = [pytest.mark.integration, pytest.mark.release]


def test_a_delay_of_100_ms_on_the_way_is_in_each_latency(hydra, place, kafka_behind_proxy) -> None:
    """The lowest latency moves by the delay. A busy machine adds to the median, but not to all of them."""
    lowest: dict[str, dict[int, float]] = {"e2e": {}, "service": {}}
    medians: dict[str, float] = {}
    for delay_ms, warmup_s in ((0, 4), (100, 0.5)):  # a broker that is cold would be slow in the first run alone
        kafka_behind_proxy.delay_s = delay_ms / 1000
        command = hydra(
            "kafka", f"--bootstrap_servers=127.0.0.1:{kafka_behind_proxy.port}", "--total_sub_apps=1",
            "--clients_per_app=4", "--test_duration=2", "--msg_rate=500", "--linger_ms=30", "--fetch_pace_ms=0",
            f"--warmup={warmup_s}", "--output=result.json",
        )  # fmt: skip
        assert command.end() == 0, command.errors
        latency = place.record()["result"]["latency"]
        for kind, of_kind in lowest.items():
            of_kind[delay_ms] = latency["curves"][kind][0]
            medians[kind] = latency[kind]["p50_ms"]
        assert latency["clock_error_ms"] == 0
    assert kafka_behind_proxy.delayed_bytes > 1000 * 14
    for kind, of_kind in lowest.items():
        assert of_kind[100] - of_kind[0] == pytest.approx(100, abs=10), kind
        assert medians[kind] > of_kind[100] + 5, kind  # a record waits for its batch, some 15 ms of 30 at the median


@pytest.mark.alone
@pytest.mark.usefixtures("on_running_stack")
def test_a_publisher_that_stood_still_is_charged_end_to_end_and_not_in_service(hydra, place) -> None:
    command = hydra("kafka", "--total_sub_apps=1", "--clients_per_app=3", "--test_duration=5", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    (publisher,) = place.tasks("kafka-pub")
    suspend(publisher)
    stopped_s = time.monotonic()
    time.sleep(1.0)  # the pause itself
    publisher.send_signal(signal.SIGCONT)
    paused_ms = 1000 * (time.monotonic() - stopped_s)
    assert command.end() == 3, command.text
    result = place.record()["result"]
    e2e, service = result["latency"]["e2e"], result["latency"]["service"]
    # A record that was due when the pause began waited for all of it, one that was due at its end for nothing.
    assert e2e["max_ms"] == pytest.approx(paused_ms, abs=150)
    assert e2e["p99_ms"] == pytest.approx(0.95 * paused_ms, abs=150)
    late = [point for point in result["points"] if point["e2e_max_ms"] > 300]
    assert 1 <= len(late) <= 3
    assert service["p99_ms"] < 300
    assert service["p50_ms"] == pytest.approx(e2e["p50_ms"], abs=10)
    assert result["latency"]["publisher_lag"]["max_ms"] == pytest.approx(paused_ms, abs=150)
    assert (result["bottleneck"]["limit"], result["bottleneck"]["harness_limited"]) == ("harness", True)
    assert result["verdict"] == "indeterminate"
    assert result["totals"]["records_lost"] == 0


@pytest.mark.alone
@pytest.mark.usefixtures("on_running_stack")
def test_clients_that_cannot_keep_up_are_the_limit_and_not_the_broker(hydra, place) -> None:
    command = hydra(
        "kafka", "--sub_driver=kafka-python", "--total_sub_apps=1", "--clients_per_app=10", "--msg_rate=40000",
        "--msg_batch=1000", "--test_duration=4", "--drain_timeout=5", "--linger_ms=20", "--output=result.json",
    )  # fmt: skip
    assert command.end() == 3, command.text
    result = place.record()["result"]
    bottleneck = result["bottleneck"]
    assert (bottleneck["limit"], bottleneck["harness_limited"]) == ("harness", True)
    assert result["totals"]["records_lost"] == result["totals"]["records_unread"]
    # Who is not given a whole core cannot use one up: then there was none left.
    full = [text for text in bottleneck["evidence"] if "the busiest subscriber used" in text or "may use were" in text]
    assert full, bottleneck
    assert re.search("use more apps with fewer clients|allow Hydra more CPUs", bottleneck["advice"])
    assert result["verdict"] == "indeterminate"
    assert result["reasons"][0].startswith("the harness was the limit, not the broker: ")
    assert "limit: harness - deliveries were late" in command.text


SMALL = (
    "kafka",
    "--total_sub_apps=1",
    "--clients_per_app=3",
    "--test_duration=1.5",
    "--warmup=0",
    "--output=result.json",
)


@pytest.mark.alone
@pytest.mark.usefixtures("on_running_stack")
def test_a_run_in_which_nothing_gives_way_has_no_limit(hydra, place) -> None:
    command = hydra(*SMALL, "--threshold=loss==0,e2e_p50<5000ms,tx_rate>=0.9*asked")
    code, result = command.end(), place.record()["result"]
    if code == 3:
        skip_if_others_use_the_machine(result["totals"])
    assert code == 0, command.text
    assert result["bottleneck"] == {
        "limit": "none", "harness_limited": False, "symptoms": [], "evidence": [], "advice": "", "part": "",
    }  # fmt: skip
    assert [outcome["kept"] for outcome in result["thresholds"]] == [True] * 3
    latency = result["latency"]
    assert (latency["e2e"]["deliveries"], latency["service"]["deliveries"]) == (4500, 4500)
    assert sum(point["delivered"] for point in result["points"]) == result["totals"]["records_delivered"] == 4500
    assert sum(point["sent"] for point in result["points"]) == 1500


@pytest.mark.alone
@pytest.mark.usefixtures("on_running_stack")
def test_a_broken_threshold_fails_the_run_and_a_missing_audit_is_told(hydra, place) -> None:
    # Without a linger and a pace: what we wait for ourselves would explain it.
    command = hydra(*SMALL, "--linger_ms=0", "--fetch_pace_ms=0", "--threshold=e2e_p50<0.001ms", "--audit=never")
    code, result = command.end(), place.record()["result"]
    if code == 3:
        skip_if_others_use_the_machine(result["totals"])
    assert code == 1, command.text
    assert result["reasons"][0].startswith("e2e_p50<0.001ms is broken: it was ")
    assert result["bottleneck"]["limit"] == "broker"
    assert "the log was not audited: --audit=never" in result["notes"]


class Quota:
    """Lets a process run for a part of the time only, as a CPU quota does."""

    def __init__(self, process: psutil.Process, *, run_s: float, stand_s: float) -> None:
        self._process = process
        self._run_s, self._stand_s = run_s, stand_s
        self._over = threading.Event()
        self.seen_standing = 0
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._over.wait(self._run_s):
            self._process.send_signal(signal.SIGSTOP)
            self._over.wait(self._stand_s)
            self.seen_standing += self._process.status() == psutil.STATUS_STOPPED
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Quota:  # noqa: PYI034  # typing has Self from 3.11 on
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._process.send_signal(signal.SIGCONT)


@pytest.mark.alone
@pytest.mark.usefixtures("on_running_stack")
def test_a_broker_with_little_cpu_is_the_limit(hydra, place) -> None:
    command = hydra(
        "kafka", "--total_sub_apps=1", "--clients_per_app=20", "--test_duration=6", "--threshold=e2e_p90<250ms",
        "--output=result.json",
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    with Quota(place.kafka(), run_s=0.1, stand_s=0.9) as quota:
        command.wait_for("draining")
    assert quota.seen_standing >= 3
    code = command.end()
    result = place.record()["result"]
    bottleneck = result["bottleneck"]
    if code == 3:
        skip_if_others_use_the_machine(result["totals"])
    assert code == 1, command.text
    assert (bottleneck["limit"], bottleneck["harness_limited"]) == ("broker", False)
    assert bottleneck["part"] == "its CPU time"
    assert any("it was stopped in" in text for text in bottleneck["evidence"])
    assert any("e2e_p90<250ms was broken" in text for text in bottleneck["symptoms"])
    assert result["verdict"] == "fail"
    assert result["totals"]["records_lost"] == 0


@pytest.mark.parametrize(
    ("quota", "evidence"),
    [
        ("consumer_byte_rate", r"a quota of the brokers held 3 of 3 clients back, \S+ for [\d.]+ s in all"),
        ("producer_byte_rate", r"a quota of the brokers held the publisher back for [\d.]+ s in all"),
    ],
)
@pytest.mark.usefixtures("on_running_stack")
def test_a_quota_is_the_limit_and_not_the_broker(hydra, place, external_kafka, quota, evidence) -> None:
    """300 kB/s for each client, where each may have a tenth of that."""
    with client_quota(external_kafka, **{quota: 30_000.0}):
        command = hydra(
            *SMALL,
            "--test_duration=4",
            "--msg_size=300",
            "--drain_timeout=3",
            "--threshold=e2e_p99<500ms",
            "--audit=never",
        )
        command.end()
    bottleneck = place.record()["result"]["bottleneck"]
    assert bottleneck["limit"] == "quota", (bottleneck, command.text)
    assert re.fullmatch(evidence, bottleneck["evidence"][0])
    assert bottleneck["symptoms"]
