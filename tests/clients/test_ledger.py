"""What a publisher says became of its records, and the values that it gives them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra.accounting.stats import Refusal
from hydra.clients.confluent_publisher import ConfluentPublisher, _Block, queue_records
from hydra.clients.confluent_publisher import settings as librdkafka_settings
from hydra.clients.kafka_python import publisher_settings
from hydra.clients.ledger import PROOFS_OF_REFUSAL, DeliveryLedger, RecordValues, sequence_of, timed_out
from hydra.clients.wire_batches import PartitionQueue, PendingBatch
from hydra.clients.wire_publisher import WirePublisher
from hydra.options.options import Options
from hydra.options.order import RunOrder, TopicFacts
from hydra.records.identity import IDENTITY, LAYOUT_VERSION, run_tag
from tests.examples import examples

TOO_LARGE, TIMED_OUT, PURGED = 10, -192, -152
WHY = {(10, "MESSAGE_TOO_LARGE"), (0, "Local: Message timed out"), (0, "Local: Purged in queue")}


@pytest.mark.parametrize("size", [14, 15, 100])
def test_values_carry_identity_and_zeros(sending, size):
    values = RecordValues(sending("h:1", "t", msg_size=size)).values(7, 3)
    assert [len(value) for value in values] == [size] * 3
    assert [IDENTITY.unpack_from(value) for value in values] == [
        (run_tag("run-1"), LAYOUT_VERSION, seq) for seq in (7, 8, 9)
    ]
    assert [sequence_of(value) for value in values] == [7, 8, 9]
    assert all(not any(value[14:]) for value in values)


def test_the_ledger_counts_each_record_once():
    ledger = DeliveryLedger(2)
    ledger.attempt(0, 10)
    ledger.attempt(0, 4)
    ledger.attempt(1, 5)
    ledger.ack(0, 0, 5)
    ledger.ack(0, 3, 6)
    ledger.fail(0, 8)
    ledger.fail(0, 8)
    first, second = ledger.outcomes()
    assert (first.attempted, first.acked, first.failed) == (10, ((0, 6),), ((8, 9),))
    assert (second.attempted, second.acked, second.failed) == (5, (), ())
    assert (ledger.acked, ledger.failed) == (6, 1)


def test_what_was_timed_is_taken_once():
    ledger = DeliveryLedger(1)
    ledger.time_acks([(0.002, 3), (-0.1, 1), (9.0, 0)])
    found = ledger.take_ack_latencies()
    assert (len(found), found.max_us, found.negative, min(found.counts.values())) == (4, 2000, 0, 1)
    assert len(ledger.take_ack_latencies()) == 0


def test_a_batch_knows_how_long_the_records_of_each_millisecond_wait():
    batch = PendingBatch(PartitionQueue(0, idempotent=False), 0, 10.0)
    batch.stretches += [(3, 500), (2, 504)]
    waits = batch.waits(10.020)
    assert [records for _, records in waits] == [3, 2]
    assert [seconds for seconds, _ in waits] == pytest.approx([0.020, 0.016])


def test_the_ledger_tells_why_the_most_frequent_reason_first():
    ledger = DeliveryLedger(1)
    ledger.blame("connection lost", 2)
    ledger.blame(TOO_LARGE, 1)
    ledger.blame(TOO_LARGE, 4)
    assert ledger.count().refusals == (Refusal("MESSAGE_TOO_LARGE", 5, TOO_LARGE), Refusal("connection lost", 2))


@pytest.mark.parametrize(
    ("acks", "wanted", "there", "error"),
    [("all", 2, 1, 19), ("1", 2, 1, "late"), ("all", 1, 1, "late"), ("all", None, None, "late")],
)
def test_a_time_out_for_want_of_replicas_says_so(sending, acks, wanted, there, error):
    facts = TopicFacts(min_insync_replicas=wanted, in_sync_replicas=there)
    assert timed_out(dataclasses.replace(sending("h:1", "t", acks=acks), topic_facts=facts), "late") == error


class Report:
    """A delivered message, as far as a report needs one."""

    def __init__(self, value):
        self._value = value

    def value(self):
        return self._value


@given(errors=st.lists(st.sampled_from([None, None, None, TOO_LARGE, TIMED_OUT, PURGED]), min_size=1, max_size=30))
@settings(max_examples=examples(100))
def test_a_block_splits_exactly(errors):
    order = _order()
    publisher = ConfluentPublisher(order)
    block = _Block(publisher, 0, 100, len(errors))
    publisher._ledger.attempt(0, 100 + len(errors))
    values = RecordValues(order).values(100, len(errors))
    for error, value in zip(errors, values, strict=True):
        assert publisher.outcomes()[0].acked == ()
        block.reported(None if error is None else KafkaError(error), Report(value))
    outcome = publisher.outcomes()[0]
    expected = {kind: [100 + at for at, error in enumerate(errors) if error == kind] for kind in (None, TOO_LARGE)}
    assert list(itertools.chain(*(range(*each) for each in outcome.acked))) == expected[None]
    assert list(itertools.chain(*(range(*each) for each in outcome.failed))) == expected[TOO_LARGE]
    count = publisher.poll()
    assert (count.acked, count.failed) == (len(expected[None]), len(expected[TOO_LARGE]))
    refused = sum(error is not None for error in errors)
    assert sum(refusal.records for refusal in count.refusals) == refused
    assert all((refusal.code, refusal.error) in WHY for refusal in count.refusals)
    assert bool(count.error) == any(error is not None for error in errors)


def test_after_a_lost_connection_a_refusal_proves_nothing():
    order = _order()
    publisher = ConfluentPublisher(order)
    publisher._on_error(KafkaError(KafkaError._TRANSPORT))
    _Block(publisher, 0, 0, 1).reported(KafkaError(TOO_LARGE), Report(RecordValues(order).values(0, 1)[0]))
    assert publisher.outcomes()[0].failed == ()


def test_no_time_out_and_no_local_error_is_a_proof():
    assert all(code > 0 for code in PROOFS_OF_REFUSAL)
    in_doubt = {
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN,
    }
    assert not in_doubt & PROOFS_OF_REFUSAL


@pytest.mark.parametrize(("acks", "idempotent"), [("0", False), ("1", False), ("all", True)])
def test_idempotence_follows_acks(sending, acks, idempotent):
    made = librdkafka_settings(sending("h:1", "t", acks=acks))
    assert (made["acks"], made["enable.idempotence"]) == (acks, idempotent)
    assert made["batch.size"] == 1400
    assert made["message.timeout.ms"] == 20_000


def test_the_queue_is_bounded_in_bytes(sending):
    assert queue_records(sending("h:1", "t")) == 100_000
    assert queue_records(sending("h:1", "t", msg_rate=1e9)) == 2_000_000
    assert queue_records(sending("h:1", "t", msg_size=1 << 20)) < 1100


@pytest.mark.parametrize("takes", [None, 3000, 500])
def test_every_driver_cuts_its_batches_to_what_the_topic_takes(sending, takes):
    order = dataclasses.replace(sending("h:1", "t", msg_size=100), topic_facts=TopicFacts(max_message_bytes=takes))
    limit = min(10_000, takes or 10_000)
    assert librdkafka_settings(order)["batch.size"] == limit
    assert publisher_settings(order, 1.0)["batch_size"] == limit
    publisher = WirePublisher(order)
    batches = [PartitionQueue(0, idempotent=False)]
    batches[0].add(publisher._writer, publisher._batch_bytes, 0, 1000, now_s=0.0, at_ms=0)
    sizes = [len(batch.encode(publisher._writer, -1)) for batch in batches[0].waiting]
    publisher.close()
    assert limit - 120 < max(sizes) <= limit


def _order():
    return RunOrder("run-1", Options(drain_timeout=10.0), "h:1")
