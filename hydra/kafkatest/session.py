"""A session: the engine, Kafka and the signals that runs are made with, from the first start to the last clean-up."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.connectivity import BrokerProbe
from hydra.broker.given_access import access_to_brokers
from hydra.broker.listener_security import kept_access
from hydra.broker.rights import lacking
from hydra.broker.server_properties import broker_settings
from hydra.clients.auditor import WireAuditor
from hydra.engine.apps import Placement
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.marathon_access import MarathonAccess, given_access, local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.errors import BrokerError, HydraError, InfrastructureError, MarathonError, UsageError
from hydra.files.atomic_write import try_lock
from hydra.files.folders import state_folder
from hydra.kafkatest import running_stack
from hydra.kafkatest.leftovers import RunTrace
from hydra.kafkatest.local_stack import FAILURE_TIMEOUT_S, LocalStack, stack_command
from hydra.kafkatest.running_stack import RunningStack
from hydra.kafkatest.traces import Trace, forget_stacks_that_ended
from hydra.options.connection_limits import check_connections
from hydra.options.kafka_access import NO_SECURITY
from hydra.options.options import ACCESS_OPTIONS, Options, check_broker_count, check_record_size
from hydra.options.topic_limits import check_topic
from hydra.run.clock import MonotonicClock
from hydra.run.deployment import Deployment
from hydra.run.protocols import ClusterFacts, Progress, RunContext
from hydra.run.warm_up import WarmUpPlan, until_warm
from hydra.signals.keys import SignalKeys, keys_of_controller, stack_keys
from hydra.signals.zmq_signals import ZmqSignals
from hydra.tasks.host import LocalHost

if TYPE_CHECKING:
    from typing_extensions import Self

    from hydra.options.order import RunOrder
    from hydra.run.controller import Run

ADMIN_TIMEOUT_S = 15.0
EMBEDDED_GRACE_S = 2.0
"""Nobody restarts an embedded Kafka. Other brokers may come back for as long as a record waits for its ack."""

FIXED_OPTIONS = (
    "marathon_url", "marathon_secrets", "marathon_ca_file", "marathon_timeout", "mesos_url", "cluster0", "cluster1",
    "appserver", "appserver_address", "appserver_bind", "agent_python", "bootstrap_servers", "app_prefix",
    "group_prefix", "java", "broker_property", "broker_heap_mb", "brokers",
    "kafka_security", *ACCESS_OPTIONS,
)  # fmt: skip
"""Options that cannot change within a session."""


class Session:
    """Marathon, Kafka and the signals, for many runs.

    What the options do not name is local: the running stack, if there is one that is free and fits, or else a stack of
    the session's own, which ``run_id`` names. Nothing is started before ``open``, and ``close`` also follows an
    interrupted ``open``.
    """

    def __init__(self, options: Options, run_id: str, progress: Progress) -> None:
        self._options = options
        self._run_id = run_id
        self._progress = progress
        self._local = options.marathon_url is None
        self._embedded = options.bootstrap_servers is None
        self._settings = broker_settings(options)
        self._running: RunningStack | None = None
        """The stack that was up before."""
        self._own: LocalStack | None = None
        """The stack that this session started."""
        self._closing = contextlib.ExitStack()
        self._keep = False
        self._ran = False
        self._trace: Trace | None = None
        self._clock = MonotonicClock()
        self._facts = ClusterFacts("")
        self._deaths_told = 0
        self._access = NO_SECURITY

    def open(self) -> Self:
        """Attach to a stack or start one, and connect to Marathon; an embedded Kafka goes on to boot meanwhile.

        Raises:
            UsageError: the running stack is not what the options ask for, or Marathon's secrets cannot be used.
            BrokerError: the running stack's Kafka has died, or this user has not all the rights that a run needs.
            HydraError: something cannot be started or reached; everything is taken down again.
        """
        try:
            given = None if self._local else given_access(self._options)
            if not self._embedded:
                self._access = access_to_brokers(self._options)
            self._open_stack()
            if not self._embedded:
                # Brokers of the user's own can be checked before anything is started on them.
                facts = self._open_admin().check()
                check_broker_count(self._options, len(facts.brokers))
                check_record_size(self._options, facts.max_message_bytes, "message.max.bytes")
                self._check_rights(facts)
                check_connections(self._options, self._admin.connection_limits(), len(facts.brokers))
                self.fitted(self._options)
            access = given or self._stack_access()
            self.launcher = MarathonLauncher(access, mesos_url=self._options.mesos_url, clock=self._clock)
            self._closing.callback(self.launcher.close)
            try:
                self.marathon_version = self.launcher.facts().version
            except MarathonError as error:
                raise self.failure() or error from error
            keys = self._signal_keys()
            self._leave_trace(keys.owner)
            self.placement = self._placement(access.urls[0], keys)
            self._signals = self._closing.enter_context(contextlib.closing(ZmqSignals(keys)))
            self.deployment = Deployment(self.launcher, self._signals, self._clock, self._progress)
        except BaseException:
            self.close(keep=False)
            raise
        return self

    def _open_stack(self) -> None:
        if not self._local:
            return
        free = self._closing.enter_context(running_stack.exclusive_use())
        self._running = self._usable_stack(free=free)
        if self._running is None:
            command = stack_command(self._options, self._run_id, kafka=self._embedded)
            self._own = LocalStack(command, self._progress.note)
            self._closing.callback(self._end_own_stack)
            self._own.start()

    def _usable_stack(self, *, free: bool) -> RunningStack | None:
        """The running stack, if no other run uses it and it has what the options ask for."""
        running = running_stack.find()
        if running is None:
            return None
        if not free or (self._embedded and not running.bootstrap_servers):
            if self._options.keep_running:
                hint = "see 'hydra local status', 'hydra local down'"
                raise UsageError("--keep_running: another stack is up already", hint=hint)
            return None
        if self._embedded and (difference := self._settings.difference(running.settings)):
            text = f"a local stack with other settings is up: asked for is {difference}"
            raise UsageError(text, hint="end it with 'hydra local down', or leave the setting out")
        if self._embedded and (died := running_stack.deaths(running)):
            lost = "no Kafka any more" if len(died) == len(running.kafka_pids) else "lost brokers of its Kafka"
            raise BrokerError(
                f"the local stack that is up has {lost}: {'; '.join(died)}", hint="end it with 'hydra local down'"
            )
        self._settings = running.settings
        return running

    def _end_own_stack(self) -> None:
        assert self._own is not None
        try:
            if self._keep:
                self._own.keep()
                self._own = None
        finally:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _stack_access(self) -> MarathonAccess:
        if self._running is not None:
            return local_access(self._running.marathon_url, Path(self._running.folder))
        assert self._own is not None
        return local_access(self._own.wait_for_marathon(), self._own.folder)

    def _signal_keys(self) -> SignalKeys:
        if (stack := self._running or self._own) is not None:
            return stack_keys(Path(stack.folder))
        engine = f"{self._options.marathon_url} {self._options.app_prefix}".encode()
        file = state_folder() / f"signals-{hashlib.sha256(engine).hexdigest()[:16]}.key"
        if not self._closing.enter_context(try_lock(file.with_suffix(".lock"))):
            text = f"another run of yours uses the apps in {self._options.app_prefix} on this Marathon"
            raise UsageError(text, hint="wait for its end, or choose another --app_prefix")
        self._closing.callback(lambda: file.with_suffix(".lock").unlink(missing_ok=True))
        # Apps that are left up obey the controller that started them, and the next one has to have its key.
        self._closing.callback(lambda: None if self._keep else file.unlink(missing_ok=True))
        return keys_of_controller(file, keep=self._options.keep_running)

    def _leave_trace(self, owner: str) -> None:
        """Note what may outlive this process, and where; what is only on a stack of its own does not."""
        stack_id = self._running.run_id if self._running is not None else self._run_id
        stack = f"stack:{stack_id}" if self._running is not None or self._options.keep_running else ""
        marathon, brokers = self._options.marathon_url or stack, self._options.bootstrap_servers or stack
        forget_stacks_that_ended()
        if not (marathon or brokers):
            return
        options = self._options
        trace = RunTrace(
            self._run_id, os.getpid(), marathon, brokers, owner, options.app_prefix, options.keep_running,
            group_prefix=options.group_prefix,
        )  # fmt: skip
        try:
            self._trace = Trace(trace)
        except (OSError, HydraError) as error:
            self._progress.note(f"'hydra clean' will not know of this run ({error})")
        else:
            self._closing.callback(self._trace.close)

    def begin_run(self, order: RunOrder) -> None:
        """A run is about to make its topic and its groups."""
        if self._trace is not None:
            self._trace.begin_topic(order.run_id)

    def end_run(self, run: Run) -> None:
        """A run is over, and has removed them if it could."""
        if self._trace is not None and not run.left_behind:
            self._trace.end_topic(run.order.run_id)

    def apps_are_left(self) -> None:
        """The apps could not be removed."""
        if self._trace is not None:
            self._trace.apps_are_left()

    def _placement(self, marathon_url: str, keys: SignalKeys) -> Placement:
        code_server = None
        if is_wanted(self._options):
            self._progress.phase("starting", "packing the code for the agents")
            code_server = CodeServer(self._options, self._run_id, marathon_url)
            self._closing.callback(code_server.close)
        constrained = not self._local or self._agents_have_clusters()
        return Placement(code_server, constrained=constrained, environment=keys.task_environment, owner=keys.owner)

    def _agents_have_clusters(self) -> bool:
        """On one machine the apps are constrained only if its agents have the attributes that the options name."""
        wanted = {cluster for cluster in (self._options.cluster0, self._options.cluster1) if cluster}
        try:
            agents = self.launcher.agents() if wanted else ()
        except InfrastructureError:
            return False
        return wanted <= {f"{name}.{value}" for agent in agents for name, value in agent.attributes.items()}

    def _open_admin(self) -> KafkaTopicAdmin:
        if self._options.bootstrap_servers is not None:
            self.bootstrap_servers = self._options.bootstrap_servers
        elif self._running is not None:
            self.bootstrap_servers = self._running.bootstrap_servers
            self._access = kept_access(Path(self._running.folder))
        else:
            assert self._own is not None
            self.bootstrap_servers = self._own.wait_for_kafka()
            self._access = kept_access(self._own.folder)
        self._admin = KafkaTopicAdmin(self.bootstrap_servers, timeout_s=ADMIN_TIMEOUT_S, access=self._access)
        self._closing.callback(self._admin.close)
        return self._admin

    def _check_rights(self, facts: ClusterFacts) -> None:
        """Name every right that is missing before anything is started; what cannot be asked for shows later."""
        if missing := lacking(self._options, self._run_id, tuple(facts.brokers.values()), self._access):
            named = "; ".join(f"{right} ({right.purpose})" for right in missing)
            raise BrokerError(
                f"the brokers at {self._options.bootstrap_servers} do not allow this user: {named}",
                hint="add these ACLs; 'hydra doctor' with the same flags checks all that the run needs",
            )

    def fitted(self, options: Options) -> Options:
        """The options as they are in the topic that they name: its partitions are theirs.

        Raises:
            UsageError: there is no such topic, or a run cannot be made in it.
        """
        if options.topic is None:
            return options
        partitions = len(self._admin.find_topic(options.topic))
        check_topic(options, self._admin.describe_topic(options.topic), partitions)
        return replace(options, partitions=partitions)

    def connect_kafka(self) -> None:
        """Wait until Kafka is up and learn about it.

        Raises:
            UsageError: its settings limit connections to fewer than the options need.
            BrokerError: it cannot be reached.
        """
        if self._embedded:
            self._progress.phase("starting", "waiting for the embedded Kafka")
            self._open_admin()
        self._facts = self._admin.check()
        check_connections(self._options, self._admin.connection_limits(), len(self._facts.brokers))
        grace_s = EMBEDDED_GRACE_S if self._embedded else self._options.delivery_timeout_s
        probe = BrokerProbe(self.bootstrap_servers, grace_s=grace_s, note=self._progress.note)
        self._probe = self._closing.enter_context(probe)

    def context(self, options: Options, progress: Progress) -> RunContext:
        """What a run with these options is given, with its progress told to ``progress``."""
        replicas = options.replication_factor or 1
        return RunContext(
            launcher=self.launcher,
            signals=self._signals,
            admin=self._admin,
            clock=self._clock,
            host=LocalHost(self._kafka_pids),
            auditor=WireAuditor(self._access),
            progress=progress,
            broker_error=lambda: self._broker_error(replicas),
            brokers_lost=self._deaths,
            access=self._access,
        )

    def warm_up_plan(self, options: Options) -> WarmUpPlan | None:
        """How to warm up before the next run; None if there has been load already."""
        if self._ran:
            return None
        if options.warmup is not None:
            return WarmUpPlan(options.warmup) if options.warmup else None
        if not self._embedded or self._warm_mark().exists():
            return None
        return until_warm(options.msg_rate * options.msg_size)

    def ran(self) -> None:
        """Remember, for as long as the broker is up, that it has been under load."""
        self._ran = True
        if self._embedded:
            with contextlib.suppress(OSError):
                self._warm_mark().touch()

    def _warm_mark(self) -> Path:
        stack = self._running or self._own
        assert stack is not None  # an embedded Kafka is in a local stack, and the session is not closed
        return Path(stack.folder) / "warm"

    def failure(self, wait_s: float = FAILURE_TIMEOUT_S) -> HydraError | None:
        """Why the local stack ended although nobody here ended it; None while it is up, and where there is none."""
        if self._own is not None:
            return self._own.failure(wait_s)
        if self._running is None or self._running.process.alive():
            return None
        text = f"the local stack (process {self._running.process.pid}) was ended while it was in use"
        return InfrastructureError(text, hint="see who ran 'hydra local down', or ended that process")

    def _kafka_pids(self) -> Sequence[int]:
        """The processes of an embedded Kafka; none for any other."""
        stack = self._running or self._own
        return stack.kafka_pids if stack is not None and self._embedded else ()

    def _deaths(self) -> Sequence[str]:
        """Why brokers of an embedded Kafka are not there any more; each is told once."""
        died = self._own.kafka_deaths if self._own is not None else ()
        if self._running is not None and self._embedded:
            died = running_stack.deaths(self._running)
        for text in died[self._deaths_told :]:
            if len(self._kafka_pids()) > 1:
                self._progress.note(text)
        self._deaths_told = len(died)
        return died

    def _broker_error(self, replicas: int) -> str:
        """Why Kafka counts as gone: nobody restarts an embedded broker, and what had so many replicas may be lost."""
        died = self._deaths()
        gone = "; ".join(died) if len(died) >= replicas else ""
        failure = None if died else self.failure(wait_s=0)
        return gone or (str(failure) if failure is not None else self._probe())

    def cluster(self) -> dict[str, object]:
        """What a result says of Marathon and Kafka."""
        settings = {
            "broker_property": list(self._settings.properties),
            "broker_heap_mb": self._settings.heap_mb,
            "broker_jvm_flags": list(self._settings.jvm_flags),
        }
        return {
            "marathon": self._options.marathon_url or "local",
            "marathon_version": self.marathon_version,
            "kafka": "embedded" if self._embedded else "external",
            **(settings if self._embedded else {}),
            "kafka_security": str(self._access),
            "kafka_version": self._facts.version,
            "kafka_cluster_id": self._facts.cluster_id,
            "brokers": {str(node_id): str(endpoint) for node_id, endpoint in self._facts.brokers.items()},
        }

    def check_same(self, options: Options) -> None:
        """Check that options differ from the session's only where they may.

        Raises:
            UsageError: names an option that cannot change while the stack is up.
        """
        for name in FIXED_OPTIONS:
            now, new = getattr(self._options, name), getattr(options, name)
            if now != new:
                text = f"options.{name} cannot change from {now!r} to {new!r} between runs"
                raise UsageError(text, hint="call stop_appserver first")

    def close(self, *, keep: bool) -> None:
        """Close everything. A stack that was started here ends, unless it is to be kept. Harmless the second time."""
        self._keep = keep
        self._closing.close()
