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
from tests.browser import TRACES, find_chromium, look_at
from tests.conftest import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_sweep_on_one_stack_with_every_file(hydra, place):
    command = hydra(
        "kafka", "sweep", "--client_set=4,8", "--clients_per_app=4", "--msg_rate_set=200,400", "--test_duration=1",
        "--warmup=0", "--results=s", "--report=r.html", "--csv=r.csv", "--junit=r.xml", "--live=r.jsonl",
        "--output=r.json",
    )  # fmt: skip
    assert command.end() == 0, command.errors
    assert sum("waiting for the embedded Kafka" in line for line in command.errors) <= 1
    rows = list(csv.DictReader((place.work / "r.csv").read_text().splitlines()))
    assert [(row["clients"], row["msg_rate"], row["packet_tx"]) for row in rows] == [
        ("4", "200", "200"), ("4", "400", "400"), ("8", "200", "200"), ("8", "400", "400"),
    ]  # fmt: skip
    events = [json.loads(line) for line in (place.work / "r.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} == {"phase", "note", "counts"}
    assert [event["unix_time_s"] for event in events] == sorted(event["unix_time_s"] for event in events)
    topics = {
        run["order"]["run_id"]
        for point in json.loads((place.work / "r.json").read_text())["points"]
        for run in point["runs"]
    }
    assert len(topics) == 4
    assert (place.work / "r.html").stat().st_size > 4_000_000
    place.assert_nothing_left()


def test_the_originals_grid_is_one_command_and_its_report_shows_it(hydra, place, tmp_path):
    """With the grid's own clients and rates; sent for half a second each."""
    command = hydra("kafka", "sweep", "--test_duration=0.5", "--warmup=0", "--results=s", "--report=r.html")
    # What a busy machine makes of 500 clients is not asked here: only that every point is measured, and shown.
    assert command.end(250) in {0, 1, 3}, command.errors
    points = read_points(place.work / "s")
    assert [(p.changes["clients"], p.changes["msg_rate"]) for _, p in sorted(points.items())] == [
        (clients, rate) for clients in (10, 50, 300, 500) for rate in (1000, 1500, 2000, 3000)
    ]
    assert all(point.runs[0].result is not None for point in points.values())
    if find_chromium() is None:
        pytest.skip("no Chromium to open the report in: apt-get install chromium")

    async def scenario(opened, _seconds):
        await opened.draw_all()
        keys = ("average_rate", "average_packet_loss", "failing_clients_rate")
        return [await opened.run(TRACES % f"plot_{key}") for key in keys], opened.requests, opened.complaints

    plots, requests, complaints = look_at(place.work / "r.html", tmp_path, scenario)
    for traces in plots:
        assert [trace["name"] for trace in traces] == [f"client_count = {n}" for n in (10, 50, 300, 500)]
        assert [(len(trace["x"]), len(trace["y"])) for trace in traces] == [(4, 4)] * 4
    assert complaints == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


def test_a_killed_sweep_goes_on_and_has_every_point_once(hydra, place):
    """SIGKILL at random moments of it, with a real broker; then to the end."""
    chance = random.Random(6)
    given = ["--client_set=2,4", "--clients_per_app=2", "--msg_rate_set=100,200,300", "--test_duration=1", "--warmup=0"]
    arguments = ["kafka", "sweep", *given, "--results=s"]
    kept: dict[int, str] = {}
    for kill in range(2):
        command = hydra(*arguments)
        arguments = ["kafka", "sweep", "--resume=s"]
        wanted = 2 * kill + 1
        wait_until(
            lambda wanted=wanted: len(list((place.work / "s" / "points").glob("[0-9]*.json"))) >= wanted,
            90,
            f"{wanted} points are there",
        )
        place_in_point_s = chance.uniform(0.0, 2.0)
        command.wait_for(r"point \d of 6")
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(place_in_point_s)
        command.process.kill()
        assert command.end() == -9
        place.assert_nothing_left(15)
        points = read_points(place.work / "s")
        assert wanted <= len(points) < 6
        for number, run_id in kept.items():
            assert points[number].runs[0].run_id == run_id
        kept = {number: record.runs[0].run_id for number, record in points.items()}
    command = hydra(*arguments)
    assert command.end() == 0, command.errors
    points = read_points(place.work / "s")
    loads = Counter((p.runs[0].order.options.total_sub_apps, p.runs[0].order.options.msg_rate) for p in points.values())
    assert loads == {(apps, rate): 1 for apps in (1, 2) for rate in (100, 200, 300)}
    for number, run_id in kept.items():
        assert points[number].runs[0].run_id == run_id
    assert f"{len(kept)} of 6 points are there already" in "\n".join(command.errors)
