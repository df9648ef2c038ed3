"""A session: the engine, Kafka and the signals that runs are made with, from the first start to the last clean-up."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.broker.connectivity import BrokerProbe
from hydra.broker.given_access import access_to_brokers
from hydra.broker.listener_security import kept_access
from hydra.broker.rights import lacking
from hydra.broker.server_properties import broker_settings
from hydra.clients.auditor import OldKafkaAuditor, WireAuditor
from hydra.engine.apps import Placement
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.marathon_access import MarathonAccess, local_access
from hydra.errors import BrokerError, HydraError, InfrastructureError, MarathonError, UsageError
from hydra.kafkatest import running_stack
from hydra.kafkatest.engines import Engine, MarathonEngine, controller_keys, given_engine
from hydra.kafkatest.kafka_admin import kafka_admin, old_kafka_admin
from hydra.kafkatest.leftovers import RunTrace
from hydra.kafkatest.local_stack import FAILURE_TIMEOUT_S, LocalStack, stack_command
from hydra.kafkatest.running_stack import RunningStack
from hydra.kafkatest.traces import Trace, forget_stacks_that_ended
from hydra.kafkatest.warm_mark import is_warm, mark_warm, marked_speed
from hydra.kafkatest.watches import watches_of
from hydra.options.connection_limits import check_connections
from hydra.options.kafka_access import NO_SECURITY, KafkaAccess
from hydra.options.option_checks import check_broker_count, check_group_protocol
from hydra.options.options import Options
from hydra.options.order import TopicThere
from hydra.options.topic_limits import check_broker_limit, check_topic
from hydra.run.clock import MonotonicClock
from hydra.run.deployment import Deployment
from hydra.run.protocols import ClusterFacts, Launcher, Progress, RememberedProgress, RunContext, TopicAdmin
from hydra.run.warm_up import WarmUpPlan, until_warm
from hydra.signals.keys import SignalKeys, stack_keys
from hydra.signals.zmq_signals import ZmqSignals
from hydra.tasks.host import LocalHost

if TYPE_CHECKING:
    from typing_extensions import Self

    from hydra.options.order import RunOrder
    from hydra.run.controller import Run

MAX_TOLD = 500
"""Notes to users that are remembered, for the time axis of a run."""

EMBEDDED_GRACE_S = 2.0
"""Nobody restarts an embedded Kafka. Other brokers may come back for as long as a record waits for its ack."""


class Session:
    """The engine, Kafka and the signals, for many runs.

    What the options do not name is local: the running stack, if there is one that is free and fits, or else a stack of
    the session's own, which ``run_id`` names. Nothing is started before ``open``, and ``close`` also follows an
    interrupted ``open``.
    """

    def __init__(self, options: Options, run_id: str, progress: Progress, access: KafkaAccess | None = None) -> None:
        self.options = options
        self._run_id = run_id
        self._clock = MonotonicClock()
        self._told: deque[tuple[float, str]] = deque(maxlen=MAX_TOLD)
        self._progress = RememberedProgress(progress, self._clock, self._told)
        self._local = not options.tasks_elsewhere
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
        self._facts = ClusterFacts("")
        self._engine_facts: Mapping[str, str] = {}
        self.launcher: Launcher
        """Of the engine; there once it is open."""
        self._deaths_told = 0
        self._given_access = access
        self._access = NO_SECURITY

    def open(self) -> Self:
        """Attach to a stack or start one, and connect to the engine; an embedded Kafka goes on to boot meanwhile.

        Raises:
            UsageError: the running stack is not what the options ask for, or the engine's secrets cannot be used.
            BrokerError: the running stack's Kafka has died, or this user has not all the rights that a run needs.
            HydraError: something cannot be started or reached; everything is taken down again.
        """
        try:
            engine = given_engine(self.options, self._clock, self._progress.note)
            if engine is not None:
                self._closing.callback(engine.close)
            if not self._embedded:
                self._access = self._given_access or access_to_brokers(self.options)
            self._open_stack()
            if not self._embedded:
                # Brokers of the user's own can be checked before anything is started on them.
                facts = self._open_admin().check()
                check_broker_count(self.options, len(facts.brokers))
                check_group_protocol(self.options, takes_consumer=facts.takes_consumer_groups)
                check_broker_limit(self.options, facts.max_message_bytes)
                self._check_rights(facts)
                check_connections(self.options, self._admin.connection_limits(), len(facts.brokers))
                self.topic_there(self.options)
            if engine is None:
                engine = MarathonEngine(self._stack_access(), self.options, self._clock)
                self._closing.callback(engine.close)
            keys = self._connect(engine)
            signals = ZmqSignals(keys, relayed=self.options.kube_forward)
            self._signals = self._closing.enter_context(contextlib.closing(signals))
            self.deployment = Deployment(self.launcher, self._signals, self._clock, self._progress)
        except BaseException:
            self.close(keep=False)
            raise
        return self

    def _connect(self, engine: Engine) -> SignalKeys:
        """Have the engine ready for apps. Nothing is made on it before the trace of that is left."""
        try:
            self._engine_facts = engine.facts()
        except MarathonError as error:
            raise self.failure() or error from error
        self.launcher = engine.launcher
        keys = engine.keys(self._signal_keys(engine.place))
        self._leave_trace(keys.owner, engine.place)
        self.placement = self._placement(engine, keys)
        self._closing.callback(self._end_engine, engine)
        engine.begin(keys)
        return keys

    def _end_engine(self, engine: Engine) -> None:
        try:
            engine.end(keep=self._keep)
        except BaseException:
            self.apps_are_left()
            raise

    def _open_stack(self) -> None:
        if not self._local:
            return
        free = self._closing.enter_context(running_stack.exclusive_use())
        self._running = self._usable_stack(free=free)
        if self._running is None:
            command = stack_command(self.options, self._run_id, kafka=self._embedded)
            self._own = LocalStack(command, self._progress.note)
            self._closing.callback(self._end_own_stack)
            self._own.start()

    def _usable_stack(self, *, free: bool) -> RunningStack | None:
        """The running stack, if no other run uses it and it has what the options ask for."""
        running = running_stack.find()
        if running is None:
            return None
        if not free or (self._embedded and not running.bootstrap_servers):
            if self.options.keep_running:
                raise running_stack.stack_is_up(running)
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

    def _signal_keys(self, place: str) -> SignalKeys:
        if (stack := self._running or self._own) is not None:
            return stack_keys(Path(stack.folder))
        return controller_keys(place, self.options, self._closing, lambda: self._keep)

    def _leave_trace(self, owner: str, engine: str) -> None:
        """Note what may outlive this process, and where; what is only on a stack of its own does not."""
        stack_id = self._running.run_id if self._running is not None else self._run_id
        stack = f"stack:{stack_id}" if self._running is not None or self.options.keep_running else ""
        marathon, brokers = engine or stack, self.options.bootstrap_servers or stack
        forget_stacks_that_ended()
        if not (marathon or brokers):
            return
        options = self.options
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

    def _placement(self, engine: Engine, keys: SignalKeys) -> Placement:
        code_server = None
        if is_wanted(self.options):
            self._progress.phase("starting", "packing the code for the agents")
            code_server = CodeServer(self.options, self._run_id, engine.url)
            self._closing.callback(code_server.close)
        return Placement(code_server, engine.constrained(), keys.task_environment, keys.owner)

    def _open_admin(self) -> TopicAdmin:
        if self.options.bootstrap_servers is not None:
            self.bootstrap_servers = self.options.bootstrap_servers
        elif self._running is not None:
            self.bootstrap_servers = self._running.bootstrap_servers
            self._access = kept_access(Path(self._running.folder))
        else:
            assert self._own is not None
            self.bootstrap_servers = self._own.wait_for_kafka()
            self._access = kept_access(self._own.folder)
        stack, options = self._running or self._own, self.options
        self._admin = kafka_admin(self.bootstrap_servers, self._access)
        if stack is not None and options.is_old_kafka:
            self._admin = old_kafka_admin(self.bootstrap_servers, stack, options, self._progress.note)
        self._closing.callback(self._admin.close)
        return self._admin

    def _check_rights(self, facts: ClusterFacts) -> None:
        """Name every right that is missing before anything is started; what cannot be asked for shows later."""
        if missing := lacking(self.options, self._run_id, tuple(facts.brokers.values()), self._access):
            named = "; ".join(f"{right} ({right.purpose})" for right in missing)
            raise BrokerError(
                f"the brokers at {self.options.bootstrap_servers} do not allow this user: {named}",
                hint="add these ACLs; 'hydra doctor' with the same flags checks all that the run needs",
            )

    def topic_there(self, options: Options) -> TopicThere | None:
        """The topic that the options name; None where a run is to have one of its own.

        Raises:
            UsageError: there is no such topic, or a run cannot be made in it.
        """
        if options.topic is None:
            return None
        there = TopicThere(tuple(self._admin.find_topic(options.topic)), self._admin.describe_topic(options.topic))
        check_topic(options, there.facts, len(there.leaders))
        return there

    def connect_kafka(self) -> None:
        """Wait until Kafka is up and learn about it.

        Raises:
            UsageError: its settings limit connections to fewer than the options need, or members of groups.
            BrokerError: it cannot be reached.
        """
        if self._embedded:
            self._progress.phase("starting", "waiting for the embedded Kafka")
            self._open_admin()
        self._facts = self._admin.check()
        check_group_protocol(self.options, takes_consumer=self._facts.takes_consumer_groups)
        check_connections(self.options, self._admin.connection_limits(), len(self._facts.brokers))
        grace_s = silent_grace_s = self.options.delivery_timeout_s
        if self._embedded:  # no network is in between: what says nothing is busy with the clients that connect
            grace_s, silent_grace_s = EMBEDDED_GRACE_S, max(silent_grace_s, self.options.start_deadline_s)
        probe = BrokerProbe(
            self.bootstrap_servers, grace_s=grace_s, silent_grace_s=silent_grace_s, note=self._progress.note
        )
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
            auditor=(OldKafkaAuditor if options.is_old_kafka else WireAuditor)(self._access),
            progress=RememberedProgress(progress, self._clock, self._told),
            broker_error=lambda: self._broker_error(replicas),
            brokers_lost=self._deaths,
            watches=watches_of(options, self._running or self._own),
            access=self._access,
            told=lambda: tuple(self._told),
        )

    def warm_up_plan(self, options: Options) -> WarmUpPlan | None:
        """How to warm up before the next run; None if there has been load already."""
        if self._ran:
            return None
        if options.warmup is not None:
            return WarmUpPlan(options.warmup) if options.warmup else None
        if (folder := self._stack_folder()) is None or is_warm(folder):
            return None
        return until_warm(options.msg_rate * options.msg_size)

    def ran(self, speed: float | None = None) -> None:
        """Remember, as long as the broker is up, that it has been under load, and the machine's speed if measured."""
        self._ran = True
        if (folder := self._stack_folder()) is not None:
            mark_warm(folder, speed)

    @property
    def machine_speed(self) -> float:
        """What the warm-up of the broker that is up measured (``fetch_pace.machine_speed``); 1 if none did."""
        return marked_speed(folder) if (folder := self._stack_folder()) is not None else 1.0

    def _stack_folder(self) -> Path | None:
        """Of an embedded Kafka's stack."""
        return Path(stack.folder) if self._embedded and (stack := self._running or self._own) is not None else None

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
        return stack.kafka_pids if self._embedded and (stack := self._running or self._own) is not None else ()

    def _deaths(self) -> Sequence[str]:
        """Why brokers of an embedded Kafka are not there any more; each is told once."""
        died = () if self._own is None else self._own.kafka_deaths
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
        failure = None if died else self.failure(wait_s=0)
        return "; ".join(died) if len(died) >= replicas else str(failure) if failure is not None else self._probe()

    def cluster(self) -> dict[str, object]:
        """What a result says of the engine and of Kafka."""
        settings = {
            "broker_property": list(self._settings.properties),
            "broker_heap_mb": self._settings.heap_mb,
            "broker_jvm_flags": list(self._settings.jvm_flags),
        }
        return {
            **self._engine_facts,
            "kafka": "embedded" if self._embedded else "external",
            **(settings if self._embedded else {}),
            "kafka_security": str(self._access),
            "kafka_version": self._facts.version,
            "kafka_cluster_id": self._facts.cluster_id,
            "brokers": {str(node_id): str(endpoint) for node_id, endpoint in self._facts.brokers.items()},
        }

    def close(self, *, keep: bool) -> None:
        """Close everything. A stack that was started here ends, unless it is to be kept. Harmless the second time."""
        self._keep = keep
        self._closing.close()
