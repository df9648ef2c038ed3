"""Reads what brokers export of themselves (``--broker_metrics``), beside the run: an exporter may take its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import requests

from hydra.accounting.broker_inside import BrokerExport, BrokerInside
from hydra.broker.exported_metrics import Scrape, export_of, read_scrape
from hydra.engine.http_session import BoundedSession

EVERY_S = 2.0
TIMEOUT_S = 15.0
"""An exporter without rules reads thousands of beans."""

LEASE_S = 3.0
"""Without a look for so long nobody sends any more, and nothing more is read."""

JOIN_S = 1.0


class MetricsWatch:
    """Reads each address every two seconds while there are looks, and again once they go on; a BrokerWatch."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._readers = [_ExportReader(url) for url in urls]

    def look(self) -> None:
        """Have them read on; returns at once."""
        for reader in self._readers:
            reader.go_on()

    def seen(self, start_s: float) -> BrokerInside:  # noqa: ARG002  # what they export has no times
        """What was read up to the last look."""
        return BrokerInside(exports=tuple(reader.end() for reader in self._readers))


class _ExportReader:
    """Reads one address on a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._scrapes: list[Scrape] = []
        self._error = ""
        self._over = threading.Event()
        self._looked_s = 0.0
        self._thread: threading.Thread | None = None

    def go_on(self) -> None:
        self._looked_s = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._read_on, name="broker-metrics", daemon=True)
            self._thread.start()

    def end(self) -> BrokerExport:
        self._over.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
        return export_of(self._url, tuple(self._scrapes), self._error)

    def _read_on(self) -> None:
        with BoundedSession(TIMEOUT_S, trust_env=True) as session:
            while not self._over.is_set() and time.monotonic() - self._looked_s < LEASE_S:
                self._error = self._read(session)
                self._over.wait(EVERY_S)

    def _read(self, session: BoundedSession) -> str:
        """Read once; returns why it could not, or nothing."""
        try:
            response = session.get(self._url, headers={"Accept": "text/plain; version=0.0.4"})
        except requests.RequestException as error:
            return session.failure or str(error)
        if response.status_code != requests.codes.ok:
            return f"it answered {response.status_code} {response.reason}"
        try:
            self._scrapes.append(read_scrape(response.content.decode("utf-8"), time.time()))
        except ValueError as error:
            return f"its answer is no Prometheus text ({str(error)[:100]})"
        return ""
