"""Sweeps as their user runs them: real brokers, real tasks, and kills that are real, too."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import subprocess
from collections import Counter

import pytest

from hydra.sweep.folder import read_points
from tests.browser import TRACES, find_chromium
from tests.commands import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def nothing_lost(point):
    return all(run.result.totals.records_lost == 0 for run in point.runs)


@pytest.mark.usefixtures("on_running_stack")
def test_a_sweep_on_one_stack_with_every_file(hydra, place):
    command = hydra(
        "kafka", "sweep", "--client_set=4,8", "--clients_per_app=4", "--msg_rate_set=200", "--test_duration=1",
        "--warmup=0", "--results=s", "--report=r.html", "--csv=r.csv", "--junit=r.xml", "--live=r.jsonl",
        "--output=r.json",
    )  # fmt: skip
    assert command.end() in {0, 3}, command.errors  # 3: a busy machine held a point up
    rows = list(csv.DictReader((place.work / "r.csv").read_text().splitlines()))
    assert [(row["clients"], row["msg_rate"], row["packet_tx"]) for row in rows] == [
        ("4", "200", "200"), ("8", "200", "200"),
    ]  # fmt: skip
    events = [json.loads(line) for line in (place.work / "r.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} == {"phase", "note", "counts"}
    assert [event["unix_time_s"] for event in events] == sorted(event["unix_time_s"] for event in events)
    topics = {run["order"]["run_id"] for point in place.record("r.json")["points"] for run in point["runs"]}
    assert len(topics) == 2
    assert (place.work / "r.html").stat().st_size > 4_000_000
    points = [point for _number, point in sorted(read_points(place.work / "s").items())]
    assert all(nothing_lost(point) for point in points)
    assert [point.changes["clients"] for point in points] == [4, 8]
    place.assert_nothing_left()


def assert_report_shows_the_originals_plots(report, look_at):
    if find_chromium() is None:
        return  # the page's own tests say that it is missing

    async def scenario(opened, _seconds):
        await opened.draw_all()
        keys = ("average_rate", "average_packet_loss", "failing_clients_rate")
        return [await opened.run(TRACES % f"plot_{key}") for key in keys], opened.requests, opened.complaints

    plots, requests, complaints = look_at(report, scenario)
    for traces in plots:
        assert [trace["name"] for trace in traces] == ["client_count = 2", "client_count = 4"]
        assert [(len(trace["x"]), len(trace["y"])) for trace in traces] == [(3, 3)] * 2
    assert complaints == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.mark.release
def test_a_killed_sweep_goes_on_and_has_every_point_once(hydra, place, look_at):
    """SIGKILL at random moments of it, with a real broker; then to the end."""
    chance = random.Random(6)
    given = [
        "--client_set=2,4",
        "--clients_per_app=2",
        "--msg_rate_set=100,200,300",
        "--test_duration=0.5",
        "--warmup=0",
    ]
    arguments = ["kafka", "sweep", *given, "--results=s"]
    kept: dict[int, str] = {}
    for kill in range(2):
        command = hydra(*arguments)
        arguments = ["kafka", "sweep", "--resume=s", "--report=r.html"]
        wanted = 2 * kill + 1
        wait_until(
            lambda wanted=wanted: len(list((place.work / "s" / "points").glob("[0-9]*.json"))) >= wanted,
            90,
            f"{wanted} points are there",
        )
        place_in_point_s = chance.uniform(0.0, 1.0)
        command.wait_for(r"point \d of 6")
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(place_in_point_s)
        command.process.kill()
        assert command.end() == -9
        place.assert_nothing_left(15)
        points = read_points(place.work / "s")
        assert wanted <= len(points) < 6
        for number, run_id in kept.items():
            assert points[number].runs[0].order.run_id == run_id
        kept = {number: record.runs[0].order.run_id for number, record in points.items()}
    command = hydra(*arguments)
    assert command.end() in {0, 3}, command.errors
    points = read_points(place.work / "s")
    loads = Counter((p.runs[0].order.options.total_sub_apps, p.runs[0].order.options.msg_rate) for p in points.values())
    assert all(nothing_lost(point) for point in points.values())
    assert loads == {(apps, rate): 1 for apps in (1, 2) for rate in (100, 200, 300)}
    for number, run_id in kept.items():
        assert points[number].runs[0].order.run_id == run_id
    assert f"{len(kept)} of 6 points are finished already" in "\n".join(command.errors)
    assert_report_shows_the_originals_plots(place.work / "r.html", look_at)
