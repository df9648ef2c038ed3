"""What libraries tell in their logs only."""

from __future__ import annotations

import inspect
import logging
import threading

import pytest
from kafka.errors import TopicAuthorizationFailedError
from kafka.producer import sender

from hydra.clients import library_log
from hydra.clients.kafka_python import KafkaPythonPublisher


@pytest.mark.parametrize(("retried", "failed"), [(False, 1), (True, 0)])
def test_a_refusal_proves_nothing_once_kafka_python_has_sent_again(sending, retried, failed):
    """The first try may have been appended, and its ack lost, before the right to write was taken away."""
    publisher = KafkaPythonPublisher(sending("k:9092", "t", driver="kafka-python"))
    ledger = publisher._ledger
    library_log.listen_to_kafka_python("the-publisher", ledger)
    telling = "%s: Got error produce response on topic-partition %s, retrying (%s attempts left): %s%s"
    assert telling in inspect.getsource(sender), "kafka-python says it in other words"
    if retried:
        arguments = (telling, "<Sender>", ("t", 0), 9, "NodeNotReadyError", "")
        log = logging.getLogger("kafka.producer.sender").warning
        thread = threading.Thread(target=log, args=arguments, name="the-publisher-network-thread")
        thread.start()
        thread.join()
    ledger.attempt(0, 1)
    publisher._waiting = 1
    publisher._on_error(0, 0, TopicAuthorizationFailedError())
    count = publisher.poll()
    assert (count.acked, count.failed, publisher._waiting) == (0, failed, 0)
    assert [refusal.error for refusal in count.refusals] == ["TOPIC_AUTHORIZATION_FAILED"]
