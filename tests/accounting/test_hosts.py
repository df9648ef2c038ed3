"""Hosts of tasks that the controller does not see."""

import dataclasses

import pytest

from hydra.accounting.stats import HostCpu
from tests.accounting.test_bottleneck import limit_of_late, publisher, subscriber, throttled

ELSEWHERE = {"marathon_url": "http://m:8080"}


def at(task, *host_cpus):
    """The task, with how busy its host was at each of its samples."""
    samples = [dataclasses.replace(each, host_cpu=used) for each, used in zip(task.samples, host_cpus, strict=True)]
    return dataclasses.replace(task, samples=tuple(samples))


def used(cpus, busy_percent, throttled_s=(None, None, None)):
    return [HostCpu(cpus, cpus * busy_percent / 100 * second, throttled_s[second]) for second in range(3)]


IDLE = used(8, 10)


def limit(publishers, *subscribers, **changes):
    tasks = [at(subscriber(f"sub.{number}"), *host) for number, host in enumerate(subscribers)]
    return limit_of_late(publisher=at(publisher(), *publishers), subscribers=tuple(tasks), **ELSEWHERE, **changes)


@pytest.mark.parametrize(
    ("publishers", "subscribers", "evidence"),
    [
        (IDLE, [IDLE, used(4, 97), used(4, 95)], "the hosts of 2 of 4 tasks had no CPU free: of the 4 that sub.1"),
        (used(1, 90), [IDLE], "the hosts of 1 of 2 tasks had no CPU free: of the 1 that p may use, 90 %"),
        (IDLE, [used(0.5, 100)], "the hosts of 1 of 2 tasks had no CPU free: of the 0.5 that sub.0"),
        (
            IDLE,
            [used(0.5, 40, (1.0, 1.1, 1.2))],
            "the CPU quota of 1 of 2 tasks ran out: that of sub.0, 0.5 CPUs, in 10 % of the run",
        ),
    ],
)
def test_a_host_without_a_free_cpu_is_the_harness(publishers, subscribers, evidence):
    found = limit(publishers, *subscribers)
    assert (found.limit, found.harness_limited) == ("harness", True)
    assert found.evidence[0].startswith(evidence)
    assert found.advice


@pytest.mark.parametrize("host", [IDLE, used(1, 60), used(0.5, 60), used(2, 76), used(64, 99.0)])
def test_a_host_with_room_leaves_the_broker(host):
    found = limit(IDLE, host)
    assert found.limit == "broker"
    assert not any("not known" in text for text in found.evidence)


def test_a_controller_without_a_free_cpu_says_nothing_of_tasks_elsewhere():
    changes = {"totals": {"machine_cpu_percent": 99.0, "broker_cpu_percent": None}, "machine": throttled(1.0, 1.5)}
    assert limit(IDLE, IDLE, **changes).limit == "broker"


def test_what_was_not_measured_is_said():
    found = limit_of_late(**ELSEWHERE)
    assert found.evidence[-1] == "how busy the CPUs of the tasks' hosts were is not known"
