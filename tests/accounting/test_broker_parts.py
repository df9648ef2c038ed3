"""What gave way inside of a broker: each cause alone, causes before their effects, and none where nothing shows."""

import dataclasses

import pytest

from hydra.accounting.broker_inside import BrokerExport, BrokerInside, BrokerProcess, RequestTimes, ThreadUse
from hydra.accounting.broker_parts import broker_part, inside_facts


def use(kind, busy=0.1, *, cpu=None, threads=1, busiest=None, disk=None, cpus=None):
    busiest = busy if busiest is None else busiest
    cpu = busiest if cpu is None else cpu
    return ThreadUse(kind, threads, threads * cpu if cpus is None else cpus, busy, busiest, cpu, disk)


IDLE = (use("request handlers", threads=8, disk=0.0), use("network threads", threads=3), use("garbage collector", 0.01))
ROOMY = BrokerProcess(
    "broker 1", window_s=10.0, looks=40, cpus_allowed=4.0, cpus_used=0.8, stopped_ratio=0.0, gc_pauses=3,
    gc_paused_ratio=0.01, gc_longest_ms=20.0, disk_busy_ratio=0.1, threads=IDLE,
)  # fmt: skip


def inside(*uses, **changes):
    kinds = {each.kind: each for each in (*IDLE, *uses)}
    return BrokerInside((dataclasses.replace(ROOMY, threads=tuple(kinds.values()), **changes),))


ONE_HANDLER = use("request handlers", 0.96, cpu=0.9)
ONE_NETWORK = use("network threads", 0.97, cpu=0.9)
COLLECTOR = use("garbage collector", 0.5, cpus=0.4)


@pytest.mark.parametrize(
    ("uses", "changes", "part", "evidence"),
    [
        ([ONE_HANDLER], {}, "its request handlers", "its only one of the request handlers was busy for 96 %"),
        ([ONE_NETWORK], {}, "its network threads", "its only one of the network threads was busy for 97 %"),
        ([use("network threads", 0.4, busiest=0.95, threads=3)], {}, "its network threads", "the busiest of its 3"),
        ([use("replica fetchers", 0.95)], {}, "its replica fetchers", "busy for 95 %"),
        (
            [use("request handlers", 0.3, threads=8, disk=0.6)],
            {},
            "its disk",
            "waited for the disk in 60 % of 40 looks",
        ),
        ([COLLECTOR], {}, "its garbage collector", "took 50 % of its CPU time"),
        ([], {"gc_paused_ratio": 0.3, "gc_longest_ms": 900.0}, "its garbage collector", "30 % of the time, 900 ms"),
        ([], {"throttled_ratio": 0.4, "cpus_allowed": 0.5}, "its CPU time", "quota of 0.5 CPUs ran out in 40 %"),
        ([], {"stopped_ratio": 0.8}, "its CPU time", "it was stopped in 80 % of 40 looks"),
        ([], {"cpus_used": 3.7}, "its CPU time", "it used 3.70 of 4 CPUs"),
        ([use("request handlers", 0.95, cpu=0.1)], {}, "its CPU time", "(10 % on a CPU)"),
    ],
)
def test_each_cause_alone_is_named(uses, changes, part, evidence):
    found = broker_part(inside(*uses, **changes))
    assert found.name == part
    assert evidence in "; ".join(found.evidence)


@pytest.mark.parametrize(
    ("uses", "changes", "part"),
    [
        # Threads that cannot run are busy waiting; handlers that wait for the disk keep the others waiting.
        ([use("request handlers", 0.95, cpu=0.6)], {"stopped_ratio": 0.5}, "its CPU time"),
        ([ONE_HANDLER, COLLECTOR], {"gc_paused_ratio": 0.4}, "its garbage collector"),
        ([use("request handlers", 0.9, cpu=0.5, disk=0.7), ONE_NETWORK], {}, "its disk"),
        # Of two that are full the one that runs more.
        ([ONE_HANDLER, use("network threads", 0.99, cpu=0.95)], {}, "its network threads"),
        ([use("request handlers", 0.99, cpu=0.97), ONE_NETWORK], {}, "its request handlers"),
        # One thread at its limit is that limit, also on a machine that it fills.
        ([ONE_HANDLER], {"cpus_used": 3.9}, "its request handlers"),
    ],
)
def test_a_cause_goes_before_its_effects(uses, changes, part):
    assert broker_part(inside(*uses, **changes)).name == part


@pytest.mark.parametrize(
    ("uses", "changes"),
    [
        ([], {}),
        ([use("request handlers", 0.5, busiest=0.99, threads=8)], {}),  # one queue: the others had time
        ([use("compiler", 1.0, threads=2)], {}),  # it works in the background
        ([], {"gc_pauses": None, "gc_paused_ratio": None, "gc_longest_ms": None}),
        ([ONE_HANDLER], {"looks": 5}),
        ([ONE_HANDLER], {"window_s": 0.0}),
    ],
)
def test_where_nothing_is_shown_no_part_is_named_and_what_was_seen_is_told(uses, changes):
    seen = inside(*uses, **changes)
    assert broker_part(seen) is None
    (told,) = inside_facts(seen)
    assert "no part is shown to have given way" in told


def test_of_several_brokers_the_one_is_named():
    good, bad = inside().processes[0], dataclasses.replace(inside(ONE_NETWORK).processes[0], name="broker 2")
    found = broker_part(BrokerInside((good, bad)))
    assert found.name == "broker 2, its network threads"
    assert found.evidence[0].startswith("broker 2: ")


URL = "http://k1:7071/metrics"
TIMES = RequestTimes("Produce", queue_ms=900.0, local_ms=2.0, remote_ms=None, response_queue_ms=0.1, send_ms=0.2)


@pytest.mark.parametrize(
    ("handlers", "network", "part"),
    [
        (0.05, 0.8, "its request handlers"),
        (0.9, 0.02, "its network threads"),
        (0.10, 0.02, "its network threads"),
        (0.05, None, "its request handlers"),
        (0.5, 0.5, None),
        (None, 0.5, None),
        (None, None, None),
    ],
)
def test_what_a_broker_exports_names_its_part(handlers, network, part):
    seen = BrokerInside(exports=(BrokerExport(URL, 3, handlers, network, (TIMES,)),))
    found = broker_part(seen)
    assert (found and found.name) == part
    if found is not None:
        told = "; ".join(found.evidence)
        assert "Produce: request queue 900 ms, local 2 ms, remote unknown" in told
        assert handlers is not None or "request handlers unknown" in told


@pytest.mark.parametrize(
    ("export", "told"),
    [
        (BrokerExport(URL, 0, error="no response within 5 s"), f"{URL} was not read: no response within 5 s"),
        (BrokerExport(URL, 2), f"{URL} exports no idle share of request handlers or network threads"),
        (BrokerExport(URL, 2, 0.6), f"{URL}: no part is shown to have given way (request handlers idle for 60 %,"),
    ],
)
def test_what_was_not_exported_is_unknown_and_not_zero(export, told):
    seen = BrokerInside(exports=(export,))
    assert broker_part(seen) is None
    assert inside_facts(seen)[0].startswith(told)
