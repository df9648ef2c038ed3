"""More faults, of brokers, Marathons and machines; and which faults are not played here, and why."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from rows import HONEST, LONG, QUEUE, RESULT, SHORT, row
from stage import Stage, wait_dead

from tests.commands import suspend, wait_until
from tests.scripted_marathon import ScriptedMarathon, refuse

ELSEWHERE: Mapping[str, str] = {
    "expired certificates, wrong names, tokens": "tests/clients/test_secured_drivers.py",
    "interrupted download": "needs a registry (tests/broker/test_classpath.py)",
    "no Java, too old": "row refused-no-java; too old: tests/broker",
    "garbage, oversized, deep signals": "inputs, and row garbage-for-a-task",
    "unauthorised ZMQ client, A1 to A3, A7": "strangers (idle ones: tests/tasks, tests/localmarathon)",
    "A4 two runs on one given Marathon": "tests/kafkatest/test_marathon_elsewhere.py",
    "A5, A6 links and devices of other users": "tests/files",
    "A8 a signal that raises SystemExit": "tests/signals; a kept task that is deaf: row kept-task-that-answers-no-more",
    "B6, B21, B26 quotas, CPUs, buffers": "limits",
    "B7 addresses of a name": "tests/clients/test_wire_addresses.py",
    "B9 records beyond the plan, B18 unread in the table, B17 one rule": "arithmetic: tests/accounting",
    "B10 kept stack killed": "row stack-killed; local down in use: row stack-ended-in-use",
    "B15 no HOME": "another user cannot read a checkout of root's (tests/kafkatest/test_stack_errors.py)",
    "B16 a plain client at a TLS port": "tests/broker/test_tls_port.py",
    "B19, B27 notebooks, comparison": "no faults: tests/test_notebook.py, tests/sweep",
    "B25, B28 receive limits, LogAppendTime": "tests/clients/test_drivers_on_kafka.py",
    "B23 disks without room": "needs a mount (tests/kafkatest/test_stack_errors.py)",
    "B29 noexec": "needs a mount (tests/kafkatest/test_preflight.py)",
    "C3, C4, C5, C8": "set-up of Python and of the cache: tests/scripts, row settings-of-others",
    "D, E": "no faults of runs: tests/localmarathon, .ci/run",
}  # fmt: skip
"""Of what is known to go wrong, by what it is."""


def _result(stage: Stage) -> dict:
    return stage.place.record()["result"]


@row
def retention_eats_records(stage: Stage) -> None:
    """What expired before a client got there is told exactly, and fails the run."""
    arguments = ("--test_duration=14", "--retention_ms=3000", "--drain_timeout=10", RESULT)
    command = stage.on_stack().hydra("kafka", *LONG, *arguments)
    command.wait_for("delivered [1-9]")
    task = stage.place.tasks("kafka-sub")[0]
    suspend(task)
    time.sleep(10)  # the pause itself
    assert task.status() == psutil.STATUS_STOPPED
    task.resume()
    assert command.end(60) == 1, (command.errors, command.text)
    totals = _result(stage)["totals"]
    assert totals["records_expired"] > 0
    assert (totals["records_skipped"], totals["records_broker_lost"]) == (0, 0)
    assert totals["records_lost"] == totals["records_expired"] + totals["records_unread"]


@row
def one_of_three_brokers_killed(stage: Stage) -> None:
    """Three copies, acks of all: nothing is lost, what waited for another leader was late, and why is told."""
    cluster = ("--brokers=3", "--broker_heap_mb=256", "--replication_factor=3", "--min_insync_replicas=2")
    load = ("--acks=all", "--partitions=3", "--test_duration=20", "--threshold=e2e_p99<2000ms", RESULT)
    # How long three JVMs take to start on a busy machine is none of this fault.
    command = stage.hydra("kafka", *LONG, *cluster, *load, "--start_timeout=240")
    command.wait_for("delivered [1-9]", 250)
    brokers = [process for process in stage.place.processes() if "kafka.Kafka" in process.cmdline()]
    victim = random.choice(brokers)  # noqa: S311
    node_id = int(Path(victim.cmdline()[-1]).parent.name)
    victim.kill()
    wait_dead(victim)
    code = command.end(150)
    result, totals = _result(stage), _result(stage)["totals"]
    assert (totals["records_acked"], totals["records_lost"], totals["clients_missing"]) == (4000, 0, 0), totals
    assert totals["records_delivered"] == 40_000, totals
    assert result["latency"]["e2e"]["max_ms"] > 5000, result["latency"]["e2e"]
    told = f"broker {node_id} of the embedded Kafka died: it was killed by SIGKILL"
    assert any(note.startswith(told) for note in result["notes"]), result["notes"]
    limit = result["bottleneck"]["limit"]
    assert (code, limit) in {(1, "broker"), (3, "harness")}, (code, limit, result["reasons"])


@row
def disk_of_the_broker_full(stage: Stage) -> None:
    """Whatever Kafka can write no more; planted as a limit on the size of its files."""
    command = stage.hydra("kafka", *LONG, "--msg_size=1000", "--msg_rate=2000", RESULT)
    command.wait_for("delivered [1-9]")
    kafka = stage.place.kafka()
    resource.prlimit(kafka.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    assert resource.prlimit(kafka.pid, resource.RLIMIT_FSIZE) == (4096, 4096)
    code = command.end(60)
    assert code == 4, (command.errors, command.text)
    assert stage.place.record()["status"] == "failed"
    assert "File too large" in command.complaint or "log dir" in command.complaint.lower(), command.complaint


@row
def task_that_crashes_at_its_start(stage: Stage) -> None:
    """Given up within the start limit, with its last words."""
    (stage.place.work / "crash.py").write_text("import os\nos.write(2, b'my last words\\n')\nos._exit(7)\n")
    began_s = time.monotonic()
    driver = f"--sub_driver={stage.place.work}/crash.py:Crash"
    command = stage.on_stack().hydra("kafka", *SHORT, driver, "--start_timeout=15")
    assert command.end(60) in {3, 4}, command.errors
    assert "my last words" in command.complaint, command.errors
    assert time.monotonic() - began_s < 45


@row
def subscriber_replaced(stage: Stage) -> None:
    """Another process in its place is another one: its counts are not taken for the first one's."""
    command = stage.on_stack().hydra("kafka", *LONG, "--test_duration=12", RESULT)
    command.wait_for("delivered [1-9]")
    before = {task.pid for task in stage.place.tasks("kafka-sub")}
    victim = stage.place.tasks("kafka-sub")[0]
    victim.kill()
    wait_dead(victim)
    wait_until(lambda: {task.pid for task in stage.place.tasks("kafka-sub")} - before, 10, "another task is there")
    assert command.end(60) == 3, command.errors
    totals = _result(stage)["totals"]
    assert (totals["clients_missing"], totals["clients_reporting"], totals["records_lost"]) == (5, 5, 0)


@row
def kept_task_that_answers_no_more(stage: Stage) -> None:
    """It is told and replaced, and spoils no run to come."""
    first = stage.on_stack().hydra("kafka", *SHORT, "--keep_running")
    assert first.end(90) in HONEST, first.errors
    (task,) = stage.place.tasks("kafka-sub")
    suspend(task)
    second = stage.hydra("kafka", *SHORT, RESULT)
    assert second.end(90) in HONEST, second.errors
    told = "1 of 1 tasks of /g1/kafka-sub run and do not answer: the app is started anew"
    assert any(told in line for line in second.errors), second.errors
    wait_dead(task)
    assert _result(stage)["totals"]["clients_missing"] == 0


@row
def marathon_409_for_ever(stage: Stage) -> None:
    """Waited for, never forced, and the deployment is named."""
    scripted = ScriptedMarathon()
    with contextlib.closing(scripted):
        scripted.pages["/v2/deployments"] = [{"id": "somebodys-deployment", "affectedApps": ["/g1/kafka-pub"]}]
        scripted.queue = QUEUE
        locked = {
            "message": "App is locked by one or more deployments",
            "deployments": [{"id": "somebodys-deployment"}],
        }

        def play(regular, handler):  # noqa: ANN001, ANN202
            return refuse(409, locked)(regular, handler) if handler.command in {"POST", "PUT"} else regular()

        planned = scripted.misbehave(play, 9999)
        where = (f"--marathon_url={scripted.url}", f"--bootstrap_servers={stage.house.kafka}", "--appserver=never")
        command = stage.hydra("kafka", *SHORT, *where, "--marathon_timeout=3")
        assert command.end(110) == 4, command.errors
        assert planned.happened
        assert "somebodys-deployment" in command.complaint
        assert not any("force=true" in str(request) for request in scripted.requests)
        planned.left = 0  # the lock is gone, and what the run could not do can be done
        cleaned = stage.hydra("clean", *where[:2], "--force")
        assert cleaned.end(60) == 0, cleaned.errors


@row
def peer_silent_and_interrupted(stage: Stage) -> None:
    """A task that answers no more does not keep the run from ending."""
    command = stage.on_stack().hydra("kafka", *LONG, RESULT)
    command.wait_for("delivered [1-9]")
    for task in stage.place.tasks("kafka-sub"):
        suspend(task)
    command.send(signal.SIGINT)
    assert command.end(25) == 130, command.errors
    assert stage.place.record()["status"] == "interrupted"


@row
def connections_limited(stage: Stage) -> None:
    """A limit that is too small for the run is told before anything starts."""
    began = stage.hydra("kafka", *LONG, "--broker_property=max.connections.per.ip=6")
    assert began.end(15) == 2, began.errors
    assert "max.connections.per.ip" in began.complaint


@row
def hostile_names(stage: Stage) -> None:
    """No escape sequence reaches a terminal."""
    for flags in (["--app_prefix=\x1b[31mx"], ["--output=\x1b]0;x\x07/no/r.json"], ["--java=/no/\x1b[2J"]):
        command = stage.hydra("kafka", *SHORT, *flags)
        assert command.end(20) in {2, 4}, (flags, command.errors)
        assert not any("\x1b" in line or "\x07" in line for line in (*command.output, *command.errors)), flags


@row
def large_records_and_linger(stage: Stage) -> None:
    """B4: no record is refused because of our own settings."""
    arguments = ("--msg_size=100000", "--msg_rate=100", "--linger_ms=200", RESULT)
    command = stage.on_stack().hydra("kafka", *SHORT, *arguments)
    assert command.end(90) in HONEST, (command.errors, command.text)
    totals = _result(stage)["totals"]
    assert (totals["records_failed"], totals["records_lost"]) == (0, 0)


@row
def soft_limit_of_descriptors(stage: Stage) -> None:
    """B14: a soft limit is raised."""
    prefix = ["prlimit", f"--nofile=160:{resource.getrlimit(resource.RLIMIT_NOFILE)[1]}"]
    command = stage.on_stack().hydra("kafka", *SHORT, "--clients_per_app=100", RESULT, prefix=prefix)
    assert command.end(90) in HONEST, command.errors


@row
def dumb_and_narrow_terminal(stage: Stage) -> None:
    """C9: no number is shortened."""
    stage.place.environment.update(TERM="dumb", COLUMNS="40")
    command = stage.on_stack().hydra("kafka", *SHORT, RESULT)
    assert command.end(90) in HONEST, command.errors
    assert "..." not in "".join(line for line in command.output if line.lstrip().startswith("packet_tx"))
    assert f"{_result(stage)['totals']['records_counted']:,}" in command.text


@row
def output_through_a_link(stage: Stage) -> None:
    """C1: a link is followed, and what it points at keeps its mode."""
    real = stage.place.work / "real.json"
    real.write_text("")
    real.chmod(0o600)
    (stage.place.work / "result.json").symlink_to(real)
    command = stage.on_stack().hydra("kafka", *SHORT, RESULT)
    assert command.end(90) in HONEST, command.errors
    assert (stage.place.work / "result.json").is_symlink()
    assert (real.stat().st_mode & 0o777, bool(real.stat().st_size)) == (0o600, True)


@row
def head_closes_the_pipe(stage: Stage) -> None:
    """C2: whoever reads on no more changes nothing."""
    shell = ["/bin/sh", "-c", '"$@" 2>&1 | head -3; exit 0', "sh"]
    command = stage.on_stack().hydra("kafka", *SHORT, RESULT, prefix=shell)
    assert command.end(90) == 0
    wait_until((stage.place.work / "result.json").exists, 60, "the result")
    assert _result(stage)["totals"]["records_lost"] == 0
