"""Where tasks go, by constraints, ports and room, and what the queue says of those that wait."""

import re
import socket

import pytest

from hydra.options.agent_specs import parse_agents

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
NEVER = {"cmd": "exec sleep 1000", "cpus": 1e6}  # waits: no agent has so much
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def agents(start_marathon):
    return start_marathon(agents=parse_agents("127.0.0.1 rack:a floor:1, 127.0.0.2 rack:b floor:2, 127.0.0.3"))


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
        (["@hostname", "LIKE", "127.0.0.[12]"], 2, [1, 2]),
        (["rack", "LIKE", "a"], 2, [1, 1]),
        (["rack", "UNLIKE", "a"], 2, [2, 3]),
        (["rack", "UNLIKE", ".*"], 1, [3]),
        (["hostname", "GROUP_BY", "3"], 3, [1, 2, 3]),
        (["rack", "GROUP_BY", "2"], 4, [1, 1, 2, 2]),
        (["hostname", "MAX_PER", "2"], 6, [1, 1, 2, 2, 3, 3]),
        (["floor", "IS", "2.0"], 2, [2, 2]),
        (["rack", "IS", "b"], 1, [2]),
        (["rack", "unique"], 2, [1, 2]),
    ],
)
def test_a_constraint_says_where_tasks_go(agents, constraint, instances, placed):
    assert hosts(agents.start_app("/x", constraints=[constraint], instances=instances, **SLEEP)) == placed


def test_a_cluster_without_a_value_stays_where_its_first_task_is(agents):
    tasks = agents.start_app("/x", constraints=[["hostname", "CLUSTER"]], instances=3, **SLEEP)
    assert len(set(hosts(tasks))) == 1


@pytest.mark.parametrize("constraint", [["tower", "UNIQUE"], ["tower", "LIKE", ".*"], ["tower", "GROUP_BY"]])
def test_an_attribute_that_no_agent_has_keeps_tasks_waiting(agents, poll, constraint):
    agents.create("/x", constraints=[constraint], **SLEEP)
    assert poll(lambda: declined(agents)) == {"UnfulfilledConstraint": 3}
    assert [deployment["affectedApps"] for deployment in agents.deployments()] == [["/x"]]


def declined(server):
    items = server.get("/v2/queue").json()["queue"]
    rows = [row for item in items for row in item["processedOffersSummary"]["rejectSummaryLastOffers"]]
    return {row["reason"]: row["declined"] for row in rows if row["declined"]}


def test_ports_and_too_many_tasks_are_reasons_too(start_marathon, poll, free_ports):
    server = start_marathon(host_ports=free_ports(1), max_tasks=2)
    server.create("/ports", ports=[0, 0], **SLEEP)
    assert poll(lambda: declined(server)) == {"InsufficientPorts": 1}
    server.call("DELETE", "/v2/apps/ports")
    server.create("/many", portDefinitions=[], instances=3, **SLEEP)
    assert poll(lambda: declined(server)) == {"DeclinedScarceResources": 1}


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
