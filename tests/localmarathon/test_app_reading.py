import pytest

from hydra.localmarathon.app_definition import AppDefinition, PortDefinition, app_document, merged_document
from hydra.localmarathon.app_reading import read_app
from hydra.localmarathon.refusals import RequestRefusedError

MINIMAL = {"id": "/x", "cmd": "sleep 1"}


def read(document, **options):
    return read_app(document, own_user="me", **options)


def refusal(document, **options):
    with pytest.raises(RequestRefusedError) as caught:
        read(document, **options)
    assert caught.value.http_status == 422
    return caught.value.document


def test_defaults_are_those_of_marathon():
    app = read(MINIMAL)
    assert app == AppDefinition(
        app_id="/x", cmd="sleep 1", ports=(PortDefinition(0, name="default"),), echoed=app.echoed
    )
    document = app_document(app)
    assert document["portDefinitions"] == [{"labels": {}, "name": "default", "port": 0, "protocol": "tcp"}]
    assert document["upgradeStrategy"] == {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}
    assert (document["backoffSeconds"], document["backoffFactor"], document["maxLaunchDelaySeconds"]) == (1, 1.15, 300)
    assert (document["cpus"], document["mem"], document["killSelection"]) == (1, 128, "YOUNGEST_FIRST")
    assert "args" not in document
    assert "taskKillGracePeriodSeconds" not in document


@pytest.mark.parametrize(
    ("given", "app_id"), [("x", "/x"), ("/g1/x", "/g1/x"), ("g1//x/", "/g1/x"), ("/a.b-c/0", "/a.b-c/0")]
)
def test_ids_become_absolute(given, app_id):
    assert read({**MINIMAL, "id": given}).app_id == app_id


@pytest.mark.parametrize(
    "app_id", ["", "/", "/X", "/a_b", "/-a", "/a-", "/a/tasks", "/a/restart", "/..", "/a b", "/a\n"]
)
def test_impossible_ids_are_refused(app_id):
    document = refusal({**MINIMAL, "id": app_id})
    assert document["message"] == "Object is not valid"
    assert [detail["path"] for detail in document["details"]] == ["/id"]


def test_the_canonical_form_reads_as_the_same_app():
    app = read(
        {
            "id": "g1/x",
            "args": ["sleep", "1"],
            "instances": 3,
            "cpus": 0.5,
            "env": {"A": "ü"},
            "labels": {"owner": "me"},
            "portDefinitions": [{"port": 10001, "protocol": "udp,tcp", "name": "http", "labels": {"vip": "1"}}, {}],
            "requirePorts": True,
            "taskKillGracePeriodSeconds": 7,
            "killSelection": "OLDEST_FIRST",
            "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0},
            "constraints": [["hostname", "unique"], ["rack", "LIKE", "a.*"]],
            "healthChecks": [{"protocol": "TCP", "portIndex": 1}],
            "unreachableStrategy": "disabled",
            "acceptedResourceRoles": ["*"],
            "container": {"type": "MESOS", "volumes": []},
        }
    )
    assert read(app_document(app)) == app
    assert app.constraints == (("hostname", "UNIQUE"), ("rack", "LIKE", "a.*"))
    assert app.ports[0] == PortDefinition(10001, "udp,tcp", "http", {"vip": "1"})


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"cmd": None}, "/"),
        ({"cmd": "x"}, "/"),
        ({"args": ["sleep"]}, "/"),
        ({"instances": -1}, "/instances"),
        ({"cpus": 0}, "/cpus"),
        ({"mem": -1}, "/mem"),
        ({"backoffFactor": 0.9}, "/backoffFactor"),
        ({"upgradeStrategy": {"minimumHealthCapacity": 1.5}}, "/upgradeStrategy/minimumHealthCapacity"),
        ({"killSelection": "ANY"}, "/killSelection"),
        ({"ports": [70000]}, "/ports(0)/port"),
        ({"ports": [9000, 9000]}, "/portDefinitions"),
        ({"portDefinitions": [{"name": "a"}, {"name": "a"}]}, "/portDefinitions"),
        ({"portDefinitions": [{"protocol": "sctp"}]}, "/portDefinitions(0)/protocol"),
        ({"ports": [1], "portDefinitions": [{"port": 2}]}, "/"),
        ({"constraints": [["hostname"]]}, "/constraints(0)"),
        ({"constraints": [["hostname", "NEAR"]]}, "/constraints(0)"),
        ({"constraints": [["hostname", "UNIQUE", "x"]]}, "/constraints(0)"),
        ({"constraints": [["hostname", "MAX_PER", "x"]]}, "/constraints(0)"),
        ({"healthChecks": [{"portIndex": 1}]}, "/healthChecks(0)/portIndex"),
        ({"container": {"type": "DOCKER"}}, "/container/docker"),
        ({"networks": [{"mode": "container"}]}, "/networks"),
        ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2}, "/"),
        ({"env": {"A=B": "c"}}, "/env/A=B"),
        ({"env": {"A": "\0"}}, "/env/A"),
        ({"cmd": "echo \ud800"}, "/cmd"),
        ({"user": "root2"}, "/user"),
        ({"executor": "/bin/other"}, "/executor"),
        ({"fetch": [{"uri": "http://x/y"}], "uris": ["http://x/z"]}, "/"),
        ({"fetch": [{"uri": "http://x/y", "destPath": "../z"}]}, "/fetch(0)/destPath"),
        ({"constraints": [["rack", "LIKE", "("]]}, "/constraints(0)"),
        ({"constraints": [["rack", "LIKE"]]}, "/constraints(0)"),
        ({"dependencies": ["/y"]}, "/dependencies"),
        ({"secrets": {"a": {"source": "b"}}}, "/secrets"),
        ({"readinessChecks": [{}]}, "/readinessChecks"),
        ({"instnaces": 3}, "/instnaces"),
    ],
)
def test_a_broken_rule_is_named_with_its_path(fields, path):
    document = refusal({**MINIMAL, **fields})
    assert document["message"] == "Object is not valid"
    assert [detail["path"] for detail in document["details"]] == [path]
    assert all(detail["errors"] for detail in document["details"])


@pytest.mark.parametrize(
    ("document", "path", "error"),
    [
        ([], "/", "error.expected.jsobject"),
        (None, "/", "error.expected.jsobject"),
        ({"cmd": "sleep 1"}, "/id", "error.path.missing"),
        ({**MINIMAL, "id": 3}, "/id", "error.expected.jsstring"),
        ({**MINIMAL, "instances": "3"}, "/instances", "error.expected.jsnumber"),
        ({**MINIMAL, "instances": 1.5}, "/instances", "error.expected.jsnumber.int"),
        ({**MINIMAL, "cpus": True}, "/cpus", "error.expected.jsnumber"),
        ({**MINIMAL, "requirePorts": "yes"}, "/requirePorts", "error.expected.jsboolean"),
        ({**MINIMAL, "env": {"A": 1}}, "/env/A", "error.expected.jsstring"),
        ({**MINIMAL, "env": []}, "/env", "error.expected.jsobject"),
        ({**MINIMAL, "ports": 1}, "/ports", "error.expected.jsarray"),
        ({"id": "x", "args": [1]}, "/args(0)", "error.expected.jsstring"),
    ],
)
def test_a_wrong_type_is_named_with_its_path(document, path, error):
    details = refusal(document)["details"]
    assert {"path": path, "errors": [error]} in details


def test_everything_wrong_is_told_at_once():
    details = refusal({**MINIMAL, "instances": -1, "cpus": 0, "killSelection": "ANY"})["details"]
    assert {detail["path"] for detail in details} == {"/instances", "/cpus", "/killSelection"}


def test_null_and_empty_count_as_absent():
    nothing = {"args": None, "fetch": [], "secrets": {}, "residency": None, "taskRateLimit": None, "tasks": []}
    assert read({**MINIMAL, **nothing}) == read(MINIMAL)


def test_no_ports_is_not_the_default_port():
    assert read({**MINIMAL, "portDefinitions": []}).ports == ()
    assert read({**MINIMAL, "ports": []}).ports == ()


def test_the_id_of_the_path_cannot_be_contradicted():
    assert read({"cmd": "sleep 1"}, app_id="/g1/x").app_id == "/g1/x"
    assert refusal({"id": "/other", "cmd": "sleep 1"}, app_id="/x")["details"][0]["path"] == "/id"


def test_a_docker_image_is_accepted_and_echoed():
    container = {"type": "DOCKER", "docker": {"image": "busybox"}}
    app = read({"id": "/x", "container": container, "networks": [{"mode": "container/bridge"}]})
    assert app.docker_image == "busybox"
    assert app_document(app)["container"] == container


def test_an_update_changes_what_it_names_and_nothing_else():
    app = read({**MINIMAL, "env": {"A": "1"}, "instances": 2, "ports": [0, 0]})
    assert read(merged_document(app, {"instances": 5, "env": None})) == read(
        {**MINIMAL, "env": {"A": "1"}, "instances": 5, "ports": [0, 0]}
    )
    assert read(merged_document(app, {"args": ["a", "b"]})).cmd is None
    assert len(read(merged_document(app, {"ports": [0]})).ports) == 1
