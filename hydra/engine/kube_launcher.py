"""The launcher on Kubernetes: apps as Jobs, their pods as tasks, and why pods are missing.

Pods are listed and not watched: a list is what is so now, whatever was missed before. It is asked for no more often
than LOOK_EVERY_S, or than a share of the time that it takes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_lease import Lease, date_of
from hydra.engine.kube_namespace import CALL_LIMIT_S, REMOVE_LIMIT_S, KubernetesNamespace, job_uid_of, owners_of
from hydra.engine.kube_objects import (
    LEASE_S,
    SPEC_ANNOTATION,
    Anchor,
    anchor_job,
    app_job,
    key_secret,
    object_name,
)
from hydra.engine.kube_ours import check_owner, is_hydras, is_owners
from hydra.engine.kube_refusals import KubernetesUnavailableError
from hydra.engine.kube_removal import Removal
from hydra.engine.kube_responses import (
    JobResponse,
    PodResponse,
    StatusResponse,
)
from hydra.engine.kube_seen import MOST_REASONS, Seen, reasons, told
from hydra.engine.kube_states import NO_IMAGE, is_going, is_over_and_deleted, is_spent, task_of, troubles
from hydra.engine.outage import Outage
from hydra.errors import HydraError, KubernetesError, NotReadyError, StillGoingError
from hydra.files.folders import reap_orphans
from hydra.options.options import Options
from hydra.run.clock import Clock, MonotonicClock
from hydra.run.protocols import AppSpec, Task, WaitingReason

if TYPE_CHECKING:
    from hydra.engine.kube_forward import PortForwards

T = TypeVar("T")

_QUOTED = re.compile(r'"[^"]*"')

LOOK_LIMIT_S = 3.0
"""For what a run looks at while it goes on."""

SETTLED_S = 2.0
"""Who waits for tasks asks for them sooner again. A pod runs before its command has failed, so all may seem to be there
and one of them end at its start; what ends after such a pause has been at work.
"""

EXPLAIN_LIMIT_S = 5.0
LOOK_EVERY_S = 0.3
LOOK_SHARE = 0.25
"""Of the time, at most, lists are being asked for."""

REFUSALS_EVERY_S = 2.0
UNFETCHED_EVERY_S = 5.0
LINES_SHOWN = 3


class KubernetesLauncher(KubernetesNamespace):
    """Implements ``run.protocols.Launcher`` in one namespace. Owns all retries, by its clock. Not thread-safe.

    Every call raises a KubernetesError if the API server cannot be reached or refuses.

    Args:
        access: how it is reached; closed with the launcher.
        options: where pods may run, and what with.
        note: is told once of each thing that keeps pods from running, as soon as Kubernetes says so.
        controller: the Job that we run in, with which all goes that is made (a reference).
    """

    def __init__(
        self,
        access: KubernetesAccess,
        options: Options,
        *,
        clock: Clock | None = None,
        note: Callable[[str], None] = lambda _text: None,
        controller: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(access, clock or MonotonicClock())
        self._options = options
        self._note = note
        self._controller = controller
        self._told: set[str] = set()
        self._owner: str | None = None
        """Whose apps these are, from ``begin`` on."""
        self._began = ""
        """The name of the anchor, from the first try to make it on."""
        self._anchor: Anchor | None = None
        self._lease: Lease | None = None
        self._forwards: PortForwards | None = None
        self._seen: dict[str, Seen] = {}
        self._outage = Outage(self._clock, CALL_LIMIT_S, KubernetesUnavailableError)

    def begin(self, owner: str, task_key: str) -> None:
        """Make the anchor of a run, or take over that of apps that were left up, and keep it alive until ``close``.

        Raises:
            UsageError: another run has it.
            StillGoingError: one of a run before is still being removed.
        """
        reap_orphans()
        deadline_s = self._until(CALL_LIMIT_S)
        body = anchor_job(self._options, owner, self._controller)
        name = str(body["metadata"]["name"])
        self._owner, self._began = owner, name
        while is_hydras((job := self._made(name, body, deadline_s)).metadata) and is_going(job):
            if self._clock.now_s() >= deadline_s:
                hint = "see whether Kubernetes' controller manager runs, or choose another --app_prefix"
                raise StillGoingError(f"the job {name} of a run before is still being removed", hint=hint)
            self._clock.sleep(LOOK_EVERY_S)
        hint = f"wait for its end, or choose another --app_prefix; if it was killed: it goes within {LEASE_S} s"
        check_owner(job, owner, hint)
        self._anchor = Anchor(name, job.metadata.uid, owner)
        self._lease = Lease(self._access, self._anchor, self._note)
        self._lease.extend(LEASE_S)
        self._lease.start()
        try:
            secret, path = key_secret(self._anchor, task_key), f"{self._connection.namespace_path}/secrets"
            what = f"create the secret {self._anchor.secret}"
            self._connection.request(what, "POST", path, StatusResponse, deadline_s, body=secret)
        except KubernetesError as error:
            if error.status != 409:
                raise

    def end(self, *, keep: bool) -> None:
        """Remove the anchor with all that is left of the run; with ``keep`` leave all up for a day.

        Raises:
            InfrastructureError: says what could not be removed.
        """
        anchor, self._anchor = self._anchor or self._unheard_anchor(), None
        self._began = ""
        if self._lease is not None:
            with contextlib.closing(self._lease) as lease:
                if keep:
                    lease.keep()
        if anchor is not None and not keep:
            Removal(self, anchor).finish(self._clock)

    def _unheard_anchor(self) -> Anchor | None:
        """That whose making was interrupted before the response came; None where none was made."""
        if not self._began or self._owner is None:
            return None
        job = self._job(self._began, self._until(REMOVE_LIMIT_S))
        if job is None or not is_owners(job.metadata, self._owner):
            return None
        return Anchor(self._began, job.metadata.uid, self._owner)

    def apply(self, spec: AppSpec) -> None:
        """Create the app, or change it to the spec; see the Protocol."""
        deadline_s = self._until(CALL_LIMIT_S)
        name, body = object_name(spec.app_id), app_job(spec, self._options, self._anchor)
        job = self._job(name, deadline_s) or self._made(name, body, deadline_s)
        if is_hydras(job.metadata) and self._is_orphan(job):
            raise StillGoingError(f"the job {name} of a run before is still being removed")
        check_owner(job, spec.owner, "wait for its end, or choose another --app_prefix")
        if job.metadata.deletion_timestamp is not None:
            raise StillGoingError(f"the job {name} is still being removed")
        same = job.metadata.annotations.get(SPEC_ANNOTATION) == body["metadata"]["annotations"][SPEC_ANNOTATION]
        if not same or is_spent(job):
            self.delete(name, job.metadata.uid)
            raise StillGoingError(f"the job {name} is being exchanged")
        if job.spec.parallelism != spec.instances or job.spec.completions != spec.instances:
            self.scale(spec.app_id, spec.instances, job.metadata.uid)
        seen = self._seen.setdefault(spec.app_id, Seen())
        seen.wanted, seen.job_uid, seen.at_s = spec.instances, job.metadata.uid, float("-inf")
        seen.settling, seen.whole, seen.vanished, seen.fetches = True, False, [], bool(spec.fetch)

    def scale(self, app_id: str, instances: int, uid: str) -> None:
        """Ask for that many tasks of an app, whose job has this uid.

        Raises:
            StillGoingError: another job has its name now.
        """
        name, deadline_s = object_name(app_id), self._until(CALL_LIMIT_S)
        body = {"metadata": {"uid": uid}, "spec": {"parallelism": instances, "completions": instances}}
        try:
            path = f"{self._jobs}/{name}"
            self._connection.request(f"scale the job {name}", "PATCH", path, JobResponse, deadline_s, body=body)
        except KubernetesError as error:
            if error.status != 422 or "metadata.uid" not in error.message:
                raise
            raise StillGoingError(error.message, status=error.status) from error

    def tasks(self, app_id: str) -> Sequence[Task]:
        """The app's tasks as they are now, or as last seen while the API server is unavailable; see the Protocol.

        Raises:
            NotReadyError: a task has ended before all were there; on Kubernetes it does not come back.
            KubernetesError: a pod cannot start, and waiting does not help.
        """
        seen = self._seen.setdefault(app_id, Seen())
        now_s = self._clock.now_s()
        if seen.whole and now_s - seen.asked_at_s >= SETTLED_S:
            seen.settling = False
        if now_s - seen.at_s >= max(LOOK_EVERY_S, seen.took_s / LOOK_SHARE):
            pods = self._look(lambda deadline_s: self._own_pods(app_id, seen.job_uid, deadline_s), seen.pods)
            seen.took_s = self._clock.now_s() - now_s
            seen.look(pods)
            seen.at_s = self._clock.now_s()
            self._tell_why(app_id, seen)
        found = (task_of(pod, app_id) for pod in seen.pods)
        tasks = self._reached(app_id, [task for task in found if task is not None])
        if seen.settling:
            self._check_hope(app_id, seen)
            seen.whole = sum(task.running for task in tasks) == seen.wanted
        seen.asked_at_s = self._clock.now_s()
        return tasks

    def waiting_reason(self, app_id: str) -> WaitingReason:
        """What Kubernetes says of the app's pods, and of those that it does not make; see the Protocol."""
        deadline_s = self._until(EXPLAIN_LIMIT_S)
        seen = self._seen.setdefault(app_id, Seen())
        try:
            if (job := self._job(object_name(app_id), deadline_s)) is None:
                return WaitingReason(self._lease_end(deadline_s) or f"the job {object_name(app_id)} does not exist")
            pods = self._own_pods(app_id, job.metadata.uid, deadline_s)
            found = reasons(troubles(pods), seen.vanished)
            lease = self._lease_end(deadline_s) if any(each.deleted for each in found) else ""
            few = len(pods) + len(seen.vanished) < seen.wanted
            # Events stay for an hour: they explain only what is missing now.
            unknown = not (found or seen.wanted)
            refused = self._refusal(job.metadata.uid, deadline_s) if few or unknown else ""
            names = [each.pods[0] for each in found if each.ended and not each.deleted]
            lines = {name: self._last_lines(seen, name, deadline_s) for name in names[:MOST_REASONS]}
            waits = self._unfetched(pods, deadline_s) if seen.fetches and seen.settling and not found else ""
        except HydraError as error:
            return WaitingReason(error.message)
        if text := told(found, lines, lease, refused):
            return WaitingReason(text, unplaced=not any(each.ended for each in found))
        if waits or self._forwards is None or (unreached := self._forwards.failure(app_id)) is None:
            return WaitingReason(waits)
        return WaitingReason(unreached.message)

    def _lease_end(self, deadline_s: float) -> str:
        """Why all that the run has made goes; empty where it does not, or nobody can tell."""
        if self._anchor is None or self._lease is None:
            return ""
        job = self._job(self._anchor.name, deadline_s)
        return self._lease.look(job, date_of(self._connection.response_date))

    def remove(self, app_id: str) -> None:
        """Delete the app; see the Protocol. What belongs to another controller is left alone.

        While the API server is unavailable, ``removed`` asks again.
        """
        name = object_name(app_id)
        with contextlib.suppress(KubernetesUnavailableError):
            job = self._job(name, self._until(REMOVE_LIMIT_S))
            if job is not None and is_owners(job.metadata, self._owner):
                self.delete(name, job.metadata.uid)

    def removed(self, app_id: str) -> bool:
        """Whether the app is gone with all of its pods; False while the API server is unavailable."""

        def look(deadline_s: float) -> bool:
            job = self._job(object_name(app_id), deadline_s)
            if job is not None and is_owners(job.metadata, self._owner):
                if job.metadata.deletion_timestamp is None:
                    self.delete(job.metadata.name, job.metadata.uid)
                return False
            if job is not None:
                return True
            found = (pod for pod in self._pods(app_id, deadline_s) if is_owners(pod.metadata, self._owner))
            pods = [pod for pod in found if not is_over_and_deleted(pod)]
            self._hasten(pods)
            return not pods

        return self._look(look, otherwise=False)

    def _made(self, name: str, body: Mapping[str, Any], deadline_s: float) -> JobResponse:
        """The job of this name: made now, or by a request whose response was lost, or by others."""
        try:
            return self._connection.request(
                f"create the job {name}", "POST", self._jobs, JobResponse, deadline_s, body=body
            )
        except KubernetesError as error:
            if error.status != 409 or (job := self._job(name, deadline_s)) is None:
                raise
            return job

    def _hasten(self, lost: Sequence[PodResponse]) -> None:
        """Delete pods whose Job is gone. Kubernetes does it, too, though not soon when the API server was away."""
        try:
            self.delete_pods({job_uid_of(pod) for pod in lost if pod.metadata.deletion_timestamp is None})
        except KubernetesUnavailableError:
            raise
        except KubernetesError as error:
            if error.message not in self._told:
                self._told.add(error.message)
                self._note(f"pods are left to the garbage collector of Kubernetes: {error}")

    def close(self) -> None:
        """Close the connections; the anchor is left to its deadline unless ``end`` has removed it."""
        if self._forwards is not None:
            self._forwards.close()
        if self._lease is not None:
            self._lease.close()
        self._connection.close()
        self._access.close()

    def _reached(self, app_id: str, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks, with the endpoints by which they are reached from here."""
        if not self._options.kube_forward:
            return tuple(tasks)
        if self._forwards is None:
            from hydra.engine.kube_forward import PortForwards

            self._forwards = PortForwards(self._access, self._connection.route(), self._note)
        return self._forwards.follow(app_id, tasks)

    def _look(self, look: Callable[[float], T], otherwise: T) -> T:
        """What ``look`` sees by its deadline, a short one: the run's loop waits for it.

        While the API server is unavailable it is ``otherwise``, and after CALL_LIMIT_S of that an error.
        """
        return self._outage.look(lambda: look(self._until(LOOK_LIMIT_S)), otherwise)

    def _own_pods(self, app_id: str, job_uid: str, deadline_s: float) -> tuple[PodResponse, ...]:
        """The pods of an app as it is now. Those of a Job before it stay for as long as their node is lost."""
        found = self._pods(app_id, deadline_s)
        return tuple(pod for pod in found if not job_uid or job_uid in owners_of(pod))

    def _is_orphan(self, job: JobResponse) -> bool:
        """Whether its anchor is gone: ours has that name now. Kubernetes removes it, but not at once."""
        ours = self._anchor
        return ours is not None and any(
            each.name == ours.name and each.uid != ours.uid for each in job.metadata.owner_references
        )

    def _tell_why(self, app_id: str, seen: Seen) -> None:
        """Tell once of each thing that keeps pods from running."""
        for pod, trouble in troubles(seen.pods):
            if not trouble.ended and trouble.text not in self._told:
                self._told.add(trouble.text)
                self._note(f"{pod.metadata.name}: {trouble.text}")
        now_s = self._clock.now_s()
        if len(seen.pods) < seen.wanted and now_s - seen.refusals_at_s >= REFUSALS_EVERY_S:
            seen.refusals_at_s = now_s
            refused = self._look(lambda deadline_s: self._refusal(seen.job_uid, deadline_s), "")
            if refused and (kind := _QUOTED.sub("", refused)) not in seen.refusals:
                seen.refusals.add(kind)
                self._note(f"{app_id}: {refused}")
        if seen.fetches and seen.settling and now_s - seen.unfetched_at_s >= UNFETCHED_EVERY_S:
            seen.unfetched_at_s = now_s
            # One is enough: where the controller cannot be reached, no pod reaches it.
            if waits := self._unfetched(seen.pods[:1], self._until(LOOK_LIMIT_S)):
                seen.unfetched_at_s = float("inf")
                self._note(waits)

    def _check_hope(self, app_id: str, seen: Seen) -> None:
        """Raise where waiting for the app's tasks does not help."""
        if self._lease is not None and self._lease.over:
            raise KubernetesError(self._lease.over)
        found = troubles(seen.pods)
        for pod, trouble in found:
            name = pod.metadata.name
            if trouble.ended and pod.metadata.deletion_timestamp is None:
                lines = self._last_lines(seen, name, self._until(EXPLAIN_LIMIT_S))
                text = f"{name} ended before all tasks of {app_id} were there: {trouble.text}{lines}"
                raise NotReadyError(text, hint="a pod that has ended does not come back", missing=[name])
            if trouble.final:
                others = sum(other.kind == trouble.kind for _pod, other in found) - 1
                more = f" and {others} more" if others else ""
                hint = (
                    "see --kube_image and its registry"
                    if trouble.kind in NO_IMAGE
                    else f"see 'kubectl describe pod {name}'"
                )
                raise KubernetesError(f"{name}{more} cannot start: {trouble.text}", hint=hint)
        if self._forwards is not None and (refused := self._forwards.refused(app_id)) is not None:
            raise refused

    def _last_lines(self, seen: Seen, pod: str, deadline_s: float) -> str:
        """The end of a pod's log, as a part of a sentence; asked for once."""
        if pod not in seen.lines:
            text = self._log_end(pod, LINES_SHOWN, deadline_s)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            seen.lines[pod] = f", its last lines: {' | '.join(lines)}" if lines else ""
        return seen.lines[pod]
