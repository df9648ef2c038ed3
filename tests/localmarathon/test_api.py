"""The server as a whole, and its errors, as a caller with curl sees them."""

import json
import socket

import pytest
import requests

from hydra.errors import MarathonError, UsageError
from tests.marathon_fixtures import SLEEP

pytestmark = pytest.mark.integration

WIPE = "You cannot use scale and wipe at the same time."
NO = "The local Marathon does not support"


def test_ping_in_every_form(server):
    assert server.get("/ping").text == "pong"
    assert server.get("/ping", headers={"Accept": "application/json"}).json() == "pong"
    assert server.get("/ping", headers={"Accept": "image/png"}).status_code == 204


def test_leader_is_the_server_itself(server):
    assert server.get("/v2/leader").json() == {"leader": server.url.removeprefix("http://")}
    assert server.get("/v2/info").json()["leader"] == server.url.removeprefix("http://")


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


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2/nothing", 500, "URI not found"),
        ("GET", "/v2/nothing/at/all", 500, "URI not found"),
        ("GET", "/v2/pods", 500, "URI not found"),
        ("GET", "/", 500, "URI not found"),
        ("POST", "/v2/eventSubscriptions", 500, "URI not found"),
        ("GET", "/v2/groups/none", 404, "Group '/none' does not exist"),
        ("DELETE", "/v2/groups/none", 404, "Group '/none' does not exist"),
        ("DELETE", "/v2/deployments/none", 404, "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/deployments/none?force=true", 404, "DeploymentPlan none does not exist"),
        ("DELETE", "/v2/queue/x/delay", 404, "Application /x not found in tasks queue."),
        ("DELETE", "/v2/queue/here/delay", 404, "Application /here not found in tasks queue."),
        ("GET", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("GET", "/v2/apps//g1//x", 404, "App '/g1/x' does not exist"),
        ("GET", "/v2/apps/g1/x/tasks", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x/tasks", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/g1/x/tasks/t", 404, "App '/g1/x' does not exist"),
        ("PATCH", "/v2/apps/g1/x", 404, "App '/g1/x' does not exist"),
        ("POST", "/v2/apps/g1/x/restart", 404, "App '/g1/x' does not exist"),
        ("DELETE", "/v2/apps/here/tasks/a.b", 404, "Task 'a.b' does not exist"),
        ("POST", "/v2/tasks", 405, "HTTP 405 Method Not Allowed"),
        ("DELETE", "/ping", 405, "HTTP 405 Method Not Allowed"),
        ("DELETE", "/v2/apps/here/tasks?scale=true&wipe=True", 400, WIPE),
        ("DELETE", "/v2/apps/here/tasks/a.b?scale=TRUE&wipe=TRUE", 400, WIPE),
        # What Marathon has and the local one has not.
        ("GET", "/metrics", 404, f"{NO} metrics."),
        ("GET", "/v2/events", 404, f"{NO} the event stream."),
        ("GET", "/v2/apps/here/versions", 404, f"{NO} earlier versions of an app."),
        ("GET", "/v2/apps/here/versions/bad", 404, f"{NO} earlier versions of an app."),
        ("GET", "/v2/groups/versions", 404, f"{NO} earlier versions of a group."),
        ("POST", "/v2/groups", 404, f"{NO} creating and changing groups."),
        ("PUT", "/v2/groups/g1", 404, f"{NO} creating and changing groups."),
        ("PUT", "/v2/apps", 404, f"{NO} several apps in one request; use /v2/apps/{{id}}."),
        ("PATCH", "/v2/apps", 404, f"{NO} several apps in one request; use /v2/apps/{{id}}."),
        ("GET", "/v2/apps?label=a==b", 422, f"{NO} label selectors."),
        ("DELETE", "/v2/apps/here?dryRun=true", 422, f"{NO} dry runs."),
    ],
)
def test_errors_are_marathons_json(server, method, path, status, message):
    server.create("/here", instances=0, **SLEEP)
    answer = server.call(method, path)
    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert answer.headers["Content-Type"].startswith("application/json")
    assert server.get("/v2/apps/here").status_code == 200


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"id": NaN}', b"[" * 100_000, b"9" * 10_000], ids=lambda body: repr(body[:12])
)
def test_what_is_not_json_is_told_so(server, body):
    answer = requests.post(f"{server.url}/v2/apps", data=body, headers=JSON, timeout=10)
    assert answer.status_code in (400, 422)
    assert answer.json()["message"] == "Invalid JSON"
    assert answer.json()["details"]
    assert server.get("/v2/apps").json() == {"apps": []}


def test_what_is_nested_so_deeply_that_it_could_not_be_written_again_is_refused(server):
    before = server.get("/v2/apps").json()
    for levels in (101, *range(900, 1000)):
        container = {"type": "DOCKER", "docker": {"image": "x", "parameters": []}}
        document = json.dumps({"id": "/deep", "instances": 0, "container": container})
        body = document.replace("[]", "[" * levels + "]" * levels)
        answer = requests.post(f"{server.url}/v2/apps", data=body, headers=JSON, timeout=10)
        assert (answer.status_code, answer.json()["message"]) == (400, "Invalid JSON"), levels
        assert server.get("/v2/apps").json() == before


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_a_body_is_asked_for_where_there_is_none(server, body):
    for method, path in (("POST", "/v2/apps"), ("PUT", "/v2/apps/x"), ("POST", "/v2/tasks/delete")):
        answer = requests.request(method, server.url + path, data=body, headers=JSON, timeout=10)
        assert (answer.status_code, answer.json()["message"]) == (400, "Please specify data in JSON format")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/apps", {"id": "/new", "cmd": "exec sleep 1000"}),
        ("PUT", "/v2/apps/x", {"instances": 2}),
        ("PATCH", "/v2/apps/x", {"instances": 2}),
        ("POST", "/v2/apps/x/restart", None),
        ("DELETE", "/v2/apps/x", None),
        ("DELETE", "/v2/apps/x/tasks", None),
        ("DELETE", "/v2/groups", None),
    ],
)
def test_a_dry_run_is_refused_and_changes_nothing(server, method, path, body):
    server.start_app("/x", instances=0, **SLEEP)
    before = server.get("/v2/apps").json()
    answer = server.call(method, f"{path}?dryRun=True", body)
    assert (answer.status_code, answer.json()) == (422, {"message": f"{NO} dry runs."})
    assert server.get("/v2/apps").json() == before


def test_json_is_compact(server):
    server.create("/x", instances=0, **SLEEP)
    for path in ("/v2/info", "/v2/apps", "/v2/nothing", "/slaves"):
        answer = server.get(path)
        assert answer.text == json.dumps(answer.json(), separators=(",", ":"))


def test_a_body_without_end_is_refused(server):
    answer = requests.post(f"{server.url}/v2/apps", data=b" " * (5 * 1024 * 1024), headers=JSON, timeout=10)
    assert answer.status_code == 413
    assert "message" in answer.json()


def test_a_validation_error_lists_its_details(server):
    answer = server.call("POST", "/v2/apps", {"id": "/X", "cmd": "sleep 1", "instances": -2})
    assert answer.status_code == 422
    assert answer.json()["message"] == "Object is not valid"
    details = {detail["path"]: detail["errors"] for detail in answer.json()["details"]}
    assert details.keys() == {"/id", "/instances"}
    assert details["/id"][0].startswith("must fully match regular expression '^((")


def test_a_taken_port_is_told_so(start_marathon):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port} .*choose another port"):
            start_marathon(port=port)


def test_a_second_start_is_refused_and_a_second_stop_harmless(start_marathon):
    server = start_marathon()
    with pytest.raises(MarathonError, match="started before"):
        server.run(server.server.start())
    assert server.get("/ping").text == "pong"
    server.run(server.server.stop())
    server.run(server.server.stop())
