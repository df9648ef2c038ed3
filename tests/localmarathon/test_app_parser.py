import pytest

from hydra.localmarathon.app_definition import AppDefinition, PortDefinition, app_document, merged_document
from hydra.localmarathon.app_parser import parse_app
from hydra.localmarathon.errors import RequestRefusedError

MINIMAL = {"id": "/x", "cmd": "sleep 1"}
SINGLE = {"MARATHON_SINGLE_INSTANCE_APP": "true"}
WEB_PORT = {"portDefinitions": [{"port": 9001, "protocol": "udp,tcp", "name": "web", "labels": {"a": "b"}}]}


def read(document, **options):
    return parse_app(document, own_user="me", **options)


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
    wanted = {
        "instances": 1, "cpus": 1, "mem": 128, "disk": 0, "gpus": 0, "executor": "", "role": "*",
        "env": {}, "labels": {},
        "portDefinitions": [{"labels": {}, "name": "default", "port": 0, "protocol": "tcp"}], "requirePorts": False,
        "fetch": [], "constraints": [], "healthChecks": [], "networks": [{"mode": "host"}],
        "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
        "backoffSeconds": 1, "backoffFactor": 1.15, "maxLaunchDelaySeconds": 300, "killSelection": "YOUNGEST_FIRST",
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
    }  # fmt: skip
    assert {name: document.get(name) for name in wanted} == wanted
    left_out = {"args", "user", "taskKillGracePeriodSeconds", "acceptedResourceRoles", "container", "ports", "uris"}
    assert not left_out & document.keys()


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
    assert [detail["path"] for detail in document["details"]] == ["/id"]


def test_the_canonical_form_reads_as_the_same_app():
    app = read(
        {
            "id": "g1/x", "args": ["sleep", "1"], "instances": 3, "cpus": 0.5,
            "env": {"A": "ü"}, "labels": {"owner": "me"},
            "portDefinitions": [{"port": 10001, "protocol": "udp,tcp", "name": "http", "labels": {"vip": "1"}}, {}],
            "requirePorts": True, "taskKillGracePeriodSeconds": 7, "killSelection": "OLDEST_FIRST",
            "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0},
            "constraints": [["hostname", "unique"], ["rack", "LIKE", "a.*"]],
            "unreachableStrategy": "disabled", "acceptedResourceRoles": ["*"],
            "container": {"type": "MESOS", "volumes": []},
        }
    )  # fmt: skip
    assert read(app_document(app)) == app
    assert app.constraints == (("hostname", "UNIQUE"), ("rack", "LIKE", "a.*"))
    assert app.ports[0] == PortDefinition(10001, "udp,tcp", "http", {"vip": "1"})


ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".gz", ".zip")
RULES = [
    ({"id": "/X"}, "/id", "must fully match regular expression"),
    ({"id": "/"}, "/id", "root path"),
    ({"id": "/a/versions"}, "/id", "reserved"),
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
    ({"upgradeStrategy": {"minimumHealthCapacity": 1.1}}, "/upgradeStrategy/minimumHealthCapacity", "equal to 1"),
    ({"upgradeStrategy": {"maximumOverCapacity": -0.1}}, "/upgradeStrategy/maximumOverCapacity", "equal to 0"),
    ({"backoffFactor": 0.99}, "/backoffFactor", "must be greater than or equal to 1"),
    ({"killSelection": "ANY"}, "/killSelection", "'OLDEST_FIRST'"),
    ({"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2}, "/", "only have one instance"),
    ({"container": {"type": "DOCKER"}}, "/container/docker", "not defined"),
    ({"user": "somebody-else"}, "/user", "must be one of"),
    ({"executor": "/bin/other"}, "/executor", "must be one of"),
    ({"networks": [{"mode": "container/bridge"}]}, "/networks", "mode must be host"),
    ({"secrets": {"a": {"source": "b"}}}, "/secrets", "does not support"),
    ({"dependencies": ["/y"]}, "/dependencies", "does not support"),
    ({"readinessChecks": [{"name": "a"}]}, "/readinessChecks", "does not support"),
    ({"residency": {"taskLostBehavior": "WAIT_FOREVER"}}, "/residency", "does not support"),
    ({"portDefinitions": [{"hostPort": 1}]}, "/portDefinitions(0)/hostPort", "does not support"),
    ({"fetch": [{"uri": "http://a/b", "unpack": True}]}, "/fetch(0)/unpack", "does not support"),
    ({"upgradeStrategy": {"minimum": 1}}, "/upgradeStrategy/minimum", "does not support"),
    ({"instnaces": 3}, "/instnaces", "does not support"),
    ({"healthChecks": [{"protocol": "TCP"}]}, "/healthChecks", "the local Marathon does not support the field"),
    ({"role": "foo"}, "/role", "must be one of: '*'"),
    ({"id": "/g1/deep/x", "role": "deep"}, "/role", "must be one of: '*', 'g1'"),
    ({"acceptedResourceRoles": ["foo"]}, "/acceptedResourceRoles", "can contain only '*' and the role of the app, '*'"),
    ({"acceptedResourceRoles": []}, "/acceptedResourceRoles", "must not be empty"),
    ({"container": {"docker": {"image": "a", "network": "foo"}}}, "/container/docker/network", "'HOST'"),
    ({"container": {"type": "DOCKER", "docker": {}}}, "/container/docker/image", "must not be empty"),
    ({"container": {"type": "MESOS", "volumes": [{}]}}, "/container/volumes", "does not support"),
    ({"env": {"A=B": "c"}}, "/env/A=B", "valid name"),
    ({"env": {"A": "\0"}}, "/env/A", "NUL"),
    ({"cmd": "echo \ud800"}, "/cmd", "lone surrogates"),
    ({"fetch": [{"uri": "http://x/y", "destPath": "../z"}]}, "/fetch(0)/destPath", "relative path"),
    ({"fetch": [{"uri": "http://a/b.tgz?x=1"}]}, "/fetch(0)/extract", 'use "fetch" with "extract": false'),
    ({"fetch": [{"uri": "http://a/b", "destPath": "c.ZIP"}]}, "/fetch(0)/extract", "does not support unpacking"),
    *(({"uris": [f"http://a/b{suffix}"]}, "/uris(0)", "does not support unpacking") for suffix in ARCHIVES),
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
    ({"cpus": True}, "/cpus", "error.expected.jsnumber"),
    ({"env": []}, "/env", "error.expected.jsobject"),
    ({"container": "MESOS"}, "/container", "error.expected.jsobject"),
    ({"upgradeStrategy": 1}, "/upgradeStrategy", "error.expected.jsobject"),
]


@pytest.mark.parametrize(("fields", "path", "error"), RULES)
def test_a_broken_rule_is_named_with_its_path(fields, path, error):
    document = refusal({**MINIMAL, **fields})
    assert document["message"] == "Object is not valid"
    (detail,) = document["details"]
    assert detail["path"] == path
    assert error in detail["errors"][0]


@pytest.mark.parametrize(("fields", "path", "error"), TYPES)
def test_a_wrong_type_is_named_with_its_path(fields, path, error):
    document = refusal({**MINIMAL, **fields})
    assert document["message"] == "Invalid JSON"
    assert {"path": path, "errors": [error]} in document["details"]


@pytest.mark.parametrize("document", [[], None])
def test_what_is_no_object_is_refused(document):
    assert {"path": "/", "errors": ["error.expected.jsobject"]} in refusal(document)["details"]


def test_everything_wrong_is_told_at_once():
    details = refusal({**MINIMAL, "instances": -1, "cpus": 0, "killSelection": "ANY"})["details"]
    assert {detail["path"] for detail in details} == {"/instances", "/cpus", "/killSelection"}


def test_null_and_empty_count_as_absent():
    nothing = {"args": None, "fetch": [], "healthChecks": [], "secrets": {}, "residency": None, "taskRateLimit": None}
    assert read({**MINIMAL, **nothing, "tasks": []}) == read(MINIMAL)


def test_no_ports_is_not_the_default_port():
    assert read({**MINIMAL, "portDefinitions": []}).ports == ()
    assert read({**MINIMAL, "ports": []}).ports == ()


def test_the_id_of_the_path_is_the_one_that_counts():
    assert read({"cmd": "sleep 1"}, app_id="/g1/x").app_id == "/g1/x"
    assert read({"id": "/other", "cmd": "sleep 1"}, app_id="/x").app_id == "/x"


def test_the_role_of_an_app_may_be_its_top_level_group():
    app = read({**MINIMAL, "id": "/g1/deep/x", "role": "g1", "acceptedResourceRoles": ["g1", "*"]})
    assert (app.role, app.accepted_roles) == ("g1", ("g1", "*"))


def test_what_need_not_be_unpacked_is_accepted():
    fetch = [
        {"uri": "http://a/b.tgz", "extract": False},
        {"uri": "http://a/b.tgz", "executable": True},
        {"uri": "http://a/b.jar"},
    ]
    assert [item.extract for item in read({**MINIMAL, "fetch": fetch}).fetch] == [False, True, True]
    assert [item.extract for item in read({**MINIMAL, "uris": ["http://a/b", "http://a/c.jar"]}).fetch] == [False] * 2


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


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"portDefinitions": []}, {"portDefinitions": []}),
        ({"ports": []}, {"portDefinitions": []}),
        (WEB_PORT, WEB_PORT),
        (
            {"ports": [9001], "portDefinitions": [{"port": 9001, "protocol": "udp"}]},
            {"portDefinitions": [{"port": 9001, "protocol": "udp", "labels": {}}]},
        ),
        ({"constraints": [["hostname", "group_by"]]}, {"constraints": [["hostname", "GROUP_BY"]]}),
        ({"unreachableStrategy": "disabled"}, {"unreachableStrategy": "disabled"}),
        ({"container": {"type": "MESOS"}}, {"container": {"type": "MESOS"}}),
        ({"taskKillGracePeriodSeconds": 7}, {"taskKillGracePeriodSeconds": 7}),
        ({"disk": 5, "gpus": 1}, {"disk": 5, "gpus": 1}),
        ({"labels": SINGLE}, {"labels": SINGLE, "instances": 1}),
    ],
)
def test_what_is_given_comes_back_in_the_canonical_form(given, wanted):
    document = app_document(read({**MINIMAL, **given}))
    assert {name: document[name] for name in wanted} == wanted
    assert not {"ports", "uris"} & document.keys()
