"""The verdict: each finding alone, and what outweighs what."""

import dataclasses

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.evidence import Audit, Evidence
from hydra.accounting.latency import LatencyCounts, LatencySummary
from hydra.accounting.result import find_verdict
from hydra.accounting.stats import ClientStats, HostTraffic, ProcessUsage, PublisherStats, Refusal, SubscriberStats
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, RunOrder
from tests.facts import NO_LATENCY, NO_TOTALS

FIGURES = dataclasses.replace(
    NO_TOTALS,
    clients_asked=2,
    clients_ok=2,
    clients_reporting=2,
    clients_expecting=2,
    records_planned=100,
    records_attempted=100,
    records_acked=100,
    records_appended=100,
    records_counted=100,
    records_delivered=200,
    tx_rate_per_s=100.0,
)
BROKEN = ThresholdOutcome("e2e_p99<50ms", "e2e_p99", 75.0, 50.0, "ms", kept=False)
KEPT = ThresholdOutcome("loss==0", "loss", 0.0, 0.0, "deliveries", kept=True)
HARNESS = Bottleneck("harness", True, ("late",), ("the publisher used 99 % of a core",), "ask for a lower rate")
BROKER = Bottleneck("broker", False, ("late",), ("the harness had room",))
PASSED_OVER = "were passed over while they were in the log"
REBALANCED = (
    "2 of 2 clients had their partitions taken away by a rebalance of their group during the run, up to 3 times, and"
    " read on from the offset where they or the group had been"
)
LOSS = {"records_lost": 5, "records_skipped": 5, "records_delivered": 195, "clients_failing": 1}


USAGE = ProcessUsage(0.0, 0, 0.0)
PUBLISHER = PublisherStats(
    run_id="r", task_id="p", planned=100, attempted=100, acked=100, failed=0, unknown=0, queue_full=0,
    send_window_s=1.0, ack_window_s=1.0, lag_max_s=0.0, lag=LatencyCounts(), partitions=(), usage=USAGE,
    traffic=HostTraffic(0.0, 0.0),
)  # fmt: skip
CLIENTS = tuple(ClientAssignment(f"c{number}", "g", (), "sub.1") for number in range(10))


def rebalanced(*times):
    """Subscribers whose clients had their partitions taken away so often."""
    clients = tuple(
        ClientStats(f"c{number}", (), True, 1, 1, 1.0, 0, 0, 0, "", rebalances=count)
        for number, count in enumerate(times)
    )
    return (SubscriberStats("r", "sub.1", clients, USAGE),)


def verdict_of(
    totals=None, *, acks="1", rack=None, bottleneck=None, thresholds=(KEPT,), latency=NO_LATENCY, **evidence
):
    return find_verdict(
        RunOrder("r", Options(acks=acks, msg_rate=100.0, client_rack=rack), clients=CLIENTS),
        dataclasses.replace(Evidence(publisher=PUBLISHER, audit=Audit({})), **evidence),
        dataclasses.replace(FIGURES, **(totals or {})),
        latency,
        bottleneck=bottleneck or Bottleneck("none", harness_limited=False),
        thresholds=thresholds,
    )


def test_a_clean_run_passes():
    assert verdict_of() == ("pass", ("every client received every one of 100 records",), ())
    shared = verdict_of({"records_delivered": 100})
    assert shared == ("pass", ("each of 100 records was received by the client that reads its partition",), ())


@pytest.mark.parametrize(
    ("totals", "changes", "reason"),
    [
        (
            LOSS,
            {},
            "5 of 200 deliveries were lost, to 1 of 2 clients: 5 were passed over while they were in the log",
        ),
        (
            {"records_lost": 8, "records_broker_lost": 8, "clients_failing": 2},
            {},
            "8 of 208 deliveries were lost, to 2 of 2 clients: 8 are not in the broker's log",
        ),
        (
            LOSS | {"records_lost": 6, "records_expired": 1},
            {},
            f"6 of 201 deliveries were lost, to 1 of 2 clients: 1 expired before they were read, 5 {PASSED_OVER}",
        ),
        ({"records_corrupt": 3}, {}, "3 corrupt record batches were received"),
        ({"records_ghost": 3}, {}, "3 received records are not in the log, according to the publisher"),
        ({"offsets_contradicted": 3}, {}, "at 3 offsets a client received another record than others did"),
        ({}, {"audit": Audit({}, corrupt=2)}, "2 record batches in the log are corrupt"),
        ({"records_appended": 98}, {}, "100 records were acked, and the log grew by 98 only"),
        ({}, {"thresholds": (KEPT, BROKEN), "bottleneck": BROKER}, "e2e_p99<50ms is broken: it was 75 ms"),
    ],
)
def test_each_failure_alone_fails_a_run(totals, changes, reason):
    verdict, reasons, _ = verdict_of(totals, **changes)
    assert (verdict, reasons) == ("fail", (reason,))


@pytest.mark.parametrize(
    ("totals", "changes", "reason"),
    [
        (
            {},
            {"publisher": None, "publisher_error": "gone"},
            "the publisher did not report (gone): what it sent is a lower bound",
        ),
        ({}, {"publisher_error": "queue broke"}, "the publisher failed: queue broke"),
        ({}, {"missing": {"sub.1": "its process ended"}}, "10 clients of sub.1 are missing: its process ended"),
        ({"clients_never_started": 4}, {}, "4 clients never started"),
        (
            {"records_lost": 4, "records_unread": 4, "clients_failing": 1},
            {},
            "4 deliveries were still unread when the drain ended",
        ),
        ({"records_unknown": 2}, {}, "2 records were never acknowledged: their fate is unknown"),
        ({"records_failed": 2}, {}, "2 records were refused by the broker"),
        ({"tx_rate_per_s": 10.0}, {}, "the plan was not kept: 10 of 100 records/s were sent"),
        # Sent at the asked rate, and ended before its time by whoever.
        ({"records_planned": 101}, {}, "the plan was not kept: 100 of 101 planned records were sent"),
        ({"clients_reporting": 0, "records_delivered": 0}, {}, "no client reported"),
        ({"records_acked": 0, "records_counted": 0, "records_appended": 0}, {}, "no record reached the broker"),
        (
            {"records_acked": 0, "records_unknown": 100, "records_appended": 97, "records_counted": 97},
            {"acks": "0"},
            "3 records were sent and never reached the log, which acks=0 does not tell the publisher",
        ),
        (
            {"records_acked": 0, "records_unknown": 100, "records_appended": 100, "records_counted": 98},
            {"acks": "0", "audit": Audit({}, foreign=1)},
            "2 records were sent and never reached the log, which acks=0 does not tell the publisher",
        ),
    ],
)
def test_each_doubt_alone_keeps_a_run_from_being_an_answer(totals, changes, reason):
    verdict, reasons, _ = verdict_of(totals, **changes)
    assert (verdict, reasons) == ("indeterminate", (reason,))


@pytest.mark.parametrize(
    ("refusals", "told"),
    [
        ((), ""),
        (
            (Refusal("INVALID_RECORD", 2000, 87), Refusal("connection lost", 1)),
            "; INVALID_RECORD for 2,000 records (one of 2 reasons): a compacted topic",
        ),
        ((Refusal("Local: Message timed out", 2),), "; Local: Message timed out for 2 records"),
        ((Refusal("error 999", 2, 999),), "; error 999 for 2 records: see the broker's log"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(refusals, told):
    publisher = dataclasses.replace(PUBLISHER, refusals=refusals)
    for totals in ({"records_failed": 2}, {"records_unknown": 2}):
        _, reasons, _ = verdict_of(totals | {"tx_rate_per_s": 10.0}, publisher=publisher)
        assert told in reasons[0]
        assert "the plan was not kept" in reasons[1]
        assert reasons[0].endswith(told) or "compacted" in told


def test_what_is_unread_says_what_kept_the_clients():
    clients = tuple(
        ClientStats(f"c{number}", (), True, 1, 1, 1.0, 0, 0, 0, error)
        for number, error in enumerate(["", "FETCH_SIZE", "READ denied", "READ denied"])
    )
    unread = {"records_lost": 4, "records_unread": 4, "clients_failing": 1}
    _, reasons, _ = verdict_of(unread, subscribers=(SubscriberStats("r", "sub.1", clients, USAGE),))
    assert reasons == ("4 deliveries were still unread when the drain ended; 3 of 4 clients had an error: READ denied",)


def test_loss_outweighs_doubts_and_both_are_told():
    verdict, reasons, _ = verdict_of(LOSS | {"records_unknown": 1})
    assert verdict == "fail"
    assert len(reasons) == 2
    assert "were lost" in reasons[0]


def test_a_broken_threshold_of_a_limited_harness_says_nothing_of_the_broker():
    verdict, reasons, _ = verdict_of(bottleneck=HARNESS, thresholds=(BROKEN,))
    assert verdict == "indeterminate"
    assert reasons == (
        "the harness was the limit, not the broker: the publisher used 99 % of a core (ask for a lower rate)",
        "e2e_p99<50ms is broken: it was 75 ms",
    )


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("quota", "a quota was the limit, not the broker: why"),
        ("refusal", "a refusal by the brokers was the limit, not the broker: why"),
        ("network", "the network was the limit, not the broker: why"),
        ("unknown", "who was the limit is not known: why"),
    ],
)
def test_a_threshold_that_the_broker_did_not_break_is_no_failure(limit, told):
    bottleneck = Bottleneck(limit, False, ("late",), ("why",))
    verdict, reasons, _ = verdict_of(bottleneck=bottleneck, thresholds=(KEPT, BROKEN))
    assert (verdict, reasons) == ("indeterminate", (told, "e2e_p99<50ms is broken: it was 75 ms"))
    assert verdict_of(bottleneck=bottleneck)[0] == "pass"  # none is broken
    assert verdict_of(LOSS, bottleneck=bottleneck, thresholds=(BROKEN,))[0] == "fail"


def test_a_threshold_that_nobody_measured_keeps_a_run_from_being_an_answer():
    unmeasured = ThresholdOutcome("e2e_p99<50ms", "e2e_p99", None, 50.0, "ms", kept=None)
    for bottleneck in (None, HARNESS):
        verdict, reasons, _ = verdict_of(thresholds=(unmeasured,), bottleneck=bottleneck)
        assert verdict == "indeterminate"
        assert reasons[-1] == "e2e_p99<50ms was not judged: it was not measured"


def test_loss_is_a_fact_whoever_was_the_limit():
    verdict, reasons, _ = verdict_of(LOSS, bottleneck=HARNESS)
    assert verdict == "fail"
    assert reasons[1].startswith("the harness was the limit")


@pytest.mark.parametrize(
    ("totals", "changes", "note"),
    [
        (
            {},
            {"subscribers": rebalanced(0, 1, 3)},
            REBALANCED,
        ),
        ({"clients_expecting": 1}, {}, "1 of 2 clients had no partition to read"),
        ({"records_duplicated": 3}, {}, "3 duplicate deliveries"),
        ({"records_duplicated_in_log": 3}, {}, "3 records stand in the log twice"),
        ({"records_reordered": 3}, {}, "3 deliveries out of order"),
        ({"records_foreign": 3}, {}, "3 records of someone else's were in the topic"),
        ({}, {"audit": None, "audit_error": "--audit=never"}, "the log was not audited: --audit=never"),
        (
            {},
            {"latency": dataclasses.replace(NO_LATENCY, e2e=LatencySummary(1, negative=2))},
            "2 latencies came out below zero and count as zero: two clocks do not agree",
        ),
    ],
)
def test_notes_leave_a_pass_a_pass(totals, changes, note):
    verdict, _, notes = verdict_of(totals, **changes)
    assert (verdict, notes) == ("pass", (note,))


@pytest.mark.parametrize(
    ("followers", "told"),
    [
        (((2,), (3, 2), ()), "2 of 3 clients read from a follower (of broker 2, 3)"),
        (((), ()), "0 of 2 clients read from a follower: either the leaders stand in that rack, or no replica does"),
    ],
)
def test_a_rack_that_nobody_read_by_is_told(followers, told):
    clients = tuple(ClientStats("c", (), True, 1, 1, 1.0, 0, 0, 0, "", followers=each) for each in followers)
    verdict, _, notes = verdict_of(rack="r2", subscribers=(SubscriberStats("r", "sub.1", clients, USAGE),))
    assert (verdict, notes[0].startswith(f"client_rack=r2: {told}")) == ("pass", True)
