"""A controller that is a Job in the cluster: made, followed and ended from outside; its result stored and fetched."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.codec import DecodeError, decode
from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_controller_objects import (
    CONTROLLER,
    Manifest,
    config_map,
    controller_id,
    controller_job,
    manifest_content,
    order_name,
    order_secret,
    part_name,
    unpacked,
)
from hydra.engine.kube_namespace import (
    CALL_LIMIT_S,
    REMOVE_LIMIT_S,
    KubernetesNamespace,
    family_of,
    job_uid_of,
    owners_of,
)
from hydra.engine.kube_objects import APP_LABEL, OWNER_LABEL, object_name
from hydra.engine.kube_ours import ELSEWHERE_HINT, check_owner, is_owners
from hydra.engine.kube_refusals import ROLE_HINT, KubernetesUnavailableError
from hydra.engine.kube_responses import ConfigMapResponse, JobResponse, StatusResponse
from hydra.engine.kube_states import ENDED_PHASES, is_over, trouble_of
from hydra.errors import KubernetesError, UsageError
from hydra.files.folders import reap_orphans
from hydra.options.options import Options
from hydra.run.clock import Clock

LOOK_LIMIT_S = 5.0
STORE_LIMIT_S = 900.0
"""So long the API server may be away when there is a result to store: it is nowhere else."""

TAIL_LINES = 200
"""Of a log, at each look: more than a controller writes meanwhile."""


@dataclass(frozen=True)
class ControllerState:
    """What is seen of a controller at one look."""

    pod: str = ""
    """Empty as long as there is none, and when it is gone."""
    lines: tuple[str, ...] = ()
    """The end of its log."""
    runs: bool = False
    ended: bool = False
    reason: str = ""
    """Why it does not run, in the words of Kubernetes."""
    final: bool = False
    """Waiting for it does not help."""


class ControllerJob(KubernetesNamespace):
    """The controller of a group of apps in one namespace. Not thread-safe.

    Args:
        access: how the API server is reached; closed by ``close``.
        clock: it waits by it.
        group: of the apps.
    """

    def __init__(self, access: KubernetesAccess, clock: Clock, group: str) -> None:
        super().__init__(access, clock)
        self.app_id = controller_id(group)
        self._name = object_name(self.app_id)
        self._owner = secrets.token_hex(8)
        self._uid = ""

    @property
    def made(self) -> bool:
        """Whether a Job is known that we have made, or attached to."""
        return bool(self._uid)

    def check_right(self, verb: str) -> None:
        """See before a run whether its result can be stored (create) or fetched (get).

        Raises:
            KubernetesError: it cannot.
        """
        if not self.may(verb, {"namespace": self.namespace, "group": "", "resource": "configmaps"}):
            text = f"this account may not {verb} configmaps in {self.namespace}, which results are in"
            raise KubernetesError(text, hint=f"{ROLE_HINT}, with --kube_controller")

    def create(self, options: Options, account: str, order: bytes) -> None:
        """Make the Job, and the Secret with its order.

        Raises:
            UsageError: there is one already.
        """
        reap_orphans()
        deadline_s, body = self._until(CALL_LIMIT_S), controller_job(options, account, self._owner)
        what = f"create the job {self._name}"
        try:
            job = self._connection.request(what, "POST", self._jobs, JobResponse, deadline_s, body=body)
        except KubernetesError as error:
            there = self._job(self._name, deadline_s) if error.status == 409 else None
            if there is None:
                raise
            check_owner(there, "", "")
            if not is_owners(there.metadata, self._owner):
                hint = "fetch its result with 'hydra cli result', or choose another --app_prefix"
                raise UsageError(
                    f"the job {self._name} is there, of a run that was started before", hint=hint
                ) from error
            job = there
        self._uid = job.metadata.uid
        secret, path = order_secret(self.app_id, self._uid, self._owner, order), self._core("secrets")
        self._post("create the secret of the controller", path, secret)

    def attach(self) -> None:
        """Find the Job that somebody has made before.

        Raises:
            UsageError: there is none.
        """
        job = self._job(self._name, self._until(CALL_LIMIT_S))
        if job is None:
            hint = "see 'hydra cli ls apps --engine=kubernetes', and name its --app_prefix and --kube_namespace"
            raise UsageError(f"there is no job {self._name} in {self.place}", hint=hint)
        check_owner(job, "", "")
        if job.metadata.labels.get(APP_LABEL) != CONTROLLER:
            raise UsageError(f"the job {self._name} is there, and is no controller of a run", hint=ELSEWHERE_HINT)
        self._uid, self._owner = job.metadata.uid, job.metadata.labels.get(OWNER_LABEL, "")

    def adopt(self, uid: str) -> None:
        """Be the controller itself, in the pod of the Job with this uid."""
        self._uid, self._owner = uid, ""

    def look(self) -> ControllerState:
        """What there is to see now.

        Raises:
            KubernetesUnavailableError: the API server is away.
            KubernetesError: the Job was deleted.
        """
        deadline_s = self._until(LOOK_LIMIT_S)
        job = self._job(self._name, deadline_s)
        if job is None or job.metadata.uid != self._uid:
            raise KubernetesError(f"the job {self._name} was deleted", hint="the run and its result are gone")
        over = is_over(job)
        pods = [pod for pod in self._pods(self.app_id, deadline_s) if self._uid in owners_of(pod)]
        if not pods:
            reason = "; ".join(each.message or "" for each in job.status.conditions if each.status == "True")
            return ControllerState(ended=over, reason=reason or self._refusal(self._uid, deadline_s))
        pod, trouble = pods[-1], trouble_of(pods[-1])
        ended = pod.status.phase in ENDED_PHASES
        started = pod.status.phase == "Running"
        lines = self._tail(pod.metadata.name, deadline_s) if started or ended else ()
        reason, final = (trouble.text, trouble.final) if trouble is not None else ("", False)
        return ControllerState(pod.metadata.name, lines, started and not reason, ended, reason, final)

    def stop(self) -> None:
        """Ask the controller to end its run, by a deadline that has passed; the Job stays for a day, for the result.

        Harmless where nothing was made: an empty uid is no precondition, and the Job of this name is somebody else's.
        """
        if not self.made:
            return
        body = {"metadata": {"uid": self._uid}, "spec": {"activeDeadlineSeconds": 1}}
        path, what = f"{self._jobs}/{self._name}", f"end the job {self._name}"
        self._connection.request(what, "PATCH", path, JobResponse, self._until(CALL_LIMIT_S), body=body)

    def remove(self) -> None:
        """Delete the Job, and with it all that its run has made; harmless where nothing was made."""
        job = self._job(self._name, self._until(REMOVE_LIMIT_S))
        if job is None or not is_owners(job.metadata, self._owner) or self._uid not in {"", job.metadata.uid}:
            return
        self._uid = job.metadata.uid
        self.delete_secret(order_name(self.app_id, self._owner))  # which says how Kafka is entered
        self.delete(self._name, self._uid)

    def removed(self) -> bool:
        """Whether all of it is gone; True where nothing was made."""
        if not self.made:
            return True
        jobs = self.jobs()
        uids = family_of(self._uid, jobs)
        lost = {job_uid_of(pod) for pod in self.lost_pods()}
        if hasten := lost & uids:
            self.delete_pods(hasten)
        there = any(job.metadata.uid in uids for job in jobs)
        pods = self._pods(self.app_id, self._until(LOOK_LIMIT_S))
        return not (there or hasten or any(job_uid_of(pod) in uids for pod in pods))

    def store(self, manifest: Manifest, parts: Sequence[bytes]) -> None:
        """Store a result where ``result`` finds it; once more is harmless."""
        contents = [*enumerate(parts), (None, manifest_content(manifest))]
        for index, content in contents:
            body = config_map(self.app_id, self._uid, self._owner, index, content)
            self._post("store the result", self._core("configmaps"), body, STORE_LIMIT_S)

    def manifest(self) -> Manifest | None:
        """How the run ended; None as long as it has not said so."""
        try:
            return decode(self._part(None), Manifest)
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise
        except DecodeError as error:
            raise KubernetesError(f"the result of {self._name} is of another version of Hydra ({error})") from error

    def record(self, manifest: Manifest) -> bytes:
        """The record of the run, whole and checked.

        Raises:
            KubernetesError: a part is missing, or it is not what was stored.
        """
        return unpacked(manifest, [self._part(index) for index in range(manifest.parts)])

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        self._access.close()

    def _core(self, kind: str) -> str:
        return f"{self._connection.namespace_path}/{kind}"

    def _post(self, what: str, path: str, body: object, limit_s: float = CALL_LIMIT_S) -> None:
        """Create something that only we create; what is there was made by a request whose response was lost."""
        try:
            self._connection.request(what, "POST", path, StatusResponse, self._until(limit_s), body=body)
        except KubernetesError as error:
            if error.status != 409:
                raise

    def _part(self, index: int | None) -> bytes:
        path = f"{self._core('configmaps')}/{part_name(self.app_id, self._uid, index)}"
        found = self._connection.request(
            "fetch the result", "GET", path, ConfigMapResponse, self._until(CALL_LIMIT_S)
        ).binary_data.get("content", "")
        return base64.b64decode(found)

    def _tail(self, pod: str, deadline_s: float) -> tuple[str, ...]:
        path, params = f"{self._core('pods')}/{pod}/log", {"tailLines": str(TAIL_LINES)}
        try:
            return tuple(self._connection.text(f"show the log of {pod}", path, params, deadline_s).splitlines())
        except KubernetesError as error:
            if isinstance(error, KubernetesUnavailableError) and error.status is None:
                raise
            return ()  # of a container that is about to start, or a node that is away: the server tells that with 500
