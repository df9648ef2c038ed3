"""The HTTP API as a caller with curl sees it; processes only where an answer needs one."""

import re
import socket

import pytest
import requests

from hydra.errors import MarathonError, UsageError

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "sleep 1000"}


def test_ping_in_every_form(server):
    assert server.get("/ping").text == "pong"
    assert server.get("/ping", headers={"Accept": "application/json"}).json() == "pong"
    assert server.get("/ping", headers={"Accept": "image/png"}).status_code == 204


def test_leader_is_the_server_itself(server):
    assert server.get("/v2/leader").json() == {"leader": server.url.removeprefix("http://")}
    assert server.get("/v2/info").json()["leader"] == server.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2/nothing", 500, "URI not found"),
        ("GET", "/v2/pods", 500, "URI not found"),
        ("GET", "/v2/groups/none", 404, "Group '/none' does not exist"),
        ("DELETE", "/v2/groups/none", 404, "Group '/none' does not exist"),
        ("DELETE", "/v2/deployments/none", 404, "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/queue/x/delay", 404, "Application /x not found in tasks queue."),
        ("GET", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("GET", "/v2/apps//g1//x", 404, "App '/g1/x' does not exist"),
        ("GET", "/v2/apps/g1/x/tasks", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x/tasks", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x/tasks/t", 404, "App '/g1/x' does not exist"),
        ("PATCH", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("POST", "/v2/tasks", 405, "HTTP 405 Method Not Allowed"),
        ("DELETE", "/ping", 405, "HTTP 405 Method Not Allowed"),
        ("DELETE", "/v2/apps/x/tasks?scale=true&wipe=True", 400, "You cannot use scale and wipe at the same time."),
        ("GET", "/v2/apps?label=a=b=c", 400, "Can not parse label selector 'a=b=c' at position 0"),
    ],
)
def test_errors_are_marathons_json(server, method, path, status, message):
    answer = server.call(method, path)
    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"id": NaN}', b"[" * 100_000, b"9" * 10_000], ids=lambda body: repr(body[:12])
)
def test_what_is_not_json_is_told_so(server, body):
    answer = requests.post(f"{server.url}/v2/apps", data=body, timeout=10)
    assert answer.status_code in (400, 422)
    assert answer.json()["message"] == "Invalid JSON"
    assert answer.json()["details"]
    assert server.get("/v2/apps").json() == {"apps": []}


def test_a_body_without_end_is_refused(server):
    answer = requests.post(f"{server.url}/v2/apps", data=b" " * (5 * 1024 * 1024), timeout=10)
    assert answer.status_code == 413
    assert "message" in answer.json()


def test_a_validation_error_lists_its_details(server):
    answer = server.call("POST", "/v2/apps", {"id": "/X", "cmd": "sleep 1", "instances": -2})
    assert answer.status_code == 422
    assert answer.json()["message"] == "Object is not valid"
    details = {detail["path"]: detail["errors"] for detail in answer.json()["details"]}
    assert details.keys() == {"/id", "/instances"}
    assert details["/id"][0].startswith("must fully match regular expression '^((")


def test_create_answers_with_the_canonical_app(server):
    answer = server.call("POST", "/v2/apps", {"id": "g1/x", "ports": [0], "instances": 2, **SLEEP})
    assert answer.status_code == 201
    app = answer.json()
    assert answer.headers["Location"] == app["id"] == "/g1/x"
    assert [answer.headers["Marathon-Deployment-Id"]] == [deployment["id"] for deployment in app["deployments"]]
    assert (app["tasksStaged"], app["tasksRunning"], app["tasksHealthy"], app["tasksUnhealthy"]) == (0, 0, 0, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", app["version"])
    assert app["versionInfo"] == {"lastScalingAt": app["version"], "lastConfigChangeAt": app["version"]}
    assert 10000 <= app["portDefinitions"][0]["port"] <= 20000
    assert not {"ports", "uris"} & app.keys()


def test_a_deployment_is_seen_right_after_a_create_and_vanishes_when_all_tasks_run(server):
    deployment_id = server.create("/x", instances=3, **SLEEP)
    (deployment,) = server.deployments()
    assert deployment["id"] == deployment_id
    assert deployment["affectedApps"] == ["/x"]
    assert deployment["steps"] == [{"actions": [{"action": "StartApplication", "app": "/x"}]}]
    assert deployment["currentActions"] == [{"action": "StartApplication", "app": "/x", "readinessCheckResults": []}]
    assert (deployment["currentStep"], deployment["totalSteps"]) == (1, 1)
    server.wait_settled()
    assert [task["state"] for task in server.tasks("/x")] == ["TASK_RUNNING"] * 3


def test_an_existing_id_and_a_lock_are_two_kinds_of_409(server):
    deployment_id = server.create("/x", **SLEEP)
    locked = server.call("PUT", "/v2/apps/x", {"instances": 2})
    assert locked.status_code == 409
    assert locked.json()["message"].startswith("App is locked by one or more deployments. Override with")
    assert locked.json()["deployments"] == [{"id": deployment_id}]
    exists = server.call("POST", "/v2/apps", {"id": "/x", **SLEEP})
    assert exists.status_code == 409
    assert exists.json() == {"message": "An app with id [/x] already exists."}
    assert server.call("DELETE", "/v2/apps/x?force=false").status_code == 409
    assert server.app("/x")["instances"] == 1


def test_force_takes_the_place_of_a_deployment(server):
    server.create("/x", **SLEEP)
    answer = server.call("PUT", "/v2/apps/x?force=True", {"instances": 2})
    assert answer.status_code == 200
    assert [deployment["id"] for deployment in server.deployments()] == [answer.json()["deploymentId"]]
    server.wait_settled()
    assert server.app("/x")["tasksRunning"] == 2


def test_put_creates_scales_and_replaces(server):
    created = server.call("PUT", "/v2/apps/x", {"env": {"A": "1"}, **SLEEP})
    assert created.status_code == 201
    server.wait_settled()
    scaled = server.call("PUT", "/v2/apps//x", {"instances": 2})
    assert scaled.status_code == 200
    assert scaled.headers["Marathon-Deployment-Id"] == scaled.json()["deploymentId"]
    (deployment,) = server.deployments()
    assert deployment["currentActions"][0]["action"] == "ScaleApplication"
    server.wait_settled()
    app = server.app("/x")
    assert (app["instances"], app["env"]) == (2, {"A": "1"})
    assert app["versionInfo"]["lastScalingAt"] == app["version"] == scaled.json()["version"]
    assert app["versionInfo"]["lastConfigChangeAt"] == created.json()["version"]
    replaced = server.call("PUT", "/v2/apps/x?partialUpdate=false", {"cmd": "sleep 2000"})
    assert replaced.status_code == 200
    server.wait_settled()
    assert (server.app("/x")["instances"], server.app("/x")["env"]) == (1, {})


def test_a_put_that_changes_nothing_deploys_nothing(server):
    server.start_app("/x", **SLEEP)
    before = server.app("/x")
    answer = server.call("PUT", "/v2/apps/x", {"instances": 1})
    assert answer.status_code == 200
    assert answer.json()["deploymentId"]
    assert server.deployments() == []
    assert server.app("/x") == before


def test_another_configuration_exchanges_the_tasks(server):
    before = server.start_app("/x", instances=2, **SLEEP)
    server.call("PUT", "/v2/apps/x", {"env": {"A": "1"}})
    assert server.deployments()[0]["currentActions"][0]["action"] == "RestartApplication"
    server.wait_settled()
    after = server.tasks("/x")
    assert len(after) == 2
    assert not {task["id"] for task in before} & {task["id"] for task in after}
    assert server.app("/x")["portDefinitions"][0]["port"] == before[0]["servicePorts"][0]


def test_restart_exchanges_the_tasks_of_the_same_configuration(server):
    (before,) = server.start_app("/x", **SLEEP)
    assert server.call("POST", "/v2/apps/x/restart").status_code == 200
    server.wait_settled()
    (after,) = server.tasks("/x")
    assert after["id"] != before["id"]


def test_rollback_to_an_earlier_version(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    first = server.app("/x")["version"]
    server.call("PUT", "/v2/apps/x", {"env": {"A": "2"}})
    server.wait_settled()
    assert server.get("/v2/apps/x/versions").json() == {"versions": [server.app("/x")["version"], first]}
    assert server.get(f"/v2/apps/x/versions/{first}").json()["env"] == {"A": "1"}
    assert server.call("PUT", "/v2/apps/x", {"version": first, "instances": 3}).status_code == 422
    assert server.call("PUT", "/v2/apps/x", {"version": "2001-01-01T00:00:00.000Z"}).status_code == 404
    assert server.call("PUT", "/v2/apps/x", {"version": first}).status_code == 200
    server.wait_settled()
    assert server.app("/x")["env"] == {"A": "1"}


def test_several_apps_in_one_deployment(server):
    server.start_app("/x", **SLEEP)
    answer = server.call("PUT", "/v2/apps", [{"id": "/x", "instances": 2}, {"id": "/y", **SLEEP}])
    assert answer.status_code == 200
    (deployment,) = server.deployments()
    assert deployment["affectedApps"] == ["/x", "/y"]
    server.wait_settled()
    assert (server.app("/x")["tasksRunning"], server.app("/y")["tasksRunning"]) == (2, 1)


def test_a_list_of_apps_is_taken_whole_or_not_at_all(server):
    answer = server.call("PUT", "/v2/apps", [{"id": "/x", **SLEEP}, {"id": "/y"}])
    assert answer.status_code == 422
    assert server.get("/v2/apps").json() == {"apps": []}


def test_list_filters_and_embeds(server):
    server.start_app("/g1/kafka-pub", labels={"role": "pub"}, **SLEEP)
    server.start_app("/g1/kafka-sub", labels={"role": "sub"}, cmd="SLEEPY=1 sleep 1000")

    def ids(query):
        return [app["id"] for app in server.get(f"/v2/apps{query}").json()["apps"]]

    assert ids("") == ["/g1/kafka-pub", "/g1/kafka-sub"]
    assert ids("?id=KAFKA-P") == ["/g1/kafka-pub"]
    assert ids("?cmd=sleepy") == ["/g1/kafka-sub"]
    assert ids("?label=role==sub") == ["/g1/kafka-sub"]
    assert ids("?id=g1&label=role==none") == []
    plain = server.get("/v2/apps?id=pub").json()["apps"][0]
    assert (plain["tasksRunning"], plain["deployments"]) == (1, [])
    assert "tasks" not in plain
    for embed in ("tasks", "app.tasks", "apps.tasks"):
        (task,) = server.get(f"/v2/apps?id=pub&embed={embed}&embed=counts").json()["apps"][0]["tasks"]
        assert task["appId"] == "/g1/kafka-pub"
    assert len(server.app("/g1/kafka-sub")["tasks"]) == 1


def test_an_app_cannot_be_a_group_as_well(server):
    server.start_app("/g1/x", **SLEEP)
    for app_id in ("/g1", "/g1/x/y"):
        answer = server.call("POST", "/v2/apps", {"id": app_id, **SLEEP})
        assert answer.status_code == 422
        assert "same identifier" in answer.json()["details"][0]["errors"][0]


@pytest.mark.parametrize("kind", ["DOCKER", "MESOS"])
def test_an_app_with_an_image_is_stored_but_never_run_without_it(server, poll, kind):
    container = {"type": kind, "docker": {"image": "busybox"}}
    server.create("/x", container=container, cmd="touch was-run")
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert (failure["state"], failure["appId"]) == ("TASK_FAILED", "/x")
    assert "containerizer" in failure["message"]
    assert server.app("/x")["container"] == container
    assert server.census() == []
    assert server.call("DELETE", "/v2/apps/x").status_code == 200


def test_tasks_of_all_apps(server):
    server.start_app("/x", ports=[0, 0], **SLEEP)
    server.start_app("/y", portDefinitions=[], **SLEEP)
    tasks = {task["appId"]: task for task in server.get("/v2/tasks").json()["tasks"]}
    assert tasks["/y"]["ports"] == tasks["/y"]["servicePorts"] == []
    task = tasks["/x"]
    assert len(task["ports"]) == len(task["servicePorts"]) == 2
    assert task["host"] == task["ipAddresses"][0]["ipAddress"] == "127.0.0.1"
    assert task["state"] == "TASK_RUNNING"
    assert task["stagedAt"] <= task["startedAt"]
    assert len(server.get("/v2/tasks?status=running").json()["tasks"]) == 2
    assert server.get("/v2/tasks?status[]=staging").json()["tasks"] == []


def test_a_taken_port_is_told_so(server, start_marathon):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port} .*choose another port"):
            start_marathon(port=port)


def test_a_second_start_is_refused_and_a_second_stop_harmless(server):
    with pytest.raises(MarathonError, match="started before"):
        server.run(server.server.start())
    assert server.get("/ping").text == "pong"
    server.run(server.server.stop())
    server.run(server.server.stop())
