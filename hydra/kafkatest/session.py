"""The test rig: the stack, and the controller's connections to it."""

from __future__ import annotations

import contextlib

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.probe import BrokerProbe
from hydra.clients.auditor import WireAuditor
from hydra.engine.apps import Placement
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.marathon_access import given_access, local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.errors import HydraError, InfrastructureError, MarathonError, UsageError
from hydra.kafkatest.stack import Stack
from hydra.options.options import WARMUP_S, Options
from hydra.options.order import delivery_timeout_s
from hydra.run.clock import MonotonicClock
from hydra.run.context import RunContext
from hydra.run.deployment import Deployment
from hydra.run.progress import Progress
from hydra.run.protocols import ClusterFacts
from hydra.signals.zmq_signals import ZmqSignals
from hydra.tasks.host import LocalHost

ADMIN_TIMEOUT_S = 15.0
EMBEDDED_GRACE_S = 2.0
"""Nobody restarts an embedded Kafka. A cluster's may be: it is waited for as long as a record waits for its ack."""

FIXED_OPTIONS = (
    "marathon_url", "marathon_secrets", "marathon_ca_file", "marathon_timeout", "mesos_url", "cluster0", "cluster1",
    "appserver", "appserver_address", "appserver_bind", "agent_python", "bootstrap_servers", "app_prefix", "java",
    "broker_property", "broker_heap_mb",
)  # fmt: skip
"""What a stack that is up cannot follow."""


class Rig:
    """The stack and the connections to it; made once for many runs.

    Args:
        options: name a Marathon and a Kafka, or neither.
        run_id: names what is started here.
        progress: told what happens.

    Raises:
        HydraError: with everything that had been started taken down again.
    """

    def __init__(self, options: Options, run_id: str, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._closing = contextlib.ExitStack()
        self._keep = False
        self._ran = False
        given = given_access(options) if options.marathon_url is not None else None
        with contextlib.ExitStack() as undo:
            self._stack = Stack(options, run_id, note=progress.note)
            undo.callback(lambda: self._stack.close(keep=self._keep))
            self._stack.open()
            if options.bootstrap_servers is not None:
                # A cluster that is given can be looked at before anything is started on it.
                self._admin(undo).check()
            access = given or local_access(self._stack.marathon_url())
            self.launcher = MarathonLauncher(access, mesos_url=options.mesos_url)
            undo.callback(self.launcher.close)
            self.marathon_version = self._first_word_of_marathon()
            self.placing = self._placing(undo, run_id, access.urls[0])
            self._signals = ZmqSignals()
            undo.callback(self._signals.close)
            self._clock = MonotonicClock()
            self.deployment = Deployment(self.launcher, self._signals, self._clock, progress)
            self._closing = undo.pop_all()
        self._facts = ClusterFacts("")

    def _first_word_of_marathon(self) -> str:
        try:
            return self.launcher.check()
        except MarathonError as error:
            raise self._stack.failure() or error from error

    def _placing(self, closing: contextlib.ExitStack, run_id: str, marathon_url: str) -> Placement:
        """What the apps need of this rig: the code where agents have none, and agents that are what they ask for."""
        hand_out = None
        if is_wanted(self._options):
            self._progress.phase("starting", "packing the code for the agents")
            hand_out = CodeServer(self._options, run_id, marathon_url)
            closing.callback(hand_out.close)
        return Placement(hand_out, constrained=not self._stack.local or self._agents_have_clusters())

    def _agents_have_clusters(self) -> bool:
        """On one machine everything fits: its agents have the clusters' attributes, or nothing is asked of them."""
        wanted = {cluster for cluster in (self._options.cluster0, self._options.cluster1) if cluster}
        try:
            agents = self.launcher.agents() if wanted else ()
        except InfrastructureError:
            return False
        return wanted <= {f"{name}.{value}" for agent in agents for name, value in agent.attributes.items()}

    def _admin(self, closing: contextlib.ExitStack) -> KafkaTopicAdmin:
        self.bootstrap_servers = self._stack.bootstrap_servers()
        self.admin = KafkaTopicAdmin(self.bootstrap_servers, timeout_s=ADMIN_TIMEOUT_S)
        closing.callback(self.admin.close)
        return self.admin

    def connect_kafka(self) -> None:
        """Wait until Kafka is up and learn about it.

        Raises:
            BrokerError: it cannot be reached.
        """
        if self._options.bootstrap_servers is None:
            self._progress.phase("starting", "waiting for the embedded Kafka")
            self._admin(self._closing)
        self._facts = self.admin.check()
        grace_s = EMBEDDED_GRACE_S if self._stack.embedded else delivery_timeout_s(self._options)
        self._probe = BrokerProbe(self.bootstrap_servers, grace_s=grace_s, note=self._progress.note)

    def world(self, progress: Progress) -> RunContext:
        """What a run is given, with who is told of it."""
        return RunContext(
            launcher=self.launcher,
            signals=self._signals,
            admin=self.admin,
            clock=self._clock,
            host=LocalHost(self._stack.kafka_pid),
            auditor=WireAuditor(),
            progress=progress,
            broker_error=self._broker_error,
        )

    def warmup_s(self, options: Options) -> float:
        """How long to warm up before the next run; 0 where one has been made."""
        if self._ran:
            return 0.0
        if options.warmup is not None:
            return options.warmup
        return 0.0 if self._stack.warm() else WARMUP_S

    def ran(self) -> None:
        """Load has been on the broker: what comes next finds it warm."""
        self._ran = True
        self._stack.mark_warm()

    def failure(self) -> HydraError | None:
        """Why the local stack ended by itself; None while it is well."""
        return self._stack.failure()

    def kafka_died(self) -> str:
        """The last lines of an embedded Kafka that died; empty otherwise."""
        return self._stack.kafka_died()

    def _broker_error(self) -> str:
        died = self._stack.kafka_died()
        return f"the embedded Kafka died: {died}" if died else self._probe()

    def cluster(self) -> dict[str, object]:
        """What a result says of Marathon and Kafka."""
        return {
            "marathon": "local" if self._stack.local else self._options.marathon_url,
            "marathon_version": self.marathon_version,
            "kafka": "embedded" if self._stack.embedded else "external",
            **self._broker_settings(),
            "kafka_version": self._facts.version,
            "kafka_cluster_id": self._facts.cluster_id,
            "brokers": {str(node_id): str(endpoint) for node_id, endpoint in self._facts.brokers.items()},
        }

    def _broker_settings(self) -> dict[str, object]:
        if not self._stack.embedded:
            return {}
        settings = self._stack.broker_settings
        return {"broker_property": list(settings.properties), "broker_heap_mb": settings.heap_mb}

    def check_same(self, options: Options) -> None:
        """See that options are for this very stack.

        Raises:
            UsageError: names the option that cannot be changed while the stack is up.
        """
        for name in FIXED_OPTIONS:
            now, new = getattr(self._options, name), getattr(options, name)
            if now != new:
                raise UsageError(
                    f"options.{name} cannot change from {now!r} to {new!r} between runs",
                    hint="call stop_appserver first",
                )

    def close(self, *, keep: bool) -> None:
        """Let go of everything; what was started here ends, unless it is to be kept."""
        self._keep = keep
        self._closing.close()
