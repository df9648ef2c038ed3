"""The order of a run: which client reads what, and what follows from the options."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra.options.options import Options
from hydra.options.order import (
    MAX_BATCH_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_SAMPLES,
    RunOrder,
    TopicFacts,
    TopicIdentity,
    assign,
    make_order,
)
from hydra.records.send_plan import Partitioner, SendPlan

SIZES = st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(1, 20))
"""(tasks, clients of each, partitions)."""


def assigned(sizes, **options):
    tasks, clients_per_app, partitions = sizes
    task_ids = [f"task-{number}" for number in range(tasks)]
    clients = assign("run-1", Options(clients_per_app=clients_per_app, partitions=partitions, **options), task_ids)
    assert Counter(client.task_id for client in clients) == dict.fromkeys(task_ids, clients_per_app)
    return clients


GROUPS = st.sampled_from(["own", "shared"])


@given(SIZES, GROUPS)
def test_names_are_unique_and_every_partition_is_read_from_its_start(sizes, group):
    clients = assigned(sizes, group=group)
    assert len({client.name for client in clients}) == len(clients)
    assert all(start.offset == 0 for client in clients for start in client.starts)


@given(SIZES)
def test_own_groups_read_a_full_copy_each(sizes):
    clients = assigned(sizes)
    assert len({client.group_id for client in clients}) == len(clients)
    assert all([start.partition for start in client.starts] == list(range(sizes[2])) for client in clients)


@given(SIZES)
def test_a_shared_group_reads_every_partition_exactly_once(sizes):
    clients = assigned(sizes, group="shared")
    assert {client.group_id for client in clients} == {"run-1"}
    assert Counter(start.partition for client in clients for start in client.starts) == dict.fromkeys(
        range(sizes[2]), 1
    )


@given(SIZES)
def test_a_shared_group_is_assigned_evenly(sizes):
    loads = [len(client.starts) for client in assigned(sizes, group="shared")]
    assert max(loads) - min(loads) <= 1


@given(SIZES, GROUPS)
def test_every_group_carries_the_run_id(sizes, group):
    assert all(client.group_id.startswith("run-1") for client in assigned(sizes, group=group))


@given(SIZES, GROUPS)
def test_a_member_of_a_shared_group_is_told_no_partitions_and_one_alone_gets_all(sizes, group):
    clients = assigned(sizes, group=group, group_mode="group")
    assert len({client.group_id for client in clients}) == (1 if group == "shared" else len(clients))
    assert {len(client.starts) for client in clients} == {0 if group == "shared" else sizes[2]}


def test_an_order_holds_the_options_once_and_what_follows_from_them():
    options = Options(
        total_sub_apps=2, clients_per_app=3, msg_rate=250.0, test_duration=4.0, partitions=6, msg_batch=7,
        drain_timeout=12.0,
    )  # fmt: skip
    order = make_order("run-1", options, bootstrap_servers="h:9092", task_ids=["a", "b"], cores=2)
    assert order.options is options
    assert (order.topic, order.bootstrap_servers, order.pace_ms) == ("run-1", "h:9092", 0.75)
    assert (order.send_plan, order.partitioner) == (SendPlan(250.0, 4.0), Partitioner(6, 7))
    assert (order.options.delivery_timeout_s, order.readers, order.has_acks) == (12.0, 6, True)
    assert [client.name for client in order.for_task("b").clients] == [f"sub-1-client-{number}" for number in range(3)]
    assert order.for_task("the-publisher").clients == ()


def test_a_record_may_wait_for_its_ack_for_a_second_at_least():
    assert Options(drain_timeout=0.0).delivery_timeout_s == 1.0


@pytest.mark.parametrize(
    ("duration_s", "every_s"), [(0.5, 1), (1, 1), (1000, 1), (1000.9, 1), (1001, 2), (2000, 2), (86_400, 87)]
)
def test_long_runs_are_sampled_less_often(duration_s, every_s):
    assert RunOrder("r", Options(test_duration=duration_s)).sample_every_s == every_s
    assert duration_s / every_s <= MAX_SAMPLES + 1


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (TopicIdentity("a", (0,)), TopicIdentity("a", (3,)), True),
        (TopicIdentity("a", (0,)), TopicIdentity("b", (0,)), False),
        (TopicIdentity("a", (0,)), TopicIdentity("", (0,)), True),
        (TopicIdentity("", (4, 2)), TopicIdentity("", (4, 3)), True),
        (TopicIdentity("", (4, 2)), TopicIdentity("", (0, 2)), False),
        (TopicIdentity(), TopicIdentity("b", (0,)), True),
    ],
)
def test_a_topic_that_was_made_again_is_another_one(before, now, same):
    assert before.is_same(now) is same


BIG = {"msg_size": 100_000, "msg_batch": 100}
LARGE = {"msg_size": 2_000_000, "msg_batch": 1}


@pytest.mark.parametrize(
    ("options", "topic_takes", "topic_set", "batch"),
    [
        ({}, None, None, 1400),
        ({}, 1000, None, 1000),
        ({"batch_size": 1}, 1000, None, 82),  # one record always fits
        ({"batch_size": 1}, 50, None, 82),
        (BIG, 10_000_000, 10_000_000, 10_000_000),
        (BIG, None, 10_000_000, MAX_MESSAGE_BYTES),  # nobody may read it: Kafka's own default
        ({**BIG, "msg_batch": 1000}, MAX_BATCH_BYTES, MAX_BATCH_BYTES, MAX_BATCH_BYTES),
        ({**BIG, "broker_property": ("message.max.bytes=500000",)}, 500_000, None, 500_000),
        ({**BIG, "bootstrap_servers": "k:9092"}, 200_000, None, 200_000),
        ({**BIG, "bootstrap_servers": "k:9092"}, 20_000_000, None, 10_000_000),
        (LARGE, 2_000_074, 2_000_074, 2_000_074),
        ({**LARGE, "bootstrap_servers": "k:9092"}, 2_000_074, 2_000_074, 2_000_074),
        ({"msg_size": 32_000_000, "msg_batch": 1}, 32_000_074, 32_000_074, 32_000_074),
    ],
)
def test_batches_and_topic_follow_one_rule(options, topic_takes, topic_set, batch):
    order = RunOrder("r", Options(**options), topic_facts=TopicFacts(max_message_bytes=topic_takes))
    assert (order.topic_max_message_bytes, order.batch_bytes) == (topic_set, batch)


@pytest.mark.parametrize(
    ("acks", "idempotence", "is_idempotent"),
    [("1", "auto", False), ("0", "no", False), ("all", "auto", True), ("all", "yes", True), ("all", "no", False)],
)
def test_a_publisher_is_idempotent_where_kafkas_own_is_unless_told_otherwise(acks, idempotence, is_idempotent):
    assert RunOrder("run-1", Options(acks=acks, idempotence=idempotence)).is_idempotent is is_idempotent


def test_a_topic_is_made_with_what_was_asked_for_and_nothing_else():
    assert RunOrder("r", Options()).topic_configs == {}
    asked = RunOrder("r", dataclasses.replace(Options(), retention_ms=5000, min_insync_replicas=2)).topic_configs
    assert asked == {"retention.ms": "5000", "segment.ms": "1000", "min.insync.replicas": "2"}
