"""One run, from tasks that answer to its record: configure, barrier, send, drain, collect, audit, account.

The sequence is the point. No record is sent before every client is positioned at a known offset; nothing is called lost
before every client had its time to read up to the end of the log.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TypeVar

from hydra.accounting.account import account
from hydra.accounting.broker_inside import BrokerInside
from hydra.accounting.evidence import Evidence, OffsetRange
from hydra.accounting.latency import LatencyCounts
from hydra.accounting.result import Result
from hydra.accounting.stats import PublisherStats, SubscriberStats
from hydra.errors import BrokerError, DegradedError, HydraError, InterruptedRunError, NotReadyError
from hydra.options.order import RunOrder
from hydra.options.topic_limits import check_records_fit
from hydra.run.audit import audit_log
from hydra.run.clock import poll_until
from hydra.run.host_clocks import HostClocks, start_together
from hydra.run.log_end import settled_end
from hydra.run.monitor import Monitor, limits_met, wait_until_positioned
from hydra.run.protocols import RunContext, Task
from hydra.run.record import RunRecord, failed_record
from hydra.run.task_roster import TaskRoster, told_once
from hydra.run.task_stats import read_stats
from hydra.run.topics import delete_own_topic, with_topic
from hydra.run.warm_up import Warmth
from hydra.signals.messages import DrainTo, Request, SignalReply, StopSending, TaskOrder, order_request, request

CONFIGURE_TIMEOUT_S = 5.0
STATS_TIMEOUT_S, MAX_STATS_TIMEOUT_S = 5.0, 45.0
STATS_TIMEOUT_PER_CLIENT_S = 0.01
"""Adding up what a client counted, and its part of what its task did, takes some milliseconds however long the run was,
and all tasks of a machine do it at once. Who was not ready in time goes on with it, and is asked twice more."""

PUBLISHER_GRACE_S = 5.0
"""How much longer than its plan and its last ack may take the publisher is waited for."""

T = TypeVar("T")


def stats_timeout_s(clients: int) -> float:
    """How long the stats of so many clients are waited for at a time."""
    return min(MAX_STATS_TIMEOUT_S, STATS_TIMEOUT_S + STATS_TIMEOUT_PER_CLIENT_S * clients)


class Run:
    """One measurement by a task that sends and tasks that host the order's clients.

    The order's ``leaders`` are added once the topic exists.
    """

    def __init__(self, order: RunOrder, publisher: Task, subscribers: Sequence[Task], context: RunContext) -> None:
        self.order = replace(order, payload=b"")
        self._payload = order.payload
        self.error: BaseException | None = None
        """What ended the run before its result; its text is in the record."""
        self.result: Result | None = None
        self.left_behind = False
        """Whether its topic or its groups could not be removed."""
        self._context = context
        self._publisher = TaskRoster(publisher.app_id, (publisher,), context)
        self._subscribers = TaskRoster(subscribers[0].app_id, subscribers, context)
        self._monitor = Monitor(order, context, self._publisher, self._subscribers)
        self._clocks = HostClocks(context.host.clock)
        self._evidence = Evidence(cores=context.host.cores)
        self._phases_s: dict[str, float] = {}

    def measure(self) -> RunRecord:
        """The whole run. Always returns its record; ``error`` is what ended it early.

        The topic is gone and the tasks are idle again afterwards, whatever happened.
        """
        return self._recorded(self._measure)

    def warm_up(self, warmth: Warmth, *, until_warm: bool) -> RunRecord:
        """The same load before a run that counts; of this one nothing is read but what fetches cost.

        It lasts as long as its plan, or with ``until_warm`` until the broker is warm.
        """
        return self._recorded(lambda: self._phase("warmup", lambda: self._send_load(warmth, until_warm=until_warm)))

    def _measure(self) -> None:
        self._prepare()
        ends = {partition: offsets.end for partition, offsets in self._log_offsets().items()}
        self._note(begin_offsets=self.order.begin_offsets or ends)
        self._phase("send", self._send)
        self._collect_publisher()
        end = settled_end(self._log_offsets, self._context.clock, self.order, self._evidence.publisher)
        self._phase("drain", lambda: self._drain(end))
        self._clocks.measure_again([self._publisher, self._subscribers])
        self._phase("collect", self._collect_subscribers)
        self._note(log=self._final_log(end))
        self._phase("audit", self._audit)
        self._monitor.confirm_topic()
        self.result = account(self.order, self.evidence)

    def _send_load(self, warmth: Warmth, *, until_warm: bool) -> None:
        self._prepare()
        self._monitor.watch_warmth(warmth)
        clock, max_s = self._context.clock, self.order.options.test_duration

        def enough() -> bool:
            # A publisher that a cold broker holds up is still sending when its plan is over.
            started_s = self._monitor.start_s or clock.now_s()
            return clock.now_s() - started_s >= max_s or (until_warm and warmth.settled)

        self._send(enough)
        # A broker that was too cold for the load would be seconds late with acks that nobody counts.
        self._stop_publisher(await_acks=False)
        if error := self._monitor.topic_error:
            raise DegradedError(error)

    def _prepare(self) -> None:
        """Have a topic, and every task ready for the first record."""
        self._phase("topic", self._prepare_topic)
        self._phase("configure", self._configure)
        self._phase("barrier", lambda: wait_until_positioned(self.order, self._context, self._monitor))

    @property
    def evidence(self) -> Evidence:
        """What is known so far."""
        return replace(
            self._evidence,
            missing=dict(self._subscribers.gone),
            topic_error=self._monitor.topic_error,
            brokers_lost=tuple(self._context.brokers_lost()),
            machine=tuple(self._monitor.machine),
            clock_error_s=self._clocks.error_s,
            events=self._monitor.events(),
        )

    def _note(self, **facts: object) -> None:
        self._evidence = replace(self._evidence, **facts)  # type: ignore[arg-type]  # the fields' names are those of Evidence

    def _recorded(self, work: Callable[[], None]) -> RunRecord:
        wall_s = self._context.host.clock().wall_s
        started_at = datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")
        try:
            try:
                work()
            finally:
                self._clean_up()
        except BaseException as error:  # noqa: BLE001  # the caller raises it again, beside the record
            self.error = self._explained(error)
            record = failed_record(self.order, started_at, self.error)
        else:
            exit_code = self.result.exit_code if self.result is not None else 0
            record = RunRecord(self.order, "complete", started_at, exit_code)
        return replace(
            record,
            phases_s=self._phases_s,
            seed_keys=self.result.seed_keys() if self.result is not None else {},
            result=self.result,
            evidence=self.evidence,
        )

    def _explained(self, error: BaseException) -> BaseException:
        """Where the broker is gone, that is the cause of whatever else was noticed first."""
        if isinstance(error, HydraError):
            reason = self._context.broker_error()
            if reason and str(error) != reason:
                cause = BrokerError(reason)
                cause.__cause__ = error
                return cause
        return error

    def _phase(self, name: str, work: Callable[[], T]) -> T:
        started_s = self._context.clock.now_s()
        try:
            return work()
        finally:
            self._phases_s[name] = round(self._context.clock.now_s() - started_s, 3)

    def _prepare_topic(self) -> None:
        self._context.progress.phase("configuring", f"topic {self.order.topic}")
        self.order = with_topic(self.order, self._context.admin, self._context.progress.note)
        self._monitor.watch_topic(self.order.topic_facts.identity)
        check_records_fit(self.order.options, self.order.topic_facts)

    def _configure(self) -> None:
        """Give every task the order, each with its own clients; all at once."""
        self._context.progress.phase("configuring", "telling every task what to do")

        def update(task: Task) -> Request:
            return order_request(TaskOrder(self.order.for_task(task.task_id), self._context.access))

        def update_publisher(task: Task) -> Request:
            order = replace(self.order.for_task(task.task_id), payload=self._payload)
            return order_request(TaskOrder(order, self._context.access))

        replies = {
            **self._publisher.request_all(update_publisher, timeout_s=CONFIGURE_TIMEOUT_S),
            **self._subscribers.request_all(update, timeout_s=CONFIGURE_TIMEOUT_S),
        }
        if refusals := self._refusals(replies):
            raise NotReadyError(told_once(refusals.items()), missing=tuple(refusals))

    def _refusals(self, replies: Mapping[str, SignalReply]) -> dict[str, str]:
        """Every task that refused, or was gone before it began, and why."""
        return {task_id: reply.error for task_id, reply in replies.items() if not reply.ok} | dict(self._monitor.gone)

    def _send(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Let the publisher walk its plan, or as much of it as is enough; note what was seen inside of the brokers."""
        try:
            self._watch_publisher(enough)
        finally:
            start_s = self._monitor.start_s or self._context.clock.now_s()
            seen = (watch.seen(start_s) for watch in self._context.watches)
            self._note(inside=functools.reduce(operator.add, seen, BrokerInside()))

    def _watch_publisher(self, enough: Callable[[], bool]) -> None:
        """Start everyone together, and watch them until the publisher is done, or has sent enough."""
        clock = self._context.clock
        start_s, replies = start_together(clock, self._clocks, self._publisher, self._subscribers)
        if refusals := self._refusals(replies):
            raise NotReadyError(f"the publisher did not start: {told_once(refusals.items())}", missing=tuple(refusals))
        self._monitor.begin(start_s)
        limit_s = self.order.options.test_duration + self.order.options.delivery_timeout_s + PUBLISHER_GRACE_S

        def sent() -> bool:
            if not (self._publisher.present and self._subscribers.present):
                return True
            status = self._monitor.watch_sending()
            if status.phase == "failed":
                self._note(publisher_error=status.error)
            return status.phase in {"done", "failed"} or bool(self._monitor.topic_error) or enough()

        if not poll_until(clock, sent, start_s + limit_s - clock.now_s()):
            self._note(publisher_error=f"it was not done {limit_s:g} s after its start")

    def _stop_publisher(self, *, await_acks: bool = True) -> None:
        """Have it send no more, and wait until it knows what became of what it sent, unless the acks do not matter."""
        await_acks = await_acks and not self._monitor.topic_error
        self._publisher.request_all(lambda _task: request("teststop", StopSending(await_acks)))

        def flushed() -> bool:
            self._monitor.look()
            return not self._publisher.present or self._monitor.publisher_status().phase in {"done", "failed"}

        flush_s = self.order.options.drain_timeout if await_acks else 0.0
        poll_until(self._context.clock, flushed, flush_s + PUBLISHER_GRACE_S)

    def _collect_publisher(self) -> None:
        """Stop the publisher and take what it counted; nothing where it is gone."""
        self._stop_publisher()
        replies = self._publisher.request_all(lambda _task: request("getstats"), timeout_s=STATS_TIMEOUT_S)
        for task_id, reply in replies.items():
            stats, error = read_stats(reply, PublisherStats, run_id=self.order.run_id, task_id=task_id)
            if stats is not None:
                self._note(publisher=stats)
                return
            self._note(publisher_error=error)
        if not self._evidence.publisher_error:
            self._note(publisher_error="; ".join(self._publisher.gone.values()))

    def _log_offsets(self) -> Mapping[int, OffsetRange]:
        """The log as it is now; nothing where the topic is not the run's any more."""
        if self._monitor.topic_error:
            return {}
        try:
            return self._context.admin.offsets(self.order.topic)
        except BrokerError:
            if self._monitor.confirm_topic():
                return {}
            raise

    def _drain(self, end: Mapping[int, OffsetRange]) -> None:
        """Let every client read on to the end of the log, or until the drain's time is up."""
        started_s = self._context.clock.now_s()
        drain_to = DrainTo({partition: offsets.end for partition, offsets in end.items()})
        self._subscribers.request_all(lambda _task: request("teststop", drain_to))

        def drained() -> bool:
            if not self._subscribers.present:
                return True
            statuses = self._monitor.watch_draining()
            all_answered = len(statuses) == len(self._subscribers.present)
            drained = all_answered and all(status.phase == "drained" for status in statuses)
            return drained or bool(self._monitor.topic_error)

        used_s = self._context.clock.now_s() - started_s
        poll_until(self._context.clock, drained, self.order.options.drain_timeout - used_s)

    def _collect_subscribers(self) -> None:
        self._context.progress.phase("collecting", f"stats of {len(self._subscribers.present)} subscribers")
        timeout_s = stats_timeout_s(self.order.options.client_count)
        replies = self._subscribers.request_all(lambda _task: request("getstats"), timeout_s=timeout_s)
        stats = []
        for task_id, reply in replies.items():
            counted, error = read_stats(reply, SubscriberStats, run_id=self.order.run_id, task_id=task_id)
            if counted is None:
                self._subscribers.gone[task_id] = error
            else:
                stats.append(counted)
        if self.order.topic_facts.hides_send_time:
            stats = [replace(each, service=LatencyCounts()) for each in stats]
        self._note(subscribers=tuple(stats))
        self._note(connection_limits=limits_met(self._context, self._evidence))

    def _final_log(self, end: Mapping[int, OffsetRange]) -> Mapping[int, OffsetRange]:
        """The log as it is now: its end as the clients were told, its start as far as retention has moved it since.

        What was in the topic before the run is none of its log.
        """
        now, begin = self._log_offsets(), self.order.begin_offsets
        return {
            partition: OffsetRange(min(offsets.end, max(begin.get(partition, 0), now[partition].start)), offsets.end)
            for partition, offsets in end.items()
            if partition in now
        }

    def _audit(self) -> None:
        if error := self._monitor.topic_error:
            self._note(audit_error=error)
            return
        self._context.progress.phase("auditing")
        audit, error = audit_log(self._context.auditor, self.order, self._evidence.log)
        self._note(audit=audit, audit_error=error)

    def _clean_up(self) -> None:
        """Make the tasks idle, and remove topic and groups. What cannot be done is told, and hides no earlier error.

        Raises:
            InterruptedRunError: a signal came meanwhile; all of it is done all the same.
        """
        with contextlib.ExitStack() as steps:  # from the last one to the first
            steps.callback(self._try, "consumer groups of the run are left behind", self._remove_groups)
            steps.callback(self._try, f"topic {self.order.topic} is left behind", self._remove_topic)
            steps.callback(self._try, "the tasks could not be told to forget the run", self._forget)

    def _remove_topic(self) -> None:
        if self.order.options.topic is None:
            with self._removing() as broker_is_there:
                if broker_is_there:
                    delete_own_topic(self.order, self._context.admin, self._context.progress.note)

    def _remove_groups(self) -> None:
        if self.order.options.group_mode == "group":
            with self._removing() as broker_is_there:
                if broker_is_there:
                    self._context.admin.delete_groups(sorted({client.group_id for client in self.order.clients}))

    @contextlib.contextmanager
    def _removing(self) -> Iterator[bool]:
        """Yields whether the broker is there; what is not removed in this block is left behind."""
        there = not self._context.broker_error()
        try:
            yield there
        except InterruptedRunError:  # it is done once more
            raise
        except BaseException:
            self.left_behind = True
            raise
        self.left_behind |= not there

    def _forget(self) -> None:
        self._publisher.request_once(lambda _task: request("resetstats"))
        self._subscribers.request_once(lambda _task: request("resetstats"))

    def _try(self, failed: str, work: Callable[[], None]) -> None:
        try:
            work()
        except InterruptedRunError:
            self._try(failed, work)  # what the run made must not stay; who asks again ends this process at once
            raise
        except (HydraError, OSError) as error:
            self._context.progress.note(f"{failed}: {error}")
