"""The main job on agents that have Python and no Hydra."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

RUN = ("kafka", "--warmup=0", "--appserver=always")


@pytest.fixture(autouse=True)
def bare_agents(place, tmp_path):
    """The only Python that tasks find has no package, least of all Hydra."""
    folder = tmp_path / "bare"
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], capture_output=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    place.environment["PATH"] = f"{folder / 'bin'}:/usr/bin:/bin"
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        place.environment.pop(name, None)
    return folder / "bin"


def loaded_files(process: psutil.Process) -> set[str]:
    return {item.path for item in process.memory_maps() if ".so" in item.path}


def listening(process: psutil.Process) -> set[str]:
    return {item.laddr.ip for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN}


def test_the_main_job_on_agents_without_hydra(hydra, place, bare_agents):
    command = hydra(*RUN, "--total_sub_apps=3", "--test_duration=3", "--output=result.json")
    command.wait_for(r"delivered [1-9]")
    tasks = [*place.tasks("kafka-pub"), *place.tasks("kafka-sub")]
    assert len(tasks) == 4
    for task in tasks:
        assert task.cmdline()[1:] == ["-I", "hydra.pyz", "task", task.cmdline()[-1]]
        assert Path(task.cmdline()[0]).parent == bare_agents
        ours = [path for path in loaded_files(task) if "msgspec" in path or "zmq" in path]
        assert ours
        assert all(path.startswith(task.cwd()) for path in ours), "its libraries are those in its own sandbox"
        assert not [path for path in loaded_files(task) if path.startswith(sys.prefix)]
    # A machine that is busy with something else makes an honest run indeterminate.
    assert command.end() in {0, 3}, command.errors
    record = json.loads((place.work / "result.json").read_text())
    assert (record["status"], record["result"]["totals"]["records_lost"]) == ("complete", 0)
    place.assert_nothing_left()


def test_bare_agents_at_different_addresses_get_what_their_attributes_are_for(hydra, place):
    command = hydra(
        *RUN,
        "--local_agents=127.0.0.1, 127.0.0.2 slave_id:pub, 127.0.0.3 slave_id:sub, 127.0.0.4 slave_id:sub",
        "--cluster0=slave_id.pub",
        "--cluster1=slave_id.sub",
        "--total_sub_apps=2",
        "--test_duration=3",
        "--msg_rate=100",
        "--output=result.json",
    )
    command.wait_for(r"delivered [1-9]")
    (publisher,), subscribers = place.tasks("kafka-pub"), place.tasks("kafka-sub")
    assert listening(publisher) == {"127.0.0.2"}
    assert [listening(subscriber) <= {"127.0.0.3", "127.0.0.4"} for subscriber in subscribers] == [True, True]
    # A machine that is busy with something else makes an honest run indeterminate.
    assert command.end() in {0, 3}, command.errors
    record = json.loads((place.work / "result.json").read_text())
    assert (record["status"], record["result"]["totals"]["records_lost"]) == ("complete", 0)
    place.assert_nothing_left()


def test_an_agent_that_cannot_run_the_code_says_why(hydra, place):
    command = hydra(
        *RUN,
        "--total_sub_apps=1",
        "--agent_python=/nowhere/python",
        "--start_timeout=6",
    )
    assert command.end() == 3
    assert "Command exited with status 127" in command.complaint
    place.assert_nothing_left()


def test_a_port_of_the_hand_out_that_is_taken_is_told_with_its_owner(hydra, place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = hydra(*RUN, "--total_sub_apps=1", f"--appserver_address=127.0.0.1:{port}")
        assert command.end() == 2
    assert f"port {port} on 127.0.0.1 is taken by process {psutil.Process().pid} " in command.complaint
    place.assert_nothing_left()
