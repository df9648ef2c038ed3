"""When the batch API reads the options object, and what it makes of a run's record; nothing is started."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import pytest

from hydra.accounting.broker_inside import BrokerCpu
from hydra.errors import BrokerError, InfrastructureError, InterruptedRunError, MarathonError, OutputError, UsageError
from hydra.kafkatest import runtest, session
from hydra.kafkatest.runtest import RunTestKAFKA
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.run import controller
from hydra.run.protocols import AppSpec, SilentProgress, Task
from hydra.run.record import RunRecord, failed_record
from hydra.run.warm_up import FetchReading, WarmUpPlan
from tests.facts import made_result


class FakeRun:
    """Ends at once, with the error that the stack has for it."""

    def __init__(self, order, stack):
        self.order, self.stack, self.error = order, stack, None

    def measure(self):
        self.stack.measured.append(self.order)
        return self._record({"send": 1.0})

    def warm_up(self, warmth, *, until_warm):
        self.stack.warmed_up.append(self.order)
        self.stack.until_warm = until_warm
        for fetches in range(6):
            clients_cpu_s = fetches * self.stack.client_cost_s
            warmth.note(FetchReading(fetches / 8000, BrokerCpu(fetches * 100e-6), clients_cpu_s, fetches, 0.0))
        return self._record({"warmup": 2.0})

    def _record(self, phases_s):
        if self.stack.errors:
            self.error = self.stack.errors.pop(0)
            return dataclasses.replace(failed_record(self.order, "now", self.error), phases_s=phases_s)
        record = RunRecord(self.order, "complete", "now", 0, seed_keys={"packet_tx": 7}, result=made_result())
        return dataclasses.replace(record, phases_s=phases_s)


class FakeStack:
    """A stack without processes, its engine, and the runs on it; notes the order of each run."""

    bootstrap_servers = "127.0.0.1:9092"
    placement = None

    def __init__(self):
        self.measured, self.warmed_up, self.errors, self.apps = [], [], [], {}
        self.warm_up_plan_is, self.loaded = None, 0
        self.options, self.machine_speed, self.client_cost_s = None, 1.0, 0.0
        self.ended, self.traced = None, []
        self.silent, self.removed = set(), []
        self.launcher = self.deployment = self

    def connect_kafka(self):
        return

    def open(self):
        return self

    def context(self, _options, _progress):
        return SimpleNamespace(host=SimpleNamespace(cores=2))

    def topic_there(self, _options):
        return None

    def warm_up_plan(self, _options):
        return self.warm_up_plan_is

    def ran(self, speed=None):
        self.loaded += 1
        self.machine_speed = speed or self.machine_speed

    def cluster(self):
        return {"kafka": "embedded"}

    def close(self, *, keep):
        return

    def failure(self, wait_s=0):
        return self.ended

    def begin_run(self, order):
        self.traced.append(order.topic)

    def end_run(self, run):
        self.traced.append("end")

    def apps_are_left(self):
        self.traced.append("apps are left")

    def apply(self, spec):
        self.apps[spec.app_id] = spec.instances

    def tasks(self, app_id):
        return tuple(Task(f"{app_id}.{number}", app_id, True, None) for number in range(self.apps.get(app_id, 0)))

    def wait_ready(self, app_id, _instances, _timeout_s):
        return self.tasks(app_id)

    def deaf(self, app_id, before):
        return tuple(task for task in before if task.task_id in self.silent)

    def remove(self, app_ids, _timeout_s):
        self.removed.append(tuple(app_ids))
        self.silent.clear()  # what is started in their place is new
        for app_id in app_ids:
            self.apps.pop(app_id, None)

    def run(self, order, _publisher, subscribers, _context):
        assert {client.task_id for client in order.clients} == {task.task_id for task in subscribers}
        return FakeRun(order, self)


@pytest.fixture
def stack(monkeypatch):
    made = FakeStack()

    def make(options, _run_id, _progress, _access):
        made.options = options
        return made

    monkeypatch.setattr(session, "Session", make)
    monkeypatch.setattr(controller, "Run", made.run)
    monkeypatch.setattr(runtest, "check_capacity", lambda *_arguments, **_settings: None)
    monkeypatch.setattr(
        runtest,
        "app_spec",
        lambda options, role, instances, _placing: AppSpec(runtest.app_id(options, role), "", instances),
    )
    return made


class Notebook:
    """The options of the seed's notebook."""

    test_duration = 10
    msg_batch = 100
    msg_rate = 2000
    total_sub_apps = 3
    config_file = "hydra.ini"
    keep_running = False


def test_options_changed_before_the_first_start_are_those_of_the_first_run(stack, tmp_path, monkeypatch):
    """The seed's notebook: its loop sets apps and rate, and calls start_appserver for the first point."""
    monkeypatch.chdir(tmp_path)
    options = Notebook()
    runner = RunTestKAFKA(options, False)
    options.total_sub_apps, options.msg_rate = 1, 1000
    runner.start_appserver()
    runner.run_test()
    for apps, rate in ((1, 1500), (5, 1000)):
        options.total_sub_apps, options.msg_rate = apps, rate
        runner.set_options(options)
        runner.scale_sub_app()
        runner.run_test()
    runner.stop_appserver()
    loads = [(order.options.total_sub_apps, order.options.msg_rate) for order in stack.measured]
    assert loads == [(1, 1000.0), (1, 1500.0), (5, 1000.0)]


def test_a_run_without_a_start_reads_them_too_and_a_running_stack_does_not(stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Notebook()
    runner = RunTestKAFKA(options, False)
    options.msg_rate = 500
    runner.run_test()
    options.msg_rate = 600
    runner.run_test()
    runner.stop_appserver()
    runner.run_test()
    assert [order.options.msg_rate for order in stack.measured] == [500.0, 500.0, 600.0]


def test_an_option_that_cannot_be_is_refused_when_the_runner_is_made(stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Notebook()
    options.msg_rate = "fast"
    with pytest.raises(UsageError, match=r"options\.msg_rate"):
        RunTestKAFKA(options, False)


def test_a_kept_task_that_is_deaf_is_replaced(stack):
    stack.apps = {"/g1/kafka-pub": 1, "/g1/kafka-sub": 3}  # an earlier run left them up
    stack.silent = {"/g1/kafka-sub.1"}
    progress = Notes()
    runner = RunTestKAFKA(Options(total_sub_apps=3, keep_running=True), False, progress=progress)
    runner.start_appserver()
    assert stack.removed == [("/g1/kafka-sub",)]
    assert stack.apps == {"/g1/kafka-pub": 1, "/g1/kafka-sub": 3}
    assert progress.notes == ["1 of 3 tasks of /g1/kafka-sub run and do not answer: the app is started anew"]
    runner.run_test()
    assert len(stack.removed) == 1


def test_a_task_that_is_deaf_since_the_last_run_spoils_no_other_one(stack):
    runner = RunTestKAFKA(Options(total_sub_apps=2), False)
    runner.run_test()
    assert stack.removed == []
    stack.silent = {"/g1/kafka-pub.0"}
    runner.run_test()
    assert stack.removed == [("/g1/kafka-pub",)]
    assert len(stack.measured) == 2


def test_a_failed_run_raises_its_error_and_leaves_its_record(stack):
    stack.errors = [BrokerError("gone")]
    runner = RunTestKAFKA(Options(total_sub_apps=1), False)
    with pytest.raises(BrokerError, match="gone"):
        runner.run_test()
    assert (runner.record.status, runner.record.exit_code, runner.record.error) == ("failed", 4, "gone")
    assert runner.record.cluster == {"kafka": "embedded"}
    assert stack.loaded == 0


def test_a_warm_up_is_the_same_load_and_its_time_is_a_phase(stack):
    stack.warm_up_plan_is = WarmUpPlan(2.0)
    runner = RunTestKAFKA(Options(total_sub_apps=1, msg_rate=50.0), False)
    assert runner.run_test() == {"packet_tx": 7}
    (before,), (run,) = stack.warmed_up, stack.measured
    assert (before.options.test_duration, before.options.msg_rate, run.options.test_duration) == (2.0, 50.0, 10.0)
    assert before.run_id != run.run_id
    assert runner.record.phases_s == {"warmup": 2.0, "send": 1.0}


def test_what_came_of_a_warm_up_until_the_broker_is_warm_is_told(stack):
    stack.warm_up_plan_is, stack.client_cost_s = WarmUpPlan(15.0, until_warm=True), 100e-6
    told = []
    progress = SilentProgress()
    progress.note = told.append
    RunTestKAFKA(Options(total_sub_apps=1), False, progress=progress).run_test()
    assert told == ["the warm-up took 2.0 s: a fetch cost the broker 100 us of CPU at first and 100 us in the end"]
    assert stack.loaded == 2


@pytest.mark.parametrize("until_warm", [True, False])
def test_the_pace_follows_from_what_a_fetch_cost_in_the_warm_up(stack, until_warm):
    stack.warm_up_plan_is, stack.client_cost_s = WarmUpPlan(15.0, until_warm=until_warm), 200e-6
    told = []
    progress = SilentProgress()
    progress.note = told.append
    RunTestKAFKA(Options(total_sub_apps=1), False, progress=progress).run_test()
    (before,), (run,) = stack.warmed_up, stack.measured
    assert (before.pace_ms, run.pace_ms) == (5.0, 2.5)  # the warm-up keeps the pace of the slowest machine
    assert told[0].endswith("100 us in the end; the fetch pace is 2 times the usual one")
    assert stack.until_warm is until_warm


def test_a_warm_up_that_fails_is_the_run_that_failed(stack):
    stack.warm_up_plan_is, stack.errors = WarmUpPlan(2.0), [BrokerError("gone")]
    runner = RunTestKAFKA(Options(total_sub_apps=1), False)
    with pytest.raises(BrokerError):
        runner.run_test()
    assert isinstance(runner.record.order, RunOrder)
    assert (runner.record.order.options.test_duration, stack.measured) == (10.0, [])


@pytest.mark.parametrize("failing", [True, False])
def test_a_record_that_cannot_be_written_hides_no_earlier_error(stack, tmp_path, failing):
    stack.errors = [BrokerError("gone")] if failing else []
    folder = tmp_path / "there"
    folder.mkdir()
    runner = RunTestKAFKA(Options(total_sub_apps=1, output=str(folder / "r.json")), False)
    runner.start_appserver()
    folder.rmdir()
    with pytest.raises(BrokerError if failing else OutputError):
        runner.run_test()
    assert runner.record is not None


def test_the_end_of_the_stack_wins_over_what_it_takes_with_it(stack, monkeypatch):
    """Nobody can reach a Marathon whose process was killed: that is no fault of an address."""
    stack.ended = InfrastructureError("the local stack (process 7) was killed by SIGKILL")

    def unreachable(*_arguments):
        raise MarathonError("Marathon cannot be reached")

    monkeypatch.setattr(stack, "apply", unreachable)
    with pytest.raises(InfrastructureError, match="killed by SIGKILL"):
        RunTestKAFKA(Options(), False).start_appserver()


def test_apps_of_a_stack_that_has_ended_are_not_removed(stack, monkeypatch):
    runner = RunTestKAFKA(Options(), False)
    runner.start_appserver()
    stack.ended = InfrastructureError("the local stack (process 7) was killed by SIGKILL")
    monkeypatch.setattr(stack, "remove", lambda *_arguments: pytest.fail("nobody is there"))
    runner.stop_appserver()


class FailingRemoval:
    """A removal of the apps that ends in these errors, one after the other, and then works."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.asked = 0

    def __call__(self, _app_ids, _timeout_s):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


class Notes(SilentProgress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("error", [MarathonError("Marathon timed out"), OSError(28, "No space left on device", "/x")])
@pytest.mark.parametrize("failing", [True, False])
def test_a_clean_up_that_fails_is_a_note_and_hides_nothing(stack, monkeypatch, error, failing):
    stack.errors = [BrokerError("gone")] if failing else []
    monkeypatch.setattr(stack, "remove", FailingRemoval(error))
    progress = Notes()
    with (
        pytest.raises(BrokerError, match="gone") if failing else contextlib.nullcontext(),
        RunTestKAFKA(Options(total_sub_apps=1), False, progress=progress) as runner,
    ):
        runner.run_test()
    assert progress.notes == [f"not everything could be cleaned up: {error}"]
    assert stack.traced[1:] == ["end", "apps are left"]


def test_an_interrupted_clean_up_is_done_all_the_same_and_is_the_exit_code(stack, monkeypatch):
    removal = FailingRemoval(InterruptedRunError(1))
    monkeypatch.setattr(stack, "remove", removal)
    with (
        pytest.raises(InterruptedRunError) as caught,
        RunTestKAFKA(Options(total_sub_apps=1), False) as runner,
    ):
        runner.run_test()
    assert caught.value.exit_code == 129
    assert removal.asked == 2


@pytest.mark.parametrize("text", ["o\udcff.json", "\udcff\udcfe"])
def test_a_name_that_is_not_utf8_is_written_and_read_again(stack, tmp_path, text):
    stack.errors = []
    path = tmp_path / text
    options = Options(total_sub_apps=1, output=str(path))
    RunTestKAFKA(options, False).run_test()
    assert json.loads(path.read_bytes())["order"]["options"]["output"].isprintable()
    path.read_bytes().decode("ascii")
