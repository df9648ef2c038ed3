"""A topic that is there: what of it a run cannot have, and what it should know."""

import contextlib

import pytest

from hydra.errors import UsageError
from hydra.options.option_checks import checked
from hydra.options.options import Options, merged
from hydra.options.order import TopicFacts
from hydra.options.topic_limits import check_broker_limit, check_records_fit, check_topic, doubts

THERE = {"topic": "orders", "bootstrap_servers": "h:1"}
PLAIN = TopicFacts(cleanup_policy="delete", retention_ms=604_800_000, retention_bytes=-1, compression_type="producer")


def options(**changes):
    return Options(**{**THERE, **changes})


@pytest.mark.parametrize(
    ("changes", "facts", "text"),
    [
        ({"partitions": 6}, PLAIN, "--partitions=6 does not go with --topic=orders, which has 3"),
        ({}, TopicFacts(cleanup_policy="compact,delete"), "brokers refuse records without a key"),
        (
            {"group_protocol": "consumer", "group": "shared", "sub_driver": "confluent"},
            PLAIN,
            "needs a partition for each of 1000 clients",
        ),
        ({"msg_size": 5000}, TopicFacts(max_message_bytes=4096), "(max.message.bytes of the topic orders)"),
        ({"acks": "all"}, TopicFacts(min_insync_replicas=2, in_sync_replicas=1), "--acks=all needs 2"),
    ],
)
def test_what_the_topic_cannot_be_used_for_is_refused(changes, facts, text):
    with pytest.raises(UsageError) as caught:
        check_topic(options(**changes), facts, 3)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("acks", "in_sync", "wanted", "refused"),
    [("all", 1, 2, True), ("all", 2, 2, False), ("1", 1, 2, False), ("all", None, None, False)],
)
def test_a_topic_that_would_acknowledge_nothing_is_refused(acks, in_sync, wanted, refused):
    facts = TopicFacts(min_insync_replicas=wanted, in_sync_replicas=in_sync)
    told = pytest.raises(UsageError, match=r"--acks=all needs 2 replicas in sync.* of the topic has 1: no record")
    with told if refused else contextlib.nullcontext():
        check_records_fit(Options(acks=acks), facts)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"topic": None, "msg_size": 5000}, True),
        ({"topic": None, "msg_size": 2_000_000}, False),  # the run's topic has a limit of its own
        ({"msg_size": 5000}, False),  # that topic may take more than the brokers' default
    ],
)
def test_the_brokers_limit_holds_where_the_topic_has_none_of_its_own(changes, refused):
    told = pytest.raises(UsageError, match=r"the brokers take 4096 \(message.max.bytes\)")
    with told if refused else contextlib.nullcontext():
        check_broker_limit(options(**changes), 4096)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_topic_that_fits_is_taken_with_its_own_partitions(partitions):
    check_topic(options(partitions=partitions), PLAIN, 3)
    check_topic(options(acks="all"), TopicFacts(min_insync_replicas=2, in_sync_replicas=2), 3)
    assert not list(doubts(options(), PLAIN))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"cleanup_policy": None}, "may not be read (DESCRIBE_CONFIGS)"),
        ({"retention_ms": 39_999}, "keeps records for 39.999 s (retention.ms), and sending and draining may take 40 s"),
        ({"retention_bytes": 239_999}, "and the run writes 240,000 to each"),
        ({"compression_type": "zstd"}, "compress anew"),
    ],
)
def test_what_may_spoil_a_run_is_told_with_its_arithmetic(facts, text):
    found = list(doubts(options(), TopicFacts(**{**vars(PLAIN), **facts})))
    assert len(found) == 1
    assert text in found[0]


@pytest.mark.parametrize(
    "facts",
    [
        {"retention_ms": 40_000},
        {"retention_ms": -1},
        {"retention_bytes": 240_000},
        {"compression_type": "uncompressed"},
    ],
)
def test_what_spoils_nothing_is_not_told(facts):
    assert not list(doubts(options(), TopicFacts(**{**vars(PLAIN), **facts})))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bootstrap_servers": None}, "needs --bootstrap_servers"),
        ({"retention_ms": 5000}, "stays as it is"),
        ({"acks": "0", "audit": "never"}, "nobody but the auditor"),
    ],
)
def test_options_that_a_topic_of_others_does_not_go_with(changes, text):
    values = {name: value for name, value in {**THERE, **changes}.items() if value is not None}
    with pytest.raises(UsageError) as caught:
        checked(merged(values))
    assert text in f"{caught.value} {caught.value.hint}"
