"""``hydra cli`` on a Marathon and a Mesos whose answers are written down here: agents and logs."""

import contextlib
import json

import pytest

from hydra.cli.main import run
from tests.scripted_marathon import VERSION, ScriptedMarathon, refuse

TASK = "g1_kafka-sub.instance-7a._app.1"
LINES = "".join(f"line {number}\n" for number in range(100)) + "\x1b[31mred\x1b[0m\tthe end\n"


@pytest.fixture
def server():
    scripted = ScriptedMarathon()
    with contextlib.closing(scripted):
        address = scripted.url.partition("//")[2]
        scripted.pages = {
            "/slaves": {
                "slaves": [
                    {"id": "S1", "hostname": "node2", "pid": f"slave(1)@{address}", "active": True,
                     "attributes": {"slave_id": "slave-set2_0"}, "used_resources": {"cpus": 0.5, "mem": 64},
                     "resources": {"cpus": 4.0, "mem": 1024, "ports": "[31000-32000]"}},
                    {"id": "S0", "hostname": "node1\x1b[2J", "pid": "slave(1)@127.0.0.9:1", "active": False},
                ]
            },
            "/state": {"frameworks": [{"executors": [{"id": TASK, "directory": "/sandbox/7a"}]}]},
        }  # fmt: skip
        yield scripted


@pytest.fixture
def cli(server, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run(["cli", *arguments, f"--marathon_url={server.url}", f"--mesos_url={server.url}"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_id_of_an_app_is_no_control_character(cli, server):
    server.apps = {name: {"id": name} for name in ("/g1/a", "/g1/\b\bb")}
    server.pages["/v2/groups/g1"] = {"deploymentId": "d1", "version": VERSION}
    code, out, err = cli("stop", "g1")
    assert (code, err) == (0, "")
    assert out == "stopped /g1/\\x08\\x08b, /g1/a\n"


@pytest.mark.parametrize("word", ["agents", "slaves"])
def test_agents_are_listed(cli, word):
    code, out, err = cli("ls", word, "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(out)
    assert (second["host"], second["active"], second["attributes"]) == ("node2", True, {"slave_id": "slave-set2_0"})
    assert (second["cpus"], second["cpus_used"], second["ports"]) == (4.0, 0.5, "[31000-32000]")
    assert first["active"] is False
    code, table, _err = cli("ls", word)
    assert code == 0
    row = next(line for line in table.splitlines() if "node2" in line)
    assert [word for word in row.split() if word] == [
        "node2", "yes", "slave_id=slave-set2_0", "4", "0.5", "1024", "64", "[31000-32000]", "S1"
    ]  # fmt: skip
    assert "\x1b" not in table, "a host's name is no escape sequence"


def serve_file(server, content):
    """Answer ``/files/read`` as Mesos does: a piece from an offset on, or the size for offset -1."""

    def read(regular, handler):
        path, _mark, query = handler.path.partition("?")
        if path != "/files/read":
            return regular()
        asked = dict(part.split("=") for part in query.split("&"))
        offset = int(asked["offset"])
        data = "" if offset < 0 else content[offset : offset + int(asked["length"])]
        return 200, {"data": data, "offset": len(content) if offset < 0 else offset}

    server.misbehave(read, 1000)


def test_logs_tell_where_they_are_and_what_stands_in_them(cli, server):
    serve_file(server, LINES)
    code, out, err = cli("logs", TASK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "log location: node2:/sandbox/7a"
    assert lines[1:3] == ["--- stdout", "line 0"]
    assert lines[-1] == "\\x1b[31mred\\x1b[0m    the end"
    assert "\x1b" not in out
    code, out, _err = cli("logs", TASK, "--bytes", "25", "--json")
    document = json.loads(out)
    assert (document["host"], document["folder"]) == ("node2", "/sandbox/7a")
    assert document["stderr"] == "\x1b[31mred\x1b[0m\tthe end\n"


def test_logs_of_a_task_that_nobody_knows(cli):
    code, out, err = cli("logs", "none")
    assert (code, out) == (4, "")
    assert "knows no sandbox of none; Mesos at http://127.0.0.9:1/state cannot be reached" in err


def test_a_mesos_that_fails_is_told(cli, server):
    server.misbehave(refuse(503, b""), 9)
    code, _out, err = cli("ls", "agents")
    assert code == 4
    assert "answered HTTP 503" in err
    assert err.count("\n") == 1
