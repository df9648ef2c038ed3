"""What client libraries log, told to the client that it is about: they say there what they tell by no other way."""

from __future__ import annotations

import logging
import re
import threading
from typing import Protocol

from hydra.clients.ledger import DeliveryLedger

_CONSUMER_THREAD, _PRODUCER_THREAD = "kafka-io-", "-network-thread"
"""What comes before, or behind, the ``client_id`` in the name of a client's own thread in kafka-python."""

_LIBRDKAFKA_HEAD = re.compile(r"^[A-Z]+ \[[^]]*\] (\[thrd:[^]]*\]: )?")
"""What comes before librdkafka's own words: ``FAIL [NAME#consumer-1] [thrd:HOST:PORT/1]: ``."""

_THROTTLED = "throttled by broker"
_RETRIED = "Got error produce response on topic-partition %s, retrying"
"""How kafka-python tells that it sends a batch once more."""


class LibrarySink(Protocol):
    """A client's counts, as far as its library's log goes into them."""

    throttled_s: float

    def note_error(self, text: str) -> None:
        """Count an error that the library logged."""
        ...


class _ErrorNotes(logging.Handler):
    """Tells one client of what its library logs as an error; warnings are about settings that both of us know."""

    def __init__(self, sink: LibrarySink) -> None:
        super().__init__(logging.ERROR)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the client."""
        self._sink.note_error(_LIBRDKAFKA_HEAD.sub("", record.getMessage()))


def librdkafka_logger(sink: LibrarySink) -> logging.Logger:
    """A logger for one librdkafka client, which it serves when it is polled. Nothing of it goes anywhere else."""
    logger = logging.Logger("librdkafka", logging.ERROR)  # noqa: LOG001  one for each client, which ends with it
    logger.addHandler(_ErrorNotes(sink))
    return logger


class _KafkaPythonLog(logging.Handler):
    """Finds the client of each message by the thread that logged it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._sinks: dict[str, LibrarySink] = {}

    def tell(self, client_id: str, sink: LibrarySink) -> None:
        """From now on ``sink`` is told of what the client of this id logs."""
        self._sinks[client_id] = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the client."""
        thread = threading.current_thread().name
        sink = self._sinks.get(thread.removeprefix(_CONSUMER_THREAD).removesuffix(_PRODUCER_THREAD))
        if sink is None:
            return
        if _THROTTLED in str(record.msg) and isinstance(record.args, tuple):
            sink.throttled_s += float(str(record.args[-1])) / 1000
        elif _RETRIED in str(record.msg) and isinstance(sink, DeliveryLedger):
            sink.maybe_appended = True
        elif record.levelno >= logging.ERROR:
            sink.note_error(record.getMessage())


_kafka_python_log = _KafkaPythonLog()


def listen_to_kafka_python(client_id: str, sink: LibrarySink) -> None:
    """Have ``sink`` told of what the client of this id logs. Nothing of it goes anywhere else.

    It is in the counts then; the library would log a lost broker every second.
    """
    library = logging.getLogger("kafka")
    library.setLevel(logging.WARNING)
    library.propagate = False
    if _kafka_python_log not in library.handlers:
        library.addHandler(_kafka_python_log)
    _kafka_python_log.tell(client_id, sink)
