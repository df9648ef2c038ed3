"""Tasks as real processes: what they find, how they end, what replaces them."""

import contextlib
import os
import signal
import socket
import sys
from itertools import pairwise

import psutil
import pytest

pytestmark = pytest.mark.integration

SLEEP = {"cmd": "exec sleep 1000"}
# Says "ready" once the handler is set, so that a test knows when SIGTERM can no longer end it.
STUBBORN = "trap '' TERM; echo ready; while true; do sleep 0.1; done"


def state_of(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status()
    return "gone"


def test_a_task_finds_its_environment_its_folder_and_its_output_files(server):
    cmd = "env; pwd >&2; exec sleep 1000"
    (task,) = server.start_app("/g1/x", cmd=cmd, ports=[0, 0], env={"OWN": "a b"}, labels={"l": "v"}, cpus=0.5)
    environment = dict(line.split("=", 1) for line in server.wait_text(task["id"], lines=20) if "=" in line)
    first, second = task["ports"]
    sandbox = str(server.sandbox(task["id"]))
    wanted = {
        "HOST": "127.0.0.1",
        "PORT": str(first),
        "PORT0": str(first),
        "PORT1": str(second),
        "PORTS": f"{first},{second}",
        f"PORT_{task['servicePorts'][1]}": str(second),
        "MARATHON_APP_ID": "/g1/x",
        "MARATHON_APP_VERSION": task["version"],
        "MARATHON_APP_RESOURCE_CPUS": "0.5",
        "MARATHON_APP_LABEL_L": "v",
        "MESOS_TASK_ID": task["id"],
        "MESOS_SANDBOX": sandbox,
        "MESOS_DIRECTORY": sandbox,
        "HYDRA_RUN_ID": "run-7",
        "OWN": "a b",
    }
    assert {name: environment.get(name) for name in wanted} == wanted
    assert server.wait_text(task["id"], "stderr") == [sandbox]
    assert task["id"].startswith("g1_x.instance-")


def test_args_are_run_without_a_shell(server):
    program = "import sys, time; print(sys.argv[1:], flush=True); time.sleep(1000)"
    (task,) = server.start_app("/x", args=[sys.executable, "-c", program, "$HOME", "a b"])
    assert server.wait_text(task["id"]) == ["['$HOME', 'a b']"]


def test_a_task_listens_on_its_port(server, poll):
    program = "import os, socket; s = socket.create_server(('127.0.0.1', int(os.environ['PORT0']))); s.accept()"
    (task,) = server.start_app("/x", args=[sys.executable, "-c", program], ports=[0])

    def connect():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", task["ports"][0]), timeout=1):
            return True

    assert poll(connect)


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


def test_a_task_that_ends_again_and_again_is_slowed_down(server, poll, tmp_path):
    log = tmp_path / "log"
    cmd = 'date +%s.%N >> "$LOG"; exit 1'
    server.create("/x", cmd=cmd, env={"LOG": str(log)}, backoffSeconds=0.2, backoffFactor=3, maxLaunchDelaySeconds=60)
    starts = poll(lambda: log.exists() and len(log.read_text().split()) >= 4 and log.read_text().split())
    moments = [float(start) for start in starts]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert [gap >= least for gap, least in zip(gaps, (0.2, 0.6, 1.8), strict=False)] == [True] * 3
    # The deployment stays, the app stays locked, and force gets it away.
    assert len(server.deployments()) == 1
    assert server.call("DELETE", "/v2/apps/x").status_code == 200
    server.wait_settled()


def test_another_configuration_begins_without_the_delay(server, poll):
    server.create("/x", cmd="exit 1", backoffSeconds=600, maxLaunchDelaySeconds=600)
    poll(lambda: server.app("/x").get("lastTaskFailure"))
    server.call("PUT", "/v2/apps/x?force=true", SLEEP)
    server.wait_settled()
    assert server.app("/x")["tasksRunning"] == 1


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
    (task,) = server.start_app("/x", cmd=STUBBORN, taskKillGracePeriodSeconds=1)
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
    server.call("DELETE", "/v2/apps/x/tasks?scale=true")
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


def test_a_hundred_tasks(server, poll):
    server.create("/x", instances=100, ports=[0, 0], **SLEEP)
    assert server.get("/ping").text == "pong"
    server.wait_settled()
    tasks = server.tasks("/x")
    assert len({task["id"] for task in tasks}) == 100
    assert len({port for task in tasks for port in task["ports"]}) == 200
    assert len(server.census()) == 100
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    assert server.census() == []


def test_tasks_wait_while_there_are_no_ports(start_marathon, poll, free_ports):
    server = start_marathon(host_ports=free_ports(2))
    server.create("/x", instances=3, ports=[0], **SLEEP)
    poll(lambda: server.app("/x")["tasksRunning"] == 2)
    assert len(server.deployments()) == 1
    server.call("PUT", "/v2/apps/x?force=true", {"instances": 2})
    server.wait_settled()


def test_no_more_tasks_than_allowed(start_marathon, poll):
    server = start_marathon(max_tasks=2)
    server.create("/x", instances=1_000_000_000, portDefinitions=[], **SLEEP)
    poll(lambda: server.app("/x")["tasksRunning"] == 2)
    assert len(server.census()) == 2


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
