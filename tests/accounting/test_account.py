"""From evidence to meaning: hand-made evidence. Random histories are in test_planted_anomalies.py."""

import dataclasses

import pytest

from hydra.accounting.account import account
from hydra.accounting.broker_inside import BrokerInside, BrokerProcess, ThreadUse
from hydra.accounting.evidence import Audit, AuditedPartition, Evidence, OffsetRange
from hydra.accounting.intervals import IntervalSet
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencyHistogram
from hydra.accounting.stats import (
    ClientStats,
    HostTraffic,
    PartitionOutcomes,
    ProcessUsage,
    PublisherStats,
    Refusal,
    SubscriberSample,
    SubscriberStats,
)
from hydra.accounting.tally import PartitionTally
from hydra.errors import AccountingError
from hydra.options.options import Options
from hydra.options.order import ClientAssignment, PartitionStart, RunOrder, TopicFacts

USAGE = ProcessUsage(cpu_percent=12.5, rss_bytes=1, window_s=10)


def intervals(numbers):
    return tuple(IntervalSet((number, number + 1) for number in numbers))


def publisher(acked, *, failed=None, attempted=None, window_s=10.0, **fields):
    """Stats of a publisher that had these sequences acked, by partition."""
    failed = failed or {}
    outcomes = tuple(
        PartitionOutcomes(
            partition,
            attempted=(attempted or {}).get(partition, len(numbers) + len(failed.get(partition, ()))),
            acked=intervals(numbers),
            failed=intervals(failed.get(partition, ())),
        )
        for partition, numbers in acked.items()
    )
    attempted_count = sum(part.attempted for part in outcomes)
    acked_count = sum(len(numbers) for numbers in acked.values())
    failed_count = sum(len(numbers) for numbers in failed.values())
    stats = PublisherStats(
        run_id="run-1",
        task_id="pub",
        planned=attempted_count,
        attempted=attempted_count,
        acked=acked_count,
        failed=failed_count,
        unknown=attempted_count - acked_count - failed_count,
        queue_full=0,
        send_window_s=window_s,
        ack_window_s=window_s,
        lag_max_s=0.25,
        lag=LatencyCounts(),
        partitions=outcomes,
        usage=ProcessUsage(cpu_percent=40.0, rss_bytes=1, window_s=10),
        traffic=HostTraffic(tx_bytes_per_s=300.0, rx_bytes_per_s=200.0),
    )
    return dataclasses.replace(stats, **fields)


def client(name, received, *, position=None, window_s=10.0, first_arrival=0, jumps=None, **fields):
    """Stats of a client that received these records, by partition, in this order.

    A record is a sequence, which then stands at the same offset, or (offset, sequence).
    """
    parts = []
    for partition, records in received.items():
        pairs = [record if isinstance(record, tuple) else (record, record) for record in records]
        tally = PartitionTally(partition, 0)
        for offset, sequence in pairs:
            tally.add(offset, sequence, 1)
        end = max((offset for offset, _ in pairs), default=-1) + 1
        tally.next_offset = end if position is None else position[partition]
        tally.jumps = list((jumps or {}).get(partition, ()))
        parts.append(tally.stats())
    stats = ClientStats(
        name=name,
        partitions=tuple(parts),
        positioned=True,
        fetches=3,
        received_bytes=100,
        receive_window_s=window_s,
        first_arrival_records=first_arrival,
        foreign=0,
        corrupt=0,
        error="",
    )
    return dataclasses.replace(stats, **fields)


def assignment(name, partitions=(0,), task_id="task-1"):
    starts = tuple(PartitionStart(partition, 0) for partition in partitions)
    return ClientAssignment(name, f"g-{name}", starts, task_id)


def log_of(ends, starts=None):
    return {partition: OffsetRange((starts or {}).get(partition, 0), end) for partition, end in ends.items()}


def audit_of(logs, starts=None):
    """What an auditor finds in logs of sequences by partition."""
    parts = {}
    for partition, log in logs.items():
        start = (starts or {}).get(partition, 0)
        tally = PartitionTally(partition, start)
        for offset, sequence in enumerate(log):
            if offset >= start and sequence is not None:
                tally.add(offset, sequence, 1)
        parts[partition] = AuditedPartition(start, len(log), tally.stats().spans)
    return Audit(parts)


def evidence(clients, *, others=(), acks="1", msg_rate=1.0, **fields):
    """(order, evidence) of a run of ten records, acked, appended and audited, on one partition.

    The clients are on one task; ``others`` are assigned and did not report.
    """
    ends = fields.pop("ends", {0: 10})
    logs = fields.pop("logs", {partition: list(range(end)) for partition, end in ends.items()})
    starts = fields.pop("starts", {})
    assigned = [assignment(item.name, [part.partition for part in item.partitions]) for item in clients]
    options = Options(acks=acks, msg_rate=msg_rate, partitions=len(ends), test_duration=fields.pop("planned_s", 1000.0))
    order = RunOrder("run-1", options, clients=(*assigned, *others))
    whole = Evidence(
        publisher=publisher({0: range(10)}),
        subscribers=(SubscriberStats("run-1", "task-1", tuple(clients), USAGE),) if clients else (),
        begin_offsets=dict.fromkeys(ends, 0),
        log=log_of(ends, starts),
        audit=audit_of(logs, starts) if fields.pop("audited", True) else None,
    )
    return order, dataclasses.replace(whole, **fields)


def test_a_clean_run_passes():
    result = account(*evidence([client("a", {0: range(10)}), client("b", {0: range(10)})]))
    totals = result.totals
    assert (result.verdict, result.exit_code) == ("pass", 0)
    assert result.reasons == ("every client received every one of 10 records",)
    assert result.notes == ()
    assert [(item.state, item.task_id, item.expected, item.distinct, item.lost) for item in result.clients] == [
        ("ok", "task-1", 10, 10, 0)
    ] * 2
    assert (totals.records_counted, totals.records_delivered, totals.records_lost) == (10, 20, 0)
    assert (totals.clients_asked, totals.clients_ok, totals.clients_reporting) == (2, 2, 2)
    assert (totals.tx_rate_per_s, totals.mean_distinct_records, totals.mean_rx_rate_per_s) == (1.0, 10.0, 1.0)
    assert (totals.publisher_cpu_percent, totals.subscriber_cpu_percent_max) == (40.0, 12.5)
    assert (totals.publisher_host_tx_bytes_per_s, totals.publisher_host_rx_bytes_per_s) == (300.0, 200.0)


def test_lost_records_fail_the_run():
    lossy = client("b", {0: [0, 1, 2, 4, 5, 6, 7, 9]}, position={0: 10})
    result = account(*evidence([client("a", {0: range(10)}), lossy]))
    assert (result.verdict, result.exit_code) == ("fail", 1)
    assert result.reasons == (
        "2 of 20 deliveries were lost, to 1 of 2 clients: 2 were passed over while they were in the log",
    )
    bad = result.clients[1]
    assert (bad.state, bad.lost, bad.unread, bad.loss_percent) == ("failing", 2, 0, 20.0)
    assert result.totals.mean_loss_percent == 10.0
    assert result.seed_keys()["failing_clients"] == 1


def test_duplicates_do_not_make_up_for_loss():
    compensated = client("a", {0: [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]}, position={0: 10})
    result = account(*evidence([compensated]))
    assert compensated.received == 10
    assert (result.clients[0].lost, result.clients[0].duplicates, result.clients[0].distinct) == (5, 5, 5)
    assert (result.verdict, result.totals.mean_loss_percent) == ("fail", 50.0)


def test_duplicates_alone_are_told_and_are_no_loss():
    result = account(*evidence([client("a", {0: [*range(10), 3, 4]})]))
    assert result.verdict == "pass"
    assert result.notes == ("2 duplicate deliveries",)
    assert result.totals.records_delivered == 10


def test_reordered_and_foreign_records_are_told():
    result = account(*evidence([client("a", {0: [3, 0, 1, 2, *range(4, 10)]}, foreign=2)]))
    assert result.notes == ("3 deliveries out of order", "2 records of someone else's were in the topic")
    assert (result.clients[0].reordered, result.clients[0].foreign) == (3, 2)


def test_corrupt_batches_fail_the_run():
    result = account(*evidence([client("a", {0: range(10)}, corrupt=1)]))
    assert (result.verdict, result.reasons) == ("fail", ("1 corrupt record batches were received",))


def test_what_stands_beyond_the_position_is_unread_and_no_proof_of_loss():
    result = account(*evidence([client("a", {0: range(6)})]))
    assert (result.clients[0].lost, result.clients[0].unread) == (4, 4)
    assert (result.verdict, result.exit_code) == ("indeterminate", 3)
    assert result.reasons == ("4 deliveries were still unread when the drain ended",)


def test_loss_before_the_position_is_not_hidden_by_what_is_unread():
    result = account(*evidence([client("a", {0: [0, 1, 3, 4]}, position={0: 5})]))
    assert (result.clients[0].lost, result.clients[0].unread) == (6, 5)
    assert result.verdict == "fail"
    assert result.reasons == (
        "1 of 10 deliveries were lost, to 1 of 1 clients: 1 were passed over while they were in the log",
        "5 deliveries were still unread when the drain ended",
    )


def test_the_clients_of_a_missing_task_are_missing_and_the_rest_stands():
    others = [assignment(name, task_id="task-2") for name in "bc"]
    missing = {"task-2": "its process ended"}
    result = account(*evidence([client("a", {0: range(10)})], others=others, missing=missing))
    assert [item.state for item in result.clients] == ["ok", "missing", "missing"]
    assert (result.clients[1].task_id, result.clients[1].error) == ("task-2", "its process ended")
    assert (result.verdict, result.reasons) == (
        "indeterminate",
        ("2 clients of task-2 are missing: its process ended",),
    )
    totals = result.totals
    assert (totals.clients_asked, totals.clients_reporting, totals.clients_missing) == (3, 1, 2)
    assert (totals.mean_distinct_records, totals.mean_loss_percent) == (10.0, 0.0)
    assert result.seed_keys()["failing_clients"] == 2


def test_clients_whose_task_never_started_are_told_apart():
    result = account(*evidence([client("a", {0: range(10)})], others=[assignment("b", task_id="task-2")]))
    assert [item.state for item in result.clients] == ["ok", "never_started"]
    assert (result.verdict, result.reasons) == ("indeterminate", ("1 clients never started",))
    assert result.seed_keys()["failing_clients"] == 1


def test_loss_weighs_more_than_a_doubt():
    lossy = client("a", {0: range(9)}, position={0: 10})
    result = account(*evidence([lossy], others=[assignment("b", task_id="t2")], missing={"t2": "gone"}))
    assert result.verdict == "fail"
    assert len(result.reasons) == 2
    assert "lost" in result.reasons[0]


def test_without_acks_loss_is_judged_against_the_log():
    sent = publisher({0: ()}, attempted={0: 10})
    result = account(
        *evidence([client("a", {0: range(10)}), client("b", {0: range(8)}, position={0: 10})], publisher=sent, acks="0")
    )
    assert [item.lost for item in result.clients] == [0, 2]
    assert (result.totals.records_counted, result.totals.records_unknown) == (10, 10)
    assert result.verdict == "fail"
    assert result.notes[0].startswith("acks=0: ")


def test_without_acks_what_no_client_received_was_lost_to_each():
    sent = publisher({0: ()}, attempted={0: 12})
    clients = [client("a", {0: range(9)}, position={0: 10}), client("b", {0: range(1, 9)}, position={0: 10})]
    result = account(*evidence(clients, publisher=sent, acks="0"))
    assert [(item.expected, item.lost) for item in result.clients] == [(10, 1), (10, 2)]


def test_without_acks_a_clean_run_passes():
    sent = publisher({0: ()}, attempted={0: 10})
    result = account(*evidence([client("a", {0: range(10)})], publisher=sent, acks="0"))
    assert (result.verdict, result.seed_keys()["packet_tx"]) == ("pass", 10)


def test_without_acks_what_never_reached_the_log_is_a_doubt():
    sent = publisher({0: ()}, attempted={0: 12})
    result = account(*evidence([client("a", {0: range(10)})], publisher=sent, acks="0"))
    assert (result.verdict, result.totals.records_lost) == ("indeterminate", 0)
    assert result.reasons == (
        "2 records were sent and never reached the log, which acks=0 does not tell the publisher",
    )


def test_without_acks_markers_of_others_transactions_do_not_stand_for_records_that_never_came():
    """A marker has an offset, and is no record, of nobody: eight of ten records and two markers are in the log."""
    sent = publisher({0: ()}, attempted={0: 10})
    reader = client("a", {0: range(8)}, position={0: 10})
    order, seen = evidence([reader], publisher=sent, acks="0", logs={0: [*range(8), None, None]})
    result = account(order, dataclasses.replace(seen, audit=dataclasses.replace(seen.audit, foreign=0)))
    assert result.verdict == "indeterminate"
    assert result.reasons[0].startswith("2 records were sent and never reached the log")


def test_without_acks_and_audit_what_may_be_somebody_elses_is_no_proof_of_loss():
    """Two of twelve records never came, and two others are in the topic, which no client and no auditor can name."""
    log = [None, *range(10), None]
    given = [(offset, sequence) for offset, sequence in enumerate(log) if sequence is not None]
    reader = client("a", {0: given}, position={0: 12}, foreign=2)
    sent = publisher({0: ()}, attempted={0: 12})
    order, seen = evidence(
        [reader], publisher=sent, acks="0", logs={0: log}, ends={0: 12}, audited=False, planned_s=12.0
    )
    options = dataclasses.replace(order.options, topic="orders")
    result = account(dataclasses.replace(order, options=options), dataclasses.replace(seen, audit_error="a quota"))
    assert (result.verdict, result.totals.records_skipped) == ("indeterminate", 0)
    assert result.totals.records_lost == result.totals.records_unread


def test_a_publisher_that_is_gone_leaves_the_log_as_the_reference():
    result = account(*evidence([client("a", {0: range(10)})], publisher=None, publisher_error="its process ended"))
    assert (result.verdict, result.exit_code) == ("indeterminate", 3)
    assert result.reasons == ("the publisher did not report (its process ended): what it sent is a lower bound",)
    assert (result.totals.records_counted, result.totals.records_attempted, result.totals.tx_rate_per_s) == (
        10,
        0,
        0,
    )
    assert result.clients[0].lost == 0


@pytest.mark.parametrize(("acks", "sender"), [("1", None), ("0", publisher({0: ()}, attempted={0: 10}))])
def test_a_record_that_may_stand_in_the_log_twice_is_no_proof_of_loss(acks, sender):
    """A retry without idempotence: eleven records in the log, ten sequences. Or one lost and one read twice."""
    whole = client("a", {0: [*range(10), 9]})
    result = account(*evidence([whole], publisher=sender, acks=acks, ends={0: 11}, publisher_error="x"))
    assert (result.clients[0].lost, result.clients[0].unread, result.clients[0].duplicates) == (1, 1, 1)
    assert result.verdict == "indeterminate"


def test_a_failed_publisher_is_a_doubt_with_its_reason():
    result = account(*evidence([client("a", {0: range(10)})], publisher_error="queue stuck"))
    assert (result.verdict, result.reasons) == ("indeterminate", ("the publisher failed: queue stuck",))


def test_what_clients_asked_before_the_start_is_not_among_the_fetches_of_the_records():
    """For a minute at the barrier, two a second that bring nothing; then ten records in five fetches."""
    order, seen = evidence([client("a", {0: range(10)}, fetches=125)])
    noted = ((0.0, 0, 120), (1.0, 6, 123), (2.0, 10, 125))
    samples = tuple(
        SubscriberSample(at_s, received, received, fetches, 0, 0.0, 0, LatencyCounts(SAMPLE_BITS))
        for at_s, received, fetches in noted
    )
    subscribers = tuple(dataclasses.replace(stats, samples=samples) for stats in seen.subscribers)
    totals = account(order, dataclasses.replace(seen, subscribers=subscribers)).totals
    assert (totals.records_per_fetch, totals.fetches) == (2.0, 125)


def test_nothing_sent():
    empty = evidence(
        [client("a", {0: ()}, window_s=0.0)],
        publisher=publisher({0: ()}, window_s=0.0),
        ends={0: 0},
    )
    result = account(*empty)
    assert (result.verdict, result.reasons) == ("indeterminate", ("no record reached the broker",))
    assert all(value == 0 for key, value in result.seed_keys().items() if key not in NOT_COUNTS)


NOT_COUNTS = {"client_count", "pub_cpu", "pub_net_rxrate", "pub_net_txrate"}


def test_nobody_reports():
    result = account(*evidence([], others=[assignment("a", task_id="t")], missing={"t": "gone"}))
    assert result.verdict == "indeterminate"
    assert result.reasons == ("1 clients of t are missing: gone", "no client reported")
    keys = result.seed_keys()
    assert (keys["average_packets"], keys["average_rate"], keys["average_packet_loss"]) == (0, 0, 0)
    assert (keys["client_count"], keys["failing_clients"]) == (1, 1)


def test_nobody_and_nothing_at_all():
    result = account(*evidence([], publisher=None, publisher_error="gone", ends={}))
    assert result.verdict == "indeterminate"
    assert set(result.seed_keys().values()) == {0}


def test_clients_of_a_shared_group_that_have_nothing_to_read():
    reader, idle = client("a", {0: range(10)}), client("b", {}, window_s=0.0)
    result = account(*evidence([reader, idle]))
    assert result.verdict == "pass"
    assert result.notes == ("1 of 2 clients had no partition to read",)
    assert result.reasons == ("each of 10 records was received by the client that reads its partition",)
    assert (result.totals.clients_expecting, result.totals.clients_reporting) == (1, 2)
    assert result.totals.mean_distinct_records == 5.0
    assert [item.state for item in result.clients] == ["ok", "ok"]


def test_loss_in_a_shared_group_is_of_the_clients_own_partitions():
    clients = [client("a", {0: range(10)}), client("b", {1: range(4)}, position={1: 5})]
    result = account(
        *evidence(
            clients,
            publisher=publisher({0: range(10), 1: range(5)}),
            ends={0: 10, 1: 5},
        )
    )
    assert [(item.expected, item.lost) for item in result.clients] == [(10, 0), (5, 1)]


@pytest.mark.parametrize(("sent_s", "verdict"), [(10.0, "pass"), (10.5, "pass"), (10.6, "indeterminate")])
def test_a_plan_that_was_not_kept_is_no_answer(sent_s, verdict):
    """Below 95 % of the asked rate, for runs and for the trials of searches."""
    result = account(
        *evidence(
            [client("a", {0: range(1000)})],
            publisher=publisher({0: range(1000)}, window_s=sent_s),
            ends={0: 1000},
            msg_rate=100.0,
        )
    )
    assert result.verdict == verdict
    if verdict != "pass":
        assert result.reasons[-1] == "the plan was not kept: 94 of 100 records/s were sent"
        assert result.bottleneck.limit == "harness"
        assert "always room in its queue" in result.reasons[0]


def test_records_without_an_ack_and_refused_ones_are_doubts():
    sent = publisher({0: range(7)}, failed={0: [7]}, attempted={0: 10})
    result = account(*evidence([client("a", {0: range(7)})], publisher=sent, ends={0: 7}))
    assert result.verdict == "indeterminate"
    assert result.reasons == (
        "1 records were refused by the broker",
        "2 records were never acknowledged and are not in the log",
    )
    assert result.clients[0].lost == 0


def test_what_was_refused_for_good_is_no_limit_of_the_brokers():
    sent = publisher({0: range(5)}, failed={0: range(5, 10)}, refusals=(Refusal("MESSAGE_TOO_LARGE", 5, 10),))
    order, known = evidence([client("a", {0: range(5)})], publisher=sent, ends={0: 5})
    order = dataclasses.replace(order, options=dataclasses.replace(order.options, threshold=("rx_rate>=1",)))
    result = account(order, known)
    assert result.bottleneck.limit == "refusal"
    (told,) = result.bottleneck.evidence
    assert told.startswith("brokers refused 5 records for good (MESSAGE_TOO_LARGE for 5 records: lower --batch_size")


@pytest.mark.parametrize(
    ("stamp", "measured"),
    [("CreateTime", True), ("", True), ("LogAppendTime", False), ("NoTimestampType", False)],
)
def test_a_brokers_stamp_is_no_send_time(stamp, measured):
    histogram = LatencyHistogram()
    histogram.add(5000, 20)
    order, known = evidence([client("a", {0: range(10)})])
    options = dataclasses.replace(order.options, threshold=("service_p99<50ms", "loss==0"))
    order = dataclasses.replace(order, options=options, topic_facts=TopicFacts(timestamp_type=stamp))
    subscribers = (dataclasses.replace(known.subscribers[0], service=histogram.fact(), e2e=histogram.fact()),)
    result = account(order, dataclasses.replace(known, subscribers=subscribers))
    assert (result.latency.service.deliveries, result.latency.e2e.deliveries) == (20 if measured else 0, 20)
    assert [item.kept for item in result.thresholds] == [True if measured else None, True]
    assert result.verdict == ("pass" if measured else "indeterminate")
    assert any("their actual send time is not known" in note for note in result.notes) is not measured
    assert any("LogAppendTime" in note for note in result.notes) is (stamp == "LogAppendTime")
    assert any("keeps no timestamps" in note for note in result.notes) is (stamp == "NoTimestampType")


@pytest.mark.parametrize(("service_us", "known"), [(9_900, True), (59_000, True), (3_010_000, False)])
def test_a_clock_that_was_set_back_in_mid_run_leaves_no_service_latency(service_us, known):
    """Nothing is sent before it is due: what was sent longer ago than that bears a wrong time, by 3 s here."""
    e2e, service = LatencyHistogram(), LatencyHistogram()
    e2e.add(10_000, 10)
    service.add(9_000, 6)
    service.add(service_us, 4)
    order, seen = evidence([client("a", {0: range(10)})])
    order = dataclasses.replace(order, options=dataclasses.replace(order.options, threshold=("service_p99<50ms",)))
    subscribers = tuple(dataclasses.replace(each, e2e=e2e.fact(), service=service.fact()) for each in seen.subscribers)
    result = account(order, dataclasses.replace(seen, subscribers=subscribers))
    assert result.latency.e2e.deliveries == 10
    assert (result.latency.service.deliveries, bool(result.latency.curves.service)) == (
        (10, True) if known else (0, False)
    )
    assert (result.thresholds[0].kept is None) == (not known)
    assert any("was set back during the run" in note for note in result.notes) == (not known)


@pytest.mark.parametrize("acks", ["0", "1"])
@pytest.mark.parametrize("reports", [True, False])
def test_records_with_the_runs_tag_beyond_its_plan_are_somebody_elses(acks, reports):
    log = [*range(4), 7000, 7001, *range(4, 10), 10, 2**40]
    given = [(offset, sequence) for offset, sequence in enumerate(log)]
    clients = [client(name, {0: given}) for name in "ab"]
    sent = publisher({0: range(10) if acks == "1" else ()}, attempted={0: 10})
    order, known = evidence(clients, publisher=sent, acks=acks, logs={0: log}, ends={0: 14}, planned_s=10.0)
    result = account(order, known if reports else dataclasses.replace(known, publisher=None))
    assert result.verdict == ("pass" if reports else "indeterminate")
    totals = result.totals
    assert (totals.records_foreign, totals.records_ghost, totals.records_lost) == (8, 0, 0)
    assert (totals.records_counted, totals.records_delivered) == (10, 20)
    assert "4 records of someone else's were in the topic" in result.notes


def test_a_record_that_was_not_sent_and_is_within_the_plan_is_a_ghost():
    sent = publisher({0: range(9)}, attempted={0: 9})
    result = account(*evidence([client("a", {0: range(10)})], publisher=sent, planned_s=10.0))
    assert (result.verdict, result.totals.records_ghost) == ("fail", 1)


@pytest.mark.parametrize("audited", [True, False])
def test_without_acks_somebody_elses_records_do_not_count_as_sent(audited):
    log = [None, *range(10), None]
    given = [(offset, sequence) for offset, sequence in enumerate(log) if sequence is not None]
    reader = client("a", {0: given}, position={0: 12}, foreign=2)
    sent = publisher({0: ()}, attempted={0: 10})
    result = account(
        *evidence([reader], publisher=sent, acks="0", logs={0: log}, ends={0: 12}, audited=audited, planned_s=10.0)
    )
    assert (result.totals.records_counted, result.totals.records_appended) == (10, 12)
    assert (result.verdict, result.totals.records_lost) == ("pass", 0)
    assert result.totals.tx_rate_per_s == 1.0


def test_batches_that_the_topic_made_smaller_are_told():
    order, known = evidence([client("a", {0: range(10)})])
    cut = dataclasses.replace(order, topic_facts=TopicFacts(max_message_bytes=1000))
    told = "batches were cut to 1,000 bytes, since the topic takes no larger ones: batch.size is 1,400"
    assert account(order, known).notes == ()
    assert account(cut, known).notes == (told,)


@pytest.mark.parametrize(("cpus", "told"), [(0.19, False), (0.2, True), (0.9, True)])
def test_a_broker_that_was_not_warm_is_told(cpus, told):
    order, known = evidence([client("a", {0: range(10)})])
    compiler = ThreadUse("compiler", threads=2, cpus=cpus, busy_ratio=0.5, busiest_ratio=0.5, busiest_cpu_ratio=0.5)
    process = BrokerProcess("broker 1", 10.0, 40, 2.0, 1.2, 0.0, threads=(compiler,))
    note = (
        f"broker 1 was not warm: it still compiled its code while records were sent ({cpus:.1f} of a core;"
        " see --warmup, --keep_running)"
    )
    assert account(order, dataclasses.replace(known, inside=BrokerInside((process,)))).notes == (
        (note,) if told else ()
    )


NOT_IN_THE_LOG, IN_THE_LOG, UNKNOWN = (
    "were never acknowledged and are not in the log",
    "were never acknowledged and are in the log",
    "were never acknowledged: their fate is unknown",
)


@pytest.mark.parametrize(
    ("log", "fields", "fates"),
    [
        (range(7), {}, {3: NOT_IN_THE_LOG}),
        (range(9), {}, {1: NOT_IN_THE_LOG, 2: IN_THE_LOG}),
        ((), {"acked": ()}, {10: NOT_IN_THE_LOG}),
        ((), {"acked": (), "audited": False}, {10: NOT_IN_THE_LOG}),  # an empty log needs no auditor
        (range(9), {"audited": False}, {3: UNKNOWN}),  # of what nobody saw nobody knows what it is
        ([*range(7), None], {"corrupt": 1}, {3: UNKNOWN}),
    ],
)
def test_records_without_an_ack_are_looked_for_in_the_log(log, fields, fates):
    acked = fields.pop("acked", range(7))
    corrupt = fields.pop("corrupt", 0)
    sent = publisher({0: acked}, attempted={0: 10}, refusals=(Refusal("NOT_ENOUGH_REPLICAS", 3, 19),))
    order, known = evidence(
        [client("a", {0: acked}, position={0: len(log)})], publisher=sent, logs={0: log}, ends={0: len(log)}, **fields
    )
    if corrupt:
        known = dataclasses.replace(known, audit=dataclasses.replace(known.audit, corrupt=corrupt))
    result = account(order, known)
    found = {int(text.split()[0]): text for text in result.reasons if "acknowledged" in text}
    assert {count: text.partition(";")[0].partition(" records ")[2] for count, text in found.items()} == fates
    assert "NOT_ENOUGH_REPLICAS for 3 records: fewer replicas" in next(iter(found.values()))


def test_a_record_that_was_not_acked_and_still_arrived_is_no_loss_to_the_others():
    sent = publisher({0: range(9)}, attempted={0: 10})
    result = account(
        *evidence([client("a", {0: range(10)}), client("b", {0: range(9)}, position={0: 10})], publisher=sent)
    )
    assert [item.lost for item in result.clients] == [0, 0]


@pytest.mark.parametrize(
    ("window_s", "first_arrival", "rate"), [(10.0, 0, 1.0), (10.0, 4, 0.6), (0.0, 10, None), (5.0, 12, 0.0)]
)
def test_a_clients_rate_is_of_the_records_after_its_first_arrival(window_s, first_arrival, rate):
    result = account(*evidence([client("a", {0: range(10)}, window_s=window_s, first_arrival=first_arrival)]))
    assert result.clients[0].rate_per_s == rate


def test_a_client_whose_records_all_came_at_once_has_no_rate_and_lowers_no_mean():
    at_once = client("a", {0: range(10)}, window_s=0.0, first_arrival=10)
    order, known = evidence([at_once, client("b", {0: range(10)})])
    result = account(order, known)
    assert (result.totals.mean_rx_rate_per_s, result.totals.clients_without_rate) == (1.0, 1)
    options = dataclasses.replace(order.options, threshold=("rx_rate>=0.5",))
    alone, known = evidence([at_once])
    result = account(dataclasses.replace(alone, options=options), known)
    assert (result.totals.mean_rx_rate_per_s, result.seed_keys()["average_rate"]) == (None, 0.0)
    assert (result.thresholds[0].state, result.thresholds[0].shown) == ("not judged", "not measured")


def test_a_client_that_received_nothing_has_a_rate_of_zero():
    known = evidence([client("a", {0: ()}, window_s=0.0, position={0: 10}), client("b", {0: range(10)})])
    result = account(*known)
    assert ([each.rate_per_s for each in result.clients], result.totals.mean_rx_rate_per_s) == ([0.0, 1.0], 0.5)


def test_the_rate_of_failing_clients_is_theirs_alone():
    clients = [client("a", {0: range(10)}), client("b", {0: range(5)}, position={0: 10})]
    keys = account(*evidence(clients)).seed_keys()
    assert (keys["average_rate"], keys["failing_clients_rate"]) == (0.75, 0.5)


def test_a_breach_of_the_publishers_identity_is_a_bug():
    wrong = publisher({0: range(10)}, unknown=1)
    with pytest.raises(AccountingError, match=r"attempted 10 is not acked 10 \+ failed 0 \+ unknown 1"):
        account(*evidence([client("a", {0: range(10)})], publisher=wrong))
