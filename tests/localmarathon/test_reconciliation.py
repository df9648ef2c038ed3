from dataclasses import replace
from pathlib import Path

import pytest

from hydra.localmarathon.app_definition import AppDefinition, KillSelection, UpgradeStrategy, Versions
from hydra.localmarathon.placement import AgentIdentity
from hydra.localmarathon.reconciliation import Step, is_settled, kill_order, next_step
from hydra.localmarathon.task import Task, TaskState

APP = AppDefinition(app_id="/x", instances=3, versions=Versions("v2", "v2", "v2"))


def task(number, state=TaskState.RUNNING, config_version="v2"):
    return Task(
        task_id=f"t{number}",
        app=replace(APP, versions=Versions("v2", "v2", config_version)),
        agent=AgentIdentity("S0", "127.0.0.1", {}),
        number=number,
        ports=(),
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
    step = next_step(replace(APP, instances=instances), seen)
    assert (step.launch_count, [one.task_id for one in step.kill]) == (start, killed)


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
def test_tasks_of_an_older_configuration_are_replaced_within_bounds(strategy, seen, start, killed):
    step = next_step(replace(APP, upgrade_strategy=strategy), seen)
    assert (step.launch_count, [one.task_id for one in step.kill]) == (start, killed)


@pytest.mark.parametrize("strategy", [UpgradeStrategy(1, 1), UpgradeStrategy(1, 0), UpgradeStrategy(0, 0)])
def test_a_single_instance_is_never_replaced_by_one_beside_it(strategy):
    app = replace(APP, instances=1, labels={"MARATHON_SINGLE_INSTANCE_APP": "true"}, upgrade_strategy=strategy)
    old = task(1, config_version="v1")
    assert next_step(app, [old]) == Step(0, (old,))
    old.state = TaskState.KILLING
    assert next_step(app, [old]) == Step(0, ())
    assert next_step(app, []) == Step(1, ())


@pytest.mark.parametrize("minimum", [0, 0.5, 1])
@pytest.mark.parametrize("maximum", [0, 0.5, 1])
@pytest.mark.parametrize("instances", [1, 2, 5])
def test_a_replacement_always_comes_to_its_end(minimum, maximum, instances):
    app = replace(APP, instances=instances, upgrade_strategy=UpgradeStrategy(minimum, maximum))
    seen = {number: task(number, config_version="v1") for number in range(instances)}
    for count in range(100):
        if is_settled(app, seen.values()):
            break
        step = next_step(app, seen.values())
        assert step != Step(0, ()), f"stuck after {count} steps with {list(seen)}"
        for one in step.kill:
            del seen[one.number]
        for _ in range(step.launch_count):
            seen[max(seen, default=0) + 1000] = task(max(seen, default=0) + 1000)
        assert len(seen) >= int(instances * minimum)
        assert len(seen) <= instances * 2 + 1
    assert is_settled(app, seen.values())


@pytest.mark.parametrize(
    ("instances", "strategy", "moments"),
    [
        # Two of four must stay, five may exist.
        (4, UpgradeStrategy(0.5, 0.25), [(2, 3), (1, 4), (0, 4)]),
        # A share of 0.75 tasks that must stay is one task; room for 4.8 tasks is room for four.
        (3, UpgradeStrategy(0.25, 0.6), [(1, 3), (0, 3)]),
        # It may only shrink.
        (2, UpgradeStrategy(0.5, 0), [(1, 1), (0, 2)]),
        # It may only grow.
        (2, UpgradeStrategy(1, 0.5), [(2, 1), (1, 2)]),
    ],
)
def test_a_replacement_by_shares_goes_step_by_step(instances, strategy, moments):
    app = replace(APP, instances=instances, upgrade_strategy=strategy)
    old = {number: task(number, config_version="v1") for number in range(instances)}
    new = {}
    # No new task runs until it is told to: how many old and new tasks there are each time nothing more can be done.
    for moment in moments:
        while (step := next_step(app, [*old.values(), *new.values()])) != Step(0, ()):
            for one in step.kill:
                del old[one.number]
            for _ in range(step.launch_count):
                new[len(new) + 100] = task(len(new) + 100, TaskState.STAGING)
        assert (len(old), len(new)) == moment
        next(one for one in new.values() if one.state is TaskState.STAGING).state = TaskState.RUNNING


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (running(1, 2, 3), True),
        (running(1, 2), False),
        (running(1, 2, 3, 4), False),
        ([*running(1, 2), task(3, TaskState.STAGING)], False),
        ([*running(1, 2, 3), task(4, TaskState.KILLING)], False),
        (running(1, 2) + outdated(3), False),
    ],
)
def test_an_app_is_settled_when_exactly_the_wanted_tasks_run(seen, expected):
    assert is_settled(APP, seen) is expected
