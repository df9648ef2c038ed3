"""Virtual agents: where tasks go, by constraints, ports and room, and what the queue says of those that wait."""

import json
import re
import socket

import pytest

from hydra.engine.marathon_connection import app_definition
from hydra.errors import UsageError
from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.placement import AgentIdentity, Offer, decline_reason, reject_summary
from hydra.options.agent_specs import AgentSpec, parse_agents
from hydra.run.app_spec import AppSpec

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
NEVER = {"cmd": "exec sleep 1000", "cpus": 1e6}  # waits: no agent has so much
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
AGENTS = {
    name: AgentIdentity(name, f"127.0.0.{number}", {"rack": name, "floor": str(number)})
    for number, name in enumerate("abc", start=1)
}


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


def test_agents_are_read():
    first, second = parse_agents("127.0.0.1 slave_id:slave-set1_0 zone:x:y, 127.0.0.2 cpus:2.5 mem:512")
    assert first == AgentSpec("127.0.0.1", {"slave_id": "slave-set1_0", "zone": "x:y"})
    assert second == AgentSpec("127.0.0.2", {}, 2.5, 512)


@pytest.mark.parametrize(
    "text",
    ["", "here", "127.0.0.1,", "127.0.0.1, 127.0.0.1", "127.0.0.1 rack", "127.0.0.1 rack:a rack:b", "127.0.0.1 cpus:no",
     "127.0.0.1 mem:0", "127.0.0.1 hostname:x", "127.0.0.1 :x"],
)  # fmt: skip
def test_agents_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"must be agents|twice|wanted"):
        parse_agents(text)


@pytest.mark.integration
def test_tasks_are_spread_over_the_agents_and_listen_there(agents):
    program = "import os, socket; s = socket.create_server((os.environ['HOST'], int(os.environ['PORT0']))); s.accept()"
    tasks = agents.start_app("/x", cmd=f'exec python3 -c "{program}"', cpus=0.1, mem=16, instances=6, ports=[0])
    assert sorted(task["host"] for task in tasks) == sorted(["127.0.0.1", "127.0.0.2", "127.0.0.3"] * 2)
    assert len({task["ports"][0] for task in tasks}) == 6
    assert len({task["slaveId"] for task in tasks}) == 3
    assert all(task["ipAddresses"][0]["ipAddress"] == task["host"] for task in tasks)


@pytest.mark.integration
def test_a_constraint_that_cannot_be_fulfilled_keeps_tasks_waiting(agents, poll):
    agents.create("/per", constraints=[["rack", "MAX_PER", "1"]], instances=3, **SLEEP)
    poll(lambda: agents.app("/per")["tasksRunning"] == 2)
    (waiting,) = poll(lambda: agents.get("/v2/queue").json()["queue"])
    assert (waiting["app"]["id"], waiting["count"], waiting["delay"]["overdue"]) == ("/per", 1, True)
    summary = poll(lambda: agents.get("/v2/queue").json()["queue"][0]["processedOffersSummary"])
    reasons = {row["reason"]: row["declined"] for row in summary["rejectSummaryLastOffers"] if row["declined"]}
    assert reasons == {"UnfulfilledConstraint": 3}
    assert summary["lastUnusedOfferAt"].endswith("Z")
    # The deployment stays, the app is locked; force gets it away.
    assert [deployment["affectedApps"] for deployment in agents.deployments()] == [["/per"]]
    agents.call("PUT", "/v2/apps/per?force=true", {"instances": 2})
    agents.wait_settled()
    assert agents.get("/v2/queue").json() == {"queue": []}


def hosts(tasks):
    return sorted(int(task["host"].rpartition(".")[2]) for task in tasks)


@pytest.mark.integration
def test_tasks_of_one_host_are_killed(agents):
    before = agents.start_app("/x", instances=3, **SLEEP)
    (on_second,) = [task for task in before if task["host"] == "127.0.0.2"]
    assert agents.call("DELETE", "/v2/apps/x/tasks?host=127.0.0.2&scale=true").status_code == 200
    agents.wait_settled()
    assert {task["id"] for task in agents.tasks("/x")} == {task["id"] for task in before} - {on_second["id"]}


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.mark.integration
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

    def reasons():
        queue = agents.get("/v2/queue").json()["queue"]
        rows = [row for item in queue for row in item["processedOffersSummary"]["rejectSummaryLastOffers"]]
        return [row["reason"] for row in rows if row["declined"]]

    poll(lambda: reasons() == [reason])
    assert agents.app("/g1/second")["tasksStaged"] == 0
    agents.call("DELETE", "/v2/apps/first")
    if reason != "UnfulfilledRole":
        agents.wait_settled()
        assert agents.app("/g1/second")["tasksRunning"] == 1


def declined(server):
    items = server.get("/v2/queue").json()["queue"]
    rows = [row for item in items for row in item["processedOffersSummary"]["rejectSummaryLastOffers"]]
    return {row["reason"]: row["declined"] for row in rows if row["declined"]}


@pytest.mark.integration
def test_an_address_of_another_machine_is_refused(start_marathon):
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is not an address of this machine"):
        start_marathon(agents=[AgentSpec("192.0.2.1")])


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.mark.integration
def test_required_ports_are_the_ports_on_the_host(server, free_ports, poll):
    (port,) = free_ports(1)
    (task,) = server.start_app("/x", ports=[port], requirePorts=True, **SLEEP)
    assert task["ports"] == task["servicePorts"] == [port]
    server.create("/y", ports=[port], requirePorts=True, **SLEEP)
    assert poll(lambda: declined(server)) == {"InsufficientPorts": 1}


@pytest.mark.integration
def test_a_port_that_is_not_required_is_a_service_port_only(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        (task,) = server.start_app("/x", ports=[number], **SLEEP)
    assert task["servicePorts"] == [number]
    assert task["ports"] != [number]


@pytest.mark.integration
def test_service_ports_differ_over_all_apps(server):
    for app_id in ("/x", "/y", "/z"):
        server.call("POST", "/v2/apps", {"id": app_id, "cmd": "exec sleep 1000", "instances": 0, "ports": [0, 0]})
    apps = server.get("/v2/apps").json()["apps"]
    assert len({port["port"] for app in apps for port in app["portDefinitions"]}) == 6
