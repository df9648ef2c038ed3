"""The clocks of tasks on other hosts: what is estimated, and how far off it may be."""

import dataclasses

import pytest

from hydra.endpoints import Endpoint
from hydra.run.host_clocks import ROUNDS, HostClocks
from hydra.run.protocols import RunContext, Task
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import ClockReading

SLACK_S = 1e-4
"""The in-memory clock moves on by a microsecond at each look."""


@pytest.fixture
def hosts(clock, progress, twins):
    """Makes tasks on hosts, and the clocks of those hosts as the controller knows them."""

    class Hosts:
        def __init__(self, tasks=1, own_boot_id="memory"):
            launcher, signals, broker = twins.Launcher(clock), twins.Signals(clock), twins.Broker(clock)
            self.tasks = []
            for number in range(tasks):
                task = Task(f"sub.{number}", "/g/sub", True, Endpoint("127.0.0.1", 21000 + number))
                launcher.running.setdefault("/g/sub", []).append(task)
                self.tasks.append(twins.SubscriberTask(task, clock, broker))
                signals.tasks[task.endpoint] = self.tasks[-1]
            context = RunContext(launcher, signals, broker, clock, None, None, progress, lambda: "")
            self.roster = TaskRoster("/g/sub", tuple(item.task for item in self.tasks), context)
            self.clocks = HostClocks(lambda: ClockReading(clock.now_s(), clock.now_s() + 5000.0, own_boot_id))

        def measure(self):
            self.clocks.measure([self.roster])
            return [self.clocks.of(item.task.task_id) for item in self.tasks]

    return Hosts


def test_tasks_of_the_controllers_host_share_its_clock_and_are_asked_once(hosts):
    here = hosts(tasks=3)
    for item in here.tasks:
        item.ways_s = [(0.5, 0.1)]
    for offset in here.measure():
        assert (offset.offset_s, offset.error_s) == (0.0, 0.0)
    assert here.clocks.error_s == 0.0
    assert [item.received for item in here.tasks] == [["ping"]] * 3


@pytest.mark.parametrize("ahead_s", [0.0, 123_456.789, -900.25])
@pytest.mark.parametrize("way_s", [(0.01, 0.01), (0.02, 0.0), (0.0, 0.02), (0.002, 0.005)])
def test_another_hosts_clock_is_known_within_half_a_round_trip(hosts, ahead_s, way_s):
    away = hosts()
    (task,) = away.tasks
    task.boot_id, task.clock_ahead_s, task.ways_s = "elsewhere", ahead_s, [way_s] * ROUNDS
    (offset,) = away.measure()
    assert offset.error_s == pytest.approx(sum(way_s) / 2, abs=SLACK_S)
    assert abs(offset.offset_s - ahead_s) <= offset.error_s + SLACK_S
    assert away.clocks.error_s == offset.error_s
    assert task.received == ["ping"] * ROUNDS


def test_the_shortest_round_trip_counts(hosts):
    away = hosts()
    (task,) = away.tasks
    task.boot_id, task.clock_ahead_s = "elsewhere", 10.0
    task.ways_s = [(0.2, 0.0), (0.0, 0.3), (0.001, 0.001), *[(0.1, 0.0)] * (ROUNDS - 3)]
    (offset,) = away.measure()
    assert offset.error_s == pytest.approx(0.001, abs=SLACK_S)
    assert offset.offset_s == pytest.approx(10.0, abs=SLACK_S)


def test_a_host_that_does_not_name_itself_is_taken_for_another_one(hosts):
    unknown = hosts(own_boot_id="")
    (task,) = unknown.tasks
    task.boot_id, task.clock_ahead_s, task.ways_s = "", 7.0, [(0.01, 0.01)] * ROUNDS
    (offset,) = unknown.measure()
    assert offset.offset_s == pytest.approx(7.0, abs=SLACK_S)
    assert offset.error_s > 0


def test_two_tasks_may_be_apart_by_both_errors(hosts):
    away = hosts(tasks=3)
    for item, way_s in zip(away.tasks, (0.01, 0.03, 0.02), strict=True):
        item.boot_id, item.ways_s = "elsewhere", [(way_s, way_s)] * ROUNDS
    away.measure()
    assert away.clocks.error_s == pytest.approx(0.03 + 0.02, abs=SLACK_S)


def test_a_task_that_was_silent_once_is_asked_again_before_it_is_told_when_to_start(hosts):
    """It is left alone for some seconds, and all rounds of the others take milliseconds."""
    away = hosts(tasks=3)
    for item in away.tasks:
        item.boot_id, item.clock_ahead_s = "elsewhere", 900_000.0
    away.tasks[1].freeze(for_s=1.0)
    for offset in away.measure():
        assert offset.offset_s == pytest.approx(900_000.0, abs=SLACK_S)
    assert away.tasks[1].received == ["ping"]
    assert len(away.tasks[0].received) == ROUNDS + 1


@pytest.mark.parametrize("trouble", ["refuses", "silent"])
def test_a_task_whose_clock_nobody_knows_takes_no_part(hosts, trouble):
    away = hosts(tasks=2)
    if trouble == "refuses":
        away.tasks[0].refuse["ping"] = "not now"
    else:
        away.tasks[0].freeze()
    away.clocks.measure([away.roster])
    assert [*away.roster.gone] == ["sub.0"]
    assert [task.task_id for task in away.roster.present] == ["sub.1"]


def test_without_a_publisher_the_times_of_sending_are_the_controllers(hosts):
    here = hosts()
    own = here.clocks.own
    assert (own.offset_s, own.error_s) == (0.0, 0.0)
    assert own.wall_offset_s == pytest.approx(5000.0, abs=SLACK_S)


@pytest.mark.parametrize("ahead_s", [0.0, 5000.0, -700.0])
def test_latencies_of_subscribers_elsewhere_are_right_within_the_bound(rehearsal, ahead_s):
    here, away = rehearsal(), rehearsal()
    # Not within the start's lead, so that the word comes in time.
    for number, task in enumerate(away.subscribers):
        task.boot_id, task.clock_ahead_s = "elsewhere", ahead_s * (number + 1)
    asked = away.signals.ask

    def ask(requests, timeout_s, *, first_contact=False):
        for request in requests.values():
            for task in away.subscribers if request.signal == "ping" else ():
                task.ways_s = task.ways_s or [(0.004, 0.001)]
        return asked(requests, timeout_s)

    away.signals.ask = ask
    right, shifted = here.measure(), away.measure()
    assert (right.latency.clock_error_ms, right.verdict, shifted.verdict) == (0.0, "pass", "pass")
    bound_ms = shifted.latency.clock_error_ms
    assert bound_ms == pytest.approx(5.0, abs=0.2)
    assert shifted.latency.e2e.deliveries == right.latency.e2e.deliveries == 1600
    # The twins look every 50 ms, at moments that no run shares with another one.
    assert -bound_ms <= shifted.latency.e2e.p50_ms <= right.latency.e2e.max_ms + bound_ms
    assert shifted.latency.e2e.max_ms <= 100 + bound_ms
    assert dataclasses.asdict(shifted.totals)["records_lost"] == 0


def test_a_publisher_elsewhere_starts_when_the_plan_does(rehearsal):
    stage = rehearsal()
    stage.publisher.boot_id, stage.publisher.clock_ahead_s = "elsewhere", 86_400.0
    result = stage.measure()
    assert result.verdict == "pass"
    assert result.latency.e2e.max_ms <= 100
    assert stage.elapsed_s < 10


def test_clocks_that_run_apart_are_measured_again_and_the_bound_holds_to_the_end(hosts):
    away = hosts(tasks=2)
    for item in away.tasks:
        item.boot_id, item.clock_ahead_s, item.ways_s = "elsewhere", 50.0, [(0.001, 0.001)] * 2 * ROUNDS
    away.measure()
    assert away.clocks.error_s == pytest.approx(0.002, abs=SLACK_S)
    away.tasks[1].clock_ahead_s += 0.07  # 20 millionths, for an hour
    away.clocks.measure_again([away.roster])
    assert away.clocks.error_s == pytest.approx(0.072, abs=2 * SLACK_S)
    assert away.clocks.of("sub.1").offset_s == pytest.approx(50.0, abs=0.002), "times are corrected as at the start"


def test_the_controllers_own_clock_is_not_measured_again(hosts):
    here = hosts(tasks=2)
    here.measure()
    here.clocks.measure_again([here.roster])
    assert [item.received for item in here.tasks] == [["ping"]] * 2
    assert here.clocks.error_s == 0.0
