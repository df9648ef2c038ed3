"""The oldest records of a topic: asked for as the admin asks, and given up where they cannot be read."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest
from kafka import TopicPartition
from kafka.errors import TopicAuthorizationFailedError, UnsupportedCodecError

from hydra.accounting.evidence import OffsetRange
from hydra.broker import admin_client
from hydra.broker.first_values import first_values
from hydra.errors import BrokerError
from hydra.options.kafka_access import KafkaAccess

ACCESS = KafkaAccess("SASL_PLAINTEXT", "PLAIN", "me", "secret")
LOG = {0: OffsetRange(5, 9), 1: OffsetRange(3, 3)}


@pytest.fixture
def consumers(monkeypatch):
    """Stands in for KafkaConsumer: has those that were ``made``, which have a record each, or this ``error``."""

    class Consumer:
        made: ClassVar[list] = []
        error = None

        def __init__(self, kafka_client, **settings):
            kafka_client(**settings).close()
            self.settings, self.places, self.closed = settings, {}, False
            self.made.append(self)

        def assign(self, partitions):
            self.places = dict.fromkeys(partitions)

        def seek(self, partition, offset):
            self.places[partition] = offset

        def poll(self, timeout_ms):
            if self.error is not None:
                raise self.error
            return {place: [SimpleNamespace(value=b"v")] for place in self.places}

        def close(self):
            self.closed = True

    monkeypatch.setattr(admin_client, "KafkaConsumer", Consumer)
    return Consumer


def read():
    return first_values("a:1,b:2", ACCESS, "t", LOG, 3.0)


def test_it_is_let_in_as_the_admin_is_and_makes_no_topic(consumers):
    assert read() == {0: b"v"}
    (consumer,) = consumers.made
    wanted = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_password": "secret"}
    assert wanted.items() <= consumer.settings.items()
    assert consumer.settings["bootstrap_servers"] == ["a:1", "b:2"]
    assert consumer.settings["allow_auto_create_topics"] is False
    assert (consumer.places, consumer.closed) == ({TopicPartition("t", 0): 5}, True)


@pytest.mark.parametrize(
    "error", [TopicAuthorizationFailedError({"t"}), UnsupportedCodecError(), RuntimeError("lz4f"), OSError()]
)
def test_records_that_cannot_be_read_are_an_error_of_the_broker(consumers, error):
    consumers.error = error
    with pytest.raises(BrokerError, match=rf"records of the topic t cannot be read \({type(error).__name__}\)"):
        read()
    assert consumers.made[0].closed


def test_where_nobody_answers_no_thread_is_left():
    with pytest.raises(BrokerError, match="records of the topic t cannot be read"):
        first_values("127.0.0.1:1", KafkaAccess(), "t", LOG, 1.0)
    assert not [thread for thread in threading.enumerate() if "kafka" in thread.name]
