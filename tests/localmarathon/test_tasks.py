"""Tasks as real processes: what they find, how they end, what replaces them."""

import contextlib
import errno
import os
import re
import signal
import sys
import time

import psutil
import pytest

from hydra.localmarathon import agent, processes
from hydra.localmarathon.watchdog import Watchdog
from tests.marathon_fixtures import SLEEP, TIMESTAMP

pytestmark = pytest.mark.integration

# Says "ready" once the handler is set, so that a test knows when SIGTERM can no longer end it.
STUBBORN = "trap '' TERM; echo ready; while true; do sleep 0.1; done"


def state_of(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status()
    return "gone"


def test_args_are_run_without_a_shell(server):
    program = "import sys, time; print(sys.argv[1:], flush=True); time.sleep(1000)"
    (task,) = server.start_app("/x", args=[sys.executable, "-c", program, "$HOME", "a b"])
    assert server.wait_text(task["id"]) == ["['$HOME', 'a b']"]


def test_a_program_that_does_not_exist_fails_and_says_so(server, poll):
    server.create("/x", args=["/no/such/program"])
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert failure["state"] == "TASK_FAILED"
    assert server.census() == []


@pytest.mark.parametrize(
    ("end", "state", "message"),
    [
        ("exit 0", "TASK_FINISHED", "Command exited with status 0"),
        ("exit 3", "TASK_FAILED", "Command exited with status 3"),
        ("kill -9 $$", "TASK_FAILED", "Command terminated with signal Killed"),
    ],
)
def test_a_task_that_ends_is_replaced_by_a_new_one(server, poll, tmp_path, end, state, message):
    # Runs on after the first start: only the first incarnation ends.
    cmd = f'if mkdir "$ONCE"; then while [ ! -e "$ONCE/go" ]; do sleep 0.01; done; {end}; fi; exec sleep 1000'
    once = tmp_path / "once"
    (first,) = server.start_app("/x", cmd=cmd, env={"ONCE": str(once)}, ports=[0], backoffSeconds=0)
    (once / "go").touch()
    second = poll(lambda: [task for task in server.tasks("/x") if task["id"] != first["id"]])[0]
    assert second["ports"] != first["ports"]
    failure = server.app("/x")["lastTaskFailure"]
    assert (failure["taskId"], failure["state"], failure["message"]) == (first["id"], state, message)
    assert server.sandbox(first["id"]).exists()


def test_only_the_latest_sandboxes_are_kept(server, poll):
    server.create("/x", cmd="echo here; exit 1", backoffSeconds=0)
    seen = set()

    def count():
        seen.update(entry.name for entry in server.sandbox("").iterdir())
        return len(seen) > 10

    poll(count)
    assert len(list(server.sandbox("").iterdir())) <= 7
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert list(server.sandbox("").iterdir()) == []


def test_sigterm_comes_before_sigkill(server):
    (task,) = server.start_app("/x", cmd="trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done")
    server.wait_text(task["id"])
    server.start_app("/y", **SLEEP)
    answer = server.call("DELETE", f"/v2/apps/x/tasks/{task['id']}")
    assert answer.json()["task"]["id"] == task["id"]
    assert server.wait_text(task["id"], lines=2) == ["ready", "bye"]


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace(server, poll):
    (task,) = server.start_app("/x", cmd=STUBBORN, taskKillGracePeriodSeconds=0.5)
    server.wait_text(task["id"])
    server.call("DELETE", "/v2/apps/x")
    assert server.get("/v2/apps/x").status_code == 404
    assert server.get("/v2/tasks").json()["tasks"] == []
    (deployment,) = server.deployments()
    assert deployment["currentActions"][0]["action"] == "StopApplication"
    # As long as the process lives the deployment is listed, and the id is locked.
    assert server.call("POST", "/v2/apps", {"id": "/x", **SLEEP}).json()["deployments"] == [{"id": deployment["id"]}]
    assert server.census() != []
    server.wait_settled()
    assert server.census() == []
    assert not server.sandbox(task["id"]).exists()
    server.start_app("/x", **SLEEP)


def test_a_stopped_task_is_killed_too(server, poll):
    (task,) = server.start_app("/x", cmd="echo $$; exec sleep 1000", taskKillGracePeriodSeconds=0)
    pid = int(server.wait_text(task["id"])[0])
    os.kill(pid, signal.SIGSTOP)
    poll(lambda: state_of(pid) == psutil.STATUS_STOPPED)
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert state_of(pid) == "gone"


def test_the_whole_process_tree_goes(server, poll):
    # A child, a grandchild in a session of its own, and one that has lost its parent as well.
    cmd = (
        "sleep 1001 & setsid sh -c 'trap \"\" TERM; echo $$; sleep 1002' & "
        "(setsid sh -c 'trap \"\" TERM; echo $$; sleep 1003' &) ; wait"
    )
    (task,) = server.start_app("/x", cmd=cmd, taskKillGracePeriodSeconds=0.2)
    pids = [int(line) for line in server.wait_text(task["id"], lines=2)]
    assert os.getsid(pids[0]) == pids[0]
    assert psutil.Process(pids[1]).ppid() != psutil.Process(pids[0]).ppid()
    assert len(server.census()) >= 5
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert server.census() == []
    # Nobody but the first process of the machine can collect them, at its leisure.
    assert {state_of(pid) for pid in pids} <= {"gone", psutil.STATUS_ZOMBIE}


def test_a_task_ends_also_where_no_descriptors_are_left_to_see_its_processes_for_a_while(server, monkeypatch):
    server.start_app("/x", **SLEEP)
    misses, see = [1, 2, 3], processes.read_process_table

    def see_later():
        if misses:
            raise OSError(errno.EMFILE, f"Too many open files ({misses.pop()})")
        return see()

    monkeypatch.setattr(processes, "read_process_table", see_later)
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert (misses, server.census()) == ([], [])


def test_what_a_task_leaves_behind_when_it_ends_goes_too(server, poll):
    server.create("/x", cmd="setsid sleep 1001 & echo $!; exit 1", backoffSeconds=600, maxLaunchDelaySeconds=600)
    poll(lambda: server.app("/x").get("lastTaskFailure"))
    poll(lambda: server.census() == [])


def test_killing_all_tasks_with_and_without_scaling(server, poll):
    before = server.start_app("/x", instances=3, **SLEEP)
    answer = server.call("DELETE", "/v2/apps/x/tasks?scale=False")
    assert {task["id"] for task in answer.json()["tasks"]} == {task["id"] for task in before}
    replaced = poll(
        lambda: (
            (tasks := server.tasks("/x"))
            and {task["state"] for task in tasks} == {"TASK_RUNNING"}
            and len({task["id"] for task in tasks} - {task["id"] for task in before}) == 3
            and tasks
        )
    )
    assert server.call("DELETE", "/v2/apps/x/tasks?host=elsewhere").json() == {"tasks": []}
    answer = server.call("DELETE", f"/v2/apps/x/tasks/{replaced[0]['id']}?scale=true")
    assert answer.json().keys() == {"version", "deploymentId"}
    server.wait_settled()
    assert {task["id"] for task in server.tasks("/x")} == {task["id"] for task in replaced[1:]}
    server.call("DELETE", "/v2/apps/x/tasks?host=*&scale=true")
    server.wait_settled()
    assert (server.app("/x")["instances"], server.tasks("/x")) == (0, [])
    missing = server.call("DELETE", f"/v2/apps/x/tasks/{replaced[0]['id']}")
    assert (missing.status_code, missing.json()) == (404, {"message": f"Task '{replaced[0]['id']}' does not exist"})


@pytest.mark.parametrize(("selection", "survivor"), [("YOUNGEST_FIRST", 0), ("OLDEST_FIRST", 2)])
def test_scaling_down_kills_in_the_order_that_was_chosen(server, selection, survivor):
    tasks = []
    server.start_app("/x", killSelection=selection, **SLEEP)
    for instances in (2, 3):
        server.call("PUT", "/v2/apps/x", {"instances": instances})
        server.wait_settled()
    tasks = sorted(server.tasks("/x"), key=lambda task: task["startedAt"])
    server.call("PUT", "/v2/apps/x", {"instances": 1})
    server.wait_settled()
    assert [task["id"] for task in server.tasks("/x")] == [tasks[survivor]["id"]]


def test_a_watchdog_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 1000\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    Watchdog("framework", tmp_path, {"PATH": os.environ["PATH"]}).dismiss(timeout_s=0.2)
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert [child for child in alive if child.cmdline() == ["sleep", "1000"]] == []


def test_two_servers_share_nothing(start_marathon, free_ports):
    numbers = free_ports(40)
    first, second = start_marathon(host_ports=numbers), start_marathon(host_ports=numbers)
    ports = [
        task["ports"][0]
        for server in (first, second)
        for task in server.start_app("/x", instances=10, ports=[0], **SLEEP)
    ]
    assert len(set(ports)) == 20
    first.run(first.server.stop())
    assert len(second.census()) == 10


def test_stopping_ends_tasks_at_once_if_told_so(start_marathon):
    server = start_marathon()
    (task,) = server.start_app("/x", cmd=STUBBORN, taskKillGracePeriodSeconds=600)
    server.wait_text(task["id"])
    server.run(server.server.stop(grace_s=0))
    assert server.census() == []


def test_ends_are_noticed_without_pidfds_too(start_marathon, monkeypatch, poll):
    asked = []

    def no_pidfd(pid):
        asked.append(pid)
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", no_pidfd, raising=False)
    server = start_marathon()
    (task,) = server.start_app("/x", **SLEEP)
    (pid,) = asked
    os.kill(pid, signal.SIGKILL)
    failure = poll(lambda: server.app("/x").get("lastTaskFailure"))
    assert (failure["taskId"], failure["message"]) == (task["id"], "Command terminated with signal Killed")


def test_tasks_of_all_apps(server):
    server.start_app("/x", ports=[0, 0], **SLEEP)
    server.start_app("/y", portDefinitions=[], **SLEEP)
    tasks = {task["appId"]: task for task in server.get("/v2/tasks").json()["tasks"]}
    assert tasks["/y"]["ports"] == tasks["/y"]["servicePorts"] == []
    assert len(tasks["/x"]["ports"]) == len(tasks["/x"]["servicePorts"]) == 2
    assert len(server.get("/v2/tasks?status=running").json()["tasks"]) == 2
    assert server.get("/v2/tasks?status[]=staging").json()["tasks"] == []
    for query, found in (("status=killing", 2), ("status=RUNNING", 2), ("status=killing&status=staging", 0)):
        assert len(server.get(f"/v2/tasks?{query}").json()["tasks"]) == found, query


def test_a_task_is_staged_before_it_runs(start_marathon, poll):
    server = start_marathon(staging_s=600)
    server.create("/x", **SLEEP)
    (task,) = poll(lambda: server.get("/v2/tasks").json()["tasks"])
    assert task["state"] == "TASK_STAGING"
    assert "startedAt" not in task
    assert (server.app("/x")["tasksStaged"], server.app("/x")["tasksRunning"]) == (1, 0)
    for query, found in (("status=staging", 1), ("status[]=staging", 1), ("status=running", 0)):
        assert len(server.get(f"/v2/tasks?{query}").json()["tasks"]) == found
    assert len(server.get("/v2/tasks?status=running&status[]=staging").json()["tasks"]) == 1


def test_a_task_has_every_field(server):
    (task,) = server.start_app("/g1/kafka-sub", ports=[0, 0], **SLEEP)
    assert task.keys() == {
        "id", "appId", "host", "slaveId", "state", "ports", "servicePorts", "ipAddresses", "stagedAt", "startedAt",
        "version", "role", "localVolumes", "healthCheckResults",
    }  # fmt: skip
    uuid = "[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert re.fullmatch(rf"g1_kafka-sub\.instance-{uuid}\._app\.1", task["id"])
    assert (task["appId"], task["role"], task["localVolumes"]) == ("/g1/kafka-sub", "*", [])
    assert (task["host"], task["state"]) == ("127.0.0.1", "TASK_RUNNING")
    assert task["ipAddresses"] == [{"ipAddress": task["host"], "protocol": "IPv4"}]
    assert task["stagedAt"] <= task["startedAt"]
    assert all(TIMESTAMP.fullmatch(task[name]) for name in ("stagedAt", "startedAt", "version"))
    assert all(10000 <= port <= 20000 for port in task["servicePorts"])
    assert all(21000 <= port <= 32000 for port in task["ports"])


def test_a_task_that_is_killed_comes_back_new_and_without_a_delay(server, poll):
    (before,) = server.start_app("/x", ports=[0], backoffSeconds=3600, maxLaunchDelaySeconds=3600, **SLEEP)
    killed = server.call("DELETE", f"/v2/apps/x/tasks/{before['id']}").json()["task"]
    assert killed["id"] == before["id"]
    poll(lambda: server.app("/x")["tasksRunning"] == 1 and server.tasks("/x")[0]["id"] != before["id"])
    (after,) = server.tasks("/x")
    assert after["ports"] != before["ports"]
    assert after["servicePorts"] == before["servicePorts"]
    assert "lastTaskFailure" not in server.app("/x")


def test_a_task_finds_its_variables_and_its_folder(server):
    (task,) = server.start_app(
        "/g1/x", cmd="env; pwd >&2; exec sleep 1000", mem=32, ports=[0, 0], labels={"owner-name": "me"},
        env={"HOST": "mine", "PORT1": "mine"},
    )  # fmt: skip
    lines = server.wait_text(task["id"], lines=25)
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    ports, sandbox = task["ports"], str(server.sandbox(task["id"]))
    wanted = {
        "MESOS_TASK_ID": task["id"], "MESOS_FRAMEWORK_ID": server.server.framework_id,
        "MESOS_SLAVE_ID": task["slaveId"], "MESOS_SANDBOX": sandbox, "HYDRA_RUN_ID": "run-7",
        "MARATHON_APP_ID": "/g1/x", "MARATHON_APP_VERSION": task["version"], "MARATHON_APP_RESOURCE_MEM": "32.0",
        "MARATHON_APP_LABEL_OWNER_NAME": "me",
        "PORT0": str(ports[0]), "PORTS": f"{ports[0]},{ports[1]}", f"PORT_{task['servicePorts'][0]}": str(ports[0]),
        # The app's own are applied last.
        "HOST": "mine", "PORT1": "mine",
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert "MARATHON_APP_DOCKER_IMAGE" not in found
    assert server.wait_text(task["id"], "stderr") == [sandbox]


BOTH_PROTOCOLS = """
import os, signal, socket, sys
kept = []
for name in sys.argv[1:]:
    address = os.environ["HOST"], int(os.environ[f"PORT_{name}"])
    kept += [socket.create_server(address), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    kept[-1].bind(address)
    print(name, address[1], flush=True)
signal.pause()
"""


def test_a_task_may_use_both_protocols_of_a_port(server, free_ports):
    first, second = free_ports(2)
    definitions = [{"protocol": "udp,tcp", "port": first}, {"protocol": "udp,tcp", "port": second, "name": "both"}]
    args = [sys.executable, "-c", BOTH_PROTOCOLS, str(first), "BOTH"]
    (task,) = server.start_app("/x", args=args, portDefinitions=definitions, requirePorts=True, cpus=0.1, mem=16)
    assert task["ports"] == task["servicePorts"] == [first, second]
    assert server.wait_text(task["id"], lines=2) == [f"{first} {first}", f"BOTH {second}"]


def test_a_task_has_three_seconds_to_end_if_the_app_names_no_time(server, monkeypatch):
    assert agent.DEFAULT_KILL_GRACE_S == 3
    monkeypatch.setattr(agent, "DEFAULT_KILL_GRACE_S", 0.5)
    (task,) = server.start_app("/x", cmd=STUBBORN, cpus=0.1, mem=16)
    server.wait_text(task["id"])
    begin_s = time.monotonic()
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert 0.5 <= time.monotonic() - begin_s < 3


def test_tasks_are_killed_by_their_ids(server, poll):
    x = server.start_app("/x", instances=4, **SLEEP)
    (y,) = server.start_app("/y", **SLEEP)
    answer = server.call("POST", "/v2/tasks/delete", {"ids": [x[0]["id"], y["id"], "gone.instance-1._app.1"]})
    assert {task["id"] for task in answer.json()["tasks"]} == {x[0]["id"], y["id"]}
    poll(lambda: {x[0]["id"], y["id"]}.isdisjoint(task["id"] for task in server.get("/v2/tasks").json()["tasks"]))
    poll(lambda: server.app("/x")["tasksRunning"] == 4 and server.app("/y")["tasksRunning"] == 1)
    before, (y,) = server.tasks("/x"), server.tasks("/y")
    # The oldest of /x: by themselves, fewer instances would take the youngest.
    chosen = [before[0]["id"], before[1]["id"], y["id"]]
    answer = server.call("POST", "/v2/tasks/delete?scale=true", {"ids": chosen})
    assert answer.json().keys() == {"version", "deploymentId"}
    server.wait_settled()
    assert (server.app("/x")["instances"], server.app("/y")["instances"]) == (2, 0)
    assert [task["id"] for task in server.tasks("/x")] == [before[2]["id"], before[3]["id"]]


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", {"ids": ["nonsense"]}, 400, "Invalid task id 'nonsense'. [it must look like app.instance-uuid._app.1]"),
        ("", {}, 422, "Invalid JSON"),
        ("?scale=true&wipe=true", {"ids": []}, 400, "You cannot use scale and wipe at the same time."),
    ],
)
def test_ids_that_make_no_sense_are_refused(server, query, body, status, message):
    answer = server.call("POST", f"/v2/tasks/delete{query}", body)
    assert (answer.status_code, answer.json()["message"]) == (status, message)
