"""Apps, their deployments and locks, groups and the launch queue over HTTP."""

import pytest

from tests.marathon_fixtures import NEVER, SLEEP, TIMESTAMP

pytestmark = pytest.mark.integration

STAGING_S = 0.25  # long enough to see the deployment of what has just been created


def test_create_answers_with_the_canonical_app(server):
    answer = server.call("POST", "/v2/apps", {"id": "g1/x", "ports": [0], "instances": 2, **SLEEP})
    assert answer.status_code == 201
    app = answer.json()
    assert answer.headers["Location"] == app["id"] == "/g1/x"
    assert [answer.headers["Marathon-Deployment-Id"]] == [deployment["id"] for deployment in app["deployments"]]
    assert (app["tasksStaged"], app["tasksRunning"], app["tasksHealthy"], app["tasksUnhealthy"]) == (0, 0, 0, 0)
    assert TIMESTAMP.fullmatch(app["version"])
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


@pytest.mark.parametrize(("cmd", "state"), [("sleep 0", "TASK_FINISHED"), ("exit 3", "TASK_FAILED")])
def test_a_task_that_ends_at_once_has_run_and_its_deployment_ends(server, poll, cmd, state):
    server.create("/x", cmd=cmd, backoffSeconds=600, maxLaunchDelaySeconds=600, cpus=0.1, mem=16)
    server.wait_settled()
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert failure["state"] == state
    assert server.app("/x")["instances"] == 1


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


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v2/apps/x", {"instances": 2}),
        ("PATCH", "/v2/apps/x", {"instances": 2}),
        ("POST", "/v2/apps/x/restart", None),
        ("DELETE", "/v2/apps/x?force=false", None),
        ("DELETE", "/v2/groups", None),
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


def test_put_creates_scales_and_replaces(server):
    created = server.call("PUT", "/v2/apps/x", {"env": {"A": "1"}, **SLEEP})
    assert (created.status_code, created.headers["Location"]) == (201, "/x")
    server.wait_settled()
    scaled = server.call("PUT", "/v2/apps//x", {"instances": 2})
    assert scaled.status_code == 200
    assert "Location" not in scaled.headers
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


def test_the_id_in_the_body_of_a_put_is_ignored(server):
    assert server.call("PUT", "/v2/apps/x", {"id": "/other", "instances": 0, **SLEEP}).status_code == 201
    server.wait_settled()
    assert server.call("PUT", "/v2/apps/x", {"id": "/another", "labels": {"a": "b"}}).status_code == 200
    assert ids(server) == ["/x"]
    assert server.app("/x")["labels"] == {"a": "b"}


def test_an_app_does_not_go_back_to_an_earlier_version(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    version = server.app("/x")["version"]
    for body in ({"version": version}, {"version": version, "instances": 3}):
        answer = server.call("PUT", "/v2/apps/x", body)
        errors = ["the local Marathon does not support going back to an earlier version of an app"]
        assert (answer.status_code, answer.json()["details"]) == (422, [{"path": "/version", "errors": errors}])
    assert server.app("/x")["version"] == version


@pytest.mark.parametrize(
    ("fields", "path", "error"),
    [
        ({"healthChecks": [{"protocol": "TCP"}]}, "/healthChecks", "does not support the field 'healthChecks'"),
        ({"instances": -1}, "/instances", "must be greater than or equal to 0"),
    ],
)
def test_the_same_rules_hold_for_every_request(server, fields, path, error):
    server.create("/x", **NEVER)
    before = server.app("/x")
    for method, address, body in (
        ("POST", "/v2/apps", {"id": "/y", **SLEEP, **fields}),
        ("PUT", "/v2/apps/y", {**SLEEP, **fields}),
        ("PUT", "/v2/apps/x?force=true", fields),
        ("PATCH", "/v2/apps/x?force=true", fields),
    ):
        answer = server.call(method, address, body)
        (detail,) = answer.json()["details"]
        assert (answer.status_code, detail["path"]) == (422, path), (method, address)
        assert error in detail["errors"][0]
    assert ids(server) == ["/x"]
    assert server.app("/x") == before


def test_a_put_that_changes_nothing_deploys_nothing(server):
    server.start_app("/x", **SLEEP)
    before = server.app("/x")
    answer = server.call("PUT", "/v2/apps/x", {"instances": 1})
    assert answer.status_code == 200
    assert answer.json()["deploymentId"]
    assert server.deployments() == []
    assert server.app("/x") == before


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
    assert after["tasks"][0]["id"] != before["tasks"][0]["id"]


def test_an_update_by_patch_merges(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    answer = server.call("PATCH", "/v2/apps/x", {"labels": {"l": "v"}})
    assert (answer.status_code, answer.json().keys()) == (200, {"version", "deploymentId"})
    server.wait_settled()
    app = server.app("/x")
    assert (app["env"], app["labels"]) == ({"A": "1"}, {"l": "v"})


def test_list_filters_and_embeds(server):
    server.start_app("/g1/kafka-pub", **SLEEP)
    server.start_app("/g1/kafka-sub", cmd="SLEEPY=1 sleep 1000")

    def ids(query):
        return [app["id"] for app in server.get(f"/v2/apps{query}").json()["apps"]]

    assert ids("") == ["/g1/kafka-pub", "/g1/kafka-sub"]
    assert ids("?id=KAFKA-P") == ["/g1/kafka-pub"]
    assert ids("?cmd=sleepy") == ["/g1/kafka-sub"]
    plain = server.get("/v2/apps?id=pub").json()["apps"][0]
    assert (plain["tasksRunning"], plain["deployments"]) == (1, [])
    assert "tasks" not in plain
    for embed in ("tasks", "app.tasks", "apps.tasks"):
        (task,) = server.get(f"/v2/apps?id=pub&embed={embed}&embed=counts").json()["apps"][0]["tasks"]
        assert task["appId"] == "/g1/kafka-pub"
    assert len(server.app("/g1/kafka-sub")["tasks"]) == 1


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
    assert listed("?embed=tasks&embed=counts&embed=deployments")["deployments"] == []


def test_an_app_cannot_be_a_group_as_well(server):
    server.start_app("/g1/x", **SLEEP)
    for app_id in ("/g1", "/g1/x/y"):
        answer = server.call("POST", "/v2/apps", {"id": app_id, **SLEEP})
        assert answer.status_code == 422
        assert "same identifier" in answer.json()["details"][0]["errors"][0]


def test_a_single_instance_stays_single(server, poll):
    single = {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}}
    (task,) = server.start_app("/x", **single, **SLEEP)
    for method, path, body in (
        ("PUT", "/v2/apps/x", {"instances": 2}),
        ("PATCH", "/v2/apps/x", {"instances": 2}),
        ("PUT", "/v2/apps/x?force=true", {"instances": 2}),
        ("PUT", "/v2/apps/x?partialUpdate=false", {**SLEEP, **single, "instances": 2}),
    ):
        answer = server.call(method, path, body)
        errors = ["Single instance app may only have one instance"]
        refusal = {"message": "Object is not valid", "details": [{"path": "/", "errors": errors}]}
        assert (answer.status_code, answer.json()) == (422, refusal), (method, path)
    assert server.deployments() == []
    assert [one["id"] for one in server.tasks("/x")] == [task["id"]]
    seen = []

    def replaced():
        seen.append([one["id"] for one in server.tasks("/x")])
        return not server.deployments() and seen[-1] != [task["id"]]

    assert server.call("POST", "/v2/apps/x/restart").status_code == 200
    poll(replaced)
    assert max(map(len, seen)) == 1
    # Without the label it may have as many as others.
    assert server.call("PUT", "/v2/apps/x", {"labels": {"a": "b"}, "instances": 2}).status_code == 200
    server.wait_settled()
    assert len(server.tasks("/x")) == 2


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


@pytest.mark.parametrize(("share", "least", "most"), [(1, 2, 4), (0, 0, 2)])
def test_an_exchange_keeps_to_the_upgrade_strategy(server, poll, share, least, most):
    strategy = {"minimumHealthCapacity": share, "maximumOverCapacity": share}
    before = server.start_app("/x", instances=2, upgradeStrategy=strategy, **SLEEP)
    server.call("PUT", "/v2/apps/x", {"env": {"A": "2"}})
    assert server.deployments()[0]["currentActions"][0]["action"] == "RestartApplication"
    seen = []
    poll(lambda: seen.append(len(server.tasks("/x"))) or not server.deployments())
    assert least <= min(seen) <= max(seen) <= most
    assert {task["id"] for task in server.tasks("/x")}.isdisjoint({task["id"] for task in before})
    assert server.tasks("/x")[0]["servicePorts"] == before[0]["servicePorts"]


def test_a_group_is_read_and_deleted_in_one_deployment(server):
    for app_id in ("/g1/a", "/g1/deep/b", "/g2"):
        server.create(app_id, **SLEEP)
    server.wait_settled()
    root = server.get("/v2/groups").json()
    (group,) = root["groups"]
    assert (root["id"], [app["id"] for app in root["apps"]], group["id"]) == ("/", ["/g2"], "/g1")
    assert [app["id"] for app in group["apps"]] == ["/g1/a"]
    assert group["apps"][0]["tasksRunning"] == 1
    assert server.get("/v2/groups//g1/deep/").json()["apps"][0]["id"] == "/g1/deep/b"
    assert [app["id"] for app in server.get("/v2/apps/g1/*").json()["*"]] == ["/g1/a", "/g1/deep/b"]
    assert {task["appId"] for task in server.get("/v2/apps//g1/*/tasks").json()["tasks"]} == {"/g1/a", "/g1/deep/b"}

    deleted = server.call("DELETE", "/v2/groups/g1")
    assert deleted.status_code == 200
    assert server.get("/v2/groups/g1").status_code == 404
    (deployment,) = server.deployments()
    assert deployment["id"] == deleted.json()["deploymentId"] == deleted.headers["Marathon-Deployment-Id"]
    assert sorted(deployment["affectedApps"]) == ["/g1/a", "/g1/deep/b"]
    assert {action["action"] for action in deployment["currentActions"]} == {"StopApplication"}
    server.wait_settled()
    assert ids(server) == ["/g2"]
    assert len(server.census()) == 1


def test_the_apps_of_a_group_come_with_their_tasks(server):
    for app_id in ("/g1/a", "/g2"):
        server.start_app(app_id, **SLEEP)
    for path, found in (
        ("/v2/apps/g1/*", ["/g1/a"]),
        ("/v2/apps/*", ["/g1/a", "/g2"]),
        ("/v2/apps//*", ["/g1/a", "/g2"]),
    ):
        apps = server.get(path).json()["*"]
        assert [app["id"] for app in apps] == found
        assert apps == [server.app(app_id) for app_id in found]
        tasks = server.get(f"{path}/tasks").json()["tasks"]
        assert [task["appId"] for task in tasks] == found


def test_a_group_without_apps_does_not_exist_but_the_root_does(server):
    for path in ("/v2/groups/g1", "/v2/apps/g1/*", "/v2/apps/g1/*/tasks"):
        answer = server.get(path)
        assert (answer.status_code, answer.json()) == (404, {"message": "Group '/g1' does not exist"}), path
    assert server.get("/v2/apps/*").json() == {"*": []}
    assert server.get("/v2/apps/*/tasks").json() == {"tasks": []}


def ids(server):
    return sorted(app["id"] for app in server.get("/v2/apps").json()["apps"])


def test_a_deployment_is_stopped_where_it_is_but_not_rolled_back(server, poll):
    deployment = server.create("/x", **NEVER)
    refused = server.call("DELETE", f"/v2/deployments/{deployment}")
    assert (refused.status_code, [one["id"] for one in server.deployments()]) == (422, [deployment])
    assert "does not support rolling a deployment back" in refused.json()["message"]
    answer = server.call("DELETE", f"/v2/deployments/{deployment}?force=true")
    assert (answer.status_code, answer.content) == (202, b"")
    assert server.deployments() == []
    assert server.call("PUT", "/v2/apps/x", {"cpus": 0.1}).status_code == 200
    server.wait_settled()
    assert server.app("/x")["tasksRunning"] == 1
