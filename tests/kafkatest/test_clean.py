"""``hydra clean``: whose a thing is, and what of it is removed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import time

import pytest

from hydra.accounting.evidence import OffsetRange
from hydra.broker.admin import KafkaTopicAdmin
from hydra.cli.main import run
from hydra.codec import encode
from hydra.files.atomic_write import try_lock
from hydra.files.folders import state_folder
from hydra.files.process_identity import ProcessIdentity, this_process
from hydra.kafkatest.leftovers import Found, RunTrace, counted, judge, judged_in_order, run_id_in
from hydra.kafkatest.traces import Trace, forget_trace, read_traces
from tests.commands import wait_until
from tests.kafkatest.test_marathon_elsewhere import marathon  # noqa: F401  # a fixture

RUN, OTHER = "hydra-20260101-000000-abcdef", "hydra-20260101-000000-abcde0"
TRACE = RunTrace(RUN, 41, "http://m:8080", "k:9092", "aa" * 8, "g1", topics=(RUN,))
NOW_S = 1_800_000_000.0
DAY_S = 86400.0


def topic(name=RUN, **fields):
    return Found("topic", name, "k:9092", NOW_S - DAY_S, **fields)


def app(owner="aa" * 8, **fields):
    return Found("app", "/g1/kafka-pub", "http://m:8080", NOW_S - DAY_S, owner, **fields)


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        (RUN, RUN),
        (f"{RUN}-s0-c1", RUN),
        (f"{RUN}x", ""),
        (f"my-{RUN}", ""),
        ("hydra-20260101-000000-ABCDEF", ""),
        ("hydra", ""),
        ("", ""),
    ],
)
def test_a_name_tells_the_run(name, run_id):
    assert run_id_in(name) == run_id


@pytest.mark.parametrize(
    ("found", "traces", "older_than_s", "state"),
    [
        (topic(), {TRACE: False}, None, "over"),
        (topic(f"{RUN}-c1"), {TRACE: False}, None, "over"),
        (topic(), {TRACE: True}, None, "alive"),
        (topic(), {TRACE: True}, 1.0, "alive"),
        (topic(OTHER), {TRACE: False}, None, "unknown"),
        (topic(OTHER), {TRACE: False}, DAY_S, "over"),
        (topic(OTHER), {TRACE: False}, DAY_S + 1, "unknown"),
        (topic(OTHER, in_use="2 members"), {}, 1.0, "alive"),
        (topic(OTHER, unproven="of somebody"), {}, 1.0, "unknown"),
        (app(), {TRACE: False}, None, "over"),
        (app(), {TRACE: True}, None, "alive"),
        (app(), {TRACE: False, RunTrace(OTHER, 42, owner="aa" * 8): True}, None, "alive"),
        (app(), {RunTrace(OTHER, 42, owner="aa" * 8, kept=True): False}, 1.0, "kept"),
        (app("bb" * 8), {TRACE: False}, None, "unknown"),
        (app(""), {RunTrace(OTHER, 42): False}, None, "unknown"),
        (Found("folder", "/tmp/x", "this machine", NOW_S, is_left=True), {}, None, "over"),
    ],
)
def test_what_is_over(found, traces, older_than_s, state):
    assert judge(found, traces, NOW_S, older_than_s).state == state


@pytest.mark.parametrize(
    ("beside", "brokers_seen", "state", "told"),
    [
        ([], True, "over", "too old"),
        ([], False, "unknown", "nobody looked at the brokers"),
        ([topic(OTHER)], True, "over", "too old"),
        ([topic()], True, "over", "too old"),  # mine, and it goes on
        ([topic(OTHER, in_use="2 members")], True, "unknown", f"the topic {OTHER} may be of a run of it"),
        ([dataclasses.replace(topic(OTHER), last_sign_s=NOW_S)], True, "unknown", f"the topic {OTHER} may be"),
    ],
)
def test_an_old_app_is_left_only_where_no_run_of_others_shows(beside, brokers_seen, state, told):
    judged = judged_in_order([app("bb" * 8), *beside], {TRACE: True}, NOW_S, 60.0, brokers_seen=brokers_seen)
    assert judged[0].found.kind == "app"
    assert (judged[0].state, told in judged[0].whose) == (state, True)


def test_an_app_of_mine_needs_no_brokers():
    (judged,) = judged_in_order([app()], {TRACE: False}, NOW_S, 60.0)
    assert (judged.state, judged.by_age) == ("over", False)


def test_apps_come_first_and_what_is_over_is_counted():
    judged = judged_in_order([topic(), app("bb" * 8), app(), topic(f"{RUN}-c")], {TRACE: False}, NOW_S, None)
    assert [each.found.kind for each in judged] == ["app", "app", "topic", "topic"]
    assert counted(judged) == "1 app, 2 topics"
    assert counted([]) == ""


@pytest.fixture
def in_place(place, monkeypatch):
    place.enter(monkeypatch)
    return place


def test_a_trace_lives_as_long_as_its_run(in_place):
    trace = Trace(TRACE)
    assert read_traces() == {TRACE: True}
    trace.end_topic(RUN)
    trace.close()
    assert read_traces() == {}
    assert list(in_place.state.rglob("*.lock")) == []


def test_a_trace_stays_while_something_is_left(in_place):
    trace = Trace(TRACE)
    trace.close()
    assert read_traces() == {TRACE: False}
    forget_trace(TRACE)
    trace = Trace(RunTrace(RUN, 41, "m"))
    trace.apps_are_left()
    trace.close()
    assert [*read_traces().values()] == [False]


def test_the_last_run_on_kept_apps_tells_of_them_alone(in_place):
    for number in range(3):
        Trace(RunTrace(f"{RUN[:-1]}{number}", 41, "m", owner="a", kept=True)).close()
    assert [trace.run_id[-1] for trace in read_traces()] == ["2"]
    Trace(RunTrace(RUN, 41, "m", owner="a")).close()
    assert read_traces() == {}


def test_what_cannot_be_read_is_no_trace(in_place):
    Trace(TRACE).close()
    folder = next(in_place.state.rglob("runs"))
    (folder / "a.json").write_text("{")
    os.mkfifo(folder / "b.json")
    assert read_traces() == {TRACE: False}


def test_the_lock_of_a_file_that_was_removed_is_none(tmp_path):
    lock = tmp_path / "lock"
    with try_lock(lock) as first:
        assert first
        lock.unlink()
        with try_lock(lock) as second:
            assert second, "it is another file, which everybody finds"
    assert lock.exists()


def test_folders_and_locks_on_this_machine(in_place, capfd):
    assert run(["clean"]) == 0
    assert capfd.readouterr().out == "nothing is left by runs that are over\n"
    dead = ProcessIdentity(2**22 + 1, 1.0)
    left, mine, foreign = (in_place.temporary / f"{name}-{'0' * 16}" for name in (RUN, OTHER, "hydra-x"))
    for folder, owner in ((left, dead), (mine, this_process())):
        folder.mkdir()
        (folder / "owner.json").write_bytes(encode(owner))
    foreign.mkdir(mode=0o777)
    foreign.chmod(0o777)
    (foreign / "owner.json").write_bytes(encode(dead))
    lock, held = (state_folder() / f"signals-{digit}.lock" for digit in "ab")
    lock.touch()
    with try_lock(held):
        assert run(["clean"]) == 0
        out = capfd.readouterr().out
        assert f"left    folder {left}  (this machine, " in out
        assert f"left    file {lock}  (this machine, " in out
        assert out.splitlines()[-1].startswith("nothing was removed: 'hydra clean --force'")
        assert left.exists()
        assert run(["clean", "--force"]) == 0
    assert [path.exists() for path in (left, mine, foreign, lock, held)] == [False, True, True, False, True]
    for folder in (mine, foreign):
        shutil.rmtree(folder)


def test_a_trace_of_what_is_elsewhere_is_told_with_the_flags(in_place, capfd):
    Trace(TRACE).close()
    assert run(["clean", "--force"]) == 0
    flags = "--marathon_url=http://m:8080 --bootstrap_servers=k:9092"
    assert f"perhaps more of the run {RUN}, which is over: hydra clean {flags}\n" in capfd.readouterr().out
    assert read_traces() == {TRACE: False}


def test_a_trace_of_a_stack_that_ended_goes(in_place):
    Trace(RunTrace(RUN, 41, f"stack:{OTHER}", f"stack:{OTHER}", "a", topics=(RUN,))).close()
    assert run(["clean"]) == 0
    assert read_traces() == {}


@pytest.mark.release
@pytest.mark.integration
@pytest.mark.timeout(300)  # many commands, one after the other
def test_what_a_killed_controller_left_goes_and_a_run_that_goes_on_keeps_its_own(
    hydra,
    place,
    marathon,  # noqa: F811  # the fixture
    external_kafka,
):
    where = (f"--marathon_url={marathon.url}", f"--bootstrap_servers={external_kafka}")
    load = (
        "--appserver=never", "--total_sub_apps=1", "--clients_per_app=2", "--group_mode=group", "--msg_rate=100",
        "--warmup=0",
    )  # fmt: skip
    killed = hydra("kafka", *where, *load, "--test_duration=60", "--app_prefix=killed")
    killed.wait_for(r"delivered [1-9]")
    killed.process.kill()
    assert killed.end() == -9
    (trace,) = (json.loads(path.read_text()) for path in place.state.rglob("runs/*.json"))
    (topic_left,) = trace["topics"]
    alive = hydra("kafka", *where, *load, "--test_duration=600", "--app_prefix=alive")
    alive.wait_for(r"delivered [1-9]")
    tasks = {task.pid for task in place.tasks("kafka-sub")}
    old = "hydra-20200101-000000-aaaaaa"
    admin = KafkaTopicAdmin(external_kafka)
    try:
        admin.create_topic(old, partitions=1, configs={})
        listed = hydra("clean", *where)
        assert listed.end() == 0, listed.errors
        left = [line for line in listed.output if line.startswith("left")]
        things = ["app /killed/kafka-pub", "app /killed/kafka-sub", f"topic {topic_left}", f"group {topic_left}-"]
        assert all(any(thing in line for line in left) for thing in things), listed.text
        stays = [line for line in listed.output if line.startswith("stays")]
        assert any("/alive/kafka-pub" in line and "of yours that goes on" in line for line in stays), listed.text
        assert any(old in line and "of another user or machine, over or not" in line for line in stays), listed.text
        assert "hydra clean --force" in listed.output[-1]
        assert topic_left in admin.topics(), "nothing is removed without a word"
        examined = hydra("doctor", where[1])
        assert examined.end() == 0, examined.errors
        assert re.search(
            r"left by runs that are over: 1 topic, 2 groups, 1 file, more elsewhere of 1 run\b", examined.text
        )
        assert "hydra clean" in examined.text

        aged = hydra("clean", *where, "--older_than=24")
        assert aged.end() == 0, aged.errors
        assert any(line.startswith("stays") and old in line and "too old" in line for line in aged.output), aged.text
        assert "--others removes it" in aged.text
        forced = hydra("clean", *where, "--force", "--older_than=24", "--others")
        assert forced.end() == 0, (forced.errors, forced.output)
        assert topic_left not in admin.topics()
        assert old not in admin.topics()
        assert not [group for group in admin.groups() if group.startswith(topic_left)]
        now = {task.pid for task in place.tasks("kafka-sub")}
        assert len(now) == 1, "one of two tasks is gone"
        assert now < tasks
        (goes_on,) = (json.loads(path.read_text()) for path in place.state.rglob("runs/*.json"))
        assert set(goes_on["topics"]) <= set(admin.topics())
        assert alive.process.poll() is None
        alive.send(signal.SIGINT)
        assert alive.end() == 130, alive.errors
        again = hydra("clean", *where)
        assert again.end() == 0
        assert again.output == ["nothing is left by runs that are over"]
    finally:
        admin.close()
    assert list(place.state.rglob("runs/*")) == []
    wait_until(lambda: not place.tasks("kafka-sub"), 5, "the tasks are gone")


@pytest.mark.integration
def test_a_topic_of_somebody_else_stays_whatever_its_name_and_age(hydra, external_kafka):
    from confluent_kafka import Producer

    name = "hydra-20200101-000000-bbbbbb"
    admin = KafkaTopicAdmin(external_kafka)
    try:
        admin.create_topic(name, partitions=1, configs={})
        producer = Producer({"bootstrap.servers": external_kafka})
        producer.produce(name, b"precious", timestamp=int((time.time() - 2 * DAY_S) * 1000))
        assert producer.flush(20) == 0
        command = hydra("clean", f"--bootstrap_servers={external_kafka}", "--older_than=1", "--others", "--force")
        assert command.end() == 0, command.errors
        assert "its records are not of the run that it is named after" in command.text
        assert admin.offsets(name) == {0: OffsetRange(0, 1)}
        admin.delete_topic(name)
    finally:
        admin.close()
