"""The publisher walks its plan on a clock that a test moves."""

import dataclasses

import pytest

from hydra.accounting import sample_latencies
from hydra.accounting.latency import FINE_BITS, SAMPLE_BITS, LatencyHistogram
from hydra.options.options import Options
from hydra.options.order import RunOrder
from hydra.signals.messages import StartAt, StopSending, request
from hydra.tasks import kafka_pub
from hydra.tasks.kafka_pub import ACK_POLL_S, IDLE_POLL_S, MAX_RECORDS_AT_ONCE, KafkaPub, PublisherRun
from hydra.tasks.task import TaskPlace

OPTIONS = Options(msg_rate=100.0, test_duration=2.0, msg_batch=10, linger_ms=0, acks="1", drain_timeout=9.0)


class Scene:
    def __init__(self, clock, twins, **changes):
        order = RunOrder("run-1", dataclasses.replace(OPTIONS, **changes), "127.0.0.1:9092")
        self.clock, self._twins = clock, twins
        self.driver = twins.PublisherDriver(clock, order.options.partitions)
        self.reading = twins.READING
        self.run = PublisherRun(order, self.driver, clock, lambda: self.reading)

    def send(self):
        self.run.open()
        self.began_s = self.clock.now_s()
        self.run.send(self.began_s)
        return self.run.finish("pub-1", self._twins.USAGE, self._twins.TRAFFIC)

    def send_times_s(self):
        """When each record was handed over, after the start."""
        return [at_s - self.began_s for at_s, _, _, records in self.driver.sent for _ in range(records)]


@pytest.fixture
def scene(clock, twins):
    return lambda **changes: Scene(clock, twins, **changes)


def assert_identities(stats):
    assert stats.attempted == stats.acked + stats.failed + stats.unknown
    assert stats.attempted == sum(part.attempted for part in stats.partitions)
    assert 0 <= stats.attempted <= stats.planned
    assert min(stats.acked, stats.failed, stats.unknown) >= 0


@pytest.mark.parametrize("rate", [1.0, 49.0, 100.0, 333.3, 20_000.0])
def test_every_record_is_sent_once_and_on_time(scene, rate):
    stage = scene(msg_rate=rate)
    stats = stage.send()
    plan = stage.run.plan
    late_s = [at_s - plan.intended_s(k) for k, at_s in enumerate(stage.send_times_s())]
    assert len(late_s) == stats.attempted == stats.acked == plan.records
    assert min(late_s) > -1e-4
    assert max(late_s) < 0.06
    assert stats.lag_max_s == pytest.approx(max(late_s), abs=1e-3)
    assert stats.send_window_s == pytest.approx(plan.records / rate, rel=0.02, abs=0.01)
    assert_identities(stats)


def test_send_times_follow_the_plan_whatever_becomes_of_acks(scene):
    with_acks, without = scene(), scene()
    without.driver.ack_at_once = False
    acked, unknown = with_acks.send(), without.send()
    assert (acked.acked, unknown.acked, unknown.unknown) == (200, 0, 200)
    assert without.send_times_s() == pytest.approx(with_acks.send_times_s(), abs=1e-3)
    assert_identities(unknown)


def test_how_long_acks_take_is_noted_second_by_second_and_in_all(scene):
    stage, taken = scene(), []

    def take():
        made = LatencyHistogram()
        made.add(1_000 * (len(taken) + 1), 50)
        taken.append(made)
        return made

    stage.driver.take_ack_latencies = take
    stage.run = PublisherRun(stage.run.order, stage.driver, stage.clock, lambda: stage.reading)
    stats = stage.send()
    assert [sum(sample.ack.counts) for sample in stats.samples] == [50] * len(taken)
    assert {sample.ack.bits for sample in stats.samples} == {SAMPLE_BITS}
    assert [sample.ack.max_us for sample in stats.samples] == [1_000 * number for number in range(1, len(taken) + 1)]
    assert (sum(stats.ack.counts), stats.ack.bits) == (50 * len(taken), FINE_BITS)


def test_a_driver_that_does_not_time_acks_has_none(scene):
    stats = scene().send()
    assert stats.ack.counts == ()
    assert {sample.ack.counts for sample in stats.samples} == {()}


def test_records_go_round_the_partitions_in_blocks(scene):
    stage = scene(partitions=3)
    stats = stage.send()
    assert [part.attempted for part in stats.partitions] == [70, 70, 60]
    assert [part.acked for part in stats.partitions] == [((0, 70),), ((0, 70),), ((0, 60),)]


def test_what_is_late_is_caught_up_with_and_shows_as_lag(scene):
    stage = scene()

    def stall():
        if len(stage.driver.sent) == 50:
            stage.clock.sleep(1.0)

    stage.driver.on_send = stall
    stats = stage.send()
    assert stats.attempted == 200
    assert 0.9 < stats.lag_max_s < 1.2
    assert stage.send_times_s()[-1] == pytest.approx(1.99, abs=0.06)


def test_what_has_piled_up_is_handed_over_in_pieces(scene):
    stage = scene(msg_rate=20_000.0)
    stage.driver.on_send = lambda: stage.clock.sleep(1.0) if not stage.driver.sent else None
    stage.send()
    assert max(records for _, _, _, records in stage.driver.sent) == MAX_RECORDS_AT_ONCE


def test_a_full_queue_makes_it_late_and_loses_nothing(scene):
    stage = scene()
    stage.driver.room = 50
    stage.clock.at(1.5, lambda: setattr(stage.driver, "room", 1000))
    take_acks = stage.driver.poll

    def poll():
        if stage.driver.room == 0:
            stage.clock.sleep(0.01)  # a real queue empties while time passes
        return take_acks()

    stage.driver.poll = poll
    stats = stage.send()
    assert stats.queue_full > 0
    assert (stats.attempted, stats.acked, stats.unknown) == (200, 200, 0)
    assert stats.lag_max_s > 0.5
    assert stats.partitions[0].acked == ((0, 200),)


def test_a_driver_without_a_thread_is_given_the_pauses(clock, twins):
    """Those of the plan, those in which its queue is full, and those in which the last acks are waited for."""

    class Threadless(twins.PublisherDriver):
        def pause(self, seconds):
            pauses.append(seconds)
            clock.sleep(seconds)
            self.room = 1000

    pauses = []
    stage = Scene(clock, twins)
    driver = stage.driver = Threadless(clock, 1)
    driver.room = 50
    stage.run = PublisherRun(stage.run.order, driver, clock, lambda: twins.READING)
    stats = stage.send()
    assert (stats.attempted, stats.acked) == (200, 200)
    assert sum(pauses) == pytest.approx(2.0, abs=0.1)
    assert max(pauses) <= IDLE_POLL_S


def test_a_queue_that_takes_a_part_is_given_the_rest_later(scene):
    stage = scene(msg_rate=10_000.0)
    stage.driver.room = 7
    stage.clock.at(0.1, lambda: setattr(stage.driver, "room", 1e9))
    take_acks = stage.driver.poll
    stage.driver.poll = lambda: (stage.clock.sleep(0.001), take_acks())[1]
    stats = stage.send()
    assert stats.attempted == 20_000
    assert [(start, taken) for _, _, start, taken in stage.driver.sent[:2]] == [(0, 1), (1, 6)]
    assert stage.driver.sent[2][2] == 7
    assert_identities(stats)


def test_stop_ends_the_plan_and_still_flushes(scene):
    stage = scene()
    stage.clock.at(0.5, stage.run.stop)
    stats = stage.send()
    assert 45 <= stats.attempted <= 60
    assert stats.planned == 200
    assert stage.driver.flushed_s == pytest.approx(OPTIONS.drain_timeout, abs=0.1)
    assert stats.send_window_s < 0.7
    assert_identities(stats)


@pytest.mark.parametrize("moment_s", [0.5, 3.0])
def test_a_run_that_is_abandoned_waits_for_no_ack_be_it_sending_or_flushing(scene, moment_s):
    stage = scene()
    stage.driver.ack_at_once = False
    stage.clock.at(moment_s, stage.run.abandon)
    stats = stage.send()
    assert stage.clock.now_s() - stage.began_s == pytest.approx(moment_s, abs=0.1)
    assert stage.driver.flushed_s == ACK_POLL_S
    assert stats.unknown == stats.attempted
    assert_identities(stats)


@pytest.mark.parametrize(("arguments", "flushed_s"), [(None, 9.0), (StopSending(await_acks=False), ACK_POLL_S)])
def test_the_controller_says_whether_acks_are_worth_waiting_for(scene, arguments, flushed_s):
    stage = scene()
    task = KafkaPub(TaskPlace("pub-1", "127.0.0.1", 1))
    task._current = stage.run
    stage.clock.at(0.5, lambda: task.answer(request("teststop", arguments)))
    stage.driver.ack_at_once = False
    stage.send()
    assert stage.run.stopping
    waited_s = stage.clock.now_s() - stage.began_s - 0.5
    assert waited_s == pytest.approx(flushed_s, abs=0.2)


def test_what_was_used_before_the_plan_started_is_not_counted(scene, monkeypatch):
    stage, read_at = scene(), []
    task = KafkaPub(TaskPlace("pub-1", "127.0.0.1", 1))
    task._current = stage.run
    real = kafka_pub.read_usage
    monkeypatch.setattr(kafka_pub, "read_usage", lambda: read_at.append(stage.clock.now_s()) or real())
    start_s = stage.clock.now_s() + 5
    task._start.put((stage.run.order.run_id, StartAt(start_s, 0.0)))
    task._work(stage.run)
    assert stage.run.stats.attempted == 200
    assert read_at[-2:] == pytest.approx([start_s, start_s + 2], abs=0.1)


def test_acks_that_come_after_the_last_record_are_watched_as_they_come(scene):
    stage = scene()
    stage.driver.ack_at_once = False
    stage.clock.at(5, lambda: stage.driver.acked[0].add(0, 190))
    stage.clock.at(6, lambda: (stage.driver.acked[0].add(190, 195), stage.driver.failed[0].add(195, 200)))
    stats = stage.send()
    assert (stats.acked, stats.failed, stats.unknown) == (195, 5, 0)
    assert stats.ack_window_s == pytest.approx(6, abs=0.1)
    assert stage.driver.flushed_s == pytest.approx(9 - 4, abs=0.1)  # what is left of the delivery timeout
    assert_identities(stats)


def test_the_seconds_that_a_stall_took_have_no_samples(scene):
    stage = scene(test_duration=12.0)
    stage.clock.at(3.2, lambda: setattr(stage.driver, "on_send", lambda: stall(stage)))

    def stall(stage):
        stage.driver.on_send = lambda: None
        stage.clock.sleep(5.0)

    times = [sample.at_s for sample in stage.send().samples]
    assert [int(at_s) for at_s in times[:8]] == [0, 1, 2, 3, 8, 9, 10, 11]
    assert times[5] == pytest.approx(9.0, abs=0.1)


@pytest.mark.parametrize("changes", [{"acks": "0"}, {"linger_ms": 5000}])
def test_a_flush_that_nobody_can_watch_begins_with_a_sample(scene, changes):
    stage = scene(**changes)
    stage.driver.ack_at_once = False
    stage.driver.on_flush = lambda: stage.clock.sleep(6.0)
    times = [sample.at_s for sample in stage.send().samples]
    assert times[-1] == pytest.approx(8.0, abs=0.1)
    assert times[-2] == pytest.approx(2.0, abs=0.1)


def test_what_has_no_outcome_in_time_is_unknown(scene):
    stage = scene()
    stage.driver.ack_at_once = False
    stage.driver.on_flush = lambda: stage.driver.acked[0].add(0, 190)
    stats = stage.send()
    assert (stats.acked, stats.failed, stats.unknown) == (190, 0, 10)
    assert stage.clock.now_s() - stage.began_s == pytest.approx(2 + 9, abs=0.1)
    assert_identities(stats)


@pytest.mark.parametrize("changes", [{"acks": "0"}, {"linger_ms": 5000}])
def test_where_there_is_nothing_to_watch_the_flush_has_all_the_time(scene, changes):
    stage = scene(**changes)
    stage.driver.ack_at_once = False
    stats = stage.send()
    assert stage.driver.flushed_s == pytest.approx(9, abs=0.01)
    assert stats.unknown == 200
    assert stage.clock.now_s() - stage.began_s < 2.2


def test_a_stop_before_the_first_record_gives_zeros(scene):
    stage = scene()
    stage.run.stop()
    stats = stage.send()
    assert (stats.attempted, stats.acked, stats.send_window_s, stats.ack_window_s, stats.lag_max_s) == (0, 0, 0, 0, 0)
    assert_identities(stats)


def test_stats_of_a_run_that_never_sent(scene, twins):
    stage = scene()
    stage.run.fail("no broker")
    stats = stage.run.finish("pub-1", twins.USAGE, twins.TRAFFIC)
    assert (stats.attempted, stats.send_window_s, stats.error) == (0, 0, "no broker")
    assert stage.run.status().phase == "failed"


def test_the_phases_of_its_status(scene, twins):
    stage = scene()
    seen = [stage.run.status().phase]
    stage.run.open()
    seen.append(stage.run.status().phase)
    stage.clock.at(1, lambda: seen.append(stage.run.status().phase))
    stage.driver.on_flush = lambda: seen.append(stage.run.status().phase)
    stage.run.send(stage.clock.now_s())
    stage.run.finish("pub-1", twins.USAGE, twins.TRAFFIC)
    seen.append(stage.run.status().phase)
    assert seen == ["connecting", "ready", "sending", "flushing", "done"]
    status = stage.run.status()
    assert (status.attempted, status.acked, status.error) == (200, 200, "")


def test_the_librarys_error_is_told(scene):
    stage = scene()
    stage.driver.error = "broker down"
    stats = stage.send()
    assert (stats.error, stage.run.status().error) == ("broker down", "broker down")
    assert stage.run.status().phase == "done"


def test_it_sleeps_between_records_and_looks_up_often_enough_to_be_stopped(scene):
    stage = scene(msg_rate=0.5, test_duration=10.0)
    stage.send()
    assert max(stage.clock.slept) == IDLE_POLL_S
    assert len(stage.clock.slept) < 1000


def test_close_lets_go_of_the_client(scene):
    stage = scene()
    stage.run.close()
    assert stage.driver.closed == 1


def test_it_notes_how_far_it_is_at_the_start_each_second_and_at_the_end(scene):
    stats = scene().send()
    assert [sample.at_s for sample in stats.samples] == pytest.approx([0.0, 1.0, 2.0], abs=0.06)
    assert [sample.attempted for sample in stats.samples] == [0, pytest.approx(100, abs=6), 200]
    assert (stats.samples[-1].acked, stats.samples[-1].cpu_s, stats.samples[-1].rss_bytes) == (200, 0.1, 1)


def test_a_stall_shows_in_the_samples_around_it_and_in_no_other_one(scene):
    stage = scene(test_duration=5.0)
    stage.driver.on_send = lambda: stage.clock.sleep(1.5) if len(stage.driver.sent) == 120 else None
    stats = stage.send()
    # The records that were handed over in it, and those that fell due meanwhile and came right behind it.
    late = [sample.lag_max_s > 0.1 for sample in stats.samples]
    assert late == [False, False, True, True, False, False]
    assert max(sample.lag_max_s for sample in stats.samples) == pytest.approx(stats.lag_max_s)


def test_what_a_long_run_keeps_of_lags_is_bounded(scene, monkeypatch):
    monkeypatch.setattr(kafka_pub, "KEPT_ARRIVALS", 5)
    stage = scene(test_duration=10.0)
    stage.driver.on_send = lambda: stage.clock.sleep(0.001 * (len(stage.driver.sent) % 7))
    stats = stage.send()
    assert len(stage.run._lag) == 5
    assert sum(stats.lag.counts) == stats.attempted == 1000


def assert_every_lag_is_in_a_sample(stats):
    attempted = [sample.attempted for sample in stats.samples]
    assert [sum(sample.lag.counts) for sample in stats.samples] == [
        now - before for before, now in zip([0, *attempted], attempted, strict=False)
    ]
    assert {sample.lag.bits for sample in stats.samples} == {SAMPLE_BITS}


def test_what_a_long_run_keeps_of_lags_in_its_samples_is_bounded(scene, monkeypatch):
    monkeypatch.setattr(sample_latencies, "MAX_UNFOLDED", 3)
    stage = scene(test_duration=10.0)
    kept = []
    stage.driver.on_send = lambda: kept.append(len(stage.run._unfolded._samples))
    stats = stage.send()
    assert max(kept) == 3
    assert len(stage.run._unfolded._samples) == stage.run._unfolded.arrivals == 0
    assert_every_lag_is_in_a_sample(stats)


def test_the_lag_of_every_record_is_counted(scene):
    stage = scene()
    stage.driver.on_send = lambda: stage.clock.sleep(1.0) if len(stage.driver.sent) == 50 else None
    stats = stage.send()
    assert sum(stats.lag.counts) == stats.attempted == 200
    assert stats.lag.max_us == pytest.approx(stats.lag_max_s * 1e6, rel=0.02)
    assert stats.lag.negative == 0
    from hydra.accounting.latency import LatencyHistogram

    lag = LatencyHistogram()
    lag.merge(stats.lag)
    assert_every_lag_is_in_a_sample(stats)
    assert max(sample.lag.max_us for sample in stats.samples) == stats.lag.max_us
    # About a hundred records were due within the second that it stood still: half of all.
    assert lag.percentiles_us([45])[0] < 60_000
    assert lag.percentiles_us([80])[0] > 400_000
