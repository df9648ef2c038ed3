"""Hosts that share no loopback: controller, publisher, subscribers and broker in network namespaces of their own.

Agents are addresses of the machine that the local Marathon runs on. To be hosts of their own they need two things here:
the kernel lets the Marathon's namespace claim ports at addresses that are not its own, and ``--agent_python`` is a
script that goes to the namespace of the task's HOST before it becomes Python.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hydra.broker import exec_with_pdeathsig as bound_child
from hydra.broker.classpath import resolve_classpath
from hydra.broker.java import SHORT_RUN_FLAGS, broker_flags, end_jvm, find_java, java_command, start_jvm
from hydra.broker.server_properties import Ports, properties_text, server_properties
from tests.commands import wait_until

pytestmark = pytest.mark.integration

CONTROLLER, PUBLISHER, SUBSCRIBERS, BROKER = HOSTS = ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4")
KAFKA = Ports(broker=9092, controller=9093)  # nobody else is there
LONGEST_S = 300  # a namespace is gone then, whatever has become of us
# Stands before a command that dies with this process, even by SIGKILL.
BOUND_TO_US = [sys.executable, "-I", "-S", bound_child.__file__, str(os.getpid())]


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def is_elsewhere(pid: int) -> bool:
    with contextlib.suppress(OSError):  # it has ended
        return network_of(pid) != network_of(os.getpid())
    return False


class Namespaces:
    """A network namespace for each host, joined by a bridge in the first one's.

    They have no names and no files: a namespace is there as long as a process is in it, and its first one dies with us.
    """

    def __init__(self) -> None:
        self._tool = {name: shutil.which(name) or name for name in ("ip", "nsenter", "unshare", "sleep")}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._networks: dict[str, str] = {}

    def make(self, hosts: tuple[str, ...]) -> None:
        for host in hosts:
            self._hold(host)
        first, *others = hosts
        self.run(first, "ip link add hub type bridge")
        for number, host in enumerate(others):
            self.run(first, f"ip link add port{number} type veth peer name eth0 netns {self._holders[host].pid}")
            self.run(first, f"ip link set port{number} master hub up")
        for host in hosts:
            link = "hub" if host == first else "eth0"
            self.run(host, f"ip addr add {host}/24 dev {link}")
            self.run(host, f"ip link set {link} up")
            self.run(host, "ip link set lo up")

    def _hold(self, host: str) -> None:
        holder = subprocess.Popen(
            [*BOUND_TO_US, self._tool["unshare"], "--net", self._tool["sleep"], str(LONGEST_S)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._holders[host] = holder
        wait_until(lambda: holder.poll() is not None or is_elsewhere(holder.pid), 10, "a network namespace")
        if holder.poll() is not None:
            raise OSError(holder.stderr.read().decode().strip())
        self._networks[host] = network_of(holder.pid)

    def into(self, host: str) -> list[str]:
        """What stands before a command that is to run at a host."""
        return [self._tool["nsenter"], f"--net=/proc/{self._holders[host].pid}/ns/net"]

    def run(self, host: str, command: str) -> None:
        ended = subprocess.run(
            [*self.into(host), *command.split()], capture_output=True, text=True, timeout=10, check=False
        )
        if ended.returncode != 0:
            raise OSError(f"{command}: {ended.stderr.strip()}")

    def host_of(self, pid: int) -> str:
        network = network_of(pid)
        return next((host for host, other in self._networks.items() if other == network), "none of them")

    def inside(self) -> list[psutil.Process]:
        """The processes that are in one of them: only while a holder lives is its network's name ours."""
        held = {network for host, network in self._networks.items() if self._holders[host].poll() is None}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if network_of(process.pid) in held:
                    found.append(process)
        return found

    def close(self) -> None:
        """End every process that is in one of them; with its last process a namespace is gone."""
        holders = {holder.pid for holder in self._holders.values()}
        for process in self.inside():
            if process.pid not in holders:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for holder in self._holders.values():
            holder.kill()
            holder.wait(10)
            holder.stderr.close()


@pytest.fixture
def namespaces():
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may make network namespaces")
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)} on this machine")
    made = Namespaces()
    try:
        try:
            made.make(HOSTS)
        except OSError as error:
            pytest.skip(f"this machine lets nobody make network namespaces ({error})")
        yield made
        left = [process for process in made.inside() if process.name() != "sleep"]
    finally:
        made.close()
    assert left == []


@pytest.fixture
def kafka(namespaces, tmp_path):
    """A broker that listens at one address of its own host, and tells clients that one; its JVM."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    settings, log = folder / "server.properties", folder / "broker.log"
    at = f"PLAINTEXT://{BROKER}:{KAFKA.broker}"
    properties = server_properties(KAFKA, str(folder / "data"), 2, {})
    properties |= {"listeners": f"{at},CONTROLLER://127.0.0.1:{KAFKA.controller}", "advertised.listeners": at}
    settings.write_text(properties_text(properties))

    def start(flags, *main):
        java = java_command(find_java(), flags, resolve_classpath(), folder, main)
        return start_jvm([*namespaces.into(BROKER), *java], folder, log, {})

    tool = start(SHORT_RUN_FLAGS, "kafka.tools.StorageTool", "format", "--cluster-id=AAAAAAAAAAAAAAAAAAAAAA",
                 f"--config={settings}")  # fmt: skip
    broker = None
    try:
        assert tool.wait(60) == 0, log.read_text()
        broker = start(broker_flags(512), "kafka.Kafka", str(settings))
        probe = f"import socket; socket.create_connection(('{BROKER}', {KAFKA.broker}), 5)"

        def answers():
            assert broker.poll() is None, log.read_text()
            command = [*namespaces.into(CONTROLLER), sys.executable, "-I", "-S", "-c", probe]
            return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0

        wait_until(answers, 60, "a broker in a namespace of its own")
        yield broker
    finally:
        for process in filter(None, (tool, broker)):
            end_jvm(process)


@pytest.fixture
def marathon(namespaces, hydra, place):
    """``hydra marathon`` at the controller's host: its process and its URL."""
    namespaces.run(CONTROLLER, "sysctl -q -w net.ipv4.ip_nonlocal_bind=1")
    agents = f"--local_agents={PUBLISHER} slave_id:pub, {SUBSCRIBERS} slave_id:sub"
    server = hydra("marathon", "--port=0", "--no_auth", agents, prefix=[*BOUND_TO_US, *namespaces.into(CONTROLLER)])
    try:
        wait_until(lambda: server.output or server.process.poll() is not None, 30, "a word of the local Marathon")
        assert server.output, server.errors
        yield server.process, re.search(r"http://\S+:\d+", server.output[0])[0]
    finally:
        server.send(signal.SIGINT)
        server.end(20)


@pytest.fixture
def agent_python(namespaces, tmp_path):
    """The Python of an agent: at the agent's host."""
    script = tmp_path / "agent-python"
    ways = [f'{host}) exec {" ".join(namespaces.into(host))} "$@" ;;' for host in (PUBLISHER, SUBSCRIBERS)]
    lines = ["#!/bin/sh", f'set -- {sys.executable} "$@"', 'case "$HOST" in', *ways, "esac"]
    script.write_text("\n".join([*lines, 'echo "no such host: $HOST" >&2', "exit 9", ""]))
    script.chmod(0o755)
    return script


def listening(pid: int) -> set[str]:
    """The addresses of all IPv4 listeners at the host of a process; psutil knows those of its own host only."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    addresses = [row[1].partition(":")[0] for row in rows if row[3] == "0A"]  # TCP_LISTEN
    return {socket.inet_ntoa(struct.pack("=I", int(address, 16))) for address in addresses}


@pytest.mark.release
def test_nothing_takes_another_host_for_its_own(namespaces, kafka, marathon, agent_python, hydra, place):
    server, url = marathon
    command = hydra(
        "kafka", f"--marathon_url={url}", f"--bootstrap_servers={BROKER}:{KAFKA.broker}",
        f"--appserver_address={CONTROLLER}", f"--agent_python={agent_python}",
        "--cluster0=slave_id.pub", "--cluster1=slave_id.sub",
        "--total_sub_apps=2", "--test_duration=3", "--msg_rate=100", "--output=result.json",
        prefix=[*BOUND_TO_US, *namespaces.into(CONTROLLER)],
    )  # fmt: skip
    command.wait_for(r"delivered [1-9]")
    with command.held():
        (publisher,), subscribers = place.tasks("kafka-pub"), place.tasks("kafka-sub")
        assert [namespaces.host_of(process.pid) for process in (command.process, server)] == [CONTROLLER] * 2
        assert (namespaces.host_of(publisher.pid), listening(publisher.pid)) == (PUBLISHER, {PUBLISHER})
        assert [namespaces.host_of(one.pid) for one in subscribers] == [SUBSCRIBERS] * 2
        assert [listening(one.pid) for one in subscribers] == [{SUBSCRIBERS}] * 2
        assert namespaces.host_of(kafka.pid) == BROKER
    # A machine that is busy with something else makes an honest run indeterminate.
    assert command.end() in {0, 3}, command.errors
    record = place.record()
    assert (record["status"], record["result"]["totals"]["records_lost"]) == ("complete", 0)
    assert record["result"]["totals"]["records_acked"] > 0
