"""Searches as their user runs them: a limit that was put there is found, and none is claimed where none was reached."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MSG_SIZE = 1000
CAPACITY_BYTES_PER_S = 3_000_000
OVERHEAD_BYTES = 12
"""What a record costs on the wire beside its value, its share of the batch's and the request's head included."""

DURATION_S = 2
LONGEST_P50_S = 0.2


@pytest.mark.release
@pytest.mark.alone
def test_maxrate_finds_the_rate_of_a_proxy_in_front_of_the_broker(hydra, place, kafka_behind_proxy):
    """At r records/s through a proxy for w the middle one of a run of d seconds waits for d/2 x (r/w - 1) seconds."""
    capacity = CAPACITY_BYTES_PER_S / (MSG_SIZE + OVERHEAD_BYTES)
    planted = capacity * (1 + 2 * LONGEST_P50_S / DURATION_S)
    # From here doubling and bisection come to a bracket around the limit, and not to a value that is the limit itself.
    start = round(planted / 1.045, -1)
    kafka_behind_proxy.bytes_per_s = CAPACITY_BYTES_PER_S
    command = hydra(
        "kafka", "maxrate", f"--bootstrap_servers=127.0.0.1:{kafka_behind_proxy.port}", "--total_sub_apps=1",
        "--clients_per_app=2", f"--msg_size={MSG_SIZE}", f"--test_duration={DURATION_S}",
        f"--threshold=e2e_p50<{1000 * LONGEST_P50_S:g}ms", "--fetch_pace_ms=0", f"--start={start:g}", "--precision=10",
        "--results=s", "--audit=never",
    )  # fmt: skip
    code = command.end(280)
    answer = place.record("s/sweep.json")["answers"][0]["answer"]
    print("\n" + command.text)
    assert kafka_behind_proxy.full_reads > 10
    assert kafka_behind_proxy.throttled_bytes > 10_000_000
    assert 4 < answer["trials"] <= 16
    if answer["limited_by"] == "harness":
        assert code == 3
        pytest.skip(f"others have this machine: {answer['reason']}")
    assert answer["best"] == pytest.approx(planted, rel=0.07)
    low, high = answer["interval"]
    assert low <= planted <= high
    assert (code, answer["limited_by"], answer["confirmed"]) == (0, "broker", True)


@pytest.mark.release  # its kind at other levels: tests/sweep/test_search.py, tests/kafkatest/test_latency_and_limits.py
@pytest.mark.usefixtures("on_running_stack")
def test_on_a_broker_without_a_limit_the_clients_are_the_limit_and_it_says_so(hydra, place):
    command = hydra(
        "kafka", "maxrate", "--sub_driver=kafka-python", "--pub_driver=kafka-python", "--total_sub_apps=1",
        "--clients_per_app=4", "--test_duration=1", "--start=4000", "--max_runs=5", "--drain_timeout=2",
        "--results=s", "--warmup=0",
    )  # fmt: skip
    code = command.end(280)
    print("\n" + command.text)
    assert code == 3, command.errors
    answer = place.record("s/sweep.json")["answers"][0]["answer"]
    assert answer["limited_by"] == "harness"
    assert "at least" in command.text
