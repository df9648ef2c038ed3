"""``hydra cli`` and ``hydra doctor`` on a local Marathon that runs."""

import json
import re

import pytest

from hydra.cli import cli as cli_module
from hydra.cli.main import run

pytestmark = pytest.mark.integration


@pytest.fixture
def cli(server, capsys, monkeypatch, tmp_path):
    """Runs ``hydra``; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, url=server.url):
        code = run([*arguments, *([f"--marathon_url={url}"] if url else [])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def app(server):
    server.start_app("/g1/kafka-sub", cmd="sleep 1000", cpus=0.01, mem=32, instances=2)
    return "/g1/kafka-sub"


def test_apps_and_tasks_are_listed(cli, app, server):
    code, out, _err = cli("cli", "ls", "apps", "--json")
    (listed,) = json.loads(out)
    assert (code, listed["app"], listed["instances"], listed["running"]) == (0, app, 2, 2)
    code, out, _err = cli("cli", "ls", "task", "g1/kafka-sub", "--json")
    assert [item["task"] for item in json.loads(out)] == [item["id"] for item in server.tasks(app)]
    code, table, _err = cli("cli", "ls", "tasks", app)
    assert code == 0
    assert all(item["id"] in table and item["state"] in table for item in server.tasks(app))
    assert app in cli("cli", "ls", "apps")[1]


def test_an_app_is_scaled(cli, app, server):
    code, out, err = cli("cli", "scale", app, "3")
    assert (code, out, err) == (0, f"{app}: 3 of 3 tasks run\n", "")
    assert len(server.tasks(app)) == 3
    code, out, _err = cli("cli", "scale", app, "0", "--json")
    assert (code, json.loads(out)["running"]) == (0, 0)


def test_an_app_is_stopped_when_its_last_task_is_gone(cli, app, server):
    assert server.census()
    code, out, _err = cli("cli", "stop", app)
    assert (code, out) == (0, f"stopped {app}\n")
    assert server.census() == []


def test_a_group_is_stopped_in_one_call(cli, app, server):
    server.start_app("/g1/deep/er", cmd="sleep 1000", cpus=0.01, mem=32)
    server.start_app("/g2/other", cmd="sleep 1000", cpus=0.01, mem=32)
    code, out, err = cli("cli", "stop", "/g1", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["stopped"] == ["/g1/deep/er", app]
    assert [item["id"] for item in server.get("/v2/apps").json()["apps"]] == ["/g2/other"]


def test_a_locked_app_is_stopped_by_force_only(cli, server):
    # It never settles: no agent has so many cpus.
    deployment = server.create("/g1/waits", cmd="sleep 1000", cpus=1e6)
    code, _out, err = cli("cli", "stop", "/g1/waits")
    assert code == 4
    assert f"locked by deployment {deployment}" in err
    assert "hydra cli force stop /g1/waits" in err
    code, out, err = cli("cli", "force", "stop", "/g1/waits")
    assert (code, out, err) == (0, "stopped /g1/waits\n", "")


def test_a_scaling_that_does_not_end_is_told_with_the_reason(cli, server, monkeypatch, tmp_path):
    monkeypatch.setattr(cli_module, "WAIT_S", 1.0)
    (tmp_path / "needed").touch()
    server.start_app("/x", cmd="sleep 1000", cpus=0.01, mem=32, uris=[f"file://{tmp_path}/needed"])
    (tmp_path / "needed").unlink()
    code, _out, err = cli("cli", "scale", "/x", "2")
    assert code == 4
    assert "is not done after 1 s (" in err
    assert "TASK_FAILED: Failed to launch container: Failed to fetch all URIs" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cli", "stop", "/none"), "there is no app /none"),
        (("cli", "scale", "/none", "3"), "there is no app /none"),
        (("cli", "ls", "task", "/none"), "there is no app /none"),
        (("cli", "stop", "/"), "invalid app id '/'"),
        (("cli", "stop", "/a/../b"), "invalid app id"),
        (("cli", "stop", "/a?force=true"), "invalid app id"),
        (("cli", "stop", "A"), "invalid app id"),
        (("cli", "scale", "/a", "-1"), "No such option"),
        (("cli", "scale", "/a", "many"), "Invalid value"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(cli, arguments, told):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_without_a_marathon_the_hint_names_what_to_give(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    code, _out, err = cli("cli", "ls", "apps", url=None)
    assert code == 2
    assert "give --marathon_url, or run 'hydra local up'" in err


def test_words_are_completed_by_what_there_is(cli, app, server, monkeypatch):
    task_id = server.tasks(app)[0]["id"]

    def complete(*words):
        monkeypatch.setenv("_HYDRA_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(("hydra", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        code, out, err = cli(url=None)
        assert (code, err) == (0, "")
        return [line.partition(",")[2] for line in out.splitlines() if line]

    assert set(complete("cli", "")) >= {"ls", "stop", "force", "scale", "logs"}
    assert complete("cli", "stop", f"--marathon_url={server.url}", "/g") == [app]
    assert complete("cli", "stop", f"--marathon_url={server.url}", "g1") == [app]
    assert task_id in complete("cli", "logs", f"--marathon_url={server.url}", "g1_")
    assert complete("cli", "stop", "--marathon_url=http://127.0.0.1:1", "/g") == []


def test_a_completion_script_is_printed(cli):
    for shell in ("bash", "zsh", "fish"):
        code, out, _err = cli("cli", "completion", shell, url=None)
        assert code == 0
        assert "_HYDRA_COMPLETE" in out


def test_the_doctor_leaves_nothing_and_tells_of_the_agents(cli, server):
    code, out, err = cli("doctor", "--bootstrap_servers=127.0.0.1:1", "--json", "--cluster0=rack.none")
    findings = [f"{item['subject']}, {item['status']}: {item['text']}" for item in json.loads(out)]
    assert (code, err) == (4, "")
    expected = [
        "Kafka, error: .*127.0.0.1:1",
        "Marathon, ok: .* is version 1.10",
        "code server, ok: the task bundle is served",
        "agent .*, ok: Python 3",
        "agent .*, ok: .* file descriptors a task",
        "agent .*, ok: its clock is",
        "agent .*, ok: reaches 127.0.0.1:",
    ]
    for told in expected:
        assert [line for line in findings if re.match(told, line)], (told, findings)
    assert server.get("/v2/apps").json()["apps"] == []
    server.wait_settled()


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
