"""Checks everything that a run needs, and says how to mend what is wrong."""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import secrets
import sys
import sysconfig
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.broker.admin import KafkaTopicAdmin
from hydra.endpoints import Endpoint
from hydra.engine.agent_probe import ProbeResult, probe_agents
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.engine.mesos import Agent
from hydra.errors import HydraError, InfrastructureError
from hydra.kafkatest import running_stack
from hydra.kafkatest.machine import TASK_DESCRIPTORS, check_capacity, descriptors_of_a_subscriber
from hydra.options.options import Options

BROKER_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 45.0
CLOCK_WARNING_S = 1.0
"""Latencies do not depend on it: clocks are aligned over the signals. A larger offset makes logs misleading."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    subject: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str = ""


class Doctor:
    """Checks what the options name, one thing after the other.

    Args:
        options: of the run to come.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._brokers: tuple[Endpoint, ...] = ()

    def examine(self) -> Iterator[Finding]:
        """Yield every finding as it is made; what depends on something that is missing is left out."""
        yield from self._controller()
        yield from self._broker()
        if self._options.marathon_url is None and running_stack.find() is None:
            yield Finding("Marathon", "ok", "a local one is started by each run")
            return
        try:
            access = running_stack.access_to_marathon(self._options)
            with contextlib.closing(MarathonLauncher(access, mesos_url=self._options.mesos_url)) as launcher:
                yield from self._marathon(launcher)
        except HydraError as error:
            yield _error("Marathon", error)

    def _controller(self) -> Iterator[Finding]:
        python = f"Python {sys.version.split()[0]} on {sysconfig.get_platform()}"
        yield Finding("controller", "ok", python)
        try:
            if self._options.marathon_url is None:
                check_capacity(self._options, embedded=self._options.bootstrap_servers is None)
        except HydraError as error:
            yield _error("controller", error)
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = "no limit of" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        yield Finding("controller", "ok", f"{limit} file descriptors a process")

    def _broker(self) -> Iterator[Finding]:
        servers = self._options.bootstrap_servers
        if servers is None:
            yield from self._java()
            return
        try:
            with contextlib.closing(KafkaTopicAdmin(servers, timeout_s=BROKER_TIMEOUT_S)) as admin:
                facts = admin.check()
        except HydraError as error:
            yield _error("Kafka", error)
            return
        self._brokers = tuple(facts.brokers.values())
        listed = ", ".join(str(endpoint) for endpoint in self._brokers)
        yield Finding("Kafka", "ok", f"reached from here: {facts.version or 'unknown version'}, brokers {listed}")
        if self._options.marathon_url is not None:
            for endpoint in self._brokers:
                if _is_loopback(endpoint.host):
                    yield Finding(
                        "Kafka",
                        "error",
                        f"a broker advertises {endpoint}, which on each agent is the agent itself",
                        "set advertised.listeners of the broker to an address that agents reach",
                    )

    def _java(self) -> Iterator[Finding]:
        from hydra.broker.java import find_java

        try:
            java = find_java(self._options.java)
        except HydraError as error:
            yield _error("Kafka", error)
        else:
            yield Finding("Kafka", "ok", f"an embedded one is started by each run, with {java.path}")

    def _marathon(self, launcher: MarathonLauncher) -> Iterator[Finding]:
        facts = launcher.facts()
        url = self._options.marathon_url or "the local stack"
        if facts.leader is None:
            yield Finding("Marathon", "error", f"{url} has no leader", "check its ZooKeeper")
            return
        yield Finding("Marathon", "ok", f"{url} is version {facts.version}, led by {facts.leader}")
        if url.startswith("http://") and not _is_loopback(url.partition("//")[2].partition(":")[0]):
            yield Finding(
                "Marathon",
                "warning",
                "its address is not TLS, and whoever can post to it can run commands on every agent",
                "configure TLS and basic auth, and give an https:// address, --marathon_ca_file and --marathon_secrets",
            )
        agents = yield from self._agents(launcher)
        yield from self._probes(launcher, agents)

    def _agents(self, launcher: MarathonLauncher) -> Generator[Finding, None, int]:
        """Returns on how many of them a probe can run."""
        try:
            agents = [agent for agent in launcher.agents() if agent.active]
        except InfrastructureError as error:
            yield Finding("agents", "warning", error.message, error.hint or "give --mesos_url")
            return 1
        if not agents:
            yield Finding("agents", "error", "Mesos has no active agent", "start mesos-agent on the machines")
            return 0
        yield Finding("agents", "ok", f"{len(agents)} active: {', '.join(agent.hostname for agent in agents)}")
        for option, role in (("cluster0", "the publisher"), ("cluster1", "the subscribers")):
            cluster = getattr(self._options, option)
            # Apps on one machine are not constrained to attributes that its agents lack.
            if cluster is not None and self._options.marathon_url is not None:
                yield self._cluster(option, cluster, role, agents)
        return len(agents)

    def _cluster(self, option: str, cluster: str, role: str, agents: Sequence[Agent]) -> Finding:
        name, _dot, value = cluster.partition(".")
        hosts = [agent.hostname for agent in agents if agent.attributes.get(name) == value]
        if hosts:
            return Finding("agents", "ok", f"{role} can go to {', '.join(hosts)} ({name} is {value})")
        found = sorted({agent.attributes[name] for agent in agents if name in agent.attributes})
        known = f"; there are {', '.join(found)}" if found else ""
        return Finding(
            "agents",
            "error",
            f"{role} cannot go anywhere: no agent has {name} = {value}{known}",
            f"start agents with --attributes={name}:{value}, or change [mesos] {option} in hydra.ini",
        )

    def _probes(self, launcher: MarathonLauncher, agents: int) -> Iterator[Finding]:
        if not agents:
            return
        with contextlib.ExitStack() as closing:
            targets = [str(endpoint) for endpoint in self._brokers]
            if is_wanted(self._options):
                try:
                    code_server = CodeServer(
                        self._options, f"hydra-doctor-{secrets.token_hex(3)}", self._marathon_url()
                    )
                except HydraError as error:
                    yield _error("code server", error)
                else:
                    closing.callback(code_server.close)
                    targets.append(code_server.url.partition("//")[2].partition("/")[0])
                    yield Finding("code server", "ok", f"the task bundle is served at {targets[-1]}")
            name = f"hydra-doctor-{secrets.token_hex(3)}"
            try:
                probed = probe_agents(
                    launcher, self._options, name=name, agents=agents, targets=targets, timeout_s=PROBE_TIMEOUT_S
                )
            except InfrastructureError as error:
                yield Finding(
                    "agents", "error", error.message, error.hint or "see 'hydra cli ls agents' and the task's logs"
                )
                return
        for each in probed:
            yield from self._probe(each)

    def _marathon_url(self) -> str:
        return (self._options.marathon_url or "http://127.0.0.1:80").partition(",")[0]

    def _probe(self, probed: ProbeResult) -> Iterator[Finding]:
        facts = probed.facts
        if facts is None:
            yield Finding(
                f"agent {probed.task.endpoint}",
                "error",
                f"a task on it cannot be reached ({probed.error})",
                "open the agents' ports 31000-32000 for the controller",
            )
            return
        subject = f"agent {facts.host}"
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        fits = facts.python == here or not is_wanted(self._options)
        yield Finding(
            subject,
            "ok" if fits else "error",
            f"Python {facts.python} on {facts.platform} ({facts.path})",
            ""
            if fits
            else f"install Python {here} there, give --agent_python, or run the controller on {facts.python}",
        )
        needed = max(TASK_DESCRIPTORS, descriptors_of_a_subscriber(self._options))
        enough = facts.descriptors < 0 or facts.descriptors >= needed
        yield Finding(
            subject,
            "ok" if enough else "error",
            f"up to {facts.descriptors} file descriptors a task"
            if facts.descriptors >= 0
            else "no limit of file descriptors",
            ""
            if enough
            else f"a subscriber needs {needed}: raise LimitNOFILE of mesos-agent, or ask for fewer clients",
        )
        ahead = abs(probed.clock_offset_s) - probed.round_trip_s
        yield Finding(
            subject,
            "ok" if ahead < CLOCK_WARNING_S else "warning",
            f"its clock is off by {probed.clock_offset_s:+.3f} s, +/- {probed.round_trip_s:.3f} s",
            "" if ahead < CLOCK_WARNING_S else "run NTP or chrony on controller and agents",
        )
        for target, error in facts.unreached.items():
            yield Finding(
                subject,
                "error" if error else "ok",
                f"cannot reach {target} ({error})" if error else f"reaches {target}",
                "open it in the firewall, or give an address that the agents can reach" if error else "",
            )


def _error(subject: str, error: HydraError) -> Finding:
    return Finding(subject, "error", error.message, error.hint)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
