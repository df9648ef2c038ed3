"""Virtual agents: where tasks go, why they wait, what lies in their sandboxes, and what Mesos' addresses tell."""

import functools
import gzip
import http.server
import io
import json
import tarfile
import threading
import zipfile

import pytest

from hydra.cli.main import run
from hydra.engine.marathon_connection import app_definition
from hydra.errors import UsageError
from hydra.localmarathon.app_definition import AppDefinition
from hydra.localmarathon.placement import Offer, Place, refusal, reject_summary
from hydra.options.agent_specs import AgentSpec, parse_agents
from hydra.run.app_spec import AppSpec

SLEEP = {"cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}
AGENTS = "127.0.0.1 rack:a cpus:2 mem:1024, 127.0.0.2 rack:b cpus:2 mem:1024, 127.0.0.3 cpus:2 mem:1024"
PLACES = {name: Place(name, f"127.0.0.{number}", {"rack": name}) for number, name in enumerate("abc", start=1)}


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
        (("@hostname", "LIKE", "127.0.0.[12]"), "", "ab"),
        (("floor", "LIKE", ".*"), "", ""),
        (("floor", "UNIQUE"), "", ""),
        (("floor", "UNLIKE", "x"), "", "abc"),
    ],
)
def test_a_constraint_chooses_agents(constraint, placed, fits_on):
    app = AppDefinition(app_id="/x", constraints=(constraint,))
    where = [PLACES[name] for name in placed]
    fitting = [name for name, place in PLACES.items() if refusal(app, Offer(place, 8, 1024), where) is None]
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
    assert refusal(AppDefinition(app_id="/x", **fields), Offer(PLACES["a"], 2, 128), ()) == reason


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


@pytest.fixture
def agents(start_marathon):
    return start_marathon(agents=parse_agents(AGENTS))


@pytest.mark.integration
def test_tasks_are_spread_over_the_agents_and_listen_there(agents):
    program = "import os, socket; s = socket.create_server((os.environ['HOST'], int(os.environ['PORT0']))); s.accept()"
    tasks = agents.start_app("/x", cmd=f'exec python3 -c "{program}"', cpus=0.1, mem=16, instances=6, ports=[0])
    assert sorted(task["host"] for task in tasks) == sorted(["127.0.0.1", "127.0.0.2", "127.0.0.3"] * 2)
    assert len({task["ports"][0] for task in tasks}) == 6
    assert len({task["slaveId"] for task in tasks}) == 3
    assert all(task["ipAddresses"][0]["ipAddress"] == task["host"] for task in tasks)


@pytest.mark.integration
def test_constraints_hold_over_http(agents, poll):
    tasks = agents.start_app("/unique", constraints=[["hostname", "unique"]], instances=3, **SLEEP)
    assert len({task["host"] for task in tasks}) == 3
    tasks = agents.start_app("/cluster", constraints=[["rack", "CLUSTER", "b"]], instances=3, **SLEEP)
    assert {task["host"] for task in tasks} == {"127.0.0.2"}
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
        ({"acceptedResourceRoles": ["other"]}, "UnfulfilledRole"),
    ],
)
def test_what_does_not_fit_waits_says_why_and_comes_when_there_is_room(agents, poll, fields, reason):
    agents.start_app("/first", instances=3, cmd="exec sleep 1000", cpus=1, mem=512)
    agents.create("/second", **{**SLEEP, **fields})

    def reasons():
        queue = agents.get("/v2/queue").json()["queue"]
        rows = [row for item in queue for row in item["processedOffersSummary"]["rejectSummaryLastOffers"]]
        return [row["reason"] for row in rows if row["declined"]]

    poll(lambda: reasons() == [reason])
    assert agents.app("/second")["tasksStaged"] == 0
    agents.call("DELETE", "/v2/apps/first")
    if reason != "UnfulfilledRole":
        agents.wait_settled()
        assert agents.app("/second")["tasksRunning"] == 1


@pytest.mark.integration
def test_an_address_of_another_machine_is_refused(start_marathon):
    with pytest.raises(UsageError, match=r"192\.0\.2\.1 is no address of this machine"):
        start_marathon(agents=[AgentSpec("192.0.2.1")])


@pytest.fixture
def files(tmp_path):
    """A web server for a folder; yields its URL and the folder."""
    folder = tmp_path / "files"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", folder
        web.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@pytest.mark.integration
def test_what_is_fetched_lies_in_the_sandbox_before_the_command(server, files):
    url, folder = files
    with tarfile.open(folder / "code.tgz", "w:gz") as tar:
        entry = tarfile.TarInfo("sub/a.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"tar"))
    with zipfile.ZipFile(folder / "b.zip", "w") as packed:
        packed.writestr("b.txt", "zip")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"gz"))
    (folder / "tool").write_text("#!/bin/sh\necho tool\n")
    fetch = [
        {"uri": f"{url}/code.tgz"},
        {"uri": f"{url}/b.zip?x=1"},
        {"uri": f"file://{folder}/c.txt.gz"},
        {"uri": f"{url}/tool", "executable": True, "destPath": "bin/t"},
        {"uri": f"{url}/b.zip", "extract": False, "destPath": "whole.zip"},
    ]
    cmd = "cat sub/a.txt b.txt c.txt; echo; bin/t; test -s whole.zip && exec sleep 1000"
    (task,) = server.start_app("/x", cmd=cmd, fetch=fetch)
    assert server.wait_text(task["id"], lines=2) == ["tarzipgz", "tool"]
    assert f"Fetching URI '{url}/code.tgz'" in server.text(task["id"], "stderr")
    assert server.app("/x")["fetch"][0] == {
        "uri": f"{url}/code.tgz", "extract": True, "executable": False, "cache": False
    }  # fmt: skip


@pytest.mark.integration
def test_uris_are_the_older_form_of_fetch(server, files):
    url, folder = files
    (folder / "plain").write_text("here\n")
    (task,) = server.start_app("/x", cmd="cat plain; exec sleep 1000", uris=[f"{url}/plain"])
    assert server.wait_text(task["id"]) == ["here"]
    app = server.app("/x")
    assert "uris" not in app
    assert app["fetch"][0]["extract"] is False


@pytest.mark.integration
@pytest.mark.parametrize("name", ["missing", "broken.tgz", "evil.tgz"])
def test_a_fetch_that_fails_fails_the_task_and_says_why(server, files, poll, name, tmp_path):
    url, folder = files
    (folder / "broken.tgz").write_bytes(b"this is no archive")
    with tarfile.open(folder / "evil.tgz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../../escaped"))
    server.create("/x", uris=[f"{url}/{name}"], cmd="touch was-run")
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert failure["state"] == "TASK_FAILED"
    assert "Failed to fetch all URIs for container" in failure["message"]
    assert f"{url}/{name}" in failure["message"]
    assert "Failed to fetch" in server.text(failure["taskId"], "stderr")
    assert not server.text(failure["taskId"], "was-run")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.integration
def test_a_task_is_killed_while_it_fetches(server):
    asked = threading.Event()
    release = threading.Event()

    class Hanging(QuietHandler):
        def do_GET(self):
            asked.set()
            release.wait(20)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            server.create("/x", uris=[f"http://127.0.0.1:{web.server_port}/f"], **SLEEP)
            assert asked.wait(10)
            assert [task["state"] for task in server.tasks("/x")] == ["TASK_STAGING"]
            server.call("DELETE", "/v2/apps/x")
            server.wait_settled()
            assert list(server.sandbox("").iterdir()) == []
        finally:
            release.set()
            web.shutdown()
            thread.join()


@pytest.mark.integration
def test_mesos_addresses_tell_of_agents_tasks_and_files(agents):
    (task,) = agents.start_app(
        "/x",
        cmd="printf 'aü\\377b\\n'; echo no >&2; exec sleep 1000",
        cpus=0.5,
        mem=64,
        constraints=[["rack", "IS", "b"]],
    )
    for path in ("/slaves", "/master/slaves"):
        found = {agent["hostname"]: agent for agent in agents.get(path).json()["slaves"]}
        assert sorted(found) == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        assert found["127.0.0.2"]["attributes"] == {"rack": "b"}
        assert found["127.0.0.2"]["used_resources"]["cpus"] == 0.5
        assert found["127.0.0.2"]["resources"]["mem"] == 1024
        assert found["127.0.0.2"]["id"] == task["slaveId"]
        assert found["127.0.0.2"]["pid"].partition("@")[2] == agents.url.partition("//")[2]
    (framework,) = agents.get("/state").json()["frameworks"]
    (executor,) = framework["executors"]
    assert (executor["id"], executor["directory"]) == (task["id"], str(agents.sandbox(task["id"])))

    def read(offset, length=100, name="stdout"):
        return agents.get(
            "/files/read", params={"path": f"{executor['directory']}/{name}", "offset": offset, "length": length}
        ).json()

    agents.wait_text(task["id"], "stderr")
    assert read(-1) == {"data": "", "offset": 6}
    assert read(0) == {"data": "aü?b\n", "offset": 0}
    assert read(0, 2)["data"] == "a"
    assert read(4)["data"] == "b\n"
    assert read(100)["data"] == ""
    assert agents.get("/version").json()["version"]


@pytest.mark.integration
def test_no_file_outside_of_the_sandboxes_is_read(server, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (task,) = server.start_app("/x", cmd=f"ln -s {tmp_path}/secret link; echo; exec sleep 1000")
    server.wait_text(task["id"])
    sandbox = server.sandbox(task["id"])
    for path in ("/etc/passwd", f"{sandbox}/../../../secret", f"{sandbox}/link", str(sandbox), "", "\0"):
        answer = server.get("/files/read", params={"path": path, "offset": 0})
        assert answer.status_code == 404, path
    assert server.get("/files/read?path=x&offset=y").status_code == 400


@pytest.mark.integration
def test_hydra_cli_lists_agents_and_reads_logs(agents, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (task,) = agents.start_app("/x", cmd="echo out; echo err >&2; exec sleep 1000", cpus=0.5, mem=64)
    agents.wait_text(task["id"], "stderr")
    assert run(["cli", "ls", "agents", f"--marathon_url={agents.url}"]) == 0
    out = capsys.readouterr().out
    assert all(host in out for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    assert "rack" in out
    assert run(["cli", "logs", task["id"], f"--marathon_url={agents.url}"]) == 0
    out = capsys.readouterr().out
    assert "out" in out
    assert "err" in out
