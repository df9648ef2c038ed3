"""The outcomes of the records that a publisher handed over, by partition; memory grows with the gaps only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hydra.accounting.intervals import IntervalSet
from hydra.accounting.latency import TICKS_PER_S, LatencyHistogram
from hydra.accounting.stats import OwnErrors, PartitionOutcomes, Refusal
from hydra.clients.payload import payload_of
from hydra.clients.protocols import AckCount
from hydra.kafka_errors import error_name, is_turned_away
from hydra.options.order import RunOrder
from hydra.records.identity import SEQUENCE, SEQUENCE_OFFSET

PROOFS_OF_REFUSAL = frozenset({10, 17, 18, 21, 29, 31, 32, 43, 87})
"""Kafka's error codes that prove that the broker did not append the record, and never would.

In Kafka's words: MESSAGE_TOO_LARGE, INVALID_TOPIC_EXCEPTION, RECORD_LIST_TOO_LARGE, INVALID_REQUIRED_ACKS,
TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED, INVALID_TIMESTAMP, UNSUPPORTED_FOR_MESSAGE_FORMAT and
INVALID_RECORD. Everything else leaves the outcome unknown, since the record may have been sent before: timeouts, lost
connections, NOT_ENOUGH_REPLICAS_AFTER_APPEND, a purged queue.
"""


MAX_REASONS = 20
"""That are told of those for which records were not acked."""


NOT_ENOUGH_REPLICAS = 19


def timed_out(order: RunOrder, words: str) -> int | str:
    """Why a record was not acked in time, where the library only says that it was not, in ``words``."""
    return NOT_ENOUGH_REPLICAS if order.options.acks == "all" and order.topic_facts.lacks_replicas else words


def queue_limit(msg_rate: float, most: int) -> int:
    """How many records may wait for their outcome: those of 5 s, 100,000 to 2,000,000, and not more than ``most``."""
    return max(1, min(max(100_000, round(5 * msg_rate)), 2_000_000, most))


class RecordValues:
    """Makes the values of a publisher's records: identity, then the payload up to the record size."""

    __slots__ = ("_payload", "_prefix")

    def __init__(self, order: RunOrder) -> None:
        self._prefix = order.identity_prefix
        self._payload = payload_of(order)

    def values(self, first_sequence: int, records: int) -> list[bytes]:
        """The values of ``records`` records with the sequences from ``first_sequence`` on."""
        prefix, share, pack = self._prefix, self._payload.share, SEQUENCE.pack
        sequences = range(first_sequence, first_sequence + records)
        if self._payload.share_bytes:
            return [prefix + pack(sequence) + share(sequence) for sequence in sequences]
        return [prefix + pack(sequence) for sequence in sequences]


def sequence_of(value: bytes) -> int:
    """The sequence in a value."""
    return int(SEQUENCE.unpack_from(value, SEQUENCE_OFFSET)[0])


class DeliveryLedger:
    """Counts records as attempted, acked and failed; those neither acked nor failed are unknown."""

    __slots__ = (
        "_ack_latencies", "_acked", "_attempted", "_failed", "_refusals", "acked", "error", "failed",
        "maybe_appended", "own_errors", "throttled_s", "turned_away",
    )  # fmt: skip

    def __init__(self, partitions: int) -> None:
        self.acked = 0
        self.failed = 0
        self.error = ""
        """The last error, in the library's words."""
        self.own_errors = OwnErrors()
        """Those of them that were no broker's doing."""
        self.maybe_appended = False
        """Whether a library sent records again: an earlier try may be in the log, and no refusal proves that not."""
        self.throttled_s = 0.0
        """For how long a quota held the publisher back, according to the broker's replies."""
        self.turned_away = 0
        """How often a broker closed a connection before it had answered anything on it."""
        self._ack_latencies = LatencyHistogram()
        self._attempted = [0] * partitions
        self._acked = [IntervalSet() for _ in range(partitions)]
        self._failed = [IntervalSet() for _ in range(partitions)]
        self._refusals: Counter[int | str] = Counter()

    def attempt(self, partition: int, stop: int) -> None:
        """Count all sequences of the partition below ``stop`` as handed to the library."""
        self._attempted[partition] = max(self._attempted[partition], stop)

    def ack(self, partition: int, start: int, stop: int) -> None:
        """Count the sequences ``start`` .. ``stop - 1`` as acked."""
        self.acked += self._acked[partition].add(start, stop)

    def time_acks(self, waits: Iterable[tuple[float, int]]) -> None:
        """Count (seconds, records) that waited so long for their acks."""
        for waited_s, records in waits:
            if records:
                self._ack_latencies.add(max(0, round(waited_s * TICKS_PER_S)), records)

    def take_ack_latencies(self) -> LatencyHistogram:
        """What was timed since it was last taken."""
        found, self._ack_latencies = self._ack_latencies, LatencyHistogram()
        return found

    def fail(self, partition: int, start: int, stop: int | None = None) -> None:
        """Count the record ``start``, or those up to ``stop - 1``, as proven not to be in the log."""
        self.failed += self._failed[partition].add(start, start + 1 if stop is None else stop)

    def blame(self, error: int | str, records: int) -> None:
        """Note why records, failed or unknown, will not be acked: Kafka's error code, or the library's words."""
        self._refusals[error] += records

    def hold_back(self, throttled_ms: float) -> None:
        """Count for how long a quota holds the publisher back, according to a reply."""
        self.throttled_s += throttled_ms / 1000

    def note_error(self, text: str) -> None:
        """Note an error, and count it where it is the client's own, or where it was not let in."""
        self.error = text
        self.own_errors = self.own_errors.with_noted(text)
        self.turned_away += is_turned_away(text)

    def count(self) -> AckCount:
        """The totals so far."""
        return AckCount(
            acked=self.acked,
            failed=self.failed,
            error=self.own_errors.instead_of(self.error),
            refusals=self._reasons() if self._refusals else (),  # asked for a thousand times a second
            throttled_s=self.throttled_s,
            own_errors=self.own_errors,
            turned_away=self.turned_away,
        )

    def _reasons(self) -> tuple[Refusal, ...]:
        return tuple(
            Refusal(error, records) if isinstance(error, str) else Refusal(error_name(error), records, error)
            for error, records in self._refusals.most_common(MAX_REASONS)
        )

    def outcomes(self) -> Sequence[PartitionOutcomes]:
        """What became of every record so far."""
        return tuple(
            PartitionOutcomes(partition, attempted, acked=tuple(acked), failed=tuple(failed))
            for partition, (attempted, acked, failed) in enumerate(
                zip(self._attempted, self._acked, self._failed, strict=True)
            )
        )
