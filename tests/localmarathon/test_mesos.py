"""The addresses of Mesos."""

import pytest

pytestmark = pytest.mark.integration


def test_mesos_addresses_tell_of_agents_tasks_and_files(agents):
    (task,) = agents.start_app(
        "/grp/hello",
        cmd="printf 'aü\\377b\\n'; echo no >&2; exec sleep 1000",
        cpus=0.5,
        mem=64,
        constraints=[["rack", "IS", "b"]],
    )
    for path in ("/slaves", "/master/slaves"):
        found = {agent["hostname"]: agent for agent in agents.get(path).json()["slaves"]}
        assert sorted(found) == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        assert found["127.0.0.2"]["attributes"] == {"rack": "b", "floor": "2"}
        assert found["127.0.0.2"]["used_resources"]["cpus"] == 0.5
        assert found["127.0.0.2"]["resources"]["mem"] == 1024
        assert found["127.0.0.2"]["id"] == task["slaveId"]
        assert found["127.0.0.2"]["pid"].partition("@")[2] == agents.url.partition("//")[2]
    (framework,) = agents.get("/state").json()["frameworks"]
    (seen,) = framework["tasks"]
    assert (seen["id"], seen["name"], seen["state"]) == (task["id"], "hello.grp", "TASK_RUNNING")
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


def test_no_file_outside_of_the_sandboxes_is_read(server, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (task,) = server.start_app("/x", cmd=f"ln -s {tmp_path}/secret link; ln -s loop loop; echo; exec sleep 1000")
    server.wait_text(task["id"])
    sandbox = server.sandbox(task["id"])
    for path in (
        "/etc/passwd",
        f"{sandbox}/../../../secret",
        f"{sandbox}/link",
        f"{sandbox}/loop",
        str(sandbox),
        "",
        "\0",
    ):
        answer = server.get("/files/read", params={"path": path, "offset": 0})
        assert answer.status_code == 404, path
    assert server.get("/files/read?path=x&offset=y").status_code == 400
