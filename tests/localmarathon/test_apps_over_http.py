"""What Marathon promises of apps, tasks and deployments, where no other file shows it over HTTP."""

import io
import re
import socket
import sys
import tarfile
import threading
import time

import pytest

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
NEVER = {"cmd": "exec sleep 1000", "cpus": 1e6}  # waits: no agent has so much
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v2/eventSubscriptions"),
        ("POST", "/v2/eventSubscriptions"),
        ("GET", "/v2/nothing/at/all"),
    ],
)
def test_what_is_not_there_is_answered_as_marathon_does(server, method, path):
    answer = server.call(method, path)
    assert (answer.status_code, answer.json()) == (500, {"message": "URI not found"})


NO_APP = "App '/x' does not exist"
WIPE = "You cannot use scale and wipe at the same time."


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v2/apps/x/restart", 404, NO_APP),
        ("GET", "/v2/apps/x/versions", 404, NO_APP),
        ("GET", "/v2/apps/x/versions/2020-01-01T00:00:00.000Z", 404, NO_APP),
        ("GET", "/v2/apps/here/versions/2020-01-01T00:00:00.000Z", 404,
         "App '/here' does not exist in version 2020-01-01T00:00:00.000Z"),
        ("DELETE", "/v2/apps/here/tasks/a.b", 404, "Task 'a.b' does not exist"),
        ("DELETE", "/v2/queue/here/delay", 404, "Application /here not found in tasks queue."),
        ("DELETE", "/v2/deployments/none?force=true", 404, "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/apps/here/tasks/a.b?scale=true&wipe=true", 400, WIPE),
        ("DELETE", "/v2/apps/here/tasks?scale=TRUE&wipe=TRUE", 400, WIPE),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(server, method, path, status, message):
    server.call("POST", "/v2/apps", {"id": "/here", "cmd": "exec sleep 1000", "instances": 0})
    server.wait_settled()
    answer = server.call(method, path)
    assert (answer.status_code, answer.json()) == (status, {"message": message})


def test_info_has_the_keys_of_marathons_and_no_other(server):
    info = server.get("/v2/info").json()
    assert (info["name"], info["elected"]) == ("marathon", True)
    assert info.keys() == {
        "name", "version", "buildref", "elected", "leader", "frameworkId", "marathon_config", "zookeeper_config",
        "http_config",
    }  # fmt: skip
    port = int(server.url.rpartition(":")[2])
    assert info["http_config"] == {"http_port": port, "https_port": 0}
    assert (info["marathon_config"]["local_port_min"], info["marathon_config"]["local_port_max"]) == (10000, 20000)


def test_metrics_have_every_kind(server):
    metrics = server.get("/metrics").json()
    assert metrics.keys() == {"version", "counters", "gauges", "histograms", "meters", "timers"}
    assert metrics["gauges"]["marathon.apps.active.gauge"] == {"value": 0}


def test_there_is_an_end_to_the_number_of_deployments(server):
    for number in range(100):
        server.create(f"/x{number}", **NEVER)
    answer = server.call("POST", "/v2/apps", {"id": "/y", **NEVER})
    assert answer.status_code == 403
    assert "100" in answer.json()["message"]
    assert server.get("/v2/apps/y").status_code == 404
    assert len(server.deployments()) == 100


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v2/apps/x", {"instances": 2}),
        ("PATCH", "/v2/apps/x", {"instances": 2}),
        ("PUT", "/v2/apps", [{"id": "/x", "instances": 2}]),
        ("PATCH", "/v2/apps", [{"id": "/x", "instances": 2}]),
        ("POST", "/v2/apps/x/restart", None),
        ("DELETE", "/v2/apps/x?force=false", None),
        ("PUT", "/v2/groups", {"scaleBy": 2}),
    ],
)
def test_a_lock_holds_against_every_change_and_force_breaks_it(server, method, path, body):
    deployment = server.create("/x", **NEVER)
    answer = server.call(method, path, body)
    assert (answer.status_code, answer.json()["deployments"]) == (409, [{"id": deployment}])
    assert [running["id"] for running in server.deployments()] == [deployment]
    path = path.replace("?force=false", "")
    forced = server.call(method, f"{path}{'&' if '?' in path else '?'}force=TRUE", body)
    assert forced.status_code == 200
    assert forced.headers["Marathon-Deployment-Id"] == forced.json()["deploymentId"] != deployment
    assert TIMESTAMP.fullmatch(forced.json()["version"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v2/apps/x/tasks"), ("DELETE", "/v2/apps/x/tasks/{task}"), ("POST", "/v2/tasks/delete")],
)
def test_a_lock_holds_against_scaling_by_killing_too(server, method, path):
    (task,) = server.start_app("/x", **SLEEP)
    deployment = server.call("PUT", "/v2/apps/x", {"cpus": 1e6}).json()["deploymentId"]
    path, body = path.format(task=task["id"]), {"ids": [task["id"]]} if method == "POST" else None
    answer = server.call(method, f"{path}?scale=true", body)
    assert (answer.status_code, answer.json()["deployments"]) == (409, [{"id": deployment}])
    assert [one["id"] for one in server.tasks("/x")] == [task["id"]]
    assert server.call(method, f"{path}?scale=true&force=true", body).json().keys() == {"version", "deploymentId"}
    server.wait_settled()
    assert (server.app("/x")["instances"], server.tasks("/x")) == (0, [])


def test_a_restart_is_a_new_version_of_the_same_app(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    before = server.app("/x")
    restarted = server.call("POST", "/v2/apps//x/restart").json()
    (deployment,) = server.deployments()
    assert deployment["id"] == restarted["deploymentId"]
    assert deployment["currentActions"][0]["action"] == "RestartApplication"
    server.wait_settled()
    after = server.app("/x")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"version", "versionInfo", "tasks"}
    assert after["version"] == restarted["version"]
    assert server.get("/v2/apps/x/versions").json()["versions"] == [after["version"], before["version"]]


def test_an_update_by_patch_merges(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    answer = server.call("PATCH", "/v2/apps/x", {"labels": {"l": "v"}})
    assert (answer.status_code, answer.json().keys()) == (200, {"version", "deploymentId"})
    server.wait_settled()
    app = server.app("/x")
    assert (app["env"], app["labels"]) == ({"A": "1"}, {"l": "v"})


def test_a_failure_and_readiness_are_embedded_where_they_are_asked_for(server, poll):
    server.create("/x", cmd="exit 3", backoffSeconds=600, maxLaunchDelaySeconds=600)
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert failure.keys() == {"appId", "host", "message", "slaveId", "state", "taskId", "timestamp", "version"}
    assert TIMESTAMP.fullmatch(failure["timestamp"])

    def listed(query):
        return server.get(f"/v2/apps{query}").json()["apps"][0]

    assert not {"tasks", "lastTaskFailure", "readinessCheckResults"} & listed("").keys()
    for name in ("lastTaskFailure", "failures", "apps.lastTaskFailure", "app.failures"):
        assert listed(f"?embed={name}")["lastTaskFailure"] == failure
    assert listed("?embed=apps.readiness")["readinessCheckResults"] == server.app("/x")["readinessCheckResults"] == []
    assert listed("?embed=tasks&embed=counts&embed=deployments")["deployments"] == listed("")["deployments"] != []


def test_a_task_is_staged_before_it_runs(start_marathon, poll):
    server = start_marathon(staging_s=600)
    server.create("/x", **SLEEP)
    (task,) = poll(lambda: server.get("/v2/tasks").json()["tasks"])
    assert task["state"] == "TASK_STAGING"
    assert "startedAt" not in task
    assert (server.app("/x")["tasksStaged"], server.app("/x")["tasksRunning"]) == (1, 0)
    for query, found in (("status=staging", 1), ("status[]=staging", 1), ("status=running", 0)):
        assert len(server.get(f"/v2/tasks?{query}").json()["tasks"]) == found
    assert len(server.get("/v2/tasks?status=running&status[]=staging").json()["tasks"]) == 1


def test_a_task_has_every_field(server):
    (task,) = server.start_app("/g1/kafka-sub", ports=[0, 0], **SLEEP)
    assert task.keys() == {
        "id", "appId", "host", "slaveId", "state", "ports", "servicePorts", "ipAddresses", "stagedAt", "startedAt",
        "version", "role", "localVolumes", "healthCheckResults",
    }  # fmt: skip
    uuid = "[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.fullmatch(rf"g1_kafka-sub\.instance-{uuid}\._app\.1", task["id"])
    assert (task["appId"], task["role"], task["localVolumes"]) == ("/g1/kafka-sub", "*", [])
    assert task["ipAddresses"] == [{"ipAddress": task["host"], "protocol": "IPv4"}]
    assert all(TIMESTAMP.fullmatch(task[name]) for name in ("stagedAt", "startedAt", "version"))
    assert all(10000 <= port <= 20000 for port in task["servicePorts"])
    assert all(21000 <= port <= 32000 for port in task["ports"])


def test_a_task_that_is_killed_comes_back_new_and_without_a_delay(server, poll):
    (before,) = server.start_app("/x", ports=[0], backoffSeconds=3600, maxLaunchDelaySeconds=3600, **SLEEP)
    killed = server.call("DELETE", f"/v2/apps/x/tasks/{before['id']}").json()["task"]
    assert killed["id"] == before["id"]
    poll(lambda: server.app("/x")["tasksRunning"] == 1 and server.tasks("/x")[0]["id"] != before["id"])
    (after,) = server.tasks("/x")
    assert after["ports"] != before["ports"]
    assert after["servicePorts"] == before["servicePorts"]
    assert "lastTaskFailure" not in server.app("/x")


def test_a_new_app_of_the_same_id_begins_without_the_delay(server, poll):
    failing = {"cmd": "exit 1", "backoffSeconds": 3600, "maxLaunchDelaySeconds": 3600}
    server.create("/x", **failing)
    first = poll(lambda: server.app("/x").get("lastTaskFailure"))
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    server.create("/x", **failing)
    assert poll(lambda: server.app("/x").get("lastTaskFailure"))["taskId"] != first["taskId"]


def test_a_task_finds_every_variable(server):
    (task,) = server.start_app(
        "/g1/x", cmd="env; exec sleep 1000", cpus=0.5, mem=32, disk=1,
        portDefinitions=[{"name": "http-api"}, {"protocol": "udp"}], labels={"owner-name": "me"},
        env={"MARATHON_APP_RESOURCE_MEM": "mine", "HOST": "mine", "PORT1": "mine"},
    )  # fmt: skip
    lines = server.wait_text(task["id"], lines=25)
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    ports, framework = task["ports"], server.get("/v2/info").json()["frameworkId"]
    wanted = {
        "MESOS_TASK_ID": task["id"], "MESOS_EXECUTOR_ID": task["id"], "MESOS_FRAMEWORK_ID": framework,
        "MESOS_SLAVE_ID": task["slaveId"], "MESOS_AGENT_ID": task["slaveId"],
        "MARATHON_APP_ID": "/g1/x", "MARATHON_APP_VERSION": task["version"], "MARATHON_APP_RESOURCE_CPUS": "0.5",
        "MARATHON_APP_RESOURCE_DISK": "1.0", "MARATHON_APP_RESOURCE_GPUS": "0",
        "MARATHON_APP_ENFORCE_GROUP_ROLE": "false",
        "MARATHON_APP_LABELS": "OWNER_NAME", "MARATHON_APP_LABEL_OWNER_NAME": "me",
        "PORT": str(ports[0]), "PORT0": str(ports[0]), "PORTS": f"{ports[0]},{ports[1]}",
        "PORT_HTTP_API": str(ports[0]), f"PORT_{task['servicePorts'][0]}": str(ports[0]),
        # The app's own are applied last.
        "MARATHON_APP_RESOURCE_MEM": "mine", "HOST": "mine", "PORT1": "mine",
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert "MARATHON_APP_DOCKER_IMAGE" not in found


# Binds TCP and UDP at each port, which it finds by the last part of a variable's name; says so, and stays.
BOTH_PROTOCOLS = """
import os, signal, socket, sys
kept = []
for name in sys.argv[1:]:
    address = os.environ["HOST"], int(os.environ[f"PORT_{name}"])
    kept += [socket.create_server(address), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    kept[-1].bind(address)
    print(name, address[1], flush=True)
signal.pause()
"""


def test_a_task_may_use_both_protocols_of_a_port(server, free_ports):
    first, second = free_ports(2)
    definitions = [{"protocol": "udp,tcp", "port": first}, {"protocol": "udp,tcp", "port": second, "name": "both"}]
    args = [sys.executable, "-c", BOTH_PROTOCOLS, str(first), "BOTH"]
    (task,) = server.start_app("/x", args=args, portDefinitions=definitions, requirePorts=True, cpus=0.1, mem=16)
    assert task["ports"] == task["servicePorts"] == [first, second]
    assert server.wait_text(task["id"], lines=2) == [f"{first} {first}", f"BOTH {second}"]


def test_a_port_of_both_protocols_is_found_by_its_service_port(server):
    ports = [{"protocol": "udp,tcp"}, {"protocol": "udp,tcp", "port": 9001}, {"protocol": "tcp", "port": 9002}]
    (task,) = server.start_app("/x", cmd="env; exec sleep 1000", portDefinitions=ports, cpus=0.1, mem=16)
    lines = server.wait_text(task["id"], lines=25)
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    first, second, third = (str(port) for port in task["ports"])
    chosen = task["servicePorts"][0]
    assert task["servicePorts"] == [chosen, 9001, 9002]
    of_service_ports = {f"PORT_{chosen}": first, "PORT_9001": second, "PORT_9002": third}
    # One variable for each definition, not one for each protocol.
    assert {name: value for name, value in found.items() if name.startswith("PORT_")} == of_service_ports
    assert found["PORTS"] == f"{first},{second},{third}"
    assert len({first, second, third}) == 3


SINGLE = {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}}
SCALE_UPS = [
    ("PUT", "/v2/apps/g1/x", {"instances": 2}, ""),
    ("PATCH", "/v2/apps/g1/x", {"instances": 2}, ""),
    ("PUT", "/v2/apps/g1/x?force=true", {"instances": 2}, ""),
    ("PUT", "/v2/apps/g1/x?partialUpdate=false", {**SLEEP, **SINGLE, "instances": 2}, ""),
    ("PUT", "/v2/apps", [{"id": "/g1/x", "instances": 2}], ""),
    ("PUT", "/v2/groups/g1", {"apps": [{"id": "x", **SLEEP, **SINGLE, "instances": 2}]}, ""),
    ("PUT", "/v2/groups/g1", {"scaleBy": 2}, " (/g1/x)"),
]


def test_a_single_instance_stays_single(server):
    (task,) = server.start_app("/g1/x", **SINGLE, **SLEEP)
    for method, path, body, which in SCALE_UPS:
        answer = server.call(method, path, body)
        errors = [f"Single instance app may only have one instance{which}"]
        refusal = {"message": "Object is not valid", "details": [{"path": "/", "errors": errors}]}
        assert (answer.status_code, answer.json()) == (422, refusal), (method, path)
    assert server.deployments() == []
    assert [one["id"] for one in server.tasks("/g1/x")] == [task["id"]]
    # It may have none, and without the label as many as others.
    for path, body in (("/v2/groups/g1", {"scaleBy": 0}), ("/v2/apps/g1/x", {"labels": {"a": "b"}, "instances": 2})):
        assert server.call("PUT", path, body).status_code == 200
        server.wait_settled()
    assert len(server.tasks("/g1/x")) == 2


def test_archives_of_every_kind_are_unpacked(server, tmp_path):
    def tar(mode, name):
        with tarfile.open(tmp_path / name, mode) as archive:
            entry = tarfile.TarInfo(name.replace(".", "-"))
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))

    kinds = {"": ["a.tar"], "gz": ["b.tar.gz"], "bz2": ["c.tar.bz2", "d.tbz2"], "xz": ["e.tar.xz", "f.txz"]}
    names = [name for some in kinds.values() for name in some]
    for kind, some in kinds.items():
        for name in some:
            tar(f"w:{kind}", name)
    unpacked = [name.replace(".", "-") for name in names]
    cmd = f"cat {' '.join(unpacked)}; echo; exec sleep 1000"
    (task,) = server.start_app("/x", cmd=cmd, uris=[f"file://{tmp_path}/{name}" for name in names])
    assert server.wait_text(task["id"]) == ["".join(names)]


@pytest.fixture
def hanging_second():
    """The URL of a file that the first who asks gets, and the second never."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve_once():
            with listener.accept()[0] as connection:
                connection.settimeout(20)
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(answer)

        thread = threading.Thread(target=serve_once)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        thread.join(30)


def test_scaling_down_takes_what_does_not_run_yet_first(hanging_second, server, poll):
    (first,) = server.start_app("/x", killSelection="OLDEST_FIRST", uris=[hanging_second], **SLEEP)
    server.call("PUT", "/v2/apps/x", {"instances": 2})
    poll(lambda: [task["state"] for task in server.tasks("/x")] == ["TASK_RUNNING", "TASK_STAGING"])
    server.call("PUT", "/v2/apps/x?force=true", {"instances": 1})
    server.wait_settled()
    assert [task["id"] for task in server.tasks("/x")] == [first["id"]]


def test_a_group_is_created_by_put_and_cannot_be_scaled_where_there_is_none(server):
    assert server.call("PUT", "/v2/groups/g1", {"apps": [{"id": "a", **SLEEP}]}).status_code == 201
    server.wait_settled()
    assert server.get("/v2/groups//g1/").json()["apps"][0]["id"] == "/g1/a"
    for method, body in (("PUT", {"scaleBy": 2}), ("DELETE", None), ("GET", None)):
        answer = server.call(method, "/v2/groups/none", body)
        assert (answer.status_code, answer.json()) == (404, {"message": "Group '/none' does not exist"})


@pytest.mark.parametrize(("share", "least", "most"), [(1, 2, 4), (0, 0, 2)])
def test_an_exchange_keeps_to_the_upgrade_strategy(server, poll, share, least, most):
    strategy = {"minimumHealthCapacity": share, "maximumOverCapacity": share}
    before = server.start_app("/x", instances=2, upgradeStrategy=strategy, **SLEEP)
    server.call("PUT", "/v2/apps/x", {"env": {"A": "2"}})
    seen = []
    poll(lambda: seen.append(len(server.tasks("/x"))) or not server.deployments())
    assert least <= min(seen) <= max(seen) <= most
    assert {task["id"] for task in server.tasks("/x")}.isdisjoint({task["id"] for task in before})


def test_the_latest_fifty_versions_are_kept(server):
    server.create("/x", **NEVER)
    versions = [server.app("/x")["version"]]
    for number in range(55):
        answer = server.call("PUT", "/v2/apps/x?force=true", {"env": {"A": str(number)}})
        versions.insert(0, answer.json()["version"])
    assert server.get("/v2/apps/x/versions").json() == {"versions": versions[:50]}
    assert server.get(f"/v2/apps/x/versions/{versions[49]}").json()["version"] == versions[49]
    assert server.get(f"/v2/apps/x/versions/{versions[50]}").status_code == 404


def test_a_task_has_three_seconds_to_end_if_the_app_names_no_time(server):
    cmd = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    (task,) = server.start_app("/x", cmd=cmd, cpus=0.1, mem=16)
    server.wait_text(task["id"])
    begin_s = time.monotonic()
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert time.monotonic() - begin_s >= 3
