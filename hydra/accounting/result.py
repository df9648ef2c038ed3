"""What a whole run means: its totals, the seed's eleven keys, and the verdict with the sentences that say why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hydra.accounting.bottleneck import Bottleneck, plan_not_kept, records_astray
from hydra.accounting.evidence import Evidence
from hydra.accounting.latency import LatencySummary
from hydra.accounting.own_limits import refusal_text
from hydra.accounting.timeline import TimelinePoint
from hydra.accounting.totals import Latencies, ThresholdOutcome, Totals
from hydra.options.order import NO_TIMESTAMPS, RunOrder

Verdict = Literal["pass", "fail", "indeterminate"]
COMPILING_SHARE = 0.1
"""A broker whose JVM's compilers took so much of the CPUs that it may use was not warm."""

EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "indeterminate": 3}


@dataclass(frozen=True)
class ClientResult:
    """What one client made of the run; ``lost = broker_lost + expired + unread + skipped``."""

    name: str
    task_id: str
    state: Literal["ok", "failing", "missing", "never_started"]
    expected: int = 0
    """Records that it should have received: acked ones (without acks: appended ones) of the partitions it reads."""
    distinct: int = 0
    duplicates: int = 0
    reordered: int = 0
    lost: int = 0
    """Expected and not received; of these:"""
    broker_lost: int = 0
    """Absent from the log, and not because they expired."""
    expired: int = 0
    """The log's start had passed them before the client got there."""
    unread: int = 0
    """Beyond the client's position when the drain ended: no proof of loss."""
    skipped: int = 0
    """The client's position passed them while they were in the log."""
    ghost: int = 0
    """Received although the publisher says that they are not in the log."""
    contradicted: int = 0
    """Offsets at which it received another record than the other witnesses saw there."""
    foreign: int = 0
    corrupt: int = 0
    fetches: int = 0
    received_bytes: int = 0
    rate_per_s: float | None = 0.0
    """Distinct records a second over the client's own receive window; None where all of them came at once."""
    e2e: LatencySummary = field(default_factory=LatencySummary)
    """Percentiles within 1 %."""
    rebalances: int = 0
    """How often its consumer group took its partitions away after the start."""
    throttled_s: float = 0.0
    """For how long the broker said that a quota held it back, summed over its replies."""
    error: str = ""
    """The client's last one, or why it did not report."""

    @property
    def loss_percent(self) -> float:
        """Lost of expected, in percent; 0 where nothing was expected."""
        return 100.0 * self.lost / self.expected if self.expected else 0.0


@dataclass(frozen=True)
class Result:
    """A run's meaning."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is what it is; sentences for people, the worst first."""
    notes: tuple[str, ...]
    """What a reader should know beside it."""
    totals: Totals
    latency: Latencies
    bottleneck: Bottleneck
    thresholds: tuple[ThresholdOutcome, ...]
    points: tuple[TimelinePoint, ...]
    """The run over time, about once a second."""
    clients: tuple[ClientResult, ...]

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 indeterminate."""
        return EXIT_CODES[self.verdict]

    def seed_keys(self) -> dict[str, int | float]:
        """The eleven keys of the original's result dict, in its order of names."""
        totals = self.totals
        return {
            "average_packet_loss": totals.mean_loss_percent,
            "average_packets": totals.mean_distinct_records,
            "average_rate": totals.mean_rx_rate_per_s or 0.0,
            "average_tx_rate": totals.tx_rate_per_s,
            "client_count": totals.clients_asked,
            "failing_clients": totals.clients_failing + totals.clients_missing + totals.clients_never_started,
            "failing_clients_rate": totals.mean_failing_rx_rate_per_s,
            "packet_tx": totals.records_counted,
            "pub_cpu": totals.publisher_cpu_percent,
            "pub_net_rxrate": totals.publisher_host_rx_bytes_per_s,
            "pub_net_txrate": totals.publisher_host_tx_bytes_per_s,
        }


def find_verdict(
    order: RunOrder,
    evidence: Evidence,
    totals: Totals,
    latency: Latencies,
    *,
    bottleneck: Bottleneck,
    thresholds: Sequence[ThresholdOutcome],
) -> tuple[Verdict, tuple[str, ...], tuple[str, ...]]:
    """(verdict, reasons, notes).

    Loss is a fact, whoever was the limit, and fails a run. A broken threshold fails it only where the broker was the
    limit: what the harness, a network, a quota or a rule broke, or nobody knows who, says nothing about what the broker
    carries. Where somebody else took the topic away, nothing that was seen of its log says anything.
    """
    if evidence.topic_error:
        reasons = (evidence.topic_error, *_task_doubts(order, evidence, totals))
        return "indeterminate", reasons, tuple(_notes(order, evidence, totals, latency))
    failures, doubts = _failures(order, evidence, totals), _doubts(order, evidence, totals)
    broken = [f"{item.threshold} is broken: it was {item.shown}" for item in thresholds if item.broken]
    doubts += [f"{item.threshold} was not judged: it was not measured" for item in thresholds if item.kept is None]
    if bottleneck.tells_of_broker:
        failures += broken
    elif bottleneck.harness_limited or broken:
        doubts = [_not_the_broker(bottleneck), *broken, *doubts]
    notes = tuple(_notes(order, evidence, totals, latency))
    if failures:
        return "fail", (*failures, *doubts), notes
    if doubts:
        return "indeterminate", tuple(doubts), notes
    return "pass", (_praise(totals),), notes


def _not_the_broker(bottleneck: Bottleneck) -> str:
    """Who was the limit instead."""
    told = "; ".join(bottleneck.evidence)
    if bottleneck.limit == "unknown":
        return f"who was the limit is not known: {told}"
    who = {"quota": "a quota", "refusal": "a refusal by the brokers"}.get(bottleneck.limit, f"the {bottleneck.limit}")
    advice = f" ({bottleneck.advice})" if bottleneck.advice else ""
    return f"{who} was the limit, not the broker: {told}{advice}"


def _praise(totals: Totals) -> str:
    if totals.records_delivered < totals.records_counted * totals.clients_reporting:
        return f"each of {totals.records_counted} records was received by the client that reads its partition"
    return f"every client received every one of {totals.records_counted} records"


def _failures(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What makes a run fail."""
    failures: list[str] = []
    classes = (
        (totals.records_broker_lost, "are not in the broker's log"),
        (totals.records_expired, "expired before they were read"),
        (totals.records_skipped, "were passed over while they were in the log"),
    )
    proven = totals.records_lost - totals.records_unread
    if proven:
        told = ", ".join(f"{count} {what}" for count, what in classes if count)
        failures.append(
            f"{proven} of {totals.records_lost + totals.records_delivered} deliveries were lost,"
            f" to {totals.clients_failing} of {totals.clients_reporting} clients: {told}"
        )
    if totals.records_corrupt:
        failures.append(f"{totals.records_corrupt} corrupt record batches were received")
    if totals.records_ghost:
        failures.append(f"{totals.records_ghost} received records are not in the log, according to the publisher")
    if totals.offsets_contradicted:
        failures.append(f"at {totals.offsets_contradicted} offsets a client received another record than others did")
    if evidence.audit is not None and evidence.audit.corrupt:
        failures.append(f"{evidence.audit.corrupt} record batches in the log are corrupt")
    if evidence.publisher is not None and order.has_acks and totals.records_appended < totals.records_acked:
        failures.append(
            f"{totals.records_acked} records were acked, and the log grew by {totals.records_appended} only"
        )
    return failures


def _doubts(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What keeps a run from being an answer."""
    doubts = [*_publisher_doubts(order, evidence, totals), *_task_doubts(order, evidence, totals)]
    if totals.records_unread:
        why = _most_frequent_error(evidence)
        doubts.append(f"{totals.records_unread} deliveries were still unread when the drain ended{why}")
    if not totals.records_counted:
        doubts.append("no record reached the broker")
    elif text := plan_not_kept(order, totals):
        doubts.append(f"the plan was not kept: {text}")
    return doubts


def _task_doubts(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """Who is missing, or failed."""
    doubts: list[str] = []
    if evidence.publisher is None:
        doubts.append(f"the publisher did not report ({evidence.publisher_error}): what it sent is a lower bound")
    elif evidence.publisher_error:
        doubts.append(f"the publisher failed: {evidence.publisher_error}")
    for task_id, reason in evidence.missing.items():
        doubts.append(f"{len(order.clients_of(task_id))} clients of {task_id} are missing: {reason}")
    if totals.clients_never_started:
        doubts.append(f"{totals.clients_never_started} clients never started")
    if not totals.clients_reporting:
        doubts.append("no client reported")
    return doubts


def _most_frequent_error(evidence: Evidence) -> str:
    """What clients last said of what kept them, in words to add; empty where none had an error."""
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    if not (errors := Counter(client.error for client in clients if client.error)):
        return ""
    (error, _), *_others = errors.most_common(1)
    return f"; {errors.total()} of {len(clients)} clients had an error: {error}"


def _publisher_doubts(order: RunOrder, evidence: Evidence, totals: Totals) -> list[str]:
    """What became of records that were sent and not acked."""
    doubts = []
    if totals.records_failed:
        doubts.append(f"{totals.records_failed} records were refused by the broker")
    if order.has_acks:
        in_log_unacked, absent = totals.records_unknown_in_log, totals.records_unknown_absent
        fates = (
            (absent, "were never acknowledged and are not in the log"),
            (in_log_unacked, "were never acknowledged and are in the log"),
            (totals.records_unknown - absent - in_log_unacked, "were never acknowledged: their fate is unknown"),
        )
        doubts += [f"{count} records {fate}" for count, fate in fates if count > 0]
    if astray := records_astray(order, evidence, totals):
        doubts.append(f"{astray} records were sent and never reached the log, which acks=0 does not tell the publisher")
    if doubts and (reason := refusal_text(evidence)):
        doubts[0] += f"; {reason}"
    return doubts


def _foreign(evidence: Evidence, totals: Totals) -> tuple[int, str]:
    """How many records of others there were; where nobody read the whole log, how often clients received one."""
    if evidence.audit is not None:
        return evidence.audit.foreign or totals.records_foreign, "records of someone else's were in the topic"
    return totals.records_foreign, "deliveries were of records of someone else's"


def _read_from_followers(rack: str, evidence: Evidence) -> str:
    """Whether brokers have sent clients to a replica in their rack: without that the rack changes nothing."""
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    following = [client for client in clients if client.followers]
    told = f"client_rack={rack}: {len(following)} of {len(clients)} clients read from a follower"
    if following:
        nodes = sorted({node_id for client in following for node_id in client.followers})
        return f"{told} (of broker {', '.join(map(str, nodes))})"
    return (
        f"{told}: either the leaders stand in that rack, or no replica does (broker.rack), or the brokers do not send"
        " clients to the closest one (replica.selector.class)"
    )


def _still_compiling(evidence: Evidence) -> list[str]:
    """Of each broker that was not warm: what is compiled meanwhile is slower than it will be, and takes CPUs itself."""
    return [
        f"{process.name} was not warm: it still compiled its code while records were sent ({use.cpus:.1f} of a core;"
        " see --warmup, --keep_running)"
        for process in evidence.inside.processes
        for use in process.threads
        if use.kind == "compiler" and use.cpus >= COMPILING_SHARE * process.cpus_allowed
    ]


def _hidden_send_time(order: RunOrder, evidence: Evidence, latency: Latencies) -> str:
    """Why the service latency is not known; empty where it is."""
    if order.topic_facts.timestamp_type == NO_TIMESTAMPS:
        return (
            "this Kafka keeps no timestamps with its records: their actual send time is not known, and the service"
            " latency was not measured"
        )
    if order.topic_facts.hides_send_time:
        return (
            "the topic has its records stamped by the broker (message.timestamp.type=LogAppendTime): their actual send"
            " time is not known, nor the service latency"
        )
    if not latency.service.deliveries and any(stats.service.counts for stats in evidence.subscribers):
        return (
            "records bear timestamps from before they were due: the clock of the publisher's host was set back during"
            " the run, and the service latency is not known"
        )
    return ""


def _notes(order: RunOrder, evidence: Evidence, totals: Totals, latency: Latencies) -> list[str]:
    """What a reader should know beside the verdict."""
    notes = list(evidence.brokers_lost)
    rebalances = [client.rebalances for stats in evidence.subscribers for client in stats.clients if client.rebalances]
    if rebalances:
        notes.append(
            f"{len(rebalances)} of {totals.clients_asked} clients had their partitions taken away by a rebalance of"
            f" their group during the run, up to {max(rebalances)} times, and read on from the offset where they or the"
            " group had been"
        )
    if order.options.client_rack is not None:
        notes.append(_read_from_followers(order.options.client_rack, evidence))
    idle = totals.clients_reporting - totals.clients_expecting
    if idle and totals.records_counted:
        notes.append(f"{idle} of {totals.clients_reporting} clients had no partition to read")
    notes += _still_compiling(evidence)
    if not order.has_acks:
        notes.append("acks=0: nothing is acknowledged; loss is judged against the broker's log")
    if order.batch_bytes < order.options.batch_size_bytes:
        notes.append(
            f"batches were cut to {order.batch_bytes:,} bytes, since the topic takes no larger ones: batch.size is"
            f" {order.options.batch_size_bytes:,}"
        )
    if hidden := _hidden_send_time(order, evidence, latency):
        notes.append(hidden)
    counts = (
        (totals.records_duplicated, "duplicate deliveries"),
        (totals.records_duplicated_in_log, "records stand in the log twice"),
        (totals.records_reordered, "deliveries out of order"),
        _foreign(evidence, totals),
        (
            latency.e2e.negative + latency.service.negative,
            "latencies came out below zero and count as zero: two clocks do not agree",
        ),
    )
    notes += [f"{count} {what}" for count, what in counts if count]
    notes += [
        f"{export.url} (--broker_metrics) was not read: {export.error}"
        for export in evidence.inside.exports
        if export.error and not export.scrapes
    ]
    if evidence.audit is None:
        notes.append(f"the log was not audited: {evidence.audit_error or 'nobody did'}")
    return notes
