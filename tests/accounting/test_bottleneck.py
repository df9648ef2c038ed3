"""Who was the limit: each symptom alone, and each sign of who is at fault."""

import dataclasses
import re

import pytest

from hydra.accounting.bottleneck import Bottleneck, find_bottleneck
from hydra.accounting.broker_inside import BrokerInside, BrokerProcess, ThreadUse
from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import SAMPLE_BITS, LatencyCounts, LatencySummary
from hydra.accounting.stats import (
    ClientStats,
    HostTraffic,
    LinkTraffic,
    MachineSample,
    OwnErrors,
    ProcessUsage,
    PublisherSample,
    PublisherStats,
    SubscriberSample,
    SubscriberStats,
)
from hydra.accounting.timeline import TimelinePoint, points
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.options.order import RunOrder
from tests.facts import NO_LATENCY, NO_TOTALS

NO_TRAFFIC = HostTraffic(0.0, 0.0)
USAGE = ProcessUsage(0.0, 0, 0.0)
POINT = TimelinePoint(
    **{
        field.name: 0
        for field in dataclasses.fields(TimelinePoint)
        if "broker" not in field.name and "machine" not in field.name
    },
    broker_cpu_percent=None,
    broker_rss_bytes=None,
    machine_cpu_percent=None,
)
FIGURES = dataclasses.replace(
    NO_TOTALS,
    clients_reporting=2,
    records_planned=1000,
    records_attempted=1000,
    records_counted=1000,
    tx_rate_per_s=100.0,
    publisher_cpu_percent=20.0,
    subscriber_cpu_percent_max=30.0,
    subscriber_cpu_percent_sum=60.0,
    broker_cpu_percent=90.0,
    machine_cpu_percent=50.0,
)
BUSY = "the 2 CPUs that Hydra may use were 92 % busy"
LATE = LatencySummary(deliveries=1, p99_ms=5000.0, max_ms=6000.0)
BROKEN = ThresholdOutcome("e2e_p99<50ms", "e2e_p99", 75.0, 50.0, "ms", kept=False)


def traffic(percent, name="eth0", received=0.0):
    """Of a host with a link of a gigabit a second."""
    link = LinkTraffic(name, percent * 1_250_000, received * 1_250_000, 125_000_000.0)
    return HostTraffic(link.tx_bytes_per_s, link.rx_bytes_per_s, (link,))


def publisher(times=(0.0, 1.0, 2.0), queue_full=0, network=NO_TRAFFIC):
    samples = tuple(PublisherSample(float(at_s), 0, 0, 0.0, 0, 0.0) for at_s in times)
    return PublisherStats(
        run_id="r", task_id="p", planned=0, attempted=0, acked=0, failed=0, unknown=0, queue_full=queue_full,
        send_window_s=1.0, ack_window_s=1.0, lag_max_s=0.0, lag=LatencyCounts(), partitions=(), usage=USAGE,
        traffic=network, samples=samples,
    )  # fmt: skip


def subscriber(task_id="sub.1", times=(0.0, 1.0, 2.0), network=NO_TRAFFIC):
    samples = tuple(SubscriberSample(float(at_s), 0, 0, 0, 0, 0.0, 0, LatencyCounts()) for at_s in times)
    return SubscriberStats("r", task_id, (), USAGE, samples=samples, traffic=network)


ASKED = ("linger_ms", "test_duration")


def limit_of(totals=FIGURES, latency=NO_LATENCY, points=(), thresholds=(), **changes):
    """The limit of a run of 100 records/s on two cores."""
    order = RunOrder(
        "r",
        Options(
            msg_rate=100.0,
            acks=changes.pop("acks", "1"),
            linger_ms=changes.pop("linger_ms", 0),
            test_duration=changes.pop("test_duration", 10.0),
            marathon_url=changes.pop("marathon_url", None),
        ),
        pace_ms=changes.pop("pace_ms", 0.0),
    )
    evidence = Evidence(publisher=publisher(), subscribers=(subscriber(),), cores=2)
    evidence = dataclasses.replace(evidence, **changes)
    return find_bottleneck(order, evidence, totals, latency, points=points, thresholds=thresholds)


def limit_of_late(**changes):
    """A run whose deliveries came late: something was the limit."""
    latency = dataclasses.replace(NO_LATENCY, e2e=LATE, **changes.pop("latency", {}))
    return limit_of(latency=latency, totals=dataclasses.replace(FIGURES, **changes.pop("totals", {})), **changes)


def throttled(*seconds):
    """A machine with a quota, looked at each second."""
    return tuple(MachineSample(float(at_s), 0.0, 0, throttled_s=value) for at_s, value in enumerate(seconds))


def busy(**fields):
    return tuple(dataclasses.replace(POINT, at_s=float(number + 1), **fields) for number in range(5))


@pytest.mark.parametrize(
    ("totals", "latency", "symptom"),
    [
        ({}, {"e2e": LATE}, "deliveries were late: end-to-end p99 5,000 ms"),
        (
            {},
            {"publisher_lag": LatencySummary(1, p99_ms=101.0, max_ms=501.0)},
            "records were sent late: p99 101 ms behind the plan",
        ),
        ({"tx_rate_per_s": 94.9}, {}, "95 of 100 records/s were sent"),
        ({"records_unread": 3}, {}, "3 deliveries were unread when the drain ended"),
        ({"records_unknown": 5000}, {}, "5,000 records were never acknowledged"),
        ({"records_expired": 4}, {}, "4 deliveries expired before they were read"),
    ],
)
def test_each_symptom_alone_makes_a_limit(totals, latency, symptom):
    found = limit_of(
        dataclasses.replace(FIGURES, **totals),
        dataclasses.replace(NO_LATENCY, **latency),
        publisher=publisher(queue_full=1),
    )
    assert (found.symptoms, found.limit, found.harness_limited) == ((symptom,), "broker", False)


def test_a_broken_threshold_is_a_symptom():
    found = limit_of(thresholds=(BROKEN,))
    assert found.symptoms == ("e2e_p99<50ms was broken: 75 ms",)
    assert found.limit == "broker"


@pytest.mark.parametrize(
    ("totals", "latency", "asked"),
    [
        ({}, {}, {}),
        ({}, {"e2e": LatencySummary(1, p99_ms=1000.0)}, {}),
        ({}, {"e2e": LatencySummary(1, p99_ms=1350.0)}, {"linger_ms": 250, "pace_ms": 100.0}),
        ({}, {"publisher_lag": LatencySummary(1, p99_ms=100.0)}, {}),
        ({"tx_rate_per_s": 95.0}, {}, {}),
        ({"tx_rate_per_s": 0.0, "records_counted": 0}, {}, {}),
        ({"records_broker_lost": 5, "records_lost": 5}, {}, {}),
    ],
)
def test_where_nothing_gave_way_nobody_is_the_limit_however_busy_it_was(totals, latency, asked):
    found = limit_of(
        dataclasses.replace(FIGURES, **totals, machine_cpu_percent=99.0),
        dataclasses.replace(NO_LATENCY, **latency),
        busy(publisher_cpu_percent=99.0, subscriber_cpu_percent_max=99.0),
        subscribers=(subscriber(network=traffic(99.0)),),
        **asked,
    )
    assert found == Bottleneck("none", harness_limited=False)


@pytest.mark.parametrize(
    ("changes", "evidence", "advice"),
    [
        ({"points": busy(publisher_cpu_percent=85.0)}, "the publisher used 85 % of a core", "lower rate"),
        ({"publisher": publisher((0, 1, 4.5, 5))}, "the publisher stood still for 2.5 s", "stopped or starved it"),
        (
            {"latency": {"publisher_lag": LatencySummary(1, p99_ms=150.0, max_ms=1234.0)}},
            "the publisher fell behind its plan by up to 1,234 ms, with room in its queue",
            "a core of its own",
        ),
        (
            {"totals": {"tx_rate_per_s": 94.9}},
            "nothing but the publisher itself held it back: there was always room in its queue",
            "a core of its own",
        ),
        (
            {"points": busy(subscriber_cpu_percent_max=85.0)},
            "the busiest subscriber used 85 % of a core",
            "more apps with fewer clients each",
        ),
        (
            {"subscribers": (subscriber(), subscriber("sub.2", (0, 1, 5.5)))},
            "sub.2 stood still for 3.5 s",
            "stopped or starved it",
        ),
        (
            {"totals": {"machine_cpu_percent": 92.0, "broker_cpu_percent": 78.0}},
            f"{BUSY} (the harness 40 %, other programs 13 %, the broker 39 %): 0.16 of a CPU was free",
            "put the broker and the tasks on different machines",
        ),
        (
            {"totals": {"machine_cpu_percent": 92.0, "broker_cpu_percent": 10.0}},
            f"{BUSY} (the harness 40 %, other programs 47 %, the broker 5 %): 0.16 of a CPU was free",
            "end what else runs there",
        ),
        (
            {
                "totals": {
                    "machine_cpu_percent": 92.0,
                    "broker_cpu_percent": None,
                    "subscriber_cpu_percent_sum": 80.0,
                }
            },
            f"{BUSY} (the harness 50 %, others 42 %): 0.16 of a CPU was free",
            "put the broker and the tasks on different machines",
        ),
        (
            # taskset -c 0, a cpuset, a container's limit: the broker had most of the one CPU, and nobody had enough.
            {"cores": 1, "totals": {"machine_cpu_percent": 99.0, "broker_cpu_percent": 60.0}},
            "the one CPU that Hydra may use was 99 % busy (the harness 80 %, the broker 60 %): 0.01 of a CPU was free",
            "allow Hydra more CPUs",
        ),
        (
            {"cores": 0.6, "machine": throttled(0.0, 0.4, 0.9)},
            "the CPU quota of 0.6 CPUs ran out in 45 % of the run",
            "raise the CPU quota",
        ),
        (
            # A quota of more than the load needs on average runs out all the same where it comes in bursts.
            {
                "cores": 4,
                "machine": throttled(5.0, 5.1, 5.2),
                "totals": {"machine_cpu_percent": 40.0, "broker_cpu_percent": 120.0},
            },
            "the CPU quota of 4 CPUs ran out in 10 % of the run",
            "raise the CPU quota",
        ),
    ],
)
def test_each_sign_of_the_harness_alone(changes, evidence, advice):
    changes.setdefault("publisher", publisher(network=traffic(99.0)))
    found = limit_of_late(**changes)
    assert (found.limit, found.harness_limited, found.evidence) == ("harness", True, (evidence,))
    assert advice in found.advice
    assert found.symptoms


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"subscribers": ()},
        {"subscribers": (subscriber(times=()),)},
        {"points": busy(publisher_cpu_percent=84.9, subscriber_cpu_percent_max=84.9)},
        # One second of a full core at the start is none.
        {"points": (*busy()[:4], dataclasses.replace(POINT, at_s=5.0, subscriber_cpu_percent_max=100.0))},
        {"publisher": publisher((0, 1, 4.0))},
        {
            "publisher": publisher((0, 10, 20)),
            "subscribers": (subscriber(times=(0, 10, 20)),),
            "test_duration": 10_000.0,
        },
        {"publisher": publisher(queue_full=1), "latency": {"publisher_lag": LatencySummary(1, p99_ms=900.0)}},
        {"totals": {"machine_cpu_percent": 50.0, "broker_cpu_percent": 10.0}},
        {"totals": {"machine_cpu_percent": 99.0, "broker_cpu_percent": 120.0}},
        {"totals": {"machine_cpu_percent": None}},
        {"machine": throttled(1.0, 1.04, 1.08)},
        {"machine": throttled(0.0)},
        # Tasks and broker run elsewhere: a busy controller says nothing of them.
        {"marathon_url": "http://m:8080", "totals": {"machine_cpu_percent": 99.0, "broker_cpu_percent": None}},
        {
            "publisher": publisher(network=traffic(91.9)),
            "subscribers": (subscriber(network=traffic(5.0, received=91.9)),),
        },
    ],
)
def test_a_harness_with_room_names_the_broker(changes):
    found = limit_of_late(**changes)
    assert (found.limit, found.harness_limited, found.advice) == ("broker", False, "")
    assert "the harness had room: publisher 20 %, busiest subscriber 30 % of a core" in found.evidence


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"publisher": None}, "the publisher did not report what it sent"),
        ({"totals": {"clients_reporting": 0}}, "no client reported what it received"),
    ],
)
def test_what_nobody_measured_is_unknown_and_nobodys_fault(changes, evidence, late):
    changes = {**changes, "totals": dataclasses.replace(FIGURES, **changes.get("totals", {}))}
    found = limit_of(latency=dataclasses.replace(NO_LATENCY, e2e=LATE) if late else NO_LATENCY, **changes)
    assert (found.limit, found.harness_limited, found.evidence) == ("unknown", False, (evidence,))


def test_the_brokers_evidence():
    found = limit_of_late(totals={"publisher_queue_full": 7, "broker_cpu_percent": 180.0})
    assert found.evidence[:2] == (
        "acks came so late that the publisher's queue was full",
        "the broker used 180 % of a core of 2",
    )
    assert len(limit_of_late(totals={"broker_cpu_percent": None}).evidence) == 1


def test_a_full_network_is_named_where_the_harness_had_room():
    found = limit_of_late(publisher=publisher(network=traffic(92.0)))
    assert (found.limit, found.harness_limited) == ("network", False)
    assert found.evidence == ("p: eth0 was 92 % full (sent 115.0 MB/s, received 0.0 MB/s, of 125 MB/s each)",)


def test_a_subscriber_that_is_too_busy_to_note_each_second_is_the_limit():
    """Turns of 2.6 s on a full core: no pause of more than 2 s, and no sample in most seconds."""
    samples = tuple(
        SubscriberSample(2.6 * turn, 0, 0, 0, 0, 2.6 * turn, 0, LatencyCounts(SAMPLE_BITS)) for turn in range(5)
    )
    busy_one = dataclasses.replace(subscriber(), samples=samples)
    order = RunOrder("r", Options(test_duration=10.0))
    found = points(order, Evidence(publisher=publisher(range(11)), subscribers=(busy_one,), cores=2))
    limit = limit_of_late(subscribers=(busy_one,), points=found)
    assert (limit.limit, limit.evidence) == ("harness", ("the busiest subscriber used 100 % of a core",))


def test_a_publisher_that_waits_for_its_flush_does_not_stand_still():
    assert limit_of_late(publisher=publisher((0, 1, 2, 8))).limit == "broker"
    assert limit_of_late(publisher=publisher((0, 1, 7, 8))).limit == "harness"


def test_tasks_of_one_host_tell_of_its_network_once():
    here, there = traffic(3.0, received=97.0), traffic(3.0, received=95.0)
    tasks = (subscriber("sub.1", network=here), subscriber("sub.2", network=here), subscriber("sub.3", network=there))
    found = limit_of_late(subscribers=tasks)
    assert found.limit == "network"
    assert [text.partition(" (")[0] for text in found.evidence] == [
        "sub.1: eth0 was 97 % full",
        "sub.3: eth0 was 95 % full",
    ]


def test_all_signs_are_told_and_each_advice_once():
    stopped = (0.0, 1.0, 9.0)
    found = limit_of_late(
        publisher=publisher((*stopped, 9.1)),
        subscribers=(subscriber("sub.1", stopped), subscriber("sub.2", (0, 1, 7))),
        points=busy(subscriber_cpu_percent_max=95.0),
    )
    assert found.evidence == (
        "the publisher stood still for 7.0 s",
        "the busiest subscriber used 95 % of a core",
        "sub.1 stood still for 7.0 s",
    )
    assert found.advice.count("see what stopped or starved it") == 1


@pytest.mark.parametrize("lag", [LatencySummary(1, p99_ms=499.0, max_ms=499.0), LatencySummary(1, max_ms=5000.0)])
def test_a_hiccup_of_the_publisher_is_no_symptom(lag):
    assert limit_of(latency=dataclasses.replace(NO_LATENCY, publisher_lag=lag)).limit == "none"


def quota_on(*throttled_s):
    """A subscriber whose clients were held back for so long each."""
    clients = tuple(
        ClientStats(f"c{number}", (), True, 1, 1, 1.0, 0, 0, 0, "", throttled_s=held_s)
        for number, held_s in enumerate(throttled_s)
    )
    return (dataclasses.replace(subscriber(), clients=clients),)


HELD_CLIENTS = "a quota of the brokers held 2 of 3 clients back, c2 for 1,234.5 s in all"
HELD_PUBLISHER = "a quota of the brokers held the publisher back for 7.0 s in all"


@pytest.mark.parametrize("machine", [{}, {"machine_cpu_percent": 99.0}])
def test_a_quota_is_named_by_the_time_for_which_it_held_clients_back(machine):
    found = limit_of_late(subscribers=quota_on(0.0, 3.0, 1234.5), totals=machine)
    assert (found.limit, found.harness_limited, found.evidence) == ("quota", False, (HELD_CLIENTS,))
    held = dataclasses.replace(publisher(queue_full=9), throttled_s=7.0)
    assert limit_of_late(publisher=held, totals=machine).evidence == (HELD_PUBLISHER,)
    both = limit_of_late(publisher=held, subscribers=quota_on(0.0, 3.0, 1234.5))
    assert (both.limit, both.evidence) == ("quota", (HELD_PUBLISHER, HELD_CLIENTS))


def test_a_little_of_a_quota_is_not_the_harness_and_still_not_the_broker():
    long_run = dataclasses.replace(publisher(), send_window_s=60.0)
    held = quota_on(1.0)
    assert limit_of_late(publisher=long_run, subscribers=held).limit == "quota"
    busy_machine = {"machine_cpu_percent": 99.0}
    assert limit_of_late(publisher=long_run, subscribers=held, totals=busy_machine).limit == "harness"
    assert limit_of_late(subscribers=quota_on(0.09)).limit == "broker"


def clients(*facts):
    """A subscriber whose clients have these facts each."""
    made = tuple(
        dataclasses.replace(ClientStats(f"c{number}", (), True, 1, 1, 1.0, 0, 0, 0, ""), **each)
        for number, each in enumerate(facts)
    )
    return (dataclasses.replace(subscriber(), clients=made),)


@pytest.mark.parametrize(
    ("changes", "evidence", "advice"),
    [
        (
            {"subscribers": clients({}, {"own_errors": OwnErrors(7, "Invalid frame length: 180")}, {})},
            "1 of 3 clients had errors of their own, c1: Invalid frame length: 180 (7 times)",
            "--sub_driver",
        ),
        (
            {"publisher": dataclasses.replace(publisher(), own_errors=OwnErrors(1, "IO loop crashed"))},
            "the publisher's own error: IO loop crashed",
            "--pub_driver",
        ),
    ],
)
def test_errors_of_clients_are_not_the_brokers_limit(changes, evidence, advice):
    found = limit_of_late(**changes)
    assert (found.limit, found.harness_limited, found.evidence) == ("harness", True, (evidence,))
    assert advice in found.advice


@pytest.mark.parametrize(
    "error", ["localhost:9092: Connection refused", "NOT_LEADER_OR_FOLLOWER for topic t", "UNKNOWN_SERVER_ERROR"]
)
def test_a_broker_that_is_gone_is_still_the_brokers_doing(error):
    assert limit_of_late(subscribers=clients({"error": error})).limit == "broker"


@pytest.mark.parametrize(
    ("error", "evidence"),
    [
        (
            "h:1: MESSAGE_TOO_LARGE for partition 0",
            r"brokers refused the publisher's records for good: MESSAGE_TOO_LARGE \(.*max.message.bytes.*\)",
        ),
        # The last error is another one.
        ("h:1: Connection refused", r"brokers refused 3 records for good \(h:1: Connection refused\)"),
        ("", r"brokers refused 3 records for good \(no reason is known\)"),
    ],
)
def test_records_that_were_refused_met_a_rule_and_not_a_slow_broker(error, evidence):
    refused = dataclasses.replace(FIGURES, records_failed=3)
    found = limit_of(refused, publisher=dataclasses.replace(publisher(), error=error))
    assert (found.limit, found.harness_limited, found.symptoms) == ("refusal", False, ("3 records were refused",))
    (told,) = found.evidence
    assert re.fullmatch(evidence, told)


def test_a_client_that_may_not_read_met_a_rule():
    found = limit_of_late(subscribers=clients({"error": "Broker: Topic authorization failed"}, {}))
    assert found.limit == "refusal"
    (told,) = found.evidence
    assert told.startswith(
        "brokers refused 1 of 2 clients for good, c0: TOPIC_AUTHORIZATION_FAILED (grant this user READ"
    )


def test_errors_are_among_the_brokers_evidence():
    lost = dataclasses.replace(publisher(), error="h:1: no reply for 30 s")
    found = limit_of_late(publisher=lost, subscribers=clients({}, {"error": "h:1: the broker closed the connection"}))
    assert found.limit == "broker"
    assert "the publisher's last error: h:1: no reply for 30 s" in found.evidence
    assert "1 clients had errors, c1: h:1: the broker closed the connection" in found.evidence


def test_where_records_went_without_acks_is_unknown():
    sent = {"records_unknown": 1000, "records_acked": 0}
    astray = dataclasses.replace(FIGURES, **sent, records_counted=990)
    found = limit_of(astray, acks="0")
    assert (found.limit, found.evidence) == ("unknown", ("with acks=0 nobody is told why",))
    assert found.symptoms == ("10 records were sent and never reached the log",)
    assert limit_of(dataclasses.replace(FIGURES, **sent, records_counted=1000), acks="0").limit == "none"
    late = dataclasses.replace(NO_LATENCY, e2e=LATE)
    assert limit_of(astray, acks="0", latency=late).limit == "broker"


ONE_HANDLER = ThreadUse("request handlers", 1, 0.9, 0.95, 0.95, 0.9, 0.0)
FULL_BROKER = BrokerInside((BrokerProcess("broker 1", 10.0, 40, 4.0, 1.2, 0.0, threads=(ONE_HANDLER,)),))


def test_a_part_is_named_only_where_the_broker_is_the_limit():
    found = limit_of_late(inside=FULL_BROKER)
    assert (found.limit, found.part, found.name) == (
        "broker", "its request handlers", "broker: its request handlers",
    )  # fmt: skip
    assert (
        "broker 1: its only one of the request handlers was busy for 95 % of the time (90 % on a CPU)" in found.evidence
    )
    stood_still = subscriber(times=(0.0, 1.0, 9.0))
    found = limit_of_late(inside=FULL_BROKER, subscribers=(stood_still,))
    assert (found.limit, found.part, found.name) == ("harness", "", "harness")
    found = limit_of(inside=FULL_BROKER)
    assert (found.limit, found.part) == ("none", "")


def test_a_part_that_is_not_known_is_not_named():
    idle = dataclasses.replace(FULL_BROKER.processes[0], threads=())
    found = limit_of_late(inside=BrokerInside((idle,)))
    assert (found.name, found.part) == ("broker", "")
    assert any("no part is shown to have given way" in text for text in found.evidence)
    assert limit_of_late().name == "broker"
