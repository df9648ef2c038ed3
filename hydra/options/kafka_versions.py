"""The versions of Kafka that can be embedded, and what a run cannot have with the old ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hydra.errors import UsageError

if TYPE_CHECKING:
    from hydra.options.options import Options

BUNDLED_VERSION = "4.4.0"
"""Of ``hydra/broker/kafka.lock``."""

OLD_VERSION = "0.9.0.1"
"""Of ``hydra/broker/kafka-0.9.0.1.lock``. Its brokers take no admin requests, and its messages have no timestamps."""

VERSIONS = (BUNDLED_VERSION, "3.9.2", "2.8.2", OLD_VERSION)
"""All that can be embedded; each has a lock file beside that of the bundled one."""

ZOOKEEPERS = {"2.8.2": "3.5.9", OLD_VERSION: "3.4.6"}
"""Version of Kafka -> of the ZooKeeper that it comes with; the others have none."""

OLD_MESSAGE_OVERHEAD_BYTES = 34
"""What a message of format 0 adds to its value, with the wrapper's offset and length: 12 bytes before the message,
then CRC 4, magic 1, attributes 1, key length 4 and value length 4; and some bytes of reserve."""

_SILENT_LIBRARIES = {"confluent": "Kafka 0.11", "wire": "Kafka 0.11"}
"""Drivers, and the oldest Kafka that they speak to."""

_LATER_CODECS = {"lz4": "0.10", "zstd": "2.1"}
"""Codecs that 0.9 does not have, or not in the form of all later versions (KAFKA-3160), and since when they are."""


def check_version(options: Options) -> None:
    """Raise UsageError for the first thing that the options ask for and that their Kafka does not have."""
    lacking = (
        *(_lacking_when_old(options) if options.is_old_kafka else ()),
        *(_lacking_with_zookeeper(options) if options.has_zookeeper else ()),
    )
    for text, hint in lacking:
        raise UsageError(f"--kafka_version={options.kafka_version} {text}", hint=hint)


def _lacking_with_zookeeper(options: Options) -> Iterator[tuple[str, str]]:
    """(the rest of the sentence, the hint) for each of them."""
    security = options.kafka_security
    if security not in {None, "plaintext"}:
        yield f"does not go with --kafka_security={security}", "leave --kafka_security out: it asks nothing of clients"
    if options.brokers > 1:
        yield f"does not go with --brokers={options.brokers}", "leave --brokers out: it is one broker and a ZooKeeper"


def _lacking_when_old(options: Options) -> Iterator[tuple[str, str]]:
    """As above, of what came later than 0.9."""
    for name in ("pub_driver", "sub_driver"):
        driver = getattr(options, name)
        if driver in _SILENT_LIBRARIES:
            yield (
                f"does not go with --{name}={driver}, which speaks to {_SILENT_LIBRARIES[driver]} and later",
                "give --pub_driver=kafka-python --sub_driver=kafka-python",
            )
    if options.idempotence == "yes":
        yield (
            "does not go with --idempotence=yes: brokers recognise a batch that they get twice since Kafka 0.11",
            "leave --idempotence out: a record that is in the log twice is counted",
        )
    if options.group_mode == "group":
        yield (
            "does not go with --group_mode=group: groups cannot be deleted there after the run",
            "leave --group_mode out, so that Hydra assigns the partitions",
        )
    codec = options.compression
    if codec in _LATER_CODECS:
        yield (
            f"does not go with --compression={codec}, which Kafka has in its present form since {_LATER_CODECS[codec]}",
            "use gzip or snappy",
        )
    largest, taken = _largest_message_bytes(options), options.consumer_max_buffer_size
    if 0 < taken < largest:
        yield (
            (
                f"does not go with --consumer_max_buffer_size={taken}: messages may be {largest} bytes, and brokers"
                " before 0.10.1 answer such a fetch with nothing"
            ),
            "raise --consumer_max_buffer_size, or leave it out",
        )


def _largest_message_bytes(options: Options) -> int:
    """Of one message in the log: a record, or a whole batch where it is compressed."""
    record_bytes = options.msg_size + OLD_MESSAGE_OVERHEAD_BYTES
    return record_bytes if options.compression == "none" else max(record_bytes, options.batch_size_bytes)
