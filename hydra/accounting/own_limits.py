"""Signs that what a run asked for, or its client libraries, kept it from more, however fast the brokers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.accounting.evidence import Evidence
from hydra.accounting.stats import SubscriberStats
from hydra.accounting.totals import ThresholdOutcome, Totals
from hydra.kafka_errors import error_hint, error_name, final_error_in
from hydra.options.options import SELF_PACED_DRIVERS
from hydra.options.order import RunOrder

Signs = Sequence[tuple[str, str]]
"""(evidence, what to change) of each."""

FULL_RATIO = 0.8
"""Where the mean fetch brought more than this share of its limit, most were full."""

OWN_PACE_FETCHES_PER_S = 50.0
"""More fetches a second than this are not expected of a client of a library that fetches when it likes."""

_RECORD_BYTES = 7
"""The least that a record takes in a batch, beside its value."""

_QUANTILES = {"mean": 0.5, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999, "max": 1.0}

_WAITS: Mapping[str, Sequence[str]] = {
    "pub_": (),
    "ack_": ("--linger_ms",),
    "unpaced_": ("--linger_ms", "--fetch_min_bytes"),
}
"""Where not all that records wait for is part of a latency, by the beginning of its metric's name."""

_BROKER_FAILED = frozenset({-1, 57})
"""Final, and no rule: UNKNOWN_SERVER_ERROR and LOG_DIR_NOT_FOUND."""

_PUBLISHERS_RIGHTS, _CLIENTS_RIGHTS = "WRITE and DESCRIBE", "READ and DESCRIBE"


def error_signs(evidence: Evidence) -> Signs:
    """What went wrong in the clients themselves."""
    publisher = evidence.publisher
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    found = []
    if publisher is not None and publisher.own_errors.count:
        found.append((f"the publisher's own error: {publisher.own_errors}", _own_advice("pub")))
    if failing := [client for client in clients if client.own_errors.count]:
        worst = max(failing, key=lambda client: client.own_errors.count)
        who = f"{len(failing)} of {len(clients)} clients had errors of their own"
        found.append((f"{who}, {worst.name}: {worst.own_errors}", _own_advice("sub")))
    return found


def refusal_text(evidence: Evidence) -> str:
    """The most frequent reason why records were not acked, how many it was, and what to do; empty without any."""
    refusals = evidence.publisher.refusals if evidence.publisher is not None else ()
    if not refusals:
        return ""
    first = refusals[0]
    others = f" (one of {len(refusals)} reasons)" if len(refusals) > 1 else ""
    told = f"{first.error} for {first.records:,} records{others}"
    return f"{told}: {error_hint(first.code, _PUBLISHERS_RIGHTS)}" if first.code else told


def refusals(evidence: Evidence, totals: Totals) -> tuple[str, ...]:
    """What brokers refused for good, and what would change that: rights and settings, however fast they are."""
    publisher = evidence.publisher
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    found = []
    if publisher is not None and (code := _rule(publisher.error)) is not None:
        hint = error_hint(code, _PUBLISHERS_RIGHTS)
        found.append(f"brokers refused the publisher's records for good: {error_name(code)} ({hint})")
    elif totals.records_failed:
        # Only what is proven never to come into the log counts as refused: that is a rule, and no want of speed.
        reason = refusal_text(evidence) or (publisher.error if publisher is not None else "") or "no reason is known"
        found.append(f"brokers refused {totals.records_failed:,} records for good ({reason})")
    refused = [(client.name, code) for client in clients if (code := _rule(client.error)) is not None]
    if refused:
        name, code = refused[0]
        told = f"{name}: {error_name(code)} ({error_hint(code, _CLIENTS_RIGHTS)})"
        found.append(f"brokers refused {len(refused)} of {len(clients)} clients for good, {told}")
    return tuple(found)


def _rule(error: str) -> int | None:
    """The code of a refusal that no faster broker would spare us."""
    code = final_error_in(error)
    return None if code in _BROKER_FAILED else code


def _own_advice(role: str) -> str:
    return f"use another --{role}_driver, or report it as a bug of Hydra"


def hold_ms(order: RunOrder) -> float:
    """For how long, at most, brokers hold a record back for --fetch_min_bytes at the rate that was asked for."""
    options = order.options
    rate = options.msg_rate * (options.msg_size + _RECORD_BYTES) * _share(order) / _leaders(order)
    if options.fetch_min_bytes <= 1 or not rate:
        return 0.0
    if options.compression != "none":
        return float(options.fetch_wait_max_ms)  # brokers count bytes as they are stored, and those may be few
    return min(float(options.fetch_wait_max_ms), 1000 * options.fetch_min_bytes / rate)


def linger_wait_ms(order: RunOrder) -> float:
    """For how long, at most, the publisher holds a record back for --linger_ms: a batch that is full goes at once."""
    options = order.options
    linger_ms = float(options.linger_ms)
    if options.compression != "none" or not options.msg_rate:
        return linger_ms  # how many records fill a batch then is not known
    records = max(1, order.batch_bytes // (options.msg_size + _RECORD_BYTES))
    return min(linger_ms, 1000 * (records - 1) * max(1, options.partitions) / options.msg_rate)


def buffer_signs(order: RunOrder, evidence: Evidence) -> Signs:
    """What --consumer_max_buffer_size lets a client read at most, and whether that is less than it was to read."""
    options, buffer_bytes = order.options, order.options.consumer_max_buffer_size
    if not buffer_bytes:
        return ()
    wire = options.sub_driver not in SELF_PACED_DRIVERS
    fetched_bytes = max(map(_bytes_per_fetch, evidence.subscribers), default=0.0) if wire else 0.0
    # The first batch of a reply may be larger than the limit.
    most_bytes = max(float(buffer_bytes), fetched_bytes)
    record_bytes = _stored_bytes_per_record(order, evidence)
    if not record_bytes:
        return ()
    asked = options.msg_rate * record_bytes * _share(order) / _leaders(order)
    each = f"each fetch brings {most_bytes:,.0f} bytes at most"
    advice = "raise --consumer_max_buffer_size"
    if order.pace_ms and (ceiling := 1000 * most_bytes / order.pace_ms) < asked:
        text = f"{each}, and comes every {order.pace_ms:,.3g} ms: {_mb(ceiling)} of {_mb(asked)} for each client"
        return [(text, f"{advice}, or lower --fetch_pace_ms")]
    if fetched_bytes >= FULL_RATIO * buffer_bytes:
        return [(f"{each} (--consumer_max_buffer_size), and on average they brought {fetched_bytes:,.0f}", advice)]
    if not wire and asked > OWN_PACE_FETCHES_PER_S * buffer_bytes:
        text = f"{each}: for {_mb(asked)} each client would have to fetch {asked / buffer_bytes:,.0f} times a second"
        return [(text, advice)]
    return ()


def waiting_signs(order: RunOrder, totals: Totals, thresholds: Sequence[ThresholdOutcome], *, symptoms: int) -> Signs:
    """Where waiting that was asked for explains all ``symptoms``: then none is left for a broker to explain."""
    waits = {
        "--linger_ms": linger_wait_ms(order),
        "the fetch pace": order.pace_ms,
        "--fetch_min_bytes": hold_ms(order),
    }
    found = []
    for item in thresholds:
        if not item.broken or item.unit != "ms" or "<" not in item.threshold:
            continue
        name, longest_ms = _longest(_waits_of(item.metric, waits))
        # Records come evenly, and each waits for the rest of the time: so is the part of it that a percentile, or the
        # mean, waits.
        least_ms = longest_ms * _QUANTILES.get(item.metric.rpartition("_")[2], 0.0)
        if name and least_ms >= item.limit:
            text = f"{item.threshold} cannot be kept: {name} alone makes it {least_ms:,.4g} ms"
            found.append((text, f"lower {name}, or ask for less"))
    name, _ = _longest(waits)
    all_ms, drain_ms, kept_ms = sum(waits.values()), 1000 * order.options.drain_timeout, order.options.retention_ms
    may_wait = f"and records may wait for {all_ms:,.0f} ms"
    if totals.records_unread and drain_ms < all_ms:
        text = f"the drain ended after {drain_ms:,.0f} ms, {may_wait}"
        found.append((text, f"raise --drain_timeout, or lower {name}"))
    if totals.records_expired and kept_ms is not None and kept_ms < all_ms:
        text = f"the topic keeps records for {kept_ms:,.0f} ms, {may_wait}"
        found.append((text, f"raise --retention_ms, or lower {name}"))
    return found if len(found) == symptoms else ()


def _longest(waits: Mapping[str, float]) -> tuple[str, float]:
    return max(waits.items(), key=lambda item: item[1], default=("", 0.0))


def _waits_of(metric: str, waits: Mapping[str, float]) -> Mapping[str, float]:
    """Those that are part of a latency, by the name of its metric."""
    names = next((names for prefix, names in _WAITS.items() if metric.startswith(prefix)), waits)
    return {name: waits[name] for name in names}


def _share(order: RunOrder) -> float:
    """The share of all records that the client which reads most is to read."""
    partitions = max(1, order.options.partitions)
    if order.group_assigns:
        return -(-partitions // max(1, len(order.clients))) / partitions
    return max((len(client.starts) for client in order.clients), default=partitions) / partitions


def _leaders(order: RunOrder) -> int:
    """How many brokers a client fetches from, each with a limit of its own."""
    return len({leader.endpoint for leader in order.leaders}) or 1


def _stored_bytes_per_record(order: RunOrder, evidence: Evidence) -> float:
    """Of a record in the log; where batches are compressed, what the wire driver's clients saw, 0 if nobody did."""
    options = order.options
    if options.compression == "none":
        return float(options.msg_size + _RECORD_BYTES)
    clients = [client for stats in evidence.subscribers for client in stats.clients]
    spans = [span for client in clients for part in client.partitions for span in part.spans]
    records = sum(count for _, _, count in spans)
    known = options.sub_driver == "wire" and records
    return sum(client.received_bytes for client in clients) / records if known else 0.0


def _bytes_per_fetch(stats: SubscriberStats) -> float:
    """The mean, from the start of the plan to the end."""
    if len(stats.samples) < 2:
        return 0.0
    first, last = stats.samples[0], stats.samples[-1]
    fetches = last.fetches - first.fetches
    return (last.received_bytes - first.received_bytes) / fetches if fetches else 0.0


def _mb(rate: float) -> str:
    return f"{rate / 1e6:,.3g} MB/s"
