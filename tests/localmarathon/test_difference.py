from dataclasses import replace
from pathlib import Path

import pytest

from hydra.localmarathon.app_definition import AppDefinition, KillSelection, UpgradeStrategy, Versions
from hydra.localmarathon.difference import Difference, kill_order, settled, wanted_minus_seen
from hydra.localmarathon.task import Task, TaskState

APP = AppDefinition(app_id="/x", instances=3, versions=Versions("v2", "v2", "v2"))


def task(number, state=TaskState.RUNNING, config_version="v2"):
    return Task(
        task_id=f"t{number}",
        app_id="/x",
        version="v2",
        config_version=config_version,
        number=number,
        host="127.0.0.1",
        agent_id="S0",
        ports=(),
        service_ports=(),
        role="*",
        kill_grace_s=3,
        sandbox=Path("sandbox"),
        staged_at="",
        state=state,
    )


def running(*numbers):
    return [task(number) for number in numbers]


def outdated(*numbers):
    return [task(number, config_version="v1") for number in numbers]


@pytest.mark.parametrize(
    ("instances", "seen", "start", "killed"),
    [
        (3, [], 3, []),
        (3, running(1, 2), 1, []),
        (3, running(1, 2, 3), 0, []),
        (1, running(1, 2, 3), 0, ["t3", "t2"]),
        (0, running(1, 2), 0, ["t2", "t1"]),
        (3, [task(1), task(2, TaskState.STAGING)], 1, []),
        # one that is being killed holds its place
        (3, [task(1), task(2), task(3, TaskState.KILLING)], 0, []),
        (1, [task(1), task(2, TaskState.KILLING)], 0, []),
        # what does not run yet goes first, whatever its age
        (1, [task(1, TaskState.STAGING), task(2)], 0, ["t1"]),
    ],
)
def test_scaling(instances, seen, start, killed):
    difference = wanted_minus_seen(replace(APP, instances=instances), seen)
    assert (difference.start, [one.task_id for one in difference.kill]) == (start, killed)


def test_kill_selection():
    assert [one.number for one in kill_order(running(2, 1, 3), KillSelection.YOUNGEST_FIRST)] == [3, 2, 1]
    assert [one.number for one in kill_order(running(2, 1, 3), KillSelection.OLDEST_FIRST)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("strategy", "seen", "start", "killed"),
    [
        # all new ones beside the old ones first, then the old ones go
        (UpgradeStrategy(1, 1), outdated(1, 2, 3), 3, []),
        (UpgradeStrategy(1, 1), outdated(1, 2, 3) + running(4), 2, ["t3"]),
        (UpgradeStrategy(1, 1), outdated(1, 2, 3) + running(4, 5, 6), 0, ["t3", "t2", "t1"]),
        # all at once, and no more than before
        (UpgradeStrategy(0, 0), outdated(1, 2, 3), 0, ["t3", "t2", "t1"]),
        # neither may it shrink nor grow: one more is allowed all the same
        (UpgradeStrategy(1, 0), outdated(1, 2, 3), 1, []),
    ],
)
def test_tasks_of_an_older_configuration_are_exchanged_within_bounds(strategy, seen, start, killed):
    difference = wanted_minus_seen(replace(APP, upgrade_strategy=strategy), seen)
    assert (difference.start, [one.task_id for one in difference.kill]) == (start, killed)


@pytest.mark.parametrize("minimum", [0, 0.5, 1])
@pytest.mark.parametrize("maximum", [0, 0.5, 1])
@pytest.mark.parametrize("instances", [1, 2, 5])
def test_an_exchange_always_comes_to_its_end(minimum, maximum, instances):
    app = replace(APP, instances=instances, upgrade_strategy=UpgradeStrategy(minimum, maximum))
    seen = {number: task(number, config_version="v1") for number in range(instances)}
    for step in range(100):
        if settled(app, seen.values()):
            break
        difference = wanted_minus_seen(app, seen.values())
        assert difference != Difference(0, ()), f"stuck after {step} steps with {list(seen)}"
        for one in difference.kill:
            del seen[one.number]
        for _ in range(difference.start):
            seen[max(seen, default=0) + 1000] = task(max(seen, default=0) + 1000)
        assert len(seen) >= int(instances * minimum)
        assert len(seen) <= instances * 2 + 1
    assert settled(app, seen.values())


@pytest.mark.parametrize(
    ("seen", "is_settled"),
    [
        (running(1, 2, 3), True),
        (running(1, 2), False),
        (running(1, 2, 3, 4), False),
        ([*running(1, 2), task(3, TaskState.STAGING)], False),
        ([*running(1, 2, 3), task(4, TaskState.KILLING)], False),
        (running(1, 2) + outdated(3), False),
    ],
)
def test_settled(seen, is_settled):
    assert settled(APP, seen) is is_settled
