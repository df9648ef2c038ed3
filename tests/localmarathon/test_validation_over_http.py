"""What is refused, accepted and filled in, as it stands in the answers to requests."""

import pytest

pytestmark = pytest.mark.integration

MINIMAL = {"id": "/x", "cmd": "exec sleep 1000"}
# No agent has so much: what is created waits, and no process is started for it.
NEVER = {"cpus": 1e6}
CHECK = {"protocol": "TCP"}

RULES = [
    ({"id": "/X"}, "/id", "must fully match regular expression"),
    ({"id": "/a_b"}, "/id", "must fully match regular expression"),
    ({"id": "/-a"}, "/id", "must fully match regular expression"),
    ({"id": "/"}, "/id", "root path"),
    ({"id": "/a/restart"}, "/id", "reserved"),
    ({"id": "/a/tasks"}, "/id", "reserved"),
    ({"id": "/a/versions"}, "/id", "reserved"),
    ({"id": "/a/.."}, "/id", "reserved"),
    ({"cmd": None}, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."),
    ({"cmd": "x"}, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."),
    ({"args": ["sleep"]}, "/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."),
    ({"cpus": 0.0009}, "/cpus", "must be greater than or equal to 0.001"),
    ({"mem": -1}, "/mem", "must be greater than or equal to 0"),
    ({"disk": -1}, "/disk", "must be greater than or equal to 0"),
    ({"gpus": -1}, "/gpus", "must be greater than or equal to 0"),
    ({"instances": -1}, "/instances", "must be greater than or equal to 0"),
    ({"ports": [65536]}, "/ports(0)/port", "less than or equal to 65535"),
    ({"ports": [9000, 9000]}, "/portDefinitions", "Ports must be unique."),
    ({"portDefinitions": [{"port": -1}]}, "/portDefinitions(0)/port", "must be greater than or equal to 0"),
    ({"portDefinitions": [{"name": "a"}, {"name": "a"}]}, "/portDefinitions", "Port names must be unique."),
    ({"portDefinitions": [{"protocol": "sctp"}]}, "/portDefinitions(0)/protocol", "'udp,tcp'"),
    ({"ports": [9000], "portDefinitions": [{"port": 9001}]}, "/", "must not differ"),
    ({"fetch": [{"uri": "http://a/b"}], "uris": ["http://a/c"]}, "/", "either contain 'fetch' or 'uris'"),
    ({"constraints": [["hostname"]]}, "/constraints(0)", "Each constraint must have either 2 or 3 fields"),
    (
        {"constraints": [["hostname", "LIKE", "a"], ["hostname", "NEAR"]]},
        "/constraints(1)",
        "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS",
    ),
    ({"constraints": [["hostname", "UNIQUE", "a"]]}, "/constraints(0)", "UNIQUE does not accept a value"),
    ({"constraints": [["hostname", "LIKE"]]}, "/constraints(0)", "LIKE requires a value"),
    ({"constraints": [["hostname", "UNLIKE"]]}, "/constraints(0)", "UNLIKE requires a value"),
    ({"constraints": [["hostname", "LIKE", "("]]}, "/constraints(0)", "regular expression"),
    ({"constraints": [["hostname", "MAX_PER"]]}, "/constraints(0)", "MAX_PER requires a value"),
    ({"constraints": [["hostname", "MAX_PER", "a"]]}, "/constraints(0)", "MAX_PER requires an integer"),
    ({"constraints": [["hostname", "GROUP_BY", "a"]]}, "/constraints(0)", "GROUP_BY requires an integer"),
    ({"healthChecks": [{**CHECK, "portIndex": 1}]}, "/healthChecks(0)/portIndex", "port indices"),
    ({"healthChecks": [{**CHECK, "protocol": "UDP"}]}, "/healthChecks(0)/protocol", "'MESOS_TCP'"),
    ({"healthChecks": [{"protocol": "COMMAND"}]}, "/healthChecks(0)/command", "must not be empty"),
    ({"upgradeStrategy": {"minimumHealthCapacity": 1.1}}, "/upgradeStrategy/minimumHealthCapacity", "equal to 1"),
    ({"upgradeStrategy": {"maximumOverCapacity": -0.1}}, "/upgradeStrategy/maximumOverCapacity", "equal to 0"),
    ({"backoffFactor": 0.99}, "/backoffFactor", "must be greater than or equal to 1"),
    ({"killSelection": "ANY"}, "/killSelection", "'OLDEST_FIRST'"),
    ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2}, "/", "only have one instance"),
    ({"container": {"type": "DOCKER"}}, "/container/docker", "not defined"),
    ({"user": "somebody-else"}, "/user", "must be one of"),
    ({"executor": "/bin/other"}, "/executor", "must be one of"),
    ({"networks": [{"mode": "container/bridge"}]}, "/networks", "mode must be host"),
    ({"secrets": {"a": {"source": "b"}}}, "/secrets", "does not implement"),
    ({"dependencies": ["/y"]}, "/dependencies", "does not implement"),
    ({"readinessChecks": [{"name": "a"}]}, "/readinessChecks", "does not implement"),
    ({"residency": {"taskLostBehavior": "WAIT_FOREVER"}}, "/residency", "does not implement"),
    ({"healthChecks": [{**CHECK, "ipProtocol": "IPv6"}]}, "/healthChecks(0)/ipProtocol", "over IPv4"),
    ({"healthChecks": [{**CHECK, "intervalSecond": 1}]}, "/healthChecks(0)/intervalSecond", "does not implement"),
    ({"portDefinitions": [{"hostPort": 1}]}, "/portDefinitions(0)/hostPort", "does not implement"),
    ({"fetch": [{"uri": "http://a/b", "unpack": True}]}, "/fetch(0)/unpack", "does not implement"),
    ({"upgradeStrategy": {"minimum": 1}}, "/upgradeStrategy/minimum", "does not implement"),
    ({"instnaces": 3}, "/instnaces", "does not implement"),
]
TYPES = [
    ({"id": 3}, "/id", "error.expected.jsstring"),
    ({"id": None}, "/id", "error.path.missing"),
    ({"cmd": ["sleep"]}, "/cmd", "error.expected.jsstring"),
    ({"args": [1]}, "/args(0)", "error.expected.jsstring"),
    ({"instances": "1"}, "/instances", "error.expected.jsnumber"),
    ({"instances": 1.5}, "/instances", "error.expected.jsnumber.int"),
    ({"env": {"A": 1}}, "/env/A", "error.expected.jsstring"),
    ({"labels": []}, "/labels", "error.expected.jsobject"),
    ({"ports": 1}, "/ports", "error.expected.jsarray"),
    ({"requirePorts": "yes"}, "/requirePorts", "error.expected.jsboolean"),
    ({"fetch": [{}]}, "/fetch(0)/uri", "error.path.missing"),
]


@pytest.mark.parametrize(
    ("message", "rows"), [("Object is not valid", RULES), ("Invalid JSON", TYPES)], ids=["rules", "types"]
)
def test_what_is_wrong_with_an_app_is_told_with_its_path(server, message, rows):
    for fields, path, error in rows:
        answer = server.call("POST", "/v2/apps", {**MINIMAL, **fields})
        assert (answer.status_code, answer.json()["message"]) == (422, message), fields
        assert answer.headers["Content-Type"].startswith("application/json")
        (detail,) = answer.json()["details"]
        assert detail["path"] == path
        assert error in detail["errors"][0]
    assert server.get("/v2/apps").json() == {"apps": []}


def test_the_same_rules_hold_for_a_change(server):
    server.create("/x", cmd="exec sleep 1000", **NEVER)
    for method, path, body in (
        ("PUT", "/v2/apps/x?force=true", {"instances": -1}),
        ("PATCH", "/v2/apps/x?force=true", {"instances": -1}),
        ("PUT", "/v2/apps?force=true", [{"id": "/x", "instances": -1}]),
        ("PUT", "/v2/apps/y", {"cmd": "exec sleep 1000", "instances": -1}),
    ):
        answer = server.call(method, path, body)
        assert (answer.status_code, answer.json()["details"][0]["path"]) == (422, "/instances"), (method, path)
    assert server.app("/x")["instances"] == 1
    assert server.get("/v2/apps/y").status_code == 404


def test_every_default_stands_in_the_answer(server):
    app = server.call("POST", "/v2/apps", {**MINIMAL, "instances": 0}).json()
    port = app["portDefinitions"][0].pop("port")
    assert 10000 <= port <= 20000
    wanted = {
        "instances": 0, "cpus": 1, "mem": 128, "disk": 0, "gpus": 0, "executor": "", "role": "*",
        "env": {}, "labels": {},
        "portDefinitions": [{"name": "default", "protocol": "tcp", "labels": {}}], "requirePorts": False,
        "fetch": [], "constraints": [], "healthChecks": [], "networks": [{"mode": "host"}],
        "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
        "backoffSeconds": 1, "backoffFactor": 1.15, "maxLaunchDelaySeconds": 300, "killSelection": "YOUNGEST_FIRST",
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
    }  # fmt: skip
    assert {name: app.get(name) for name in wanted} == wanted
    assert not {"args", "user", "taskKillGracePeriodSeconds", "container", "ports", "uris"} & app.keys()
    assert server.call("POST", "/v2/apps", {"id": "/one", **NEVER, "cmd": "true"}).json()["instances"] == 1


@pytest.mark.parametrize(
    ("protocol", "own"),
    [
        ("HTTP", {"path": "/", "portIndex": 0, "ignoreHttp1xx": False}),
        ("HTTPS", {"path": "/", "portIndex": 0, "ignoreHttp1xx": False}),
        ("MESOS_HTTP", {"path": "/", "portIndex": 0, "ignoreHttp1xx": False}),
        ("TCP", {"portIndex": 0}),
        ("MESOS_TCP", {"portIndex": 0}),
        ("COMMAND", {"command": {"value": "true"}}),
    ],
)
def test_every_default_of_a_health_check_stands_in_the_answer(server, protocol, own):
    given = {"protocol": protocol} | ({"command": {"value": "true"}} if protocol == "COMMAND" else {})
    answer = server.call("POST", "/v2/apps", {**MINIMAL, **NEVER, "healthChecks": [given]})
    assert answer.json()["healthChecks"] == [
        {
            "protocol": protocol, "gracePeriodSeconds": 300, "intervalSeconds": 60, "timeoutSeconds": 20,
            "maxConsecutiveFailures": 3, "delaySeconds": 15, **own,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"portDefinitions": []}, {"portDefinitions": []}),
        ({"ports": []}, {"portDefinitions": []}),
        (
            {"portDefinitions": [{"port": 9001, "protocol": "udp,tcp", "name": "web", "labels": {"a": "b"}}]},
            {"portDefinitions": [{"port": 9001, "protocol": "udp,tcp", "name": "web", "labels": {"a": "b"}}]},
        ),
        (
            {"ports": [9001], "portDefinitions": [{"port": 9001, "protocol": "udp"}]},
            {"portDefinitions": [{"port": 9001, "protocol": "udp", "labels": {}}]},
        ),
        ({"constraints": [["hostname", "group_by"]]}, {"constraints": [["hostname", "GROUP_BY"]]}),
        ({"unreachableStrategy": "disabled"}, {"unreachableStrategy": "disabled"}),
        ({"container": {"type": "MESOS"}}, {"container": {"type": "MESOS"}}),
        ({"taskKillGracePeriodSeconds": 7}, {"taskKillGracePeriodSeconds": 7}),
        ({"disk": 5, "gpus": 1}, {"disk": 5, "gpus": 1}),
        (
            {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}},
            {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 1},
        ),
    ],
)
def test_what_is_given_comes_back_in_the_canonical_form(server, given, wanted):
    answer = server.call("POST", "/v2/apps", {**MINIMAL, **NEVER, **given})
    assert answer.status_code == 201
    for app in (answer.json(), server.app("/x")):
        assert {name: app[name] for name in wanted} == wanted
        assert not {"ports", "uris"} & app.keys()


def test_the_suffix_decides_what_is_unpacked_of_uris(server):
    packed = ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tbz2", "a.tar.xz", "a.txz", "a.gz", "a.zip"]
    uris = [f"http://127.0.0.1:1/{name}" for name in (*packed, "a", "a.jar", "a.txt")]
    fetch = server.call("POST", "/v2/apps", {**MINIMAL, **NEVER, "uris": uris}).json()["fetch"]
    assert [item["uri"] for item in fetch] == uris
    assert [item["extract"] for item in fetch] == [True] * len(packed) + [False] * 3
    assert not any(item["executable"] or item["cache"] for item in fetch)


@pytest.mark.parametrize(("given", "app_id"), [("x", "/x"), ("g1//x/", "/g1/x"), ("/a.b-c/0", "/a.b-c/0")])
def test_an_id_becomes_absolute(server, given, app_id):
    answer = server.call("POST", "/v2/apps", {**MINIMAL, **NEVER, "id": given})
    assert answer.headers["Location"] == answer.json()["id"] == app_id
    assert server.get(f"/v2/apps//{given}").json()["app"]["id"] == app_id
