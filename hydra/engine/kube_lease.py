"""Keeps the anchor of a run alive: as long as its controller lives, the deadline of that Job is moved on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_connection import KubernetesConnection
from hydra.engine.kube_objects import LEASE_S, Anchor
from hydra.engine.kube_responses import JobResponse
from hydra.engine.kube_states import is_over
from hydra.errors import HydraError, KubernetesError
from hydra.run.clock import MonotonicClock

RENEW_EVERY_S = 20.0
RENEWAL_LIMIT_S = 20.0
CLOCKS_APART = timedelta(seconds=5)
"""API servers of one cluster may be on several machines."""

CLOSE_LIMIT_S = 5.0
LAST_RENEWAL_LIMIT_S = 2 * RENEWAL_LIMIT_S
"""A renewal gives up after RENEWAL_LIMIT_S, and its last request some time later."""

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
        self.until: datetime | None = None
        """By the server's clock: when Kubernetes removes the run unless the lease is renewed."""
        self.failure = ""
        """Why it was not renewed at the last try."""
        self.over = ""
        """Why the run is being removed, once that is known."""
        self._thread = threading.Thread(target=self._renew_until_closed, name="kubernetes-lease", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def extend(self, seconds: int) -> None:
        """Have the anchor live so long from now on.

        Raises:
            KubernetesError: it is gone, and ``over`` says why; or Kubernetes cannot be reached.
        """
        path = f"{self._connection.jobs_path}/{self._anchor.name}"
        deadline_s = self._clock.now_s() + RENEWAL_LIMIT_S
        what = f"move on the deadline of the job {self._anchor.name}"
        job: JobResponse | None = None
        try:
            job = self._connection.request(what, "GET", path, JobResponse, deadline_s=deadline_s)
        except KubernetesError as error:
            if error.status != 404:
                raise
        now = date_of(self._connection.response_date)
        if job is None or self.look(job, now):
            raise KubernetesError(self.look(job, now))
        began = job.status.start_time or job.metadata.creation_timestamp
        lived_s = (now - began).total_seconds() if began is not None else 0.0
        body = {"metadata": {"uid": self._anchor.uid}, "spec": {"activeDeadlineSeconds": int(lived_s) + seconds}}
        self._connection.request(what, "PATCH", path, JobResponse, deadline_s=deadline_s, body=body)
        self.until = now + timedelta(seconds=seconds)

    def look(self, job: JobResponse | None, now: datetime) -> str:
        """Why all that the run has made goes, by its anchor as it is ``now``; empty as long as it is there."""
        if not self.over:
            self.over = why_over(self._anchor, job, self.until, now, self.failure)
        return self.over

    def keep(self) -> None:
        """Stop renewing, and have the anchor live for KEEP_S from now on.

        Raises:
            KubernetesError: as ``extend``; or a renewal that was under way does not end.
        """
        # One that is under way would have the anchor live for LEASE_S again, and no other may use its connection.
        if not self._stop(LAST_RENEWAL_LIMIT_S):
            raise KubernetesError(f"the run's lease is still being renewed after {LAST_RENEWAL_LIMIT_S:g} s")
        self.extend(KEEP_S)

    def close(self) -> None:
        """Stop renewing; harmless the second time."""
        self._stop(CLOSE_LIMIT_S)
        self._connection.close()

    def _stop(self, limit_s: float) -> bool:
        """End the thread. Whether it has ended within the limit."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _renew_until_closed(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                self.extend(LEASE_S)
            except HydraError as error:
                if self._ended.is_set():
                    return  # the run itself has removed its anchor meanwhile
                if self.over:
                    self._note(self.over)
                    return
                if not self.failure:
                    self._note(f"the run's lease on Kubernetes was not renewed: {error.message}")
                self.failure = error.message
            else:
                self.failure = ""


def why_over(anchor: Anchor, job: JobResponse | None, until: datetime | None, now: datetime, failure: str) -> str:
    """Why a run is being removed from outside; empty where it is not.

    Args:
        anchor: of the run.
        job: what has its name now.
        until: when the lease ends that was got last.
        now: by the same clock, the server's.
        failure: why it was not renewed since.
    """
    there = job is not None and job.metadata.uid == anchor.uid and job.metadata.deletion_timestamp is None
    if job is not None and there and not is_over(job):
        return ""
    # An anchor has no pod: it ends by its deadline alone.
    if (job is not None and there) or (until is not None and now >= until - CLOCKS_APART):
        why = f" ({failure})" if failure else ", as when this machine slept"
        return (
            f"the run's lease on Kubernetes is over: it was not renewed for {LEASE_S} s{why}, and Kubernetes then"
            " removes the run with all of its pods"
        )
    return f"the job {anchor.name}, which all of the run belongs to, was deleted by somebody else, and its pods with it"


def date_of(text: str) -> datetime:
    """The server's own clock, so that ours need not agree with it."""
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(text)
    return datetime.now().astimezone()
