"""The faults: each is played on a stage, shows that it happened, and says what has to come of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from stage import Stage, wait_dead

from tests.commands import suspend, wait_until
from tests.scripted_marathon import ScriptedMarathon, hang, refuse

LONG = ("--total_sub_apps=2", "--clients_per_app=5", "--test_duration=60", "--msg_rate=200", "--warmup=0")
SHORT = ("--total_sub_apps=1", "--clients_per_app=2", "--test_duration=2", "--msg_rate=100", "--warmup=0")
RESULT = "--output=result.json"
HONEST = {0, 3}
"""What a run in which nothing is wrong ends with; 3 on a machine that is busy."""

QUEUE = [
    {"app": {"id": f"/g1/{role}"}, "count": 1, "delay": {"timeLeftSeconds": 0, "overdue": True},
     "processedOffersSummary": {"rejectSummaryLastOffers": [
         {"reason": "UnfulfilledConstraint", "declined": 3, "processed": 3}]}}
    for role in ("kafka-pub", "kafka-sub")
]  # fmt: skip
"""What the Marathon that has no place for tasks says of those that wait."""

Play = Callable[[Stage], None]


@dataclass(frozen=True)
class Row:
    """One fault."""

    name: str
    play: Play


ROWS: list[Row] = []


def row(play: Play) -> Play:
    """Make a function a row of the census; it is named after it."""
    _add(Row(play.__name__.replace("_", "-"), play))
    return play


def rows(prefix: str, table: dict[str, Play]) -> None:
    """Make each of a table a row; its name begins with ``prefix``."""
    for name, play in table.items():
        _add(Row(f"{prefix}-{name}", play))


def _add(added: Row) -> None:
    assert all(each.name != added.name for each in ROWS), f"two rows of the name {added.name}"
    ROWS.append(added)


def _result(stage: Stage) -> dict:
    return stage.place.record()["result"]


@row
def subscriber_killed(stage: Stage) -> None:
    """The others lose nothing, and its clients are missing."""
    command = stage.on_stack().hydra("kafka", *LONG, "--test_duration=4", RESULT)
    command.wait_for("delivered [1-9]")
    victim = stage.place.tasks("kafka-sub")[0]
    victim.kill()
    wait_dead(victim)
    assert command.end(60) == 3, command.errors
    totals = _result(stage)["totals"]
    assert (totals["clients_missing"], totals["records_lost"]) == (5, 0)


@row
def all_subscribers_killed(stage: Stage) -> None:
    """The run ends, and soon."""
    command = stage.on_stack().hydra("kafka", *LONG, RESULT)
    command.wait_for("delivered [1-9]")
    for task in stage.place.tasks("kafka-sub"):
        task.kill()
        wait_dead(task)
    assert command.end(25) == 3, command.errors
    assert _result(stage)["totals"]["clients_missing"] == 10


@row
def publisher_killed(stage: Stage) -> None:
    """What it sent is taken from the broker, as a lower bound."""
    command = stage.on_stack().hydra("kafka", *LONG, RESULT)
    command.wait_for("delivered [1-9]")
    (publisher,) = stage.place.tasks("kafka-pub")
    publisher.kill()
    wait_dead(publisher)
    assert command.end(25) == 3, command.errors
    assert "lower bound" in command.text
    assert _result(stage)["totals"]["records_lost"] == 0
    assert _result(stage)["bottleneck"]["limit"] != "broker"


@row
def subscriber_suspended(stage: Stage) -> None:
    """It catches up, and nothing is lost."""
    command = stage.on_stack().hydra("kafka", *LONG, "--test_duration=8", RESULT)
    command.wait_for("delivered [1-9]")
    task = stage.place.tasks("kafka-sub")[0]
    suspend(task)
    time.sleep(3)  # the pause itself
    assert task.status() == psutil.STATUS_STOPPED
    task.resume()
    assert command.end(60) == 3, command.errors
    assert _result(stage)["totals"]["records_lost"] == 0


@row
def slow_clients(stage: Stage) -> None:
    """What they did not get to is unread, and not lost."""
    driver = "--sub_driver=tests.faulty_drivers:Slow"
    stage.place.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = stage.hydra("kafka", *SHORT, driver, "--msg_rate=2000", "--drain_timeout=3", RESULT)
    assert command.end(90) == 3, (command.errors, command.text)
    lost = {name: count for name, count in _result(stage)["totals"].items() if "lost" in name or "unread" in name}
    assert not lost.get("records_broker_lost"), lost
    assert any(client["unread"] for client in _result(stage)["clients"]), lost
    assert not any(client["broker_lost"] or client["skipped"] for client in _result(stage)["clients"]), lost


@row
def embedded_kafka_killed(stage: Stage) -> None:
    """The broker's end is told with its signal."""
    command = stage.hydra("kafka", *LONG, RESULT)
    command.wait_for("delivered [1-9]")
    kafka = stage.place.kafka()
    kafka.kill()
    wait_dead(kafka)
    assert command.end(40) == 4, command.errors
    assert "it was killed by SIGKILL" in command.complaint
    assert stage.place.record()["status"] == "failed"


@row
def given_kafka_killed(stage: Stage) -> None:
    """It is seen, and the run ends."""
    kafka = stage.house.mortal()
    servers = f"--bootstrap_servers={kafka.bootstrap_servers}"
    command = stage.on_stack().hydra("kafka", *LONG, servers, "--drain_timeout=5")
    command.wait_for("delivered [1-9]")
    process = psutil.Process(kafka.pid)
    process.kill()
    wait_until(lambda: kafka.returncode() is not None, 5, "the broker is dead")
    command.wait_for("cannot be reached", timeout_s=8)
    assert command.end(60) == 4, command.errors
    assert "is gone" in command.complaint
    # Its topic is still in the log of the broker that is dead, and the run's trace says so.
    kafka.start(60)
    cleaned = stage.hydra("clean", servers, "--force")
    assert cleaned.end(60) == 0, cleaned.errors
    assert "removed  topic" in cleaned.text


@row
def given_kafka_restarted(stage: Stage) -> None:
    """Nothing that was acked is lost."""
    kafka = stage.house.mortal()
    servers = f"--bootstrap_servers={kafka.bootstrap_servers}"
    command = stage.on_stack().hydra("kafka", *LONG, servers, "--test_duration=8", "--acks=all", RESULT)
    command.wait_for("delivered [1-9]")
    psutil.Process(kafka.pid).kill()
    wait_until(lambda: kafka.returncode() is not None, 5, "the broker is dead")
    kafka.start(60)
    assert command.end(120) in HONEST, command.errors
    assert _result(stage)["totals"]["records_lost"] == 0


@row
def given_kafka_suspended(stage: Stage) -> None:
    """No hang, and nothing lost."""
    kafka = stage.house.mortal()
    servers = f"--bootstrap_servers={kafka.bootstrap_servers}"
    command = stage.on_stack().hydra("kafka", *LONG, servers, "--test_duration=8", RESULT)
    command.wait_for("delivered [1-9]")
    process = psutil.Process(kafka.pid)
    suspend(process)
    try:
        time.sleep(4)  # the pause itself
        assert process.status() == psutil.STATUS_STOPPED
    finally:
        process.resume()
    assert command.end(120) in HONEST, command.errors
    assert _result(stage)["totals"]["records_lost"] == 0


@row
def topic_deleted(stage: Stage) -> None:
    """It is told as somebody else's doing."""
    command = stage.on_stack().hydra("kafka", *LONG, "--test_duration=5", RESULT)
    command.wait_for("delivered [1-9]")
    (topic,) = [name for name in stage.house.admin.topics() if name.startswith("hydra-")]
    stage.house.admin.delete_topic(topic)
    assert topic not in stage.house.admin.topics()
    assert command.end(30) == 3, (command.errors, command.text)
    found = _result(stage)
    assert found["reasons"][0] == f"somebody else deleted the topic {topic} while the run used it"
    assert (found["bottleneck"]["limit"], found["totals"]["records_lost"]) == ("unknown", 0)


@row
def kafka_unreachable(stage: Stage) -> None:
    """The address is named."""
    command = stage.hydra("kafka", *SHORT, "--bootstrap_servers=127.0.0.1:1")
    assert command.end(15) == 4
    assert "127.0.0.1:1" in command.complaint


def _scripted(play: object, times: int, within_s: float, told: str) -> Play:
    def played(stage: Stage) -> None:
        scripted = ScriptedMarathon()
        with contextlib.closing(scripted):
            scripted.pages["/v2/deployments"] = []
            scripted.queue = QUEUE
            planned = scripted.misbehave(play, times)
            servers = f"--bootstrap_servers={stage.house.kafka}"
            where = (f"--marathon_url={scripted.url}", servers, "--appserver=never")
            command = stage.hydra("kafka", *SHORT, *where, "--start_timeout=3", "--marathon_timeout=3")
            assert command.end(within_s) == 4, command.errors
            assert planned.happened
            assert told in command.complaint
            assert scripted.apps == {}
            assert all(number == 1 for number in scripted.creations.values())

    return played


rows(
    "marathon",
    {
        "401": _scripted(refuse(401, b""), 999, 30, "authentication required (HTTP 401)"),
        "garbage": _scripted(refuse(200, b"<html>busy</html>"), 999, 30, "unexpected response from Marathon"),
        "never-answers": _scripted(hang, 999, 60, "cannot be reached"),
        "500-three-times-then-staged": _scripted(refuse(500, {"message": "no"}), 3, 60, "UnfulfilledConstraint"),
    },
)


def _interrupted(number: signal.Signals, moment: str, *, on_stack: bool) -> Play:
    def played(stage: Stage) -> None:
        if on_stack:
            stage.on_stack()
        command = stage.hydra("kafka", *LONG, RESULT)
        command.wait_for(moment)
        command.send(number)
        assert command.end(15) == 128 + number, command.errors
        if moment.startswith("delivered"):
            assert stage.place.record()["status"] == "interrupted"

    return played


rows("interrupted", {
    f"{number.name}-{name}-{'kept' if on_stack else 'own'}-stack": _interrupted(number, moment, on_stack=on_stack)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    for name, moment, on_stack in (("sending", "delivered [1-9]", True), ("starting", "^hydra: starting", False))
})  # fmt: skip


@row
def interrupted_twice(stage: Stage) -> None:
    """The second one ends it at once."""
    command = stage.hydra("kafka", *LONG)
    command.wait_for("delivered [1-9]")
    command.send(signal.SIGINT)
    command.wait_for("cleaning up", timeout_s=10)
    command.send(signal.SIGINT)
    assert command.end(10) == 130


@row
def controller_killed(stage: Stage) -> None:
    """All that it started goes with it."""
    command = stage.hydra("kafka", *LONG)
    command.wait_for("delivered [1-9]")
    command.process.kill()
    assert command.end(10) == -signal.SIGKILL
    wait_until(lambda: not stage.place.processes(), 8, "every process of the run is gone")
    assert stage.hydra("clean", "--force").end(30) == 0


@row
def controller_killed_on_a_kept_stack(stage: Stage) -> None:
    """What it left is found, and goes."""
    command = stage.on_stack().hydra("kafka", *LONG)
    command.wait_for("delivered [1-9]")
    command.process.kill()
    assert command.end(10) == -signal.SIGKILL
    cleaned = stage.hydra("clean", "--force")
    assert cleaned.end(60) == 0, cleaned.errors
    for what in ("app /g1/kafka-pub", "app /g1/kafka-sub", "topic hydra-"):
        assert f"removed  {what}" in cleaned.text, cleaned.text


@row
def stack_killed(stage: Stage) -> None:
    """It is told as the stack's end."""
    command = stage.hydra("kafka", *LONG)
    command.wait_for("delivered [1-9]")
    stack = next(each for each in stage.place.processes() if "hydra.kafkatest.local_stack_main" in each.cmdline())
    stack.kill()
    assert command.end(60) == 4, command.errors
    assert "local stack" in command.complaint


@row
def stack_ended_in_use(stage: Stage) -> None:
    """It is not, unless told to."""
    command = stage.on_stack().hydra("kafka", *SHORT)
    command.wait_for("^hydra: sending|delivered")
    down = stage.hydra("local", "down")
    assert down.end(20) == 2, down.errors
    assert command.end(60) in HONEST, command.errors


@row
def two_at_once(stage: Stage) -> None:
    """They share nothing."""
    first = stage.on_stack().hydra("kafka", *SHORT)
    second = stage.hydra("kafka", *SHORT, "--app_prefix=second")
    assert {first.end(120), second.end(120)} <= HONEST, (first.errors, second.errors)


def _refused(code: int, told: str, *arguments: str, prefix: list[str] | None = None, **variables: str) -> Play:
    def played(stage: Stage) -> None:
        stage.place.environment.update(variables)
        command = stage.hydra(*arguments, prefix=prefix)
        assert command.end(20) == code, command.errors
        assert told in command.complaint, command.errors
        assert not any("Traceback" in line for line in command.errors)

    return played


rows("refused", {
    "zero": _refused(2, "--msg_rate", "kafka", "--msg_rate=0"),
    "negative": _refused(2, "--test_duration", "kafka", "--test_duration=-1"),
    "nan": _refused(2, "--msg_rate", "kafka", "--msg_rate=NaN"),
    "huge": _refused(2, "--total_sub_apps", "kafka", "--total_sub_apps=" + "9" * 400),
    "unicode": _refused(2, "--msg_size", "kafka", "--msg_size=\u0663\U0001f40d"),
    "empty": _refused(2, "--app_prefix", "kafka", "--app_prefix="),
    "no-such-flag": _refused(2, "o such option", "kafka", "--no_such=1"),
    "no-java": _refused(4, "/nonexistent", "kafka", *SHORT, "--java=/nonexistent"),
    "few-descriptors": _refused(2, "descriptors", "kafka", *LONG, "--clients_per_app=500",
                                prefix=["prlimit", "--nofile=160:160"]),
    "no-home": _refused(4, "HOME", "kafka", *SHORT, prefix=["setpriv", "--reuid=12345", "--clear-groups", "env", "-u",
                                                            "HOME", "-u", "XDG_CACHE_HOME", "-u", "XDG_STATE_HOME"]),
    "no-such-folder": _refused(4, "/no/such", "kafka", *SHORT, "--output=/no/such/r.json"),
})  # fmt: skip
ROWS[:] = [each for each in ROWS if each.name != "refused-no-home"]  # another user cannot read a checkout of root's


@row
def bad_ini(stage: Stage) -> None:
    """File, line and key are named."""
    (stage.place.work / "hydra.ini").write_text("[kafka]\nmsg_rate = fast\n")
    command = stage.hydra("kafka", *SHORT[:3])
    assert command.end(20) == 2
    assert "hydra.ini" in command.complaint, command.errors


@row
def full_output(stage: Stage) -> None:
    """The result is printed all the same."""
    command = stage.on_stack().hydra("kafka", *SHORT, "--output=/dev/full")
    assert command.end(60) == 4, command.errors
    assert "packet_tx" in command.text
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@row
def closed_streams(stage: Stage) -> None:
    """They change nothing but what is shown."""
    shell = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
    command = stage.on_stack().hydra("kafka", *SHORT, RESULT, prefix=shell)
    assert command.end(60) in HONEST
    assert _result(stage)["totals"]["records_lost"] == 0


@row
def undecodable_name(stage: Stage) -> None:
    """A name that is not UTF-8 is a name."""
    command = stage.on_stack().hydra("kafka", *SHORT, "--output=o\udcff.json")
    assert command.end(60) in HONEST, command.errors
    assert json.loads((stage.place.work / "o\udcff.json").read_text())["status"] == "complete"


@row
def settings_of_others(stage: Stage) -> None:
    """A proxy and Python's settings in the environment are not for Hydra's own."""
    stage.place.environment.update(HTTP_PROXY="http://127.0.0.1:1", PYTHONWARNINGS="error", PYTHONDEVMODE="1")
    command = stage.on_stack().hydra("kafka", *SHORT)
    assert command.end(90) in HONEST, command.errors


@row
def one_cpu(stage: Stage) -> None:
    """What it cannot do there is not the broker's limit."""
    command = stage.on_stack().hydra("kafka", *SHORT, "--msg_rate=300", RESULT, prefix=["taskset", "-c", "0"])
    assert command.end(90) in HONEST, (command.errors, command.text)
    assert _result(stage)["bottleneck"]["limit"] != "broker"


@row
def garbage_for_a_task(stage: Stage) -> None:
    """Bytes at the port of a task change nothing."""
    command = stage.on_stack().hydra("kafka", *SHORT, "--test_duration=5")
    command.wait_for("delivered [1-9]")
    ports = [
        item.laddr for task in (*stage.place.tasks("kafka-sub"), *stage.place.tasks("kafka-pub"))
        for item in task.net_connections("tcp") if item.status == psutil.CONN_LISTEN
    ]  # fmt: skip
    assert ports
    for content in (os.urandom(5000), b"\xff" * 100_000, b"GET / HTTP/1.1\r\n\r\n", b""):
        for address in ports:
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as peer:
                peer.sendall(content)
    assert command.end(60) in HONEST, command.errors


@row
def strangers_at_the_http_api(stage: Stage) -> None:
    """Nobody without the token, and no page of another origin, starts anything."""
    url = f"{stage.house.record['marathon_url']}/v2/apps"
    app = json.dumps({"id": "/stranger", "cmd": "sleep 60"})
    kind = {"Content-Type": "application/json"}
    for headers in ({}, kind, {**kind, "Origin": "http://evil.example"}, {**kind, "Host": "evil.example"},
                    {**kind, "Authorization": "Bearer x"}, {"Content-Type": "text/plain"}):  # fmt: skip
        answer = requests.post(url, data=app, headers=headers, timeout=5)
        assert answer.status_code in {401, 403, 415}, answer.status_code
    assert not [each for each in stage.house.launcher.apps() if each.id == "/stranger"]


@row
def port_taken(stage: Stage) -> None:
    """The port is named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = stage.hydra("marathon", f"--port={port}")
        assert command.end(30) == 2, command.errors
        assert str(port) in command.complaint
