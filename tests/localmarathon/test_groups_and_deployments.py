"""Groups, killing by ids, roll-back, the queue and its delays, over HTTP."""

import pytest

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}


def ids(server):
    return sorted(app["id"] for app in server.get("/v2/apps").json()["apps"])


def test_a_group_is_created_read_scaled_and_deleted_in_one_deployment_each(server):
    body = {"id": "/g1", "apps": [{"id": "a", **SLEEP}], "groups": [{"id": "deep", "apps": [{"id": "b", **SLEEP}]}]}
    created = server.call("POST", "/v2/groups", body)
    assert created.status_code == 201
    (deployment,) = server.deployments()
    assert deployment["id"] == created.json()["deploymentId"] == created.headers["Marathon-Deployment-Id"]
    assert sorted(deployment["affectedApps"]) == ["/g1/a", "/g1/deep/b"]
    server.wait_settled()
    assert server.call("POST", "/v2/groups", body).status_code == 409

    root = server.get("/v2/groups").json()
    (group,) = root["groups"]
    assert (root["id"], root["apps"], group["id"]) == ("/", [], "/g1")
    assert [app["id"] for app in group["apps"]] == ["/g1/a"]
    assert group["apps"][0]["tasksRunning"] == 1
    assert server.get("/v2/groups/g1/deep").json()["apps"][0]["id"] == "/g1/deep/b"
    assert [app["id"] for app in server.get("/v2/apps/g1/*").json()["*"]] == ["/g1/a", "/g1/deep/b"]
    assert {task["appId"] for task in server.get("/v2/apps//g1/*/tasks").json()["tasks"]} == {"/g1/a", "/g1/deep/b"}

    assert server.call("PUT", "/v2/groups/g1", {"scaleBy": 1.5}).status_code == 200
    server.wait_settled()
    assert [server.app(app_id)["tasksRunning"] for app_id in ("/g1/a", "/g1/deep/b")] == [2, 2]

    server.start_app("/g2", **SLEEP)
    deleted = server.call("DELETE", "/v2/groups/g1")
    assert deleted.status_code == 200
    assert server.get("/v2/groups/g1").status_code == 404
    (deployment,) = server.deployments()
    assert {action["action"] for action in deployment["currentActions"]} == {"StopApplication"}
    server.wait_settled()
    assert ids(server) == ["/g2"]
    assert len(server.census()) == 1


def test_a_group_that_is_put_loses_what_it_does_not_name(server):
    server.start_app("/g1/a", **SLEEP)
    server.start_app("/g1/b", **SLEEP)
    server.start_app("/g1/deep/c", **SLEEP)
    assert (
        server.call("PUT", "/v2/groups/g1", {"apps": [{"id": "a", **SLEEP}, {"id": "d", **SLEEP}]}).status_code == 200
    )
    server.wait_settled()
    assert ids(server) == ["/g1/a", "/g1/d", "/g1/deep/c"]
    answer = server.call("PUT", "/v2/groups/g1", {"apps": [{"id": "/elsewhere", **SLEEP}]})
    assert answer.status_code == 422
    assert server.call("PUT", "/v2/groups/g1", {"groups": []}).status_code == 200
    server.wait_settled()
    assert ids(server) == ["/g1/a", "/g1/d"]


def test_a_locked_app_locks_its_group(server):
    deployment = server.create("/g1/x", **{**SLEEP, "cpus": 1e6})
    answer = server.call("DELETE", "/v2/groups/g1")
    assert answer.status_code == 409
    assert answer.json()["deployments"] == [{"id": deployment}]
    assert server.call("DELETE", "/v2/groups/g1?force=true").status_code == 200
    server.wait_settled()
    assert ids(server) == []


def test_tasks_are_killed_by_their_ids(server, poll):
    x = server.start_app("/x", instances=2, **SLEEP)
    (y,) = server.start_app("/y", **SLEEP)
    answer = server.call("POST", "/v2/tasks/delete", {"ids": [x[0]["id"], y["id"], "gone.instance-1._app.1"]})
    assert {task["id"] for task in answer.json()["tasks"]} == {x[0]["id"], y["id"]}
    poll(lambda: x[0]["id"] not in {task["id"] for task in server.tasks("/x")} and len(server.tasks("/x")) == 2)
    poll(lambda: server.app("/x")["tasksRunning"] == 2 and server.app("/y")["tasksRunning"] == 1)
    (y,) = server.tasks("/y")
    answer = server.call("POST", "/v2/tasks/delete?scale=true", {"ids": [x[1]["id"], y["id"]]})
    assert answer.json().keys() == {"version", "deploymentId"}
    server.wait_settled()
    assert (server.app("/x")["instances"], server.app("/y")["instances"]) == (1, 0)
    assert x[1]["id"] not in {task["id"] for task in server.tasks("/x")}
    bad = server.call("POST", "/v2/tasks/delete", {"ids": ["nonsense"]})
    assert bad.status_code == 400
    assert bad.json()["message"].startswith("Invalid task id 'nonsense'. [")
    assert server.call("POST", "/v2/tasks/delete?scale=true&wipe=true", {"ids": []}).status_code == 400


def test_a_create_is_rolled_back(server):
    deployment = server.create("/x", **{**SLEEP, "cpus": 1e6})
    answer = server.call("DELETE", f"/v2/deployments/{deployment}")
    assert answer.status_code == 200
    assert answer.json()["deploymentId"] != deployment
    server.wait_settled()
    assert ids(server) == []


def test_a_scaling_and_a_new_configuration_are_rolled_back(server):
    server.start_app("/x", env={"A": "1"}, **SLEEP)
    for change in ({"cpus": 1e6, "env": {"A": "2"}}, {"instances": 100_000}):
        deployment = server.call("PUT", "/v2/apps/x", change).json()["deploymentId"]
        assert server.call("PUT", "/v2/apps/x", {"instances": 2}).status_code == 409
        assert server.call("DELETE", f"/v2/deployments/{deployment}").status_code == 200
        server.wait_settled()
        app = server.app("/x")
        assert (app["env"], app["cpus"], app["instances"], app["tasksRunning"]) == ({"A": "1"}, 0.1, 1, 1)


def test_a_deletion_is_rolled_back_by_new_tasks(server):
    (before,) = server.start_app("/x", cmd="trap '' TERM; echo ready; while true; do sleep 0.1; done", cpus=0.1, mem=16)
    server.wait_text(before["id"])
    deployment = server.call("DELETE", "/v2/apps/x").json()["deploymentId"]
    assert server.call("DELETE", f"/v2/deployments/{deployment}").status_code == 200
    server.wait_settled()
    (after,) = server.tasks("/x")
    assert after["id"] != before["id"]
    assert server.call("DELETE", f"/v2/deployments/{deployment}").status_code == 404


def test_a_deployment_is_cancelled_where_it_is(server, poll):
    deployment = server.create("/x", **{**SLEEP, "cpus": 1e6})
    answer = server.call("DELETE", f"/v2/deployments/{deployment}?force=true")
    assert (answer.status_code, answer.content) == (202, b"")
    assert server.deployments() == []
    assert server.call("PUT", "/v2/apps/x", {"cpus": 0.1}).status_code == 200
    server.wait_settled()
    assert server.app("/x")["tasksRunning"] == 1


def test_the_queue_tells_of_a_back_off_and_its_delay_can_be_ended(server, poll, tmp_path):
    go = tmp_path / "go"
    server.create("/x", backoffSeconds=300, **{**SLEEP, "cmd": f"test -e {go} && exec sleep 1000"})

    def held_back():
        queue = server.get("/v2/queue").json()["queue"]
        return [item for item in queue if not item["delay"]["overdue"]]

    (item,) = poll(held_back)
    assert (item["app"]["id"], item["count"], item["role"]) == ("/x", 1, "*")
    assert 100 < item["delay"]["timeLeftSeconds"] <= 300
    assert item["since"].endswith("Z")
    go.touch()
    assert server.call("DELETE", "/v2/queue/x/delay").status_code == 204
    server.wait_settled()
    assert server.get("/v2/queue").json() == {"queue": []}


def test_metrics_count_what_runs(server):
    server.start_app("/x", instances=2, **SLEEP)
    gauges = server.get("/metrics").json()["gauges"]
    assert gauges["marathon.apps.active.gauge"] == {"value": 1}
    assert gauges["marathon.instances.running.gauge"] == {"value": 2}


def test_the_client_reads_groups_and_deployments(server):
    client = server.client
    server.start_app("/g1/a", **SLEEP)
    assert client.get_group("/g1").apps[0].id == "/g1/a"
    assert client.list_groups()[0].id == "/g1"
    client.scale_group("/g1", 2)
    (deployment,) = client.list_deployments()
    assert deployment.affected_apps == ["/g1/a"]
    server.wait_settled()
    (task, other) = client.list_tasks("/g1/a")
    client.kill_given_tasks([task.id], scale=True)
    server.wait_settled()
    assert [left.id for left in client.list_tasks("/g1/a")] == [other.id]
    client.delete_group("/g1")
    server.wait_settled()
    assert client.list_apps() == []
