"""Workloads of the OpenMessaging Benchmark: what they become, and what of them cannot be."""

from pathlib import Path

import pytest
import yaml

from hydra.errors import UsageError
from hydra.options.omb_workload import parse_workload
from hydra.options.options import Options, merged

FOLDER = Path(__file__).parent / "omb_workloads"
ONE = {
    "topics": 1, "partitionsPerTopic": 1, "messageSize": 100, "subscriptionsPerTopic": 1, "consumerPerSubscription": 1,
    "producersPerTopic": 1, "producerRate": 1000, "testDurationMinutes": 1,
}  # fmt: skip


def options(workload):
    return merged(workload.options)


def public(name):
    return parse_workload(yaml.safe_load((FOLDER / name).read_text()), name)


def test_one_topic_one_producer_one_consumer_is_the_same_load():
    found = public("16-partitions-1k.yaml")
    assert found.name == "one topic of 16 partitions, 1 KiB"
    assert found.notes == ()
    assert found.payload_file == "payload/payload-1Kb.data"
    assert options(found) == Options(
        partitions=16, msg_size=1024, total_sub_apps=1, clients_per_app=1, msg_rate=50_000.0, test_duration=900.0
    )


def test_ten_topics_are_one_with_as_many_partitions_and_consumers():
    found = public("10-topics-2-consumers.yaml")
    assert options(found) == Options(
        partitions=30, msg_size=100, total_sub_apps=2, clients_per_app=10, group="shared", payload="random",
        msg_rate=1000.0, test_duration=600.0,
    )  # fmt: skip
    assert found.notes == (
        "topics: 10: one topic with all 30 partitions",
        "producersPerTopic: one publisher sends what 10 producers would, at the same rate",
        "randomBytesRatio: 0.5: all bytes are random but the first 14",
    )


def test_without_a_rate_it_asks_for_the_highest_one():
    found = public("3-producers-any-rate.yaml")
    assert found.finds_rate
    assert options(found).msg_rate == 10_000  # where OMB begins
    assert options(found).client_count == 1
    assert "consumerPerSubscription is not given: 1" in found.notes
    assert parse_workload({**ONE, "producerRate": 0, "producerStartRate": 500}, "f").options["msg_rate"] == 500


def test_a_backlog_is_another_test_and_is_refused():
    with pytest.raises(UsageError, match=r"backlog.yaml: consumerBacklogSizeGB: .*there is no backlog to drain"):
        public("backlog.yaml")


@pytest.mark.parametrize(
    ("subscriptions", "each", "clients", "group"),
    [(1, 1, 1, "own"), (1, 4, 4, "shared"), (5, 1, 5, "own"), (1, 100, 100, "shared"), (3, 7, 3, "own")],
)
def test_subscriptions_become_clients_with_as_many_deliveries(subscriptions, each, clients, group):
    found = parse_workload({**ONE, "subscriptionsPerTopic": subscriptions, "consumerPerSubscription": each}, "f")
    made = options(found)
    assert (made.client_count, made.group) == (clients, group)
    assert (made.client_count if group == "own" else 1) == subscriptions
    assert bool(found.notes) == (subscriptions > 1 and each > 1)


def test_what_is_not_as_there_is_named():
    given = {**ONE, "keyDistributor": "KEY_ROUND_ROBIN", "producersPerTopic": 4, "colour": "blue"}
    assert set(parse_workload(given, "f").notes) == {
        "keyDistributor: KEY_ROUND_ROBIN: records have no key; partitions take turns",
        "producersPerTopic: one publisher sends what 4 producers would, at the same rate",
        "colour: not known, without effect",
    }


def test_a_warm_up_is_one():
    assert parse_workload({**ONE, "warmupDurationMinutes": 1}, "f").options["warmup"] == 60


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"testDurationMinutes": "${ombTestDuration:-10}"}, "f: testDurationMinutes must be a whole number, and is"),
        ({"topics": -1}, "f: topics must be a whole number, and is '-1'"),
        ({"topics": True}, "f: topics must be a whole number"),
        ({"topics": 1.5}, "f: topics must be a whole number"),
        ({"partitionsPerTopic": 100_000}, "f: partitionsPerTopic = '100000' must be"),
        ({"messageSize": 10}, "f: messageSize = '10' must be"),
        ({"producerRate": 10**9}, "f: producerRate = '1000000000' must be"),
        ({"consumerPerSubscription": 10**7}, "f: consumerPerSubscription = '1000000' must be"),
        ({"testDurationMinutes": 10_000}, "f: testDurationMinutes = '600000' must be"),
        ({"producerIncrementRate": 5}, "f: producerIncrementRate: Hydra sends at one rate"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(change, told):
    with pytest.raises(UsageError) as refused:
        parse_workload({**ONE, **change}, "f")
    assert refused.value.message.startswith(told)


@pytest.mark.parametrize("document", [None, "text", [1], {1: 2}, 5])
def test_what_is_no_workload_is_told(document):
    with pytest.raises(UsageError, match="f is not a workload of OMB"):
        parse_workload(document, "f")
