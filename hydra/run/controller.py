"""One run from a deployed crew to a result: configure, barrier, send, drain, collect, account.

The order is the point. No record is sent before every client is positioned at a known offset; nothing is called lost
before every client had its time to read up to where the log ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hydra.accounting.account import Evidence, MissingTask, Terms, account
from hydra.accounting.partition_log import Audit, OffsetRange
from hydra.accounting.result import Result
from hydra.accounting.stats import MachineSample, PublisherStats, SubscriberStats
from hydra.accounting.timeline import sample_every_s
from hydra.codec import decode
from hydra.errors import HydraError, NotReadyError
from hydra.options.assignments import assign
from hydra.options.options import Options
from hydra.options.order import PartitionLeader, RunIdentity
from hydra.run.app_spec import Task
from hydra.run.audit import audited
from hydra.run.barrier import Barrier
from hydra.run.context import RunContext
from hydra.run.host_clocks import HostClocks
from hydra.run.monitor import LOOK_EVERY_S, Watch
from hydra.run.protocols import AuditOrder
from hydra.run.synchronized_start import Starting
from hydra.run.task_roster import TaskRoster
from hydra.signals.messages import DrainTo, Request, request
from hydra.signals.order_from_options import delivery_timeout_s, publisher_configuration, subscriber_configuration
from hydra.signals.protocols import SignalReply

SUBSCRIBERS_EVERY_S = 1.0
CONFIGURE_TIMEOUT_S = 5.0
STATS_TIMEOUT_S = 5.0
STATS_TIMEOUT_PER_CLIENT_S = 0.002
"""Adding up what a client counted takes half a millisecond, and all tasks of a machine do it at once."""

PUBLISHER_GRACE_S = 5.0
"""How much longer than its plan and its last ack may take the publisher is waited for."""

FLUSHING = ("flushing", "done", "failed")
"""Phases of a publisher that has come to the end of its plan."""

SETTLE_TIMEOUT_S = 5.0
SETTLE_LOOKS = 3
"""Without acks the log's end is taken once it has not moved for this many looks."""

T = TypeVar("T")


@dataclass(frozen=True)
class Crew:
    """The tasks that take part."""

    publisher: Task
    subscribers: tuple[Task, ...]


@dataclass
class Findings:
    """What a run has found out so far; whole after ``perform``, and as far as it got after an error."""

    phases_s: dict[str, float] = field(default_factory=dict)
    result: Result | None = None
    publisher: PublisherStats | None = None
    subscribers: tuple[SubscriberStats, ...] = ()
    machine: list[MachineSample] = field(default_factory=list)
    audit: Audit | None = None


class Run:
    """One measurement.

    Args:
        run_id: names the run, its topic and its groups.
        options: what to measure.
        bootstrap_servers: where the tasks reach the broker.
        crew: who takes part.
        world: everything else.
    """

    def __init__(self, run_id: str, options: Options, *, bootstrap_servers: str, crew: Crew, world: RunContext) -> None:
        self._topic = run_id
        self._identity = RunIdentity(run_id, topic=run_id, bootstrap_servers=bootstrap_servers)
        self._options = options
        self._world = world
        self._clients = assign(
            run_id,
            [task.task_id for task in crew.subscribers],
            clients_per_app=options.clients_per_app,
            partitions=options.partitions,
            shared=options.group == "shared",
            members=options.group_mode == "group",
        )
        self._publisher = self._attendance(crew.publisher.app_id, (crew.publisher,))
        self._subscribers = self._attendance(crew.subscribers[0].app_id, crew.subscribers)
        self._clocks = HostClocks(world.host.clock)
        self._sample_every_s = sample_every_s(options.test_duration)
        self._watch = Watch(self._publisher, self._subscribers, options, world, sample_every_s=self._sample_every_s)
        self._publisher_trouble = ""
        self.findings = Findings(machine=self._watch.machine)

    def _attendance(self, app_id: str, tasks: tuple[Task, ...]) -> TaskRoster:
        world = self._world
        return TaskRoster(
            app_id, tasks, launcher=world.launcher, signals=world.signals, clock=world.clock, progress=world.progress
        )

    def warm_up(self) -> None:
        """Carry out what comes before a run that counts: the same load, of which nothing is read but that it went.

        Raises:
            HydraError: as ``perform``.
        """
        try:
            self._open()
            self._send()
        finally:
            self._clean_up()

    def perform(self) -> Result:
        """Carry the run out; the topic is gone and the tasks are idle again afterwards, whatever happened.

        Raises:
            NotReadyError: the start deadline passed; names the clients that were not positioned.
            BrokerError: the broker cannot be reached, or died.
            MarathonError: Marathon cannot be reached.
        """
        try:
            leaders = self._open()
            before = self._world.admin.offsets(self._topic)
            self._phase("send", self._send)
            self.findings.publisher = self._publisher_stats()
            after = self._settled_offsets()
            self._phase("drain", lambda: self._drain(after))
            self.findings.subscribers = self._phase("collect", self._subscriber_stats)
            log = self._final_log(after)
            trouble = self._phase("audit", lambda: self._audit(leaders, log))
            self.findings.result = account(self._evidence(before, log, trouble))
            return self.findings.result
        finally:
            self._clean_up()

    def _open(self) -> tuple[PartitionLeader, ...]:
        """Have a topic, and everyone ready for the first record."""
        leaders = self._phase("topic", self._create_topic)
        self._phase("configure", lambda: self._configure(leaders))
        self._phase("barrier", Barrier(self._options, self._world, self._watch).wait)
        return leaders

    def _phase(self, name: str, work: Callable[[], T]) -> T:
        started_s = self._world.clock.now_s()
        try:
            return work()
        finally:
            self.findings.phases_s[name] = round(self._world.clock.now_s() - started_s, 3)

    def _create_topic(self) -> tuple[PartitionLeader, ...]:
        self._world.progress.phase("configuring", f"topic {self._topic}")
        configs: dict[str, str] = {}
        if self._options.retention_ms is not None:
            # A segment expires by its newest record: without short segments nothing would expire within a run.
            configs = {"retention.ms": str(self._options.retention_ms), "segment.ms": "1000"}
        if self._options.msg_size > 900_000:
            configs["max.message.bytes"] = str(2 * self._options.msg_size)
        return tuple(self._world.admin.create_topic(self._topic, partitions=self._options.partitions, configs=configs))

    def _configure(self, leaders: tuple[PartitionLeader, ...]) -> None:
        """Tell every task what to do; all at once."""
        self._world.progress.phase("configuring", "telling every task what to do")
        publisher = request("updateconfig", publisher_configuration(self._options, self._identity))
        refused = self._refusals(
            {
                **self._publisher.request_all(lambda _task: publisher, timeout_s=CONFIGURE_TIMEOUT_S),
                **self._subscribers.request_all(
                    lambda task: request(
                        "updateconfig",
                        subscriber_configuration(self._options, self._identity, self._clients[task.task_id], leaders),
                    ),
                    timeout_s=CONFIGURE_TIMEOUT_S,
                ),
            }
        )
        if refused:
            raise NotReadyError("; ".join(refused), missing=refused)

    def _refusals(self, answers: Mapping[str, SignalReply]) -> list[str]:
        """Everyone who refused, or is gone before it began."""
        return [f"{task_id}: {answer.error}" for task_id, answer in answers.items() if not answer.ok] + [
            f"{task_id}: {reason}" for task_id, reason in self._watch.gone.items()
        ]

    def _send(self) -> None:
        """Let the publisher walk its plan; watch everyone while it does."""
        clock = self._world.clock
        starting = Starting(self._options, clock, self._clocks, self._sample_every_s)
        started_s, answers = starting.start(self._publisher, self._subscribers)
        if refused := self._refusals(answers):
            raise NotReadyError("the publisher did not start: " + "; ".join(refused), missing=refused)
        self._watch.begin(started_s)
        limit_s = self._options.test_duration + delivery_timeout_s(self._options) + PUBLISHER_GRACE_S
        subscribers_s = started_s
        while self._publisher.present and self._subscribers.present:
            self._watch.look()
            status = self._watch.publisher_status()
            if clock.now_s() - subscribers_s >= SUBSCRIBERS_EVERY_S:
                subscribers_s = clock.now_s()
                self._watch.count_deliveries(self._watch.subscriber_statuses())
            self._watch.show("flushing" if status.phase in FLUSHING else "sending", max(0.0, clock.now_s() - started_s))
            if status.phase in {"done", "failed"}:
                self._publisher_trouble = status.error if status.phase == "failed" else ""
                return
            if clock.now_s() - started_s > limit_s:
                self._publisher_trouble = f"it was not done {limit_s:g} s after its start"
                return
            clock.sleep(LOOK_EVERY_S)

    def _publisher_stats(self) -> PublisherStats | None:
        """What the publisher counted, or None when it is gone."""
        self._publisher.request_all(lambda _task: request("teststop"))
        deadline_s = self._world.clock.now_s() + self._options.drain_timeout + PUBLISHER_GRACE_S
        while self._publisher.present and self._watch.publisher_status().phase not in {"done", "failed"}:
            self._watch.look()
            if self._world.clock.now_s() >= deadline_s:
                break
            self._world.clock.sleep(LOOK_EVERY_S)
        answers = self._publisher.request_all(lambda _task: request("getstats"), timeout_s=STATS_TIMEOUT_S)
        for answer in answers.values():
            if answer.ok:
                return decode(answer.body, PublisherStats)
            self._publisher_trouble = answer.error
        self._publisher_trouble = self._publisher_trouble or "; ".join(self._publisher.gone.values())
        return None

    def _settled_offsets(self) -> Mapping[int, OffsetRange]:
        """The log's end. With every record acked it stands still; otherwise look until it does."""
        stats = self.findings.publisher
        offsets = self._world.admin.offsets(self._topic)
        if stats is not None and not stats.unknown:
            return offsets
        deadline_s = self._world.clock.now_s() + SETTLE_TIMEOUT_S
        still = 0
        while still < SETTLE_LOOKS and self._world.clock.now_s() < deadline_s:
            self._world.clock.sleep(LOOK_EVERY_S)
            newer = self._world.admin.offsets(self._topic)
            still = still + 1 if newer == offsets else 0
            offsets = newer
        return offsets

    def _drain(self, after: Mapping[int, OffsetRange]) -> None:
        """Let every client read on to the end of the log, or until the drain's time is up."""
        clock = self._world.clock
        started_s = clock.now_s()
        ends = DrainTo({partition: offsets.end for partition, offsets in after.items()})
        self._subscribers.request_all(lambda _task: request("teststop", ends))
        while self._subscribers.present:
            self._watch.look()
            statuses = self._watch.subscriber_statuses()
            self._watch.count_deliveries(statuses)
            self._watch.show("draining", clock.now_s() - started_s)
            answered_all = len(statuses) == len(self._subscribers.present)
            if answered_all and all(status.phase == "drained" for status in statuses):
                return
            if clock.now_s() - started_s >= self._options.drain_timeout:
                return
            clock.sleep(LOOK_EVERY_S)

    def _subscriber_stats(self) -> tuple[SubscriberStats, ...]:
        self._world.progress.phase("collecting", f"stats of {len(self._subscribers.present)} subscribers")
        timeout_s = STATS_TIMEOUT_S + STATS_TIMEOUT_PER_CLIENT_S * self._options.client_count
        answers = self._subscribers.request_all(lambda _task: request("getstats"), timeout_s=timeout_s)
        for task_id, answer in answers.items():
            if not answer.ok:
                self._subscribers.gone[task_id] = answer.error
        return tuple(decode(answer.body, SubscriberStats) for answer in answers.values() if answer.ok)

    def _final_log(self, after: Mapping[int, OffsetRange]) -> Mapping[int, OffsetRange]:
        """The log as it is now: its end as the clients were told, its start as far as retention has moved it since."""
        starts = self._world.admin.offsets(self._topic)
        return {
            partition: OffsetRange(min(offsets.end, starts[partition].start), offsets.end)
            for partition, offsets in after.items()
        }

    def _audit(self, leaders: tuple[PartitionLeader, ...], log: Mapping[int, OffsetRange]) -> str:
        """Read the log once more. Returns why it was not read."""
        self._world.progress.phase("auditing")
        order = AuditOrder(self._identity.run_id, self._topic, self._identity.bootstrap_servers, leaders)
        self.findings.audit, trouble = audited(self._world.auditor, order, log, self._options)
        return trouble

    def _evidence(
        self, before: Mapping[int, OffsetRange], log: Mapping[int, OffsetRange], audit_trouble: str
    ) -> Evidence:
        options = self._options
        return Evidence(
            terms=Terms(
                acks=options.acks,
                asked_rate_per_s=options.msg_rate,
                thresholds=options.threshold,
                sample_every_s=self._sample_every_s,
                fetch_pace_ms=options.pace_ms if options.sub_driver not in {"confluent", "kafka-python"} else 0.0,
                linger_ms=options.linger_ms,
                group_deals_out=options.group_mode == "group" and options.group == "shared",
            ),
            assignments=tuple(client for clients in self._clients.values() for client in clients),
            publisher=self.findings.publisher,
            publisher_trouble=self._publisher_trouble,
            subscribers=self.findings.subscribers,
            missing=tuple(
                MissingTask(task_id, tuple(client.name for client in self._clients[task_id]), reason)
                for task_id, reason in self._subscribers.gone.items()
            ),
            begin_offsets={partition: offsets.end for partition, offsets in before.items()},
            log=log,
            audit=self.findings.audit,
            audit_trouble=audit_trouble,
            machine=tuple(self.findings.machine),
            cores=self._world.host.cores,
            clock_error_s=self._clocks.error_s,
        )

    def _clean_up(self) -> None:
        """Make the tasks idle and the topic disappear. What keeps it from that is told, and hides no earlier error."""
        forget: Callable[[Task], Request] = lambda _task: request("resetstats")  # noqa: E731  # the same for both
        try:
            self._publisher.ask(forget)
            self._subscribers.ask(forget)
        except HydraError as error:
            self._world.progress.note(f"the tasks could not be told to let go: {error}")
        try:
            if not self._world.broker_trouble():
                self._world.admin.delete_topic(self._topic)
        except HydraError as error:
            self._world.progress.note(f"topic {self._topic} is left behind: {error}")
        self._delete_groups()

    def _delete_groups(self) -> None:
        if self._options.group_mode != "group" or self._world.broker_trouble():
            return
        groups = sorted({client.group_id for clients in self._clients.values() for client in clients})
        try:
            self._world.admin.delete_groups(groups)
        except HydraError as error:
            self._world.progress.note(f"consumer groups of the run are left behind: {error}")
