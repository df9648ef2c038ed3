"""Who is still there."""

import dataclasses

import pytest

from hydra.endpoints import Endpoint
from hydra.run.protocols import RunContext, Task
from hydra.run.task_roster import REASONS_SHOWN, SUSPENDED_S, TRIES, TaskRoster, told_once
from hydra.signals.messages import request

APP = "/g1/kafka-sub"
PING = request("ping")


class Roll:
    def __init__(self, clock, progress, twins, count=3):
        self.clock, self.progress = clock, progress
        self.launcher, self.signals = twins.Launcher(clock), twins.Signals(clock)
        self.tasks = {}
        for number in range(count):
            task = Task(f"t{number}", APP, True, Endpoint("127.0.0.1", 21000 + number))
            self.launcher.running.setdefault(APP, []).append(task)
            self.tasks[task.task_id] = twins.SubscriberTask(task, clock, None)
            self.signals.tasks[task.endpoint] = self.tasks[task.task_id]
        context = RunContext(self.launcher, self.signals, None, clock, None, None, progress, lambda: "")
        self.roster = TaskRoster(APP, self.launcher.tasks(APP), context)

    def asked(self):
        """How often each task was sent something since the last look."""
        counts = dict.fromkeys(self.tasks, 0)
        for endpoint, _signal in self.signals.asked:
            counts[f"t{endpoint.port - 21000}"] += 1
        self.signals.asked.clear()
        return counts


@pytest.fixture
def roll(clock, progress, twins):
    return Roll(clock, progress, twins)


def test_everyone_answers(roll):
    answers = roll.roster.request_once(lambda _task: PING)
    assert set(answers) == {"t0", "t1", "t2"}
    assert all(answer.ok for answer in answers.values())
    assert roll.roster.gone == {}


def test_each_is_asked_what_is_meant_for_it(roll):
    asked = []
    roll.roster.request_once(lambda task: asked.append(task.task_id) or PING)
    assert asked == ["t0", "t1", "t2"]


def test_a_refusal_is_an_answer(roll):
    roll.tasks["t1"].refuse["ping"] = "no"
    answers = roll.roster.request_once(lambda _task: PING)
    assert (answers["t1"].ok, answers["t1"].error, answers["t1"].silent) == (False, "no", False)
    assert len(roll.roster.present) == 3


def test_one_whose_process_ended_is_gone_once_with_the_reason(roll):
    roll.launcher.reason = "TASK_FAILED: exit 3"
    roll.tasks["t1"].kill()
    roll.launcher.end("t1")
    assert set(roll.roster.request_once(lambda _task: PING)) == {"t0", "t2"}
    assert roll.roster.gone == {"t1": "its process ended (TASK_FAILED: exit 3)"}
    assert [task.task_id for task in roll.roster.present] == ["t0", "t2"]
    roll.roster.request_once(lambda _task: PING)
    assert roll.progress.notes == ["t1 is missing: its process ended (TASK_FAILED: exit 3)"]
    assert roll.asked() == {"t0": 2, "t1": 1, "t2": 2}


def test_without_a_reason_of_the_engines_it_is_said_plainly(roll):
    roll.tasks["t1"].kill()
    roll.launcher.end("t1")
    roll.roster.request_once(lambda _task: PING)
    assert roll.roster.gone == {"t1": "its process ended"}


def test_one_that_is_staged_again_under_another_id_is_gone_all_the_same(roll):
    roll.tasks["t1"].kill()
    roll.launcher.end("t1")
    roll.launcher.start(APP)
    roll.roster.request_once(lambda _task: PING)
    assert list(roll.roster.gone) == ["t1"]


def test_one_that_runs_and_stays_silent_is_suspended_and_does_not_hold_up_the_others(roll):
    roll.tasks["t2"].freeze()
    roll.roster.request_once(lambda _task: PING)
    assert roll.asked() == {"t0": 1, "t1": 1, "t2": 1}
    began_s = roll.clock.now_s()
    roll.roster.request_once(lambda _task: PING)
    assert roll.clock.now_s() - began_s < 0.1
    assert roll.asked() == {"t0": 1, "t1": 1, "t2": 0}
    assert roll.roster.gone == {}


def test_after_its_suspension_it_is_asked_again_and_may_be_back(roll):
    roll.tasks["t2"].freeze(for_s=4)
    assert "t2" not in roll.roster.request_once(lambda _task: PING)
    roll.clock.sleep(SUSPENDED_S)
    assert set(roll.roster.request_once(lambda _task: PING)) == {"t0", "t1", "t2"}
    roll.asked()
    roll.roster.request_once(lambda _task: PING)
    assert roll.asked() == {"t0": 1, "t1": 1, "t2": 1}


def test_request_all_asks_three_times_and_then_marks_as_gone(roll):
    roll.tasks["t2"].freeze()
    began_s = roll.clock.now_s()
    answers = roll.roster.request_all(lambda _task: PING, timeout_s=2)
    assert set(answers) == {"t0", "t1"}
    assert roll.asked() == {"t0": 1, "t1": 1, "t2": TRIES}
    assert roll.roster.gone == {"t2": "no answer to 3 signals of 2 s each"}
    assert 6 <= roll.clock.now_s() - began_s < 7


def test_request_all_reaches_one_that_answers_at_last(roll):
    roll.tasks["t2"].freeze(for_s=3)
    assert set(roll.roster.request_all(lambda _task: PING, timeout_s=2)) == {"t0", "t1", "t2"}
    assert roll.roster.gone == {}


def test_request_all_does_not_wait_for_one_whose_process_ended(roll):
    roll.tasks["t2"].kill()
    roll.launcher.end("t2")
    began_s = roll.clock.now_s()
    roll.roster.request_all(lambda _task: PING, timeout_s=2)
    assert roll.asked()["t2"] == 1
    assert roll.clock.now_s() - began_s < 3


def test_request_all_asks_the_suspended_ones_too(roll):
    roll.tasks["t2"].freeze(for_s=2)
    roll.roster.request_once(lambda _task: PING)
    assert set(roll.roster.request_all(lambda _task: PING)) == {"t0", "t1", "t2"}


def test_with_nobody_left_nothing_is_asked(roll):
    for name in roll.tasks:
        roll.tasks[name].kill()
        roll.launcher.end(name)
    assert roll.roster.request_all(lambda _task: PING) == {}
    roll.asked()
    assert roll.roster.request_once(lambda _task: PING) == {}
    assert roll.asked() == {"t0": 0, "t1": 0, "t2": 0}
    assert len(roll.roster.gone) == 3


def test_a_task_without_an_endpoint_is_gone(clock, progress, twins):
    roll = Roll(clock, progress, twins, count=2)
    task = roll.roster.present[1]
    roll.roster.present[1] = dataclasses.replace(task, endpoint=None)
    assert set(roll.roster.request_all(lambda _task: PING)) == {"t0"}
    assert list(roll.roster.gone) == ["t1"]


def test_a_reason_that_many_tasks_have_is_told_once():
    same = [(f"t{number}", "the driver cannot be imported") for number in range(50)]
    assert told_once(same) == "50 tasks: the driver cannot be imported"
    assert told_once([*same[:1], ("", "no broker"), ("t7", "its process ended")]) == (
        "t0: the driver cannot be imported; no broker; t7: its process ended"
    )
    told = told_once((f"t{number}", f"reason {number}") for number in range(REASONS_SHOWN + 4))
    assert told.startswith("t0: reason 0; t1: reason 1")
    assert told.endswith("; and 4 more reasons")
