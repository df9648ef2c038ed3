"""Virtual agents: where tasks go, by constraints, ports and room, and what the queue says of those that wait."""

import json
import socket

import pytest

from hydra.engine.marathon_connection import app_definition
from hydra.errors import UsageError
from hydra.options.parsers import AgentSpec
from hydra.run.protocols import AppSpec
from tests.marathon_fixtures import NEVER, SLEEP, TIMESTAMP

pytestmark = pytest.mark.integration


def declined(server):
    items = server.get("/v2/queue").json()["queue"]
    rows = [row for item in items for row in item["processedOffersSummary"]["rejectSummaryLastOffers"]]
    return {row["reason"]: row["declined"] for row in rows if row["declined"]}


def test_tasks_are_spread_over_the_agents_and_listen_there(agents):
    program = "import os, socket; s = socket.create_server((os.environ['HOST'], int(os.environ['PORT0']))); s.accept()"
    tasks = agents.start_app("/x", cmd=f'exec python3 -c "{program}"', cpus=0.1, mem=16, instances=6, ports=[0])
    assert sorted(task["host"] for task in tasks) == sorted(["127.0.0.1", "127.0.0.2", "127.0.0.3"] * 2)
    assert len({task["ports"][0] for task in tasks}) == 6
    assert len({task["slaveId"] for task in tasks}) == 3
    assert all(task["ipAddresses"][0]["ipAddress"] == task["host"] for task in tasks)


def test_a_constraint_that_cannot_be_fulfilled_keeps_tasks_waiting(agents, poll):
    agents.create("/per", constraints=[["rack", "MAX_PER", "1"]], instances=3, **SLEEP)
    poll(lambda: agents.app("/per")["tasksRunning"] == 2)
    (waiting,) = poll(lambda: agents.get("/v2/queue").json()["queue"])
    assert (waiting["app"]["id"], waiting["count"], waiting["delay"]["overdue"]) == ("/per", 1, True)
    assert declined(agents) == {"UnfulfilledConstraint": 3}
    # The deployment stays, the app is locked; force gets it away.
    assert [deployment["affectedApps"] for deployment in agents.deployments()] == [["/per"]]
    agents.call("PUT", "/v2/apps/per?force=true", {"instances": 2})
    agents.wait_settled()
    assert agents.get("/v2/queue").json() == {"queue": []}


def hosts(tasks):
    return sorted(int(task["host"].rpartition(".")[2]) for task in tasks)


def test_tasks_of_one_host_are_killed(agents):
    before = agents.start_app("/x", instances=3, **SLEEP)
    (on_second,) = [task for task in before if task["host"] == "127.0.0.2"]
    assert agents.call("DELETE", "/v2/apps/x/tasks?host=127.0.0.2&scale=true").status_code == 200
    agents.wait_settled()
    assert {task["id"] for task in agents.tasks("/x")} == {task["id"] for task in before} - {on_second["id"]}


@pytest.mark.parametrize(
    ("constraint", "instances", "placed"),
    [
        (["rack", "CLUSTER", "b"], 2, [2, 2]),
        (["hostname", "GROUP_BY", "3"], 3, [1, 2, 3]),
        (["rack", "GROUP_BY", "2"], 4, [1, 1, 2, 2]),
        (["hostname", "MAX_PER", "2"], 6, [1, 1, 2, 2, 3, 3]),
        (["rack", "unique"], 2, [1, 2]),
    ],
)
def test_a_constraint_says_where_tasks_go(agents, constraint, instances, placed):
    assert hosts(agents.start_app("/x", constraints=[constraint], instances=instances, **SLEEP)) == placed


def test_an_app_of_hydras_that_is_alone_on_the_only_agent_is_exchanged(server):
    def definition(command):
        return json.loads(app_definition(AppSpec("/x", command, 1, constraints=(("hostname", "UNIQUE"),))))

    assert server.call("PUT", "/v2/apps/x", definition("exec sleep 1000")).status_code == 201
    server.wait_settled()
    (before,) = server.tasks("/x")
    assert server.call("PUT", "/v2/apps/x", definition("exec sleep 1001")).status_code == 200
    server.wait_settled()
    (after,) = server.tasks("/x")
    assert after["id"] != before["id"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"cpus": 1.5}, "InsufficientCpus"),
        ({"mem": 800}, "InsufficientMemory"),
        ({"role": "g1", "acceptedResourceRoles": ["g1"]}, "UnfulfilledRole"),
    ],
)
def test_what_does_not_fit_waits_says_why_and_comes_when_there_is_room(agents, poll, fields, reason):
    agents.start_app("/first", instances=3, cmd="exec sleep 1000", cpus=1, mem=512)
    agents.create("/g1/second", **{**SLEEP, **fields})
    poll(lambda: declined(agents).keys() == {reason})
    assert agents.app("/g1/second")["tasksStaged"] == 0
    agents.call("DELETE", "/v2/apps/first")
    if reason != "UnfulfilledRole":
        agents.wait_settled()
        assert agents.app("/g1/second")["tasksRunning"] == 1


def test_an_address_of_another_machine_is_refused(start_marathon):
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not an address of this machine"):
        start_marathon(agents=[AgentSpec("192.0.2.1")])


def test_ports_and_too_many_tasks_are_reasons_too(start_marathon, poll, free_ports):
    server = start_marathon(host_ports=free_ports(1), max_tasks=2)
    server.create("/ports", ports=[0, 0], **SLEEP)
    assert poll(lambda: declined(server)) == {"InsufficientPorts": 1}
    server.call("DELETE", "/v2/apps/ports")
    server.create("/many", portDefinitions=[], instances=3, **SLEEP)
    assert poll(lambda: declined(server)) == {"DeclinedScarceResources": 1}
    poll(lambda: server.app("/many")["tasksRunning"] == 2)
    assert len(server.census()) == 2
    # The app stays locked; force changes it.
    assert [deployment["affectedApps"] for deployment in server.deployments()] == [["/many"]]
    server.call("PUT", "/v2/apps/many?force=true", {"instances": 2})
    server.wait_settled()
    assert len(server.tasks("/many")) == 2


def test_an_entry_of_the_queue_has_every_field(server, poll):
    server.create("/x", **NEVER)
    poll(lambda: declined(server))
    (item,) = server.get("/v2/queue").json()["queue"]
    assert item.keys() == {"count", "role", "since", "delay", "processedOffersSummary", "app"}
    assert (item["count"], item["role"], item["app"]["id"]) == (1, "*", "/x")
    assert item["delay"] == {"timeLeftSeconds": 0, "overdue": True}
    summary = item["processedOffersSummary"]
    assert summary["processedOffersCount"] == summary["unusedOffersCount"] >= 1
    assert TIMESTAMP.fullmatch(item["since"])
    assert TIMESTAMP.fullmatch(summary["lastUnusedOfferAt"])
    for name in ("rejectSummaryLastOffers", "rejectSummaryLaunchAttempt"):
        rows = {row["reason"]: (row["declined"], row["processed"]) for row in summary[name]}
        assert rows["InsufficientCpus"][0] == rows["InsufficientCpus"][1] >= 1


def test_required_ports_are_the_ports_on_the_host(server, free_ports, poll):
    (port,) = free_ports(1)
    (task,) = server.start_app("/x", ports=[port], requirePorts=True, **SLEEP)
    assert task["ports"] == task["servicePorts"] == [port]
    server.create("/y", ports=[port], requirePorts=True, **SLEEP)
    assert poll(lambda: declined(server)) == {"InsufficientPorts": 1}


def test_a_port_that_is_not_required_is_a_service_port_only(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        (task,) = server.start_app("/x", ports=[number], **SLEEP)
    assert task["servicePorts"] == [number]
    assert task["ports"] != [number]


def test_service_ports_differ_over_all_apps(server):
    for app_id in ("/x", "/y", "/z"):
        server.call("POST", "/v2/apps", {"id": app_id, "cmd": "exec sleep 1000", "instances": 0, "ports": [0, 0]})
    apps = server.get("/v2/apps").json()["apps"]
    assert len({port["port"] for app in apps for port in app["portDefinitions"]}) == 6
