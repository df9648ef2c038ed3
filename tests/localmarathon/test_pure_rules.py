"""Back-off, deployments, environment, placement, timestamps: no process, no clock."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from hydra.localmarathon.app import Backoff
from hydra.localmarathon.app_definition import AppDefinition, PortDefinition, Versions, format_timestamp
from hydra.localmarathon.deployments import Action, Deployments
from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.mesos_routes import mesos_task_name
from hydra.localmarathon.placement import AgentIdentity, Offer, decline_reason, reject_summary
from hydra.localmarathon.processes import TASK_MARK
from hydra.localmarathon.task import Task, inherited_environment, task_environment

AGENTS = {
    name: AgentIdentity(name, f"127.0.0.{number}", {"rack": name, "floor": str(number)})
    for number, name in enumerate("abc", start=1)
}


def test_the_delay_grows_up_to_its_maximum():
    app = AppDefinition(app_id="/x", backoff_s=1, backoff_factor=2, max_launch_delay_s=5)
    backoff, delays = Backoff(), []
    for _ in range(5):
        backoff = backoff.after_end(app, backoff.until_s)
        delays.append(backoff.delay_s)
    assert delays == [1, 2, 4, 5, 5]


def test_the_delay_is_forgotten_after_its_maximum_without_an_end():
    app = AppDefinition(app_id="/x", backoff_s=1, backoff_factor=2, max_launch_delay_s=5)
    backoff = Backoff().after_end(app, 0).after_end(app, 1)
    assert backoff == Backoff(2, 3)
    assert backoff.after_end(app, 8) == Backoff(4, 12)
    assert backoff.after_end(app, 8.1) == Backoff(1, 9.1)


def test_a_delay_of_nothing_stays_nothing():
    app = AppDefinition(app_id="/x", backoff_s=0)
    assert Backoff().after_end(app, 3).after_end(app, 4).until_s == 4


def test_a_deployment_holds_its_apps_until_it_is_finished():
    deployments = Deployments()
    first = deployments.begin({"/x": Action.START})
    assert deployments.of_app("/x") == [first.deployment_id]
    with pytest.raises(RequestRefusedError) as caught:
        deployments.check_free(["/x", "/y"], force=False)
    assert caught.value.http_status == 409
    assert caught.value.document["deployments"] == [{"id": first.deployment_id}]
    deployments.check_free(["/y"], force=False)
    deployments.check_free(["/x"], force=True)
    deployments.finish(first)
    assert deployments.running == ()


def test_a_deployment_replaces_the_holder_of_its_apps():
    deployments = Deployments()
    deployments.begin({"/x": Action.START})
    second = deployments.begin({"/x": Action.STOP})
    assert deployments.running == (second,)


def test_a_deployment_of_nothing_has_ended_at_once():
    deployments = Deployments()
    assert deployments.begin({}).deployment_id
    assert deployments.running == ()


def test_the_number_of_deployments_is_limited():
    deployments = Deployments()
    for number in range(100):
        deployments.check_free([f"/x{number}"], force=False)
        deployments.begin({f"/x{number}": Action.START})
    with pytest.raises(RequestRefusedError, match="100") as caught:
        deployments.check_free(["/y"], force=False)
    assert caught.value.http_status == 403


@pytest.mark.parametrize(
    ("app_id", "name"), [("/hello", "hello"), ("/grp/hello", "hello.grp"), ("/a/b.c/d", "d.b.c.a")]
)
def test_the_task_name_of_mesos_is_the_reversed_id(app_id, name):
    assert mesos_task_name(app_id) == name


def test_a_task_finds_what_marathon_promises():
    app = AppDefinition(
        app_id="/g1/x",
        cmd="env",
        cpus=0.1,
        disk_mb=1,
        env={"HOST": "mine", "OWN": "1", "PORT1": "mine", "MARATHON_APP_RESOURCE_MEM": "mine", TASK_MARK: "forged"},
        labels={"owner-name": "zeus"},
        ports=(PortDefinition(10001, name="http-api"), PortDefinition(10002, protocol="udp,tcp")),
        versions=Versions("v1", "v1", "v1"),
    )
    task = Task("g1_x.1", app, AgentIdentity("f-S0", "127.0.0.1", {}), 1, (31001, 31002), Path("/box"), staged_at="")
    assert task_environment(task, inherited={"PATH": "/bin", "OWN": "0"}, framework_id="f") == {
        "PATH": "/bin", "OWN": "1", "HOST": "mine",
        "PORT": "31001", "PORT0": "31001", "PORT1": "mine", "PORTS": "31001,31002",
        "PORT_10001": "31001", "PORT_10002": "31002", "PORT_HTTP_API": "31001",
        "MARATHON_APP_ID": "/g1/x", "MARATHON_APP_VERSION": "v1", "MARATHON_APP_ENFORCE_GROUP_ROLE": "false",
        "MARATHON_APP_RESOURCE_CPUS": "0.1", "MARATHON_APP_RESOURCE_MEM": "mine",
        "MARATHON_APP_RESOURCE_DISK": "1.0", "MARATHON_APP_RESOURCE_GPUS": "0",
        "MARATHON_APP_LABELS": "OWNER_NAME", "MARATHON_APP_LABEL_OWNER_NAME": "zeus",
        "MESOS_TASK_ID": "g1_x.1", "MESOS_EXECUTOR_ID": "g1_x.1", "MESOS_FRAMEWORK_ID": "f",
        "MESOS_SANDBOX": "/box", "MESOS_DIRECTORY": "/box", "MESOS_SLAVE_ID": "f-S0", "MESOS_AGENT_ID": "f-S0",
        TASK_MARK: "f/g1_x.1",
    }  # fmt: skip


def test_secrets_of_the_server_are_not_inherited():
    environment = {"PATH": "/bin", "LC_ALL": "C", "HYDRA_RUN_ID": "7", "AWS_SECRET_ACCESS_KEY": "s", "PORT0": "1"}
    assert inherited_environment(environment) == {"PATH": "/bin", "LC_ALL": "C", "HYDRA_RUN_ID": "7"}


def test_versions_differ_within_one_millisecond():
    moment = datetime(2020, 1, 1, 0, 0, 0, 999_000, tzinfo=timezone.utc)
    deployments = Deployments(lambda: moment)
    assert [deployments.begin({}).version for _ in range(2)] == ["2020-01-01T00:00:00.999Z", "2020-01-01T00:00:01.000Z"]


def test_versions_never_go_back():
    moments = iter([datetime(2020, 1, 1, tzinfo=timezone.utc), datetime(2019, 1, 1, tzinfo=timezone.utc)])
    deployments = Deployments(lambda: next(moments))
    assert deployments.begin({}).version < deployments.begin({}).version == deployments.version
    moment = datetime(2020, 1, 1, microsecond=1999, tzinfo=timezone.utc)
    assert format_timestamp(moment).endswith("00.001Z")


@pytest.mark.parametrize(
    ("constraint", "placed", "fits_on"),
    [
        (("hostname", "UNIQUE"), "", "abc"),
        (("hostname", "UNIQUE", ""), "ab", "c"),
        (("rack", "CLUSTER", "b"), "", "b"),
        (("rack", "CLUSTER"), "", "abc"),
        (("rack", "CLUSTER", ""), "cc", "c"),
        (("rack", "LIKE", "[ab]"), "", "ab"),
        (("rack", "LIKE", ""), "", ""),
        (("rack", "UNLIKE", "[ab]"), "", "c"),
        (("rack", "GROUP_BY"), "aab", "bc"),
        (("rack", "GROUP_BY"), "aabc", "bc"),
        (("rack", "GROUP_BY", "3"), "ab", "c"),
        (("rack", "MAX_PER", "2"), "aab", "bc"),
        (("rack", "IS", "a"), "", "a"),
        (("floor", "IS", "2.0"), "", "b"),
        (("@hostname", "LIKE", "127.0.0.[12]"), "", "ab"),
        (("tower", "LIKE", ".*"), "", ""),
        (("tower", "UNIQUE"), "", ""),
        (("tower", "UNLIKE", "x"), "", "abc"),
        (("tower", "GROUP_BY"), "", ""),
    ],
)
def test_a_constraint_chooses_agents(constraint, placed, fits_on):
    app = AppDefinition(app_id="/x", constraints=(constraint,))
    where = [AGENTS[name] for name in placed]
    fitting = [name for name, agent in AGENTS.items() if decline_reason(app, Offer(agent, 8, 1024), where) is None]
    assert "".join(fitting) == fits_on


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"cpus": 2.1}, "InsufficientCpus"),
        ({"mem_mb": 129}, "InsufficientMemory"),
        ({"accepted_roles": ("other",)}, "UnfulfilledRole"),
        ({"accepted_roles": ("other", "*")}, None),
        ({"accepted_roles": ("other",), "cpus": 5}, "UnfulfilledRole"),
    ],
)
def test_the_first_thing_in_the_way_is_the_reason(fields, reason):
    assert decline_reason(AppDefinition(app_id="/x", **fields), Offer(AGENTS["a"], 2, 128), ()) == reason


def test_an_offer_that_failed_is_not_asked_further():
    rows = {row["reason"]: (row["declined"], row["processed"]) for row in reject_summary(
        ["UnfulfilledConstraint", "InsufficientCpus", "UnfulfilledConstraint"]
    )}  # fmt: skip
    assert rows["UnfulfilledRole"] == (0, 3)
    assert rows["UnfulfilledConstraint"] == (2, 3)
    assert rows["InsufficientCpus"] == (1, 1)
    assert rows["InsufficientPorts"] == (0, 0)
