"""From a wish to tasks that answer, on an engine in memory."""

import pytest

from hydra.endpoints import Endpoint
from hydra.errors import AppLockedError, InfrastructureError, MarathonError, NotReadyError
from hydra.run.deployment import DEAF_AFTER_S, RETRY_LIMIT_S, Deployment, is_settled
from hydra.run.protocols import AppSpec, Task

APP = "/g1/kafka-sub"
PLACE = Endpoint("127.0.0.1", 31000)


def spec(instances):
    return AppSpec(APP, "exec hydra task kafka-sub", instances)


class Ground:
    def __init__(self, clock, progress, twins):
        self.clock, self.progress = clock, progress
        self.launcher = twins.Launcher(clock)
        self.signals = twins.Signals(clock)
        self.broker = twins.Broker(clock)
        self.tasks = {}
        self.launcher.make = self._make
        self._kind = twins.SubscriberTask
        self.deployment = Deployment(self.launcher, self.signals, clock, progress)

    def _make(self, task):
        self.tasks[task.task_id] = self.signals.tasks[task.endpoint] = self._kind(task, self.clock, self.broker)

    def crash_each(self, every_s):
        """Tasks end as soon as they run, and the engine starts others."""

        def crash():
            for task in self.launcher.tasks(APP):
                self.launcher.end(task.task_id)
                self.launcher.start(APP)
            self.clock.at(every_s, crash)

        self.clock.at(every_s, crash)


@pytest.fixture
def ground(clock, progress, twins):
    return Ground(clock, progress, twins)


def test_tasks_that_run_and_answer_are_ready(ground):
    ground.deployment.apply(spec(3))
    tasks = ground.deployment.wait_ready(APP, 3, 60)
    assert [task.task_id for task in tasks] == ["kafka-sub.0001", "kafka-sub.0002", "kafka-sub.0003"]
    assert all(task.running and task.endpoint for task in tasks)
    assert all(ground.tasks[task.task_id].received == ["ping"] for task in tasks)
    assert ground.progress.details[0] == f"{APP}: 0 of 3 tasks answer"
    assert ground.progress.details[-1] == f"{APP}: 3 of 3 tasks answer"


def test_more_and_fewer(ground):
    ground.deployment.apply(spec(1))
    first = ground.deployment.wait_ready(APP, 1, 60)
    ground.deployment.apply(spec(4))
    four = ground.deployment.wait_ready(APP, 4, 60)
    assert four[0] == first[0]
    ground.deployment.apply(spec(2))
    assert ground.deployment.wait_ready(APP, 2, 60) == four[:2]
    assert ground.launcher.applied == [(APP, 1), (APP, 4), (APP, 2)]


def test_surplus_tasks_are_waited_for_to_go(ground):
    ground.deployment.apply(spec(2))
    ground.deployment.wait_ready(APP, 2, 60)
    ground.launcher.start(APP)
    ground.clock.at(5, lambda: ground.launcher.end("kafka-sub.0003"))
    began_s = ground.clock.now_s()
    assert len(ground.deployment.wait_ready(APP, 2, 60)) == 2
    assert ground.clock.now_s() - began_s >= 5


def test_a_task_that_runs_and_does_not_answer_yet_is_waited_for(ground):
    ground.deployment.apply(spec(2))
    ground.clock.sleep(1)
    slow = ground.tasks["kafka-sub.0002"]
    slow.freeze(for_s=4)
    assert len(ground.deployment.wait_ready(APP, 2, 60)) == 2
    assert not slow.frozen


def test_a_task_that_was_there_and_answers_no_more_is_deaf(ground):
    assert ground.deployment.deaf(APP, ()) == ()
    ground.deployment.apply(spec(3))
    before = ground.deployment.wait_ready(APP, 3, 60)
    assert ground.deployment.deaf(APP, before) == ()
    ground.tasks["kafka-sub.0002"].freeze()
    ground.launcher.end("kafka-sub.0003")
    began_s = ground.clock.now_s()
    (deaf,) = ground.deployment.deaf(APP, before)
    assert deaf.task_id == "kafka-sub.0002", "one that has ended is not deaf"
    assert ground.clock.now_s() - began_s < DEAF_AFTER_S + 1


def test_a_task_that_ends_while_it_is_asked_is_not_deaf(ground):
    ground.deployment.apply(spec(2))
    before = ground.deployment.wait_ready(APP, 2, 60)
    ground.tasks["kafka-sub.0001"].freeze()
    ground.clock.at(DEAF_AFTER_S / 2, lambda: ground.launcher.end("kafka-sub.0001"))
    assert ground.deployment.deaf(APP, before) == ()


def test_a_task_that_never_answers_is_not_ready(ground):
    ground.deployment.apply(spec(2))
    ground.clock.sleep(1)
    ground.tasks["kafka-sub.0002"].freeze()
    with pytest.raises(NotReadyError, match=f"1 of 2 tasks of {APP} were ready after 10 s"):
        ground.deployment.wait_ready(APP, 2, 10)


def test_more_time_is_advised_only_where_it_would_have_helped(ground):
    ground.deployment.apply(spec(2))
    ground.clock.sleep(1)
    ground.tasks["kafka-sub.0002"].freeze()
    with pytest.raises(NotReadyError) as stalled:
        ground.deployment.wait_ready(APP, 2, 30)
    assert "--start_timeout" not in stalled.value.hint
    ground.launcher.start_delay_s = 7.0
    ground.deployment.apply(spec(3))
    with pytest.raises(NotReadyError) as moving:
        ground.deployment.wait_ready(APP, 3, 8)
    assert "raise --start_timeout" in moving.value.hint


def test_tasks_that_never_run_are_named_with_the_engines_reason(ground):
    ground.launcher.start_delay_s = 1000
    ground.launcher.reason = "no offer with 64 MiB"
    ground.deployment.apply(spec(3))
    began_s = ground.clock.now_s()
    with pytest.raises(NotReadyError) as caught:
        ground.deployment.wait_ready(APP, 3, 7)
    assert str(caught.value).startswith(f"0 of 3 tasks of {APP} were ready after 7 s (no offer with 64 MiB): ")
    assert (caught.value.missing, caught.value.exit_code) == ((APP,), 3)
    assert 7 <= ground.clock.now_s() - began_s < 9


def test_tasks_that_the_engine_has_no_place_for_are_a_matter_of_infrastructure(ground):
    ground.launcher.start_delay_s = 1000
    ground.launcher.reason, ground.launcher.unplaced = "offers were declined for UnfulfilledConstraint (3 of 3)", True
    ground.deployment.apply(spec(3))
    with pytest.raises(
        InfrastructureError, match=r"0 of 3 tasks .* after 7 s \(offers were declined for Unf"
    ) as caught:
        ground.deployment.wait_ready(APP, 3, 7)
    assert caught.value.exit_code == 4


def test_tasks_that_crash_again_and_again_are_given_up_in_time(ground):
    ground.launcher.reason = "TASK_FAILED: exit 1"
    ground.deployment.apply(spec(2))
    ground.crash_each(0.3)
    with pytest.raises(NotReadyError, match=r"TASK_FAILED: exit 1"):
        ground.deployment.wait_ready(APP, 2, 15)


def test_a_replaced_task_has_to_answer_for_itself(ground):
    ground.deployment.apply(spec(2))
    ground.clock.sleep(1)
    ground.tasks["kafka-sub.0002"].freeze(for_s=6)

    def replace():
        ground.launcher.end("kafka-sub.0001")
        ground.launcher.start(APP)

    ground.clock.at(3, replace)
    tasks = ground.deployment.wait_ready(APP, 2, 60)
    assert [task.task_id for task in tasks] == ["kafka-sub.0002", "kafka-sub.0003"]
    assert ground.tasks["kafka-sub.0001"].received == ["ping"]


def test_an_answer_from_another_task_at_that_port_does_not_count(ground):
    ground.deployment.apply(spec(1))
    ground.clock.sleep(1)
    task = ground.launcher.tasks(APP)[0]
    ground.signals.tasks[task.endpoint].task = type(task)("someone-else", APP, True, task.endpoint)
    with pytest.raises(NotReadyError, match="0 of 1"):
        ground.deployment.wait_ready(APP, 1, 3)


def test_an_answer_that_is_no_ping_does_not_count(ground):
    ground.deployment.apply(spec(1))
    ground.clock.sleep(1)
    ground.tasks["kafka-sub.0001"].refuse["ping"] = "who are you"
    with pytest.raises(NotReadyError, match="0 of 1"):
        ground.deployment.wait_ready(APP, 1, 3)


def test_a_locked_app_is_tried_again(ground):
    ground.launcher.refusals = [AppLockedError("locked by deployment 1") for _ in range(5)]
    ground.deployment.apply(spec(1))
    assert ground.launcher.applied == [(APP, 1)]
    assert len(ground.clock.slept) == 5
    assert len(set(ground.clock.slept)) > 1  # two controllers would not march in step


def test_a_lock_that_stays_is_told_after_a_minute(ground):
    ground.launcher.refusals = [AppLockedError("locked by deployment 1") for _ in range(1000)]
    began_s = ground.clock.now_s()
    with pytest.raises(AppLockedError, match="locked by deployment 1"):
        ground.deployment.apply(spec(1))
    assert RETRY_LIMIT_S <= ground.clock.now_s() - began_s < RETRY_LIMIT_S + 2
    assert ground.launcher.applied == []


def test_any_other_refusal_is_told_at_once(ground):
    ground.launcher.refusals = [MarathonError("401", status=401), MarathonError("unused")]
    with pytest.raises(MarathonError, match="401"):
        ground.deployment.apply(spec(1))
    assert ground.clock.slept == []


def test_remove_waits_until_the_apps_are_gone(ground):
    ground.deployment.apply(spec(2))
    ground.launcher.removal_s = 3
    began_s = ground.clock.now_s()
    ground.deployment.remove([APP, "/g1/kafka-pub"], 20)
    assert ground.launcher.removals == [APP, "/g1/kafka-pub"]
    assert ground.clock.now_s() - began_s >= 3
    assert ground.launcher.tasks(APP) == ()


def test_an_app_that_does_not_go_is_named(ground):
    ground.deployment.apply(spec(2))
    ground.launcher.removal_s = 1000
    with pytest.raises(InfrastructureError, match=f"{APP} still not gone after 20 s"):
        ground.deployment.remove(["/g1/kafka-pub", APP], 20)


def test_removing_nothing_is_no_work(ground):
    ground.deployment.remove([], 20)
    assert ground.clock.slept == []


def test_a_locked_app_is_removed_in_the_end(ground):
    ground.deployment.apply(spec(1))
    ground.launcher.refusals = [AppLockedError("locked")]
    ground.deployment.remove([APP], 20)
    assert ground.launcher.removals == [APP]


def seen(running=0, staged=0, without_port=0):
    kinds = [(True, PLACE)] * running + [(False, None)] * staged + [(True, None)] * without_port
    return [Task(f"t{number}", APP, up, place) for number, (up, place) in enumerate(kinds)]


@pytest.mark.parametrize(
    ("wanted", "tasks", "settled"),
    [
        (0, seen(), True),
        (3, seen(), False),
        (3, seen(running=3), True),
        (3, seen(running=2, staged=1), False),
        (3, seen(running=2, without_port=1), False),
        (3, seen(running=5), False),
        (2, seen(running=1, staged=3), False),
        (0, seen(staged=1), False),
    ],
)
def test_an_app_is_settled_when_nothing_is_missing_and_nothing_is_too_much(wanted, tasks, settled):
    assert is_settled(wanted, tasks) is settled
