"""Whole runs on the embedded Kafkas between the oldest and the newest: each driver, one command, and a stack."""

from __future__ import annotations

import pytest

from hydra.options.kafka_versions import BUNDLED_VERSION, OLD_VERSION, VERSIONS, ZOOKEEPERS

pytestmark = [pytest.mark.integration, pytest.mark.release, pytest.mark.timeout(400)]

EARLIER = [version for version in VERSIONS if version not in {BUNDLED_VERSION, OLD_VERSION}]
LOAD = (
    "--total_sub_apps=1", "--clients_per_app=3", "--msg_rate=200", "--test_duration=1", "--warmup=0",
    "--output=result.json",
)  # fmt: skip


@pytest.mark.parametrize("version", EARLIER)
def test_one_command_on_a_machine_where_nothing_is_up(hydra, place, version):
    hydra("kafka", f"--kafka_version={version}", *LOAD).end_well()
    record = place.record()
    known = record["cluster"]["kafka_version"]
    assert (record["cluster"]["kafka"], known) == ("embedded", version[: len(known)])
    totals = record["result"]["totals"]
    assert (totals["records_acked"], totals["records_lost"], totals["records_delivered"]) == (200, 0, 600)
    place.assert_nothing_left()


@pytest.mark.parametrize("version", EARLIER)
def test_runs_of_all_kinds_on_a_stack_that_stays(hydra, place, version):
    try:
        up = hydra("local", "up", f"--kafka_version={version}")
        assert up.end(150) == 0, up.errors
        examined = hydra("doctor", f"--kafka_version={version}")
        assert examined.end(60) == 0, examined.text
        for flags in (
            ("--pub_driver=wire", "--acks=all", "--compression=zstd"),
            ("--pub_driver=kafka-python", "--sub_driver=kafka-python"),
            ("--sub_driver=confluent", "--partitions=3"),
            ("--group_mode=group",),
            ("--idempotence=yes", "--acks=all", "--pub_driver=wire", "--retention_ms=60000"),
        ):
            hydra("kafka", f"--kafka_version={version}", *LOAD, *flags).end_well()
            totals = place.record()["result"]["totals"]
            assert (totals["records_lost"], totals["records_delivered"]) == (0, 600), flags
        refused = hydra("kafka", f"--kafka_version={version}", *LOAD, "--group_mode=group", "--group_protocol=consumer")
        assert refused.end(60) == 2, refused.text
        assert "--group_protocol=consumer" in refused.complaint
        left = hydra("clean")
        assert (left.end(60), left.text) == (0, "nothing is left by runs that are over")
    finally:
        assert hydra("local", "down").end(60) == 0
    place.assert_nothing_left()


@pytest.mark.parametrize("version", [version for version in EARLIER if version not in ZOOKEEPERS])
def test_secured_and_of_several_brokers(hydra, place, version):
    hydra(
        "kafka", f"--kafka_version={version}", *LOAD, "--kafka_security=sasl_ssl:scram-sha-512", "--brokers=3",
        "--replication_factor=3", "--min_insync_replicas=2", "--acks=all",
    ).end_well()  # fmt: skip
    assert place.record()["result"]["totals"]["records_delivered"] == 600
    place.assert_nothing_left()
