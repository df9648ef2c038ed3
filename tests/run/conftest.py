"""Twins of the Protocols, in memory: a clock that a sleep moves on, a log, tasks, an engine, and signals between them.

Time passes where someone sleeps, and a microsecond at each look at the clock. Whatever lives in that world (tasks,
planted faults) is moved on by the clock.
"""

import dataclasses
import math
from collections import Counter
from types import SimpleNamespace

import pytest

from hydra.accounting.broker_inside import BrokerCpu
from hydra.accounting.evidence import Audit, AuditedPartition, OffsetRange
from hydra.accounting.intervals import IntervalSet
from hydra.accounting.latency import LatencyCounts
from hydra.accounting.stats import (
    HostTraffic,
    MachineSample,
    PartitionOutcomes,
    ProcessUsage,
    PublisherStats,
    PublisherStatus,
    SubscriberStatus,
)
from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.clients.protocols import AckCount
from hydra.codec import DecodeError, decode, encode
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError
from hydra.options.options import Options
from hydra.options.order import PartitionLeader, TopicFacts, TopicIdentity, make_order
from hydra.run.controller import Run
from hydra.run.protocols import ClusterFacts, ProcessReading, RunContext, Task, WaitingReason
from hydra.signals.messages import (
    ClockReading,
    DrainTo,
    Ping,
    SignalError,
    SignalReply,
    StartAt,
    StatusQuestion,
    StopSending,
    TaskOrder,
    decode_reply,
    decode_request,
    failure,
    success,
)
from hydra.tasks.kafka_sub import SubscriberRun

USAGE = ProcessUsage(cpu_percent=1.0, rss_bytes=1, window_s=1.0)
TRAFFIC = HostTraffic(tx_bytes_per_s=1.0, rx_bytes_per_s=1.0)
READING = ProcessReading(cpu_s=0.1, rss_bytes=1)
BOOT_ID = "memory"
TICK_S = 0.05


class FakeClock:
    """Starts anywhere; a sleep moves it on, with everything that was planted for the time in between."""

    def __init__(self):
        self._now_s = 1000.0
        self._planted = []
        self._tickers = []
        self.slept = []

    def now_s(self):
        self._now_s += 1e-6
        return self._now_s

    def sleep(self, seconds):
        self.slept.append(seconds)
        until_s = self._now_s + max(0.0, seconds)
        while self._now_s < until_s:
            self._now_s = min(until_s, self._now_s + TICK_S)
            for plant in [plant for plant in self._planted if plant[0] <= self._now_s]:
                self._planted.remove(plant)
                plant[1]()
            for ticker in self._tickers:
                ticker()

    def at(self, seconds, action):
        """Have something happen that many seconds from now."""
        self._planted.append((self._now_s + seconds, action))

    def ticking(self, ticker):
        self._tickers.append(ticker)


class FakeProgress:
    wants_figures = True

    def __init__(self):
        self.phases = []
        self.details = []
        self.notes = []
        self.live = []

    def phase(self, name, detail=""):
        if self.phases[-1:] != [name]:
            self.phases.append(name)
        self.details.append(detail)

    def counts(self, live):
        self.live.append(live)

    def note(self, text):
        self.notes.append(text)


class FakeBroker:
    """Topics as lists of sequences, and the TopicAdmin on them."""

    def __init__(self, clock):
        self._clock = clock
        self.topics = {}
        self.ids = {}
        self.facts = TopicFacts()
        self.limits = ()
        self._made = 0
        self.configs = {}
        self.deleted = []
        self.deleted_groups = []
        self.first_append_s = None
        self.down = ""
        self.delete_error = ""
        self.lag_s = 0.0
        """How far the followers, and so the log's end that clients are told, are behind the leader."""
        self._appended = []
        self.unsettled = []
        """What is_settled says first; then True."""
        self.settling_asked = []

    def append(self, topic, partition, sequences):
        if self.first_append_s is None:
            self.first_append_s = self._clock.now_s()
        if topic in self.topics:
            self.topics[topic][partition].extend(sequences)
            self._appended.append((self._clock.now_s(), topic, partition, len(sequences)))

    def _look(self):
        if self.down:
            raise BrokerError(self.down)

    def check(self):
        return ClusterFacts("memory")

    def connection_limits(self):
        self._look()
        return self.limits

    def create_topic(self, name, *, partitions, replicas=None, configs):
        self._look()
        self.topics[name] = [[] for _ in range(partitions)]
        self._made += 1
        self.ids[name] = f"id-{self._made}"
        self.configs[name] = dict(configs)
        return [PartitionLeader(number, 1, Endpoint("127.0.0.1", 9092)) for number in range(partitions)]

    def describe_topic(self, name):
        self._look()
        return dataclasses.replace(self.facts, identity=TopicIdentity(self.ids[name]))

    def look_at_topic(self, name):
        self._look()
        return TopicIdentity(self.ids[name]) if name in self.topics else None

    def forget(self, name):
        """Somebody else deletes the topic."""
        del self.topics[name], self.ids[name]

    def delete_topic(self, name):
        self._look()
        if self.delete_error:
            raise BrokerError(self.delete_error)
        self.deleted.append(name)
        self.topics.pop(name, None)

    def delete_groups(self, group_ids):
        self._look()
        self.deleted_groups += group_ids

    def is_settled(self, group_id, *, members, partitions):
        self._look()
        self.settling_asked.append((group_id, members, partitions))
        return self.unsettled.pop() if self.unsettled else True

    def offsets(self, topic):
        self._look()
        if topic not in self.topics:
            raise BrokerError("no such topic")
        behind = Counter()
        for at_s, where, partition, records in self._appended:
            if where == topic and at_s > self._clock.now_s() - self.lag_s:
                behind[partition] += records
        return {number: OffsetRange(0, len(log) - behind[number]) for number, log in enumerate(self.topics[topic])}

    def close(self):
        return


class FakeAuditor:
    """Reads the log of the in-memory broker."""

    records_per_s = 1_000_000

    def __init__(self, broker):
        self._broker = broker
        self.orders = []
        self.error = ""

    def audit(self, order, log, timeout_s):
        self.orders.append((order, timeout_s))
        if self.error:
            raise BrokerError(self.error)
        parts = {}
        for partition, offsets in log.items():
            tally = PartitionTally(partition, offsets.start)
            for offset in range(offsets.start, offsets.end):
                tally.add(offset, self._broker.topics[order.topic][partition][offset], 1)
            parts[partition] = AuditedPartition(offsets.start, offsets.end, tally.stats().spans)
        return Audit(parts)


class FakeHost:
    """A machine of two cores that is never busy."""

    cores = 2

    def __init__(self, clock):
        self._clock = clock
        self.broker_cpu_s = None
        """The CPU time of a broker at a time of the clock."""

    def clock(self):
        return ClockReading(self._clock.now_s(), 0.0, BOOT_ID)

    def sample(self, at_s):
        broker_cpu_s = None if self.broker_cpu_s is None else self.broker_cpu_s(self._clock.now_s())
        return MachineSample(at_s, busy_cpu_s=0.1 * at_s, memory_available_bytes=1, broker_cpu_s=broker_cpu_s)

    def broker_cpu(self):
        work_s = self.sample(0.0).broker_cpu_s
        return None if work_s is None else BrokerCpu(work_s)


class ClockAhead:
    """The clock of a task's host."""

    def __init__(self, task):
        self._task = task

    def now_s(self):
        return self._task.clock.now_s() + self._task.clock_ahead_s


class FakePublisherDriver:
    """Takes what fits in its queue; whoever holds it says what becomes of the records."""

    def __init__(self, clock, partitions=1, room=math.inf):
        self.clock = clock
        self.room = room
        self.sent = []
        self.handed = [0] * partitions
        self.acked = [IntervalSet() for _ in range(partitions)]
        self.failed = [IntervalSet() for _ in range(partitions)]
        self.ack_at_once = True
        self.on_send = lambda: None
        self.on_flush = lambda: None
        self.opened_s = self.flushed_s = None
        self.closed = 0
        self.error = ""

    def open(self, deadline_s):
        self.opened_s = deadline_s

    def send(self, partition, first_sequence, records):
        self.on_send()
        taken = int(min(records, self.room))
        self.room -= taken
        assert first_sequence == self.handed[partition]
        self.handed[partition] += taken
        if taken:
            self.sent.append((self.clock.now_s(), partition, first_sequence, taken))
        if self.ack_at_once:
            self.acked[partition].add(first_sequence, first_sequence + taken)
        return taken

    def poll(self):
        return AckCount(sum(map(len, self.acked)), sum(map(len, self.failed)), self.error)

    def flush(self, timeout_s):
        self.flushed_s = timeout_s
        self.on_flush()
        return self.poll()

    def outcomes(self):
        return [
            PartitionOutcomes(number, attempted, tuple(self.acked[number]), tuple(self.failed[number]))
            for number, attempted in enumerate(self.handed)
        ]

    def close(self):
        self.closed += 1


class FakeSubscriberDriver:
    """Clients that read the log of the in-memory broker."""

    def __init__(self, order, broker):
        self._topic = order.topic
        self._broker = broker
        self._tallies = [
            ClientTally(
                client.name, order.identity_prefix, [(start.partition, start.offset) for start in client.starts]
            )
            for client in order.clients
        ]
        self.may_position = True
        self.limit = math.inf
        """Records that each client may read from each partition at most."""
        self.skip = set()
        self.now_s = 0.0
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1

    def poll(self, timeout_s):
        for tally in self._tallies:
            tally.positioned = tally.positioned or self.may_position
            for part in tally.partitions.values() if tally.positioned else ():
                log = self._broker.topics.get(self._topic, {part.partition: []})[part.partition]
                while part.next_offset < min(len(log), self.limit):
                    offset, sequence = part.next_offset, log[part.next_offset]
                    part.next_offset += 1
                    if sequence not in self.skip:
                        part.add(offset, sequence, 1)
                        tally.fetches += 1
                        tally.arrived(self.now_s, 14)

    @property
    def tallies(self):
        return self._tallies

    def close(self):
        self.closed += 1


class FakeTask:
    """A task: alive or not, answering or not."""

    def __init__(self, task, clock, broker):
        self.task = task
        self.clock = clock
        self.broker = broker
        self.frozen = False
        self.dead = False
        self.received = []
        self.refuse = {}
        self.boot_id = BOOT_ID
        self.clock_ahead_s = 0.0
        """How far this task's clock is ahead of the controller's."""
        self.ways_s = []
        """How long each request takes to get here, and its reply to get back; then both take no time."""
        clock.ticking(self._tick_if_well)

    def _tick_if_well(self):
        if not (self.dead or self.frozen):
            self.tick()

    def tick(self):
        return

    def kill(self):
        self.dead = True

    def freeze(self, for_s=None):
        self.frozen = True
        if for_s is not None:
            self.clock.at(for_s, self.thaw)

    def thaw(self):
        self.frozen = False

    def answer(self, data):
        """The bytes of the reply, None for silence."""
        if self.dead or self.frozen:
            return None
        request = decode_request(data)
        self.received.append(request.signal)
        if request.signal in self.refuse:
            return failure(self.refuse[request.signal])
        if request.signal == "ping":
            clock = ClockReading(self.clock.now_s() + self.clock_ahead_s, 0.0, self.boot_id)
            return success(Ping(self.task.task_id, self.role, "0", clock=clock))
        try:
            return getattr(self, request.signal)(request.arguments)
        except (SignalError, DecodeError) as error:
            return failure(str(error))


class FakePublisherTask(FakeTask):
    """Walks its plan as time passes; what it sends is in the log and acked at once."""

    role = "kafka-pub"

    def __init__(self, task, clock, broker):
        super().__init__(task, clock, broker)
        self.order = None
        self.ready_after_s = 0.3
        self.fail_with = ""
        self.fail_after_records = math.inf
        self.flush_s = 0.0
        self.held_up_by = 1.0
        """How much longer it takes than planned."""
        self.drop = set()
        """Sequences of partition 0 that are acked and are not in the log."""
        self._reset()

    def _reset(self):
        self.phase, self.attempted, self.error = "idle", 0, ""
        self.started_s = self.asked_s = self.sent_s = None

    def updateconfig(self, arguments):
        self._reset()
        self.order = self.told = decode(arguments, TaskOrder).order
        self.asked_s = self.clock.now_s()
        self.phase = "connecting"
        return success()

    def teststart(self, arguments):
        if self.phase not in {"ready", "sending", "done"}:
            return failure(f"the publisher is {self.phase}, not ready")
        self.started_s = self.started_s or decode(arguments, StartAt).start_s - self.clock_ahead_s
        return success()

    def teststop(self, arguments):
        if self.phase == "sending":
            self.phase, self.sent_s = "flushing", self.clock.now_s()
        if not decode(arguments, StopSending).await_acks:
            self.flush_s = 0.0
        return success()

    def resetstats(self, _arguments):
        self._reset()
        self.order = None
        return success()

    def teststatus(self, _arguments):
        acked = self.attempted if self.order is not None and self.order.has_acks else 0
        return success(PublisherStatus(self.phase, self.attempted, acked, self.error))

    def tick(self):
        now_s = self.clock.now_s()
        if self.phase == "connecting" and now_s - self.asked_s >= self.ready_after_s:
            self.phase, self.error = ("failed", self.fail_with) if self.fail_with else ("ready", "")
        if self.phase == "ready" and self.started_s is not None:
            self.phase = "sending"
        if self.phase == "flushing" and now_s - self.sent_s >= self.flush_s:
            self.phase = "done"
        if self.phase == "sending":
            self._send(now_s)

    def _send(self, now_s):
        plan = self.order.send_plan
        due = plan.due((now_s - self.started_s) / self.held_up_by) - self.attempted
        for partition, sequence, records in self.order.partitioner.runs(self.attempted, due):
            sequences = [k for k in range(sequence, sequence + records) if partition or k not in self.drop]
            self.broker.append(self.order.topic, partition, sequences)
        self.attempted += max(0, due)
        if self.attempted >= self.fail_after_records:
            self.phase, self.error = "failed", "the queue broke"
        elif self.attempted == plan.records:
            self.phase, self.sent_s = "flushing", now_s

    def getstats(self, _arguments):
        if self.order is None:
            return failure("not configured: send updateconfig first")
        sent = [0] * self.order.options.partitions
        for partition, _, records in self.order.partitioner.runs(0, self.attempted):
            sent[partition] += records
        has_acks = self.order.has_acks
        window_s = self.attempted / self.order.options.msg_rate
        return success(
            PublisherStats(
                run_id=self.order.run_id,
                task_id=self.task.task_id,
                planned=self.attempted,
                attempted=self.attempted,
                acked=self.attempted if has_acks else 0,
                failed=0,
                unknown=0 if has_acks else self.attempted,
                queue_full=0,
                send_window_s=window_s,
                ack_window_s=window_s,
                lag_max_s=0.0,
                lag=LatencyCounts(),
                partitions=tuple(
                    PartitionOutcomes(number, count, ((0, count),) if has_acks and count else ())
                    for number, count in enumerate(sent)
                ),
                usage=USAGE,
                traffic=TRAFFIC,
            )
        )


class FakeSubscriberTask(FakeTask):
    """The real ``SubscriberRun`` on clients in memory."""

    role = "kafka-sub"

    def __init__(self, task, clock, broker):
        super().__init__(task, clock, broker)
        self.subscribing = self.driver = None
        self.questions = []
        """What it was asked with ``teststatus``."""
        self.position_after_s = 0.2
        self.limit = math.inf
        self.skip = set()
        self.positioned_s = None
        self.error = ""
        self.driver_error = ""
        """Of its first client, when it is asked what it received."""

    def updateconfig(self, arguments):
        order = decode(arguments, TaskOrder).order
        self.driver = FakeSubscriberDriver(order, self.broker)
        self.driver.may_position = False
        self.driver.limit, self.driver.skip = self.limit, self.skip
        self.subscribing = SubscriberRun(order, self.driver, ClockAhead(self), lambda: READING)
        self.subscribing.open()
        self.clock.at(self.position_after_s, self._position)
        return success()

    def _position(self):
        self.driver.may_position = True

    def tick(self):
        if self.subscribing is None:
            return
        self.driver.now_s = self.clock.now_s() + self.clock_ahead_s
        self.subscribing.poll(0)
        if self.positioned_s is None and all(tally.positioned for tally in self.driver.tallies):
            self.positioned_s = self.clock.now_s()

    def teststart(self, arguments):
        self.start = decode(arguments, StartAt)
        self.subscribing.start(self.start)
        return success()

    def teststop(self, arguments):
        if self.subscribing is None:
            return failure("not configured: send updateconfig first")
        self.subscribing.drain(decode(arguments, DrainTo))
        return success()

    def teststatus(self, arguments):
        self.questions.append(decode(arguments, StatusQuestion))
        if self.subscribing is None:
            return success(SubscriberStatus("idle"))
        status = self.subscribing.status(self.questions[-1])
        return success(dataclasses.replace(status, error=self.error or status.error))

    def getstats(self, _arguments):
        if self.subscribing is None:
            return failure("not configured: send updateconfig first")
        self.driver.tallies[0].error = self.driver_error
        return success(self.subscribing.stats(self.task.task_id, USAGE, TRAFFIC))

    def resetstats(self, _arguments):
        if self.subscribing is not None:
            self.subscribing.close()
        self.subscribing = None
        return success()


class FakeSignals:
    """Carries bytes to tasks and back; time passes only where someone stays silent."""

    def __init__(self, clock):
        self._clock = clock
        self.tasks = {}
        self.asked = []

    def ask(self, requests, timeout_s, *, first_contact=False):
        answers = {}
        for endpoint, request in requests.items():
            self.asked.append((endpoint, request.signal))
            peer = self.tasks.get(endpoint)
            there_s, back_s = peer.ways_s.pop(0) if peer is not None and peer.ways_s else (0.0, 0.0)
            sent_s = self._clock.now_s()
            self._pass(there_s)
            data = peer.answer(encode(request)) if peer is not None else None
            self._pass(back_s)
            answer = self._answer(data, timeout_s)
            answers[endpoint] = dataclasses.replace(answer, sent_s=sent_s, received_s=self._clock.now_s())
        if any(answer.silent for answer in answers.values()):
            self._clock.sleep(timeout_s)
        return answers

    def _pass(self, seconds):
        if seconds:
            self._clock.sleep(seconds)

    @staticmethod
    def _answer(data, timeout_s):
        if data is None:
            return SignalReply(error=f"no answer within {timeout_s:g} s", silent=True)
        reply = decode_reply(data)
        return SignalReply(body=bytes(reply.result)) if reply.ok else SignalReply(error=reply.error)

    def close(self):
        return


class FakeLauncher:
    """An engine without machines: what is applied runs after ``start_delay_s``."""

    def __init__(self, clock):
        self._clock = clock
        self.running = {}
        self.applied = []
        self.removals = []
        self.refusals = []
        self.start_delay_s = 0.5
        self.make = None
        self.reason = ""
        self.unplaced = False
        self.unreachable = None
        self.removal_s = 0.0
        self._number = 0

    def _reach(self):
        if self.unreachable is not None:
            raise self.unreachable

    def _refuse(self):
        self._reach()
        if self.refusals:
            raise self.refusals.pop(0)

    def apply(self, spec):
        self._refuse()
        self.applied.append((spec.app_id, spec.instances))
        tasks = self.running.setdefault(spec.app_id, [])
        while len(tasks) < spec.instances:
            self.start(spec.app_id)
        del tasks[spec.instances :]

    def start(self, app_id):
        """Stage a task; it gets its endpoint, and runs, after a while."""
        self._number += 1
        task = Task(f"{app_id.rpartition('/')[2]}.{self._number:04d}", app_id, running=False, endpoint=None)
        self.running.setdefault(app_id, []).append(task)
        endpoint = Endpoint("127.0.0.1", 21000 + self._number)
        self._clock.at(self.start_delay_s, lambda: self._run(task, endpoint))
        return task.task_id

    def _run(self, task, endpoint):
        tasks = self.running.get(task.app_id, [])
        if task in tasks:
            up = dataclasses.replace(task, running=True, endpoint=endpoint)
            tasks[tasks.index(task)] = up
            if self.make is not None:
                self.make(up)

    def end(self, task_id):
        """A task's process ends."""
        for tasks in self.running.values():
            tasks[:] = [task for task in tasks if task.task_id != task_id]

    def tasks(self, app_id):
        self._reach()
        return tuple(self.running.get(app_id, ()))

    def waiting_reason(self, app_id):
        self._reach()
        return WaitingReason(self.reason, unplaced=self.unplaced)

    def remove(self, app_id):
        self._refuse()
        self.removals.append(app_id)
        self._clock.at(self.removal_s, lambda: self.running.pop(app_id, None))

    def removed(self, app_id):
        self._reach()
        return app_id not in self.running


class Rehearsal:
    """Deployed tasks in memory, and a run of them."""

    def __init__(self, subscribers=2, **options):
        asked = {"clients_per_app": 2, "msg_rate": 100.0, "test_duration": 4.0, "msg_batch": 10} | options
        self.options = dataclasses.replace(Options(total_sub_apps=subscribers), **asked)
        self.clock = FakeClock()
        self.progress = FakeProgress()
        self.broker = FakeBroker(self.clock)
        self.auditor = FakeAuditor(self.broker)
        self.launcher = FakeLauncher(self.clock)
        self.signals = FakeSignals(self.clock)
        self.broker_error = ""
        self.passing_errors = []
        """What is told, one at each look, before ``broker_error``."""
        self.publisher = self._start_task(FakePublisherTask, "/g1/kafka-pub", 0)
        self.subscribers = [self._start_task(FakeSubscriberTask, "/g1/kafka-sub", 1 + n) for n in range(subscribers)]
        self.context = RunContext(
            launcher=self.launcher,
            signals=self.signals,
            admin=self.broker,
            clock=self.clock,
            host=FakeHost(self.clock),
            auditor=self.auditor,
            progress=self.progress,
            broker_error=lambda: self.passing_errors.pop(0) if self.passing_errors else self.broker_error,
        )
        self.run = self.run_of("run-1")
        self.record = None
        self.began_s = self.clock.now_s()

    def run_of(self, run_id):
        tasks = [item.task for item in self.subscribers]
        order = make_order(
            run_id,
            self.options,
            bootstrap_servers="127.0.0.1:9092",
            task_ids=[task.task_id for task in tasks],
            cores=self.context.host.cores,
        )
        return Run(order, self.publisher.task, tasks, self.context)

    def _start_task(self, kind, app_id, number):
        task = Task(f"{app_id.rpartition('/')[2]}.{number}", app_id, True, Endpoint("127.0.0.1", 21000 + number))
        self.launcher.running.setdefault(app_id, []).append(task)
        stand_in = kind(task, self.clock, self.broker)
        self.signals.tasks[task.endpoint] = stand_in
        return stand_in

    def kill(self, stand_in):
        stand_in.kill()
        self.launcher.end(stand_in.task.task_id)

    def replace(self, stand_in):
        """The task's process ended, and the engine gave its port to the next one."""
        self.kill(stand_in)
        task = dataclasses.replace(stand_in.task, task_id=f"{stand_in.task.task_id}-again")
        self.launcher.running[task.app_id].append(task)
        self.signals.tasks[task.endpoint] = type(stand_in)(task, self.clock, self.broker)

    def when_sent(self, records, action):
        """Have something happen once the log has that many records."""
        waiting = [action]

        def look():
            if waiting and sum(map(len, self.broker.topics.get("run-1", ()))) >= records:
                waiting.pop()()

        self.clock.ticking(look)

    def when_phase(self, name, action):
        """Have something happen once the run has come to that phase."""
        waiting = [action]

        def look():
            if waiting and self.progress.phases[-1:] == [name]:
                waiting.pop()()

        self.clock.ticking(look)

    def measure(self):
        """The result of the run; raises what ended it early, as the batch API does."""
        self.record = self.run.measure()
        if self.run.error is not None:
            raise self.run.error
        return self.record.result

    @property
    def elapsed_s(self):
        return self.clock.now_s() - self.began_s

    def assert_let_go(self):
        """Whatever happened: every task that can hear was told to forget the run."""
        for stand_in in [self.publisher, *self.subscribers]:
            if not (stand_in.dead or stand_in.frozen):
                assert stand_in.received[-1] == "resetstats"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def progress():
    return FakeProgress()


@pytest.fixture
def rehearsal():
    """Makes a rehearsal: ``rehearsal(subscribers=3, acks="0")``."""
    return Rehearsal


@pytest.fixture
def twins():
    """The classes of the in-memory twins, for tests that put together a world of their own."""
    return SimpleNamespace(
        Broker=FakeBroker,
        Launcher=FakeLauncher,
        PublisherDriver=FakePublisherDriver,
        Signals=FakeSignals,
        SubscriberDriver=FakeSubscriberDriver,
        PublisherTask=FakePublisherTask,
        SubscriberTask=FakeSubscriberTask,
        Auditor=FakeAuditor,
        USAGE=USAGE,
        TRAFFIC=TRAFFIC,
        READING=READING,
    )
