"""Checks everything that a run needs, and says how to mend what is wrong."""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import secrets
import sys
import sysconfig
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.given_access import access_to_brokers
from hydra.broker.rights import check_rights
from hydra.endpoints import Endpoint
from hydra.engine.agent_probe import AgentFacts, ProbeResult, probe_agents
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.engine.mesos import Agent
from hydra.errors import HydraError, InfrastructureError
from hydra.kafkatest import running_stack
from hydra.kafkatest.clean import Remains
from hydra.kafkatest.leftovers import counted
from hydra.kafkatest.preflight import TASK_DESCRIPTORS, check_capacity, descriptors_of_a_subscriber
from hydra.options.kafka_access import KafkaAccess
from hydra.options.options import Options
from hydra.options.reader import read_client_properties
from hydra.run.cgroups import usable_cpus, usable_memory_bytes

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
    document: str = ""
    """Lines to copy as they are."""


def _checked(
    subject: str, text: str, remedy: str, *, ok: bool, otherwise: Literal["warning", "error"] = "error"
) -> Finding:
    """A finding whose remedy is told if it is needed."""
    return Finding(subject, "ok", text) if ok else Finding(subject, otherwise, text, remedy)


class Doctor:
    """Checks what the options of a run to come name, one thing after the other.

    Args:
        options: of the run.
        account: the service account of a controller that is in the cluster, too; None for one that is here.
    """

    def __init__(self, options: Options, account: str | None = None) -> None:
        self._options = options
        self._account = account
        self._brokers: tuple[Endpoint, ...] = ()

    def examine(self) -> Iterator[Finding]:
        """Yield every finding as it is made; what depends on something that is missing is left out."""
        failed = False
        for finding in self._examine():
            failed |= finding.status == "error"
            yield finding
        if not failed:
            yield from self._left()

    def _examine(self) -> Iterator[Finding]:
        yield from self._controller()
        yield from self._broker()
        if self._options.engine == "kubernetes":
            from hydra.kafkatest.kube_doctor import examine_kubernetes

            yield from examine_kubernetes(self._options, self._brokers, self._account)
            return
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
        yield Finding("controller", "ok", f"Python {sys.version.split()[0]} on {sysconfig.get_platform()}")
        try:
            check_capacity(self._options)
        except HydraError as error:
            yield _error("controller", error)
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = "no limit of" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        yield Finding("controller", "ok", f"{limit} file descriptors a process")
        memory_mib = usable_memory_bytes()[0] // 2**20
        yield Finding("controller", "ok", f"may use {usable_cpus():.3g} CPUs and {memory_mib} MiB of memory")

    def _left(self) -> Iterator[Finding]:
        with contextlib.suppress(HydraError), Remains(self._options) as remains:
            found = counted(remains.find())
            runs = len(remains.elsewhere())
            more = f"more elsewhere of {runs} run{'s' if runs > 1 else ''}" if runs else ""
            text = f"left by runs that are over: {', '.join(filter(None, (found, more))) or 'nothing'}"
            remedy = "see 'hydra clean', with the same flags"
            yield _checked("controller", text, remedy, ok=not (found or more), otherwise="warning")

    def _broker(self) -> Iterator[Finding]:
        servers = self._options.bootstrap_servers
        if servers is None:
            yield from self._java()
            return
        try:
            access = access_to_brokers(self._options)
            with contextlib.closing(KafkaTopicAdmin(servers, BROKER_TIMEOUT_S, access)) as admin:
                facts = admin.check()
        except HydraError as error:
            yield _error("Kafka", error)
            return
        if (config := self._options.kafka_config) and (ignored := read_client_properties(config).ignored):
            yield Finding("Kafka", "ok", f"settings of {config} that have no effect on runs: {', '.join(ignored)}")
        self._brokers = tuple(facts.brokers.values())
        listed = ", ".join(str(endpoint) for endpoint in self._brokers)
        yield Finding("Kafka", "ok", f"reached from here: {facts.version or 'unknown version'}, brokers {listed}")
        yield from self._rights(servers, access)
        for endpoint in self._brokers:
            if self._options.tasks_elsewhere and _is_loopback(endpoint.host):
                there = "pod" if self._options.engine == "kubernetes" else "agent"
                text = f"a broker advertises {endpoint}, which on each {there} is the {there} itself"
                remedy = f"set advertised.listeners of the broker to an address that {there}s reach"
                yield Finding("Kafka", "error", text, remedy)

    def _rights(self, servers: str, access: KafkaAccess) -> Iterator[Finding]:
        """Every right that the run needs, one by one, with requests that change nothing."""
        run_id = f"hydra-{time.strftime('%Y%m%d-%H%M%S')}-d0c704"
        for answer in check_rights(self._options, run_id, self._brokers, access):
            right = answer.right
            if answer.granted is None:
                yield Finding("rights", "warning", f"{right}: cannot be asked for ({answer.reason})")
                continue
            remedy = f"add that ACL for this user on {servers}"
            text = f"{right} ({right.purpose}): {'allowed' if answer.granted else 'missing'}"
            otherwise: Literal["warning", "error"] = "warning" if right.optional else "error"
            yield _checked("rights", text, remedy, ok=answer.granted, otherwise=otherwise)

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
            text = "its address is not TLS, and whoever can post to it can run commands on every agent"
            remedy = (
                "configure TLS and basic auth, and give an https:// address, --marathon_ca_file and --marathon_secrets"
            )
            yield Finding("Marathon", "warning", text, remedy)
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
        text = f"{role} cannot go anywhere: no agent has {name} = {value}{known}"
        remedy = f"start agents with --attributes={name}:{value}, or change [mesos] {option} in hydra.ini"
        return Finding("agents", "error", text, remedy)

    def _probes(self, launcher: MarathonLauncher, agents: int) -> Iterator[Finding]:
        if not agents:
            return
        name = f"hydra-doctor-{secrets.token_hex(3)}"
        targets = [str(endpoint) for endpoint in self._brokers]
        with contextlib.ExitStack() as closing:
            if is_wanted(self._options):
                marathon_url = (self._options.marathon_url or "http://127.0.0.1:80").partition(",")[0]
                try:
                    code_server = CodeServer(self._options, name, marathon_url)
                except HydraError as error:
                    yield _error("code server", error)
                else:
                    closing.callback(code_server.close)
                    targets.append(code_server.url.partition("//")[2].partition("/")[0])
                    yield Finding("code server", "ok", f"the task bundle is served at {targets[-1]}")
            try:
                probed = probe_agents(
                    launcher, self._options, name=name, agents=agents, targets=targets, timeout_s=PROBE_TIMEOUT_S
                )
            except InfrastructureError as error:
                remedy = error.hint or "see 'hydra cli ls agents' and the task's logs"
                yield Finding("agents", "error", error.message, remedy)
                return
        for each in probed:
            yield from self._probe(each)

    def _probe(self, probed: ProbeResult) -> Iterator[Finding]:
        facts = probed.facts
        if facts is None:
            text = f"a task on it cannot be reached ({probed.error})"
            remedy = "open the agents' ports 31000-32000 for the controller"
            yield Finding(f"agent {probed.task.endpoint}", "error", text, remedy)
            return
        subject = f"agent {facts.host}"
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        yield _checked(
            subject,
            f"Python {facts.python} on {facts.platform} ({facts.path})",
            f"install Python {here} there, give --agent_python, or run the controller on {facts.python}",
            ok=facts.python == here or not is_wanted(self._options),
        )
        needed = max(TASK_DESCRIPTORS, descriptors_of_a_subscriber(self._options))
        limit = f"up to {facts.descriptors}" if facts.descriptors >= 0 else "no limit of"
        yield _checked(
            subject,
            f"{limit} file descriptors{' a task' if facts.descriptors >= 0 else ''}",
            f"a subscriber needs {needed}: raise LimitNOFILE of mesos-agent, or ask for fewer clients",
            ok=facts.descriptors < 0 or facts.descriptors >= needed,
        )
        yield from clock_and_network(
            subject,
            probed,
            facts,
            "run NTP or chrony on controller and agents",
            "open it in the firewall, or give an address that the agents can reach",
        )


def clock_and_network(
    subject: str, probed: ProbeResult, facts: AgentFacts, clock_remedy: str, network_remedy: str
) -> Iterator[Finding]:
    """What a probe says of a host's clock, and of what it reaches."""
    yield _checked(
        subject,
        f"its clock is off by {probed.clock_offset_s:+.3f} s, +/- {probed.round_trip_s:.3f} s",
        clock_remedy,
        ok=abs(probed.clock_offset_s) - probed.round_trip_s < CLOCK_WARNING_S,
        otherwise="warning",
    )
    for target, error in facts.unreached.items():
        yield _checked(
            subject,
            f"cannot reach {target} ({error})" if error else f"reaches {target}",
            network_remedy,
            ok=not error,
        )


def _error(subject: str, error: HydraError) -> Finding:
    return Finding(subject, "error", error.message, error.hint)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
