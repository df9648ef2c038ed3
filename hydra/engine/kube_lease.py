"""Keeps the anchor of a run alive: as long as its controller lives, the deadline of that Job is moved on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_connection import KubernetesConnection
from hydra.engine.kube_objects import LEASE_S, Anchor
from hydra.engine.kube_responses import JobResponse
from hydra.errors import HydraError
from hydra.run.clock import MonotonicClock

RENEW_EVERY_S = 20.0
KEEP_S = 24 * 3600
"""So long apps live that were left up (--keep_running) and that no run has used since."""


class Lease:
    """Renews on a thread of its own, over a connection of its own, from ``start`` to ``close``.

    Args:
        access: how the API server is reached.
        anchor: the Job.
        note: is told once when the anchor is gone, for whatever reason.
    """

    def __init__(self, access: KubernetesAccess, anchor: Anchor, note: Callable[[str], None]) -> None:
        self._clock = MonotonicClock()
        self._connection = KubernetesConnection(access, self._clock)
        self._anchor = anchor
        self._note = note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_closed, name="kubernetes-lease", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def extend(self, seconds: int) -> None:
        """Have the anchor live so long from now on.

        Raises:
            HydraError: it is gone, or Kubernetes cannot be reached.
        """
        path = f"{self._connection.jobs_path}/{self._anchor.name}"
        deadline_s = self._clock.now_s() + RENEW_EVERY_S
        what = f"move on the deadline of the job {self._anchor.name}"
        job = self._connection.request(what, "GET", path, JobResponse, deadline_s=deadline_s)
        began = job.status.start_time or job.metadata.creation_timestamp
        lived_s = (_date(self._connection.response_date) - began).total_seconds() if began is not None else 0.0
        body = {"metadata": {"uid": self._anchor.uid}, "spec": {"activeDeadlineSeconds": int(lived_s) + seconds}}
        self._connection.request(what, "PATCH", path, JobResponse, deadline_s=deadline_s, body=body)

    def close(self) -> None:
        """Stop renewing; harmless the second time."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._connection.close()

    def _renew_until_closed(self) -> None:
        told = False
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                self.extend(LEASE_S)
            except HydraError as error:
                if not told:
                    self._note(f"the run's lease on Kubernetes was not renewed: {error.message}")
                told = True
            else:
                told = False


def _date(text: str) -> datetime:
    """The server's own clock, so that ours need not agree with it."""
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(text)
    return datetime.now().astimezone()
