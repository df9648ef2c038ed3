"""What a page shows of a run: all of it, in as much memory after a day as after a minute."""

import dataclasses
import threading

from hydra.accounting.live_figures import LiveFigures
from hydra.codec import decode
from hydra.live.history import MAX_EVENTS, MAX_MOMENTS, MAX_RUNS, LiveHistory, LivePicture, MeasuredRun, RunPlan
from hydra.run.protocols import LiveCounts


def counts(second, **figures):
    return LiveCounts(
        second,
        1_000_000,
        round(second * 100),
        round(second * 90),
        round(second * 900),
        5,
        0,
        10,
        LiveFigures(**figures),
    )


def history():
    return LiveHistory(wall_s=lambda: 1000.0)


def test_a_phase_is_an_event_once_and_its_detail_is_the_last_one():
    kept = history()
    kept.phase("configuring", "topic t")
    kept.phase("configuring", "3 of 9")
    kept.phase("configuring", "")
    kept.note("a task is missing")
    kept.phase("sending", "")
    picture = kept.picture()
    assert (picture.phase, picture.detail) == ("sending", "")
    assert [(event.kind, event.text) for event in picture.events] == [
        ("phase", "configuring"), ("note", "a task is missing"), ("phase", "sending"),
    ]  # fmt: skip


def test_a_phase_that_is_told_again_is_no_news():
    kept = history()
    kept.phase("sending", "")
    version, _, _ = kept.wait(-1, 0)
    kept.phase("sending", "")
    assert kept.wait(version, 0)[0] == version


def test_every_second_of_a_short_run_is_shown():
    kept = history()
    for second in range(1, 61):
        kept.counts(counts(second + 0.02))
    assert [round(moment.elapsed_s) for moment in kept.picture().moments] == list(range(1, 61))


def test_a_day_takes_no_more_room_than_minutes_and_loses_no_count_and_no_peak():
    kept = history()
    for second in range(10, 86_401, 10):
        kept.counts(counts(second, e2e_p99_ms=500.0 if second == 30_000 else 5.0, so_far_p99_ms=6.0))
        assert len(kept._moments) <= MAX_MOMENTS
    moments = kept.picture().moments
    assert len(moments) > MAX_MOMENTS / 4
    assert moments[-1].delivered == 86_400 * 900
    assert max(moment.figures.e2e_p99_ms for moment in moments) == 500
    times = [moment.elapsed_s for moment in moments]
    assert times == sorted(times)
    assert times[-1] == 86_400


def test_many_counts_within_a_second_are_one_moment():
    kept = history()
    for tenth in range(1, 25):
        kept.counts(counts(tenth / 10))
    assert [moment.elapsed_s for moment in kept.picture().moments] == [0.9, 1.9, 2.4]


def test_what_is_not_known_stays_unknown():
    kept = history()
    kept.counts(counts(1.1))
    kept.counts(counts(1.2, e2e_p99_ms=3.0))
    kept.counts(counts(1.3))
    (moment,) = kept.picture().moments
    assert (moment.figures.e2e_p99_ms, moment.figures.broker_cpu_percent) == (3.0, None)


def test_another_run_begins_with_nothing():
    kept = history()
    kept.counts(counts(9))
    kept.counts(counts(1))
    assert [moment.elapsed_s for moment in kept.picture().moments] == [1]
    kept.begin(RunPlan("10 clients", 5.0, 100.0, (("p99", 50.0, "e2e_p99<50ms"),)))
    assert kept.picture().moments == ()


def test_a_moment_that_is_told_again_is_no_other_run():
    kept = history()
    for second in range(1, 60):
        kept.counts(counts(second + 0.3457))  # which is rounded up
    for _second_without_an_answer in range(3):
        kept.counts(counts(59.3457))
    assert [int(moment.elapsed_s) for moment in kept.picture().moments] == list(range(1, 60))


def test_events_and_runs_are_bounded():
    kept = history()
    run = MeasuredRun("clients=1", "pass", 100.0, 2.0, 0, "none")
    for number in range(2 * MAX_RUNS):
        kept.note(str(number))
        kept.measured(dataclasses.replace(run, label=str(number)))
    picture = kept.picture()
    assert len(picture.events) == MAX_EVENTS
    assert len(picture.runs) == MAX_RUNS
    assert picture.runs_over == 2 * MAX_RUNS
    assert picture.runs[-1].label == picture.events[-1].text == str(2 * MAX_RUNS - 1)


def test_the_json_is_the_picture_with_short_numbers():
    kept = history()
    kept.counts(counts(1.23456789, e2e_p50_ms=1.23456789))
    version, encoded, over = kept.wait(-1, 0)
    picture = decode(encoded, LivePicture)
    assert picture == dataclasses.replace(
        kept.picture(), moments=[*kept.picture().moments], events=[*picture.events], runs=[*picture.runs]
    )
    assert (picture.moments[0].elapsed_s, picture.moments[0].figures.e2e_p50_ms) == (1.235, 1.2346)
    assert not over
    assert kept.wait(version, 0)[0] == version


def test_who_waits_is_woken_by_the_end():
    kept = history()
    seen = []
    version, _, _ = kept.wait(-1, 0)
    waiting = threading.Thread(target=lambda: seen.append(kept.wait(version, 60)))
    waiting.start()
    kept.finish(b"<html>")
    waiting.join(10)
    ((_, encoded, over),) = seen
    assert over
    assert decode(encoded, LivePicture).report
    kept.finish()
    assert kept.report == b"<html>"
