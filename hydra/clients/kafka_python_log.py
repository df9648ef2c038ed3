"""What kafka-python logs, told to the client that it is about: the library says there what it tells by no other way."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

_CONSUMER_THREAD, _PRODUCER_THREAD = "kafka-io-", "-network-thread"
"""What comes before, or behind, the ``client_id`` in the name of a client's own thread."""

_THROTTLED = "throttled by broker"


class LibrarySink(Protocol):
    """A client's counts, as far as its library's log goes into them."""

    throttled_s: float


class _LibraryLog(logging.Handler):
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


_handler = _LibraryLog()


def listen(client_id: str, sink: LibrarySink) -> None:
    """Have ``sink`` told of what the client of this id logs. Nothing of it goes anywhere else.

    It is in the counts then; the library would log a lost broker every second.
    """
    library = logging.getLogger("kafka")
    library.setLevel(logging.WARNING)
    library.propagate = False
    if _handler not in library.handlers:
        library.addHandler(_handler)
    _handler.tell(client_id, sink)
