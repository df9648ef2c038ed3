"""Back-off, deployments, environment, label selectors, timestamps: no process, no clock."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hydra.localmarathon.app_definition import AppDefinition, PortDefinition, Versions
from hydra.localmarathon.deployments import Action, Deployments
from hydra.localmarathon.environment import TASK_MARK, inherited_environment, task_environment
from hydra.localmarathon.label_selector import parse_label_selector
from hydra.localmarathon.launch_delay import LaunchDelay
from hydra.localmarathon.refusals import RequestRefusedError
from hydra.localmarathon.task import Task
from hydra.localmarathon.timestamps import VersionClock, format_timestamp


def test_the_delay_grows_up_to_its_maximum():
    app = AppDefinition(app_id="/x", backoff_s=1, backoff_factor=2, max_launch_delay_s=5)
    delay, delays = LaunchDelay(), []
    for _ in range(5):
        delay = delay.after_end(app, delay.until_s)
        delays.append(delay.delay_s)
    assert delays == [1, 2, 4, 5, 5]


def test_the_delay_is_forgotten_after_its_maximum_without_an_end():
    app = AppDefinition(app_id="/x", backoff_s=1, backoff_factor=2, max_launch_delay_s=5)
    delay = LaunchDelay().after_end(app, 0).after_end(app, 1)
    assert delay == LaunchDelay(2, 3)
    assert delay.after_end(app, 8) == LaunchDelay(4, 12)
    assert delay.after_end(app, 8.1) == LaunchDelay(1, 9.1)


def test_a_delay_of_nothing_stays_nothing():
    app = AppDefinition(app_id="/x", backoff_s=0)
    assert LaunchDelay().after_end(app, 3).after_end(app, 4).until_s == 4


def test_a_deployment_holds_its_apps_until_it_is_finished():
    deployments = Deployments()
    first = deployments.begin({"/x": Action.START}, "v1", force=False)
    assert deployments.of_app("/x") == [first.deployment_id]
    with pytest.raises(RequestRefusedError) as caught:
        deployments.begin({"/x": Action.SCALE, "/y": Action.START}, "v2", force=False)
    assert caught.value.http_status == 409
    assert caught.value.document["deployments"] == [{"id": first.deployment_id}]
    assert deployments.of_app("/y") == []
    deployments.finish(first)
    assert deployments.running == ()


def test_force_takes_the_place_of_the_holder():
    deployments = Deployments()
    deployments.begin({"/x": Action.START}, "v1", force=False)
    second = deployments.begin({"/x": Action.STOP}, "v2", force=True)
    assert deployments.running == (second,)


def test_a_deployment_of_nothing_is_over_at_once():
    deployments = Deployments()
    assert deployments.begin({}, "v1", force=False).deployment_id
    assert deployments.running == ()


def test_there_is_an_end_to_the_number_of_deployments():
    deployments = Deployments()
    for number in range(100):
        deployments.begin({f"/x{number}": Action.START}, "v", force=False)
    with pytest.raises(RequestRefusedError) as caught:
        deployments.begin({"/y": Action.START}, "v", force=False)
    assert caught.value.http_status == 403


def test_a_task_finds_what_marathon_promises():
    app = AppDefinition(
        app_id="/g1/x",
        cmd="env",
        cpus=0.1,
        mem_mb=32,
        env={"HOST": "mine", "OWN": "1", TASK_MARK: "forged"},
        labels={"owner-name": "zeus"},
        ports=(PortDefinition(10001, name="http-api"), PortDefinition(10002)),
        versions=Versions("v1", "v1", "v1"),
    )
    task = Task(
        task_id="g1_x.1",
        app_id="/g1/x",
        version="v1",
        config_version="v1",
        number=1,
        host="127.0.0.1",
        agent_id="f-S0",
        ports=(31001, 31002),
        service_ports=(10001, 10002),
        role="*",
        kill_grace_s=3,
        sandbox=Path("/box"),
        staged_at="",
    )
    assert task_environment(app, task, inherited={"PATH": "/bin", "OWN": "0"}, framework_id="f") == {
        "PATH": "/bin",
        "OWN": "1",
        "HOST": "mine",
        "PORT": "31001",
        "PORT0": "31001",
        "PORT1": "31002",
        "PORTS": "31001,31002",
        "PORT_10001": "31001",
        "PORT_10002": "31002",
        "PORT_HTTP_API": "31001",
        "MARATHON_APP_ID": "/g1/x",
        "MARATHON_APP_VERSION": "v1",
        "MARATHON_APP_RESOURCE_CPUS": "0.1",
        "MARATHON_APP_RESOURCE_MEM": "32.0",
        "MARATHON_APP_RESOURCE_DISK": "0.0",
        "MARATHON_APP_RESOURCE_GPUS": "0",
        "MARATHON_APP_ENFORCE_GROUP_ROLE": "false",
        "MARATHON_APP_LABELS": "OWNER_NAME",
        "MARATHON_APP_LABEL_OWNER_NAME": "zeus",
        "MESOS_TASK_ID": "g1_x.1",
        "MESOS_SANDBOX": "/box",
        "MESOS_DIRECTORY": "/box",
        "MESOS_FRAMEWORK_ID": "f",
        "MESOS_EXECUTOR_ID": "g1_x.1",
        "MESOS_SLAVE_ID": "f-S0",
        "MESOS_AGENT_ID": "f-S0",
        TASK_MARK: "f/g1_x.1",
    }


def test_secrets_of_the_server_are_not_inherited():
    environment = {"PATH": "/bin", "LC_ALL": "C", "HYDRA_RUN_ID": "7", "AWS_SECRET_ACCESS_KEY": "s", "PORT0": "1"}
    assert inherited_environment(environment) == {"PATH": "/bin", "LC_ALL": "C", "HYDRA_RUN_ID": "7"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("tier", True),
        ("other", False),
        ("tier==web", True),
        ("tier==db", False),
        ("tier!=db", True),
        ("other!=db", False),
        ("tier in (db, web)", True),
        ("tier notin (db, web)", False),
        ("tier==web, stage==live", True),
        ("tier==web,stage==test", False),
    ],
)
def test_label_selectors(selector, matches):
    labels = {"tier": "web", "stage": "live"}
    assert all(term.matches(labels) for term in parse_label_selector(selector)) is matches


@pytest.mark.parametrize("selector", ["tier=web", "==x", "a in b", "a==b c", "in ()("])
def test_a_label_selector_that_makes_no_sense_is_refused(selector):
    with pytest.raises(RequestRefusedError, match="label selector"):
        parse_label_selector(selector)


def test_versions_differ_within_one_millisecond():
    moment = datetime(2020, 1, 1, 0, 0, 0, 999_000, tzinfo=timezone.utc)
    clock = VersionClock(lambda: moment)
    assert [clock.next_version() for _ in range(2)] == ["2020-01-01T00:00:00.999Z", "2020-01-01T00:00:01.000Z"]


def test_versions_never_go_back():
    moments = iter([datetime(2020, 1, 1, tzinfo=timezone.utc), datetime(2019, 1, 1, tzinfo=timezone.utc)])
    clock = VersionClock(lambda: next(moments))
    assert clock.next_version() < clock.next_version()
    assert format_timestamp(datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=1999)).endswith(
        "00.001Z"
    )
