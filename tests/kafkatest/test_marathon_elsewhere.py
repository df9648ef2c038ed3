"""Runs on a Marathon that is none of Hydra's own: at another address, and one that misbehaves."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from hydra.localmarathon.server import LocalMarathon
from hydra.options.parsers import AgentSpec
from tests.scripted_marathon import ScriptedMarathon, hang, refuse

pytestmark = pytest.mark.integration

HOST = "127.0.0.5"


@pytest.fixture
def marathon(tmp_path, place):
    """A Marathon whose agent has Hydra installed, at an address that is not the controller's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def make():
        environment = {"PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}", "TMPDIR": str(place.temporary)}
        server = LocalMarathon(
            tmp_path / "agents", token="", host=HOST, agents=[AgentSpec(HOST, {"slave_id": "a"})], base_env=environment
        )
        await server.start()
        return server

    try:
        server = run(make())
        yield server
        run(server.stop(grace_s=0.5))
        run(loop.shutdown_default_executor())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def listening(process: psutil.Process) -> set[str]:
    return {item.laddr.ip for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN}


@pytest.mark.release
def test_tasks_kafka_and_controller_at_different_addresses(hydra, place, marathon, external_kafka):
    command = hydra(
        "kafka",
        f"--marathon_url={marathon.url}",
        f"--bootstrap_servers={external_kafka}",
        "--appserver=never",
        "--total_sub_apps=2",
        "--test_duration=4",
        "--msg_rate=100",
        "--cluster0=slave_id.a",
        "--output=result.json",
    )
    command.wait_for(r"delivered [1-9]")
    with command.held():
        tasks = [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")]
        assert len(tasks) == 3
        assert [listening(task) for task in tasks] == [{HOST}] * 3, "each on the one address of its agent"
    # A machine that is busy with something else makes an honest run indeterminate.
    assert command.end() in {0, 3}, command.errors
    record = place.record()
    assert (record["status"], record["result"]["totals"]["records_lost"]) == ("complete", 0)
    assert record["cluster"]["marathon"] == marathon.url
    assert [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")] == []


@pytest.mark.release
def test_a_second_run_takes_nothing_from_the_first_one(hydra, place, marathon, external_kafka):
    """Both on one Marathon, with the same prefix; and who leaves apps up finds them again."""
    given = (
        "kafka", f"--marathon_url={marathon.url}", f"--bootstrap_servers={external_kafka}", "--appserver=never",
        "--total_sub_apps=1", "--msg_rate=100", "--test_duration=4",
    )  # fmt: skip
    first = hydra(*given, "--keep_running")
    first.wait_for(r"delivered [1-9]")
    with first.held():
        tasks = {process.pid for process in [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")]}
    stranger = {"XDG_STATE_HOME": str(place.temporary)}  # another user, who has none of this one's keys
    environment, place.environment = place.environment, {**place.environment, **stranger}
    with first.held():
        second = hydra(*given, "--output=second.json")
        place.environment = environment
        assert second.end() == 2
    assert "the app /g1/kafka-pub is there, and belongs to another run of Hydra: wait for its end" in second.complaint
    first.end_well()
    third = hydra(*given)
    third.wait_for(r"delivered [1-9]")
    with third.held():
        assert {process.pid for process in [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")]} == tasks
        fourth = hydra(*given)
        assert fourth.end() == 2
    assert f"another run of yours uses the apps in g1 at {marathon.url}: wait for its end" in fourth.complaint
    third.end_well()
    assert [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")] == []
    assert list(place.state.rglob("*.key")) == []
    for left in place.temporary.glob("hydra-scaletest"):
        shutil.rmtree(left)


@pytest.mark.release
def test_the_smoke_command_tells_that_hydra_works_there(hydra, marathon, external_kafka):
    command = hydra(
        "smoke", f"--marathon_url={marathon.url}", f"--bootstrap_servers={external_kafka}", "--appserver=never"
    )
    works = "Hydra works here: each of 4 clients in 2 subscribers received every one of "
    code = command.end()
    assert command.output[0].startswith({0: works, 3: "Hydra does NOT work here as it should: "}[code]), command.errors


@pytest.fixture
def scripted():
    server = ScriptedMarathon()
    with contextlib.closing(server):
        yield server


QUEUE = [
    {"app": {"id": f"/g1/{role}"}, "count": 1, "delay": {"timeLeftSeconds": 0, "overdue": True},
     "processedOffersSummary": {"rejectSummaryLastOffers": [
         {"reason": "UnfulfilledConstraint", "declined": 3, "processed": 3}]}}
    for role in ("kafka-pub", "kafka-sub")
]  # fmt: skip


@pytest.mark.parametrize(
    ("play", "times", "within_s", "told"),
    [
        pytest.param(
            *(refuse(401, b""), 999, 30, "authentication required (HTTP 401): give --marathon_secrets"),
            marks=pytest.mark.release,
        ),
        (refuse(200, b"<html>busy</html>"), 999, 30, "unexpected response from Marathon"),
        pytest.param(hang, 999, 60, "cannot be reached (no response within ", marks=pytest.mark.release),
        pytest.param(
            *(refuse(500, {"message": "no quorum"}), 3, 60, "offers were declined for UnfulfilledConstraint (3 of 3)"),
            marks=pytest.mark.release,
        ),
    ],
    ids=["401", "garbage", "hang", "500 three times, then staged"],
)
def test_a_marathon_that_misbehaves_ends_the_run_with_4(hydra, scripted, external_kafka, play, times, within_s, told):
    scripted.queue = QUEUE
    scripted.pages["/v2/deployments"] = []  # what removes an app ends at once, and is not waited for
    planned = scripted.misbehave(play, times)
    began_s = time.monotonic()
    command = hydra(
        "kafka", f"--marathon_url={scripted.url}", f"--bootstrap_servers={external_kafka}", "--appserver=never",
        "--total_sub_apps=2", "--start_timeout=3", "--marathon_timeout=3",
    )  # fmt: skip
    assert command.end() == 4, command.errors
    assert time.monotonic() - began_s < within_s
    assert told in command.complaint
    assert planned.happened >= 1
    assert scripted.apps == {}, "and what was created is removed"
    assert all(number == 1 for number in scripted.creations.values())


def test_an_interruption_does_not_wait_for_a_marathon_that_hangs(hydra, scripted, external_kafka):
    planned = scripted.misbehave(hang, 999)
    command = hydra("kafka", f"--marathon_url={scripted.url}", f"--bootstrap_servers={external_kafka}")
    command.wait_for("^hydra: starting")
    deadline_s = time.monotonic() + 20
    while not planned.happened:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    began_s = time.monotonic()
    command.send(signal.SIGINT)
    assert command.end(20) == 130
    assert time.monotonic() - began_s < 10
