"""Whole runs on an embedded Kafka of three brokers, one of which dies."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from hydra.broker.admin import KafkaTopicAdmin
from hydra.kafkatest.leftovers import run_id_in
from tests.commands import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.release, pytest.mark.timeout(300)]

LOAD = (
    "--total_sub_apps=1", "--clients_per_app=3", "--msg_rate=150", "--partitions=3", "--warmup=0", "--acks=all",
    "--output=result.json",
)  # fmt: skip
SMALL = ("--brokers=3", "--broker_heap_mb=256")
FENCED_AFTER_MS = 5000
"""At least so long nobody leads a dead broker's partitions: Kafka notices after 9 s without one of its heartbeats."""


def kill_broker(place, node_id: int) -> None:
    victim = next(process for process in place.processes() if is_broker(process, node_id))
    victim.kill()
    wait_until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE, 10, "the broker is dead")


def is_broker(process: psutil.Process, node_id: int) -> bool:
    words = process.cmdline()
    return "kafka.Kafka" in words and words[-1].endswith(f"/{node_id}/server.properties")


@pytest.mark.parametrize(
    "more", [(), ("--client_rack=r2", "--kafka_security=sasl_ssl:scram-sha-512")], ids=["plain", "secured_client_rack"]
)
def test_one_of_three_that_dies_costs_time_and_no_record(hydra, place, more):
    copies = ("--replication_factor=3", "--min_insync_replicas=2", "--threshold=e2e_p99<2000ms")
    command = hydra("kafka", *SMALL, *LOAD, *copies, *more, "--test_duration=20")
    command.wait_for(r"delivered [1-9]", 150)
    kill_broker(place, 2)
    code = command.end(150)
    record = place.record()
    result, totals = record["result"], record["result"]["totals"]
    # What was led by the dead one waited for another leader.
    assert 2 in {leader["node_id"] for leader in record["order"]["leaders"]}
    assert result["latency"]["e2e"]["max_ms"] > FENCED_AFTER_MS
    assert max(point["e2e_max_ms"] for point in result["points"]) > FENCED_AFTER_MS
    assert (totals["records_acked"], totals["records_delivered"]) == (3000, 9000)
    assert (totals["records_lost"], totals["records_duplicated_in_log"], totals["clients_missing"]) == (0, 0, 0)
    told = "broker 2 of the embedded Kafka died: it was killed by SIGKILL"
    assert [note for note in result["notes"] if note.startswith(told)]
    assert [line for line in command.errors if told in line]
    # Until it died, everyone read from the replica in that rack.
    followed = "client_rack=r2: 3 of 3 clients read from a follower (of broker 2)"
    assert (followed in result["notes"]) == bool(more)
    # Late is what the load was: the broker's, unless this machine had no room for Hydra.
    (threshold,) = result["thresholds"]
    assert threshold["kept"] is False
    limit, verdict = result["bottleneck"]["limit"], result["verdict"]
    assert (code, verdict, limit) in {(1, "fail", "broker"), (3, "indeterminate", "harness")}, result["reasons"]


def test_too_few_replicas_in_sync_are_named_before_the_first_record(hydra, place):
    try:
        up = hydra("local", "up", *SMALL, "--broker_property=default.replication.factor=3")
        assert up.end(150) == 0, up.errors
        servers = next(line.split()[1] for line in up.output if line.strip().startswith("Kafka "))
        kill_broker(place, 3)
        with contextlib.closing(KafkaTopicAdmin(servers)) as admin:
            wait_until(lambda: set(admin.check().brokers) == {1, 2}, 60, "the cluster knows that a broker is gone")
            refused = hydra("kafka", *LOAD, f"--bootstrap_servers={servers}", "--min_insync_replicas=3")
            assert refused.end(90) == 2
            assert "--acks=all needs 3 replicas in sync (min.insync.replicas)" in refused.complaint
            assert "has 2: no record would be acknowledged" in refused.complaint
            assert not [line for line in refused.errors if "sending" in line]
            enough = ("--min_insync_replicas=2", "--test_duration=2")
            hydra("kafka", *LOAD, f"--bootstrap_servers={servers}", *enough).end_well()
            assert place.record()["result"]["totals"]["records_acked"] == 300
            assert not [name for name in admin.topics() if run_id_in(name)]
    finally:
        assert hydra("local", "down").end() == 0
