"""A workload of the OpenMessaging Benchmark (OMB) in Hydra's options, and what of it is measured otherwise. Pure.

Its keys are the fields of OMB's class ``Workload`` (benchmark-framework). Where a key changes what is tested, and not
only how, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra.errors import UsageError
from hydra.options.options import parse_option

MOST_CLIENTS_PER_APP = 10

WITHOUT_EFFECT = frozenset({
    "messageRateReceivedForSubscription", "acceptableBacklog", "randomizedPayloadPoolSize", "producerStartRate",
    "producerIncrementSeconds", "producerPauseBeforeDrain", "producerPauseDuringDrain", "logIntervalMillis",
})  # fmt: skip
"""Keys that matter only beside others, which are refused, or only to OMB itself."""

REFUSED = {
    "consumerBacklogSizeGB": "Hydra's clients read from the first record on: there is no backlog to drain",
    "producerIncrementRate": "Hydra sends at one rate; 'hydra kafka sweep --msg_rate_set' steps through several",
}


@dataclass(frozen=True)
class OmbWorkload:
    """What a workload file asks for."""

    name: str
    options: Mapping[str, object]
    """Hydra's options by name."""
    notes: tuple[str, ...] = ()
    """What is measured otherwise than by OMB; a line each."""
    finds_rate: bool = False
    """It names no rate: OMB looks for the highest one."""
    payload_file: str | None = None
    """Where it says that the payload is, as it stands there."""


@dataclass
class _WorkloadKeys:
    """Takes the keys of a workload one by one."""

    values: dict[str, object]
    file: str
    notes: list[str] = field(default_factory=list)

    def count(self, key: str, default: int = 0) -> int:
        """A whole number that is not negative."""
        value = self.values.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{self.file}: {key} must be a whole number, and is {str(value)[:80]!r}")
        return value

    def some(self, key: str) -> int:
        """The same where there must be at least one; one where the key is missing, or zero."""
        if (found := self.count(key)) == 0:
            self.notes.append(f"{key} is not given: 1")
        return found or 1

    def option(self, key: str, name: str, value: object) -> object:
        """A value of Hydra's option of that name, which a key asks for."""
        return parse_option(name, str(value), origin=f"{self.file}: {key}")


def parse_workload(document: object, file: str) -> OmbWorkload:
    """The workload that a file's YAML says.

    Raises:
        UsageError: names the file, the key and what Hydra cannot do.
    """
    if not isinstance(document, Mapping) or not all(isinstance(key, str) for key in document):
        raise UsageError(f"{file} is not a workload of OMB", hint="it has lines such as 'topics: 1'")
    reader = _WorkloadKeys(dict(document), file)
    for key, reason in REFUSED.items():
        if reader.count(key):
            raise UsageError(f"{file}: {key}: {reason}", hint="set it to 0 in a copy of the file")
    for key in WITHOUT_EFFECT - {"producerStartRate"}:
        reader.values.pop(key, None)
    name = str(reader.values.pop("name", "") or file)
    topics = reader.some("topics")
    options = {**_readers(reader, topics), **_records(reader)}
    partitions = reader.some("partitionsPerTopic") * topics
    options["partitions"] = reader.option("partitionsPerTopic", "partitions", partitions)
    if topics > 1:
        reader.notes.append(f"topics: {topics}: one topic with all {partitions} partitions")
    if (producers := reader.some("producersPerTopic") * topics) > 1:
        reader.notes.append(
            f"producersPerTopic: one publisher sends what {producers} producers would, at the same rate"
        )
    rate, start = reader.count("producerRate"), reader.count("producerStartRate", 10_000)
    options["msg_rate"] = reader.option("producerRate", "msg_rate", rate or start)
    minutes = reader.count("testDurationMinutes")
    if minutes:
        options["test_duration"] = reader.option("testDurationMinutes", "test_duration", minutes * 60)
    if "warmupDurationMinutes" in reader.values:
        warmup_s = reader.count("warmupDurationMinutes") * 60
        options["warmup"] = reader.option("warmupDurationMinutes", "warmup", warmup_s)
    payload_file = _payload(reader, options)
    reader.notes += [f"{key[:80]}: not known, without effect" for key in reader.values]
    return OmbWorkload(name, options, tuple(reader.notes), finds_rate=rate == 0, payload_file=payload_file)


def _readers(reader: _WorkloadKeys, topics: int) -> dict[str, object]:
    """Clients and their groups: as many deliveries as OMB's consumers would get."""
    subscriptions, each = reader.some("subscriptionsPerTopic"), reader.some("consumerPerSubscription")
    if subscriptions > 1 and each > 1:
        text = f"each of the {subscriptions} subscriptions is one client, which reads all of it"
        reader.notes.append(f"consumerPerSubscription: {each}: {text}")
    shared = subscriptions == 1 and each * topics > 1
    clients = each * topics if shared else subscriptions
    reader.option("consumerPerSubscription", "total_sub_apps", -(-clients // MOST_CLIENTS_PER_APP))
    per_app = next(count for count in range(MOST_CLIENTS_PER_APP, 0, -1) if clients % count == 0)
    return {
        "total_sub_apps": clients // per_app,
        "clients_per_app": per_app,
        "group": "shared" if shared else "own",
    }


def _records(reader: _WorkloadKeys) -> dict[str, object]:
    """Size and keys of the records."""
    keys = str(reader.values.pop("keyDistributor", "NO_KEY"))
    if keys != "NO_KEY":
        reader.notes.append(f"keyDistributor: {keys[:80]}: records have no key; partitions take turns")
    size = reader.count("messageSize")
    return {"msg_size": reader.option("messageSize", "msg_size", size)}


def _payload(reader: _WorkloadKeys, options: dict[str, object]) -> str | None:
    """What is in the records; returns the file that has it."""
    random, ratio = reader.values.pop("useRandomizedPayloads", False), reader.values.pop("randomBytesRatio", 1)
    file = reader.values.pop("payloadFile", None)
    if random is True:
        options["payload"] = "random"
        if ratio != 1:
            reader.notes.append(f"randomBytesRatio: {str(ratio)[:80]}: all bytes are random but the first 14")
        return None
    return None if file is None else str(file)
