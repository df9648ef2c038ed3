"""From options to what each task is told."""

import pytest

from hydra.endpoints import Endpoint
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunIdentity
from hydra.signals.order_from_options import delivery_timeout_s, publisher_configuration, subscriber_configuration

RUN = RunIdentity("run-1", topic="run-1", bootstrap_servers="127.0.0.1:9092")


def test_the_publisher_is_told_rate_size_batch_and_acks():
    options = Options(msg_rate=50.0, test_duration=3.0, msg_size=20, msg_batch=10, acks="all", partitions=4)
    told = publisher_configuration(options, RUN)
    assert (told.run_id, told.topic, told.bootstrap_servers) == ("run-1", "run-1", "127.0.0.1:9092")
    assert (told.msg_rate_per_s, told.test_duration_s, told.msg_size_bytes, told.msg_batch_records) == (50, 3, 20, 10)
    assert (told.batch_size_bytes, told.acks, told.partitions, told.driver) == (200, "all", 4, "confluent")


@pytest.mark.parametrize(("drain_timeout", "expected_s"), [(0.0, 1.0), (0.5, 1.0), (30.0, 30.0)])
def test_a_record_may_wait_for_its_ack_as_long_as_the_drain_does(drain_timeout, expected_s):
    assert delivery_timeout_s(Options(drain_timeout=drain_timeout)) == expected_s


def test_a_subscriber_is_told_its_clients_leaders_and_fetch_settings():
    clients = (ClientAssignment("sub-0-client-0", "run-1-sub-0-client-0", (PartitionStart(0, 0),)),)
    leaders = (PartitionLeader(0, 1, Endpoint("127.0.0.1", 9092)),)
    options = Options(
        consumer_max_buffer_size=77, fetch_min_bytes=3, fetch_wait_max_ms=9, fetch_pace_ms=2.0, sub_driver="confluent"
    )
    told = subscriber_configuration(options, RUN, clients, leaders)
    assert (told.clients, told.leaders, told.driver) == (clients, leaders, "confluent")
    assert (told.max_buffer_bytes, told.fetch_min_bytes, told.fetch_wait_max_ms, told.fetch_pace_ms) == (77, 3, 9, 2.0)
