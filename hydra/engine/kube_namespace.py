"""What is asked of a namespace of Kubernetes: its jobs, their pods and logs, and what we may do in it."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence

from hydra.engine.kube_access import KubernetesAccess
from hydra.engine.kube_connection import KubernetesConnection
from hydra.engine.kube_fetch import unfetched
from hydra.engine.kube_objects import JOB_NAME_LABEL, JOB_UID_LABEL, OWNER_LABEL, SELECTOR, object_name
from hydra.engine.kube_refusals import KubernetesUnavailableError
from hydra.engine.kube_responses import (
    AccessReview,
    EventList,
    JobList,
    JobResponse,
    LimitRangeList,
    LimitRangeResponse,
    PodList,
    PodResponse,
    QuotaList,
    QuotaResponse,
    StatusResponse,
    VersionResponse,
)
from hydra.engine.kube_states import refusal_text, task_of
from hydra.errors import KubernetesError
from hydra.run.clock import Clock

CALL_LIMIT_S = 30.0
"""How long a call is repeated while the API server is unavailable, all of its requests together."""

CHECK_LIMIT_S = 10.0
REMOVE_LIMIT_S = 8.0
PAGE_PODS = "500"
MAX_PAGES = 2000
ANEW_S = 0.1
"""Before a list that has expired is read from its start again."""

OLDEST_MINOR = 29
"""Kubernetes 1.29 knows ``backoffLimitPerIndex``, and scales an Indexed Job."""


class KubernetesNamespace:
    """One namespace. Not thread-safe; every call raises a KubernetesError if the API server is away or refuses."""

    def __init__(self, access: KubernetesAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._connection = KubernetesConnection(access, clock)

    @property
    def place(self) -> str:
        """Where its objects are, for people."""
        return f"{self._access.server} {self._access.namespace}"

    @property
    def namespace(self) -> str:
        """Its name."""
        return self._access.namespace

    def facts(self) -> VersionResponse:
        """What the API server says of itself.

        Raises:
            KubernetesError: it is too old.
        """
        found = self._connection.request(
            "show its version", "GET", "/version", VersionResponse, deadline_s=self._until(CHECK_LIMIT_S)
        )
        minor = "".join(char for char in found.minor if char in string.digits)
        if found.major == "1" and minor and int(minor) < OLDEST_MINOR:
            text = f"Kubernetes at {self._access.server} is {found.git_version}"
            raise KubernetesError(text, hint=f"it has to be 1.{OLDEST_MINOR} or newer")
        return found

    def jobs(self, *, limit_s: float = CALL_LIMIT_S) -> Sequence[JobResponse]:
        """All jobs of Hydra's in the namespace, anchors among them, sorted by name."""
        params = {"labelSelector": SELECTOR}
        found = self._connection.request("list jobs", "GET", self._jobs, JobList, self._until(limit_s), params=params)
        return sorted(found.items, key=lambda job: job.metadata.name)

    def pods(self, app_id: str) -> Sequence[PodResponse]:
        """The pods of an app as Kubernetes describes them."""
        return self._pods(app_id, self._until(CALL_LIMIT_S))

    def lost_pods(self) -> Sequence[PodResponse]:
        """The pods of Hydra's whose Job is gone, and which nobody has deleted yet.

        Kubernetes' garbage collector deletes them, too, but not for minutes when the API server was away.
        """
        deadline_s = self._until(CALL_LIMIT_S)
        pods = self._list_pods("list pods", SELECTOR, deadline_s)  # before the jobs: a job is there before its pods
        there = {job.metadata.uid for job in self.jobs()}
        return [pod for pod in pods if pod.metadata.deletion_timestamp is None and job_uid_of(pod) not in there]

    def delete_pods(self, job_uids: Iterable[str]) -> None:
        """Delete all pods of Hydra's that are of the jobs with these uids, at once."""
        if not (wanted := sorted(set(job_uids) - {""})):
            return
        self._delete_pods("delete pods without a job", f"{SELECTOR},{JOB_UID_LABEL} in ({','.join(wanted)})")

    def owners_pods(self, owner: str) -> Sequence[PodResponse]:
        """The pods of this owner's run."""
        return self._list_pods("list the pods of the run", _of_owner(owner), self._until(REMOVE_LIMIT_S))

    def delete_owners_pods(self, owner: str) -> None:
        """Delete them."""
        self._delete_pods("delete the pods of the run", _of_owner(owner))

    def delete_secret(self, name: str) -> bool:
        """Delete a Secret, which is to be named by the uid of what it is of; False where we have no right to."""
        path, deadline_s = f"{self._connection.namespace_path}/secrets/{name}", self._until(REMOVE_LIMIT_S)
        try:
            self._connection.request(f"delete the secret {name}", "DELETE", path, StatusResponse, deadline_s)
        except KubernetesError as error:
            if error.status not in {403, 404}:
                raise
            return error.status == 404
        return True

    def log(self, pod: str, limit_bytes: int) -> str:
        """The end of a pod's log, as far as its node still has it."""
        path = f"{self._connection.namespace_path}/pods/{pod}/log"
        text = self._connection.text(f"show the log of {pod}", path, {"tailLines": "10000"}, self._until(CALL_LIMIT_S))
        return text[-limit_bytes:]

    def quotas(self) -> Sequence[QuotaResponse]:
        """The resource quotas of the namespace."""
        path = f"{self._connection.namespace_path}/resourcequotas"
        return self._connection.request("list quotas", "GET", path, QuotaList, self._until(CHECK_LIMIT_S)).items

    def limit_ranges(self) -> Sequence[LimitRangeResponse]:
        """The limit ranges of the namespace."""
        path, deadline_s = f"{self._connection.namespace_path}/limitranges", self._until(CHECK_LIMIT_S)
        return self._connection.request("list limit ranges", "GET", path, LimitRangeList, deadline_s).items

    def delete(self, name: str, uid: str, *, foreground: bool = False) -> None:
        """Delete the job of this name and uid, with all that it owns; harmless when it is gone.

        Args:
            name: of the job.
            uid: of the job.
            foreground: it stays there until Kubernetes' garbage collector has let go of it.
        """
        policy = "Foreground" if foreground else "Background"
        body = {"preconditions": {"uid": uid}, "propagationPolicy": policy}
        path = f"{self._jobs}/{name}"
        try:
            self._connection.request(
                f"delete the job {name}", "DELETE", path, StatusResponse, self._until(REMOVE_LIMIT_S), body=body
            )
        except KubernetesError as error:
            if error.status not in {404, 409}:  # 409: another one has the name now
                raise

    def may(self, verb: str, attributes: Mapping[str, str]) -> bool:
        """Whether we have a right, by its verb and the other ``resourceAttributes``."""
        body = {"spec": {"resourceAttributes": {**attributes, "verb": verb}}}
        path, what = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "tell what we may"
        return self._connection.request(
            what, "POST", path, AccessReview, self._until(CHECK_LIMIT_S), body=body
        ).status.allowed

    @property
    def _jobs(self) -> str:
        return self._connection.jobs_path

    def _until(self, limit_s: float) -> float:
        return self._clock.now_s() + limit_s

    def _job(self, name: str, deadline_s: float) -> JobResponse | None:
        try:
            return self._connection.request(
                f"show the job {name}", "GET", f"{self._jobs}/{name}", JobResponse, deadline_s
            )
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise

    def _refusal(self, job_uid: str, deadline_s: float) -> str:
        """Why Kubernetes makes no pods of a job, as far as it says so; empty where it does not."""
        path, params = f"{self._connection.namespace_path}/events", {"fieldSelector": f"involvedObject.uid={job_uid}"}
        try:
            return refusal_text(
                self._connection.request("list events", "GET", path, EventList, deadline_s, params=params).items
            )
        except KubernetesUnavailableError:
            raise
        except KubernetesError:
            return ""  # they are only words: a run does not need them

    def _pods(self, app_id: str, deadline_s: float) -> tuple[PodResponse, ...]:
        """All pods of an app; others' jobs may have had its name."""
        selector = f"{SELECTOR},{JOB_NAME_LABEL}={object_name(app_id)}"
        return self._list_pods(f"list the pods of {app_id}", selector, deadline_s)

    def _log_end(self, pod: str, lines: int, deadline_s: float) -> str:
        """The last lines of a pod's log; empty where they cannot be seen."""
        path, params = f"{self._connection.namespace_path}/pods/{pod}/log", {"tailLines": f"{lines}"}
        try:
            return self._connection.text(f"show the log of {pod}", path, params | {"limitBytes": "4096"}, deadline_s)
        except KubernetesError:
            return ""

    def _unfetched(self, pods: Iterable[PodResponse], deadline_s: float) -> str:
        """What the first pod says that runs and still waits for its code; empty where none is seen to by then."""
        for pod in pods:
            if self._clock.now_s() >= deadline_s:
                break
            task = task_of(pod, "")
            if task is not None and task.running and (text := unfetched(self._log_end(task.task_id, 1, deadline_s))):
                return f"{task.task_id}: {text}"
        return ""

    def _delete_pods(self, what: str, selector: str) -> None:
        path, params = f"{self._connection.namespace_path}/pods", {"labelSelector": selector}
        self._connection.request(what, "DELETE", path, StatusResponse, self._until(REMOVE_LIMIT_S), params=params)

    def _list_pods(self, what: str, selector: str, deadline_s: float) -> tuple[PodResponse, ...]:
        """All pods with such labels, page by page; from the start again where the next page has expired (HTTP 410)."""
        path = f"{self._connection.namespace_path}/pods"
        params = {"labelSelector": selector, "limit": PAGE_PODS}
        found: list[PodResponse] = []
        for _page in range(MAX_PAGES):
            try:
                page = self._connection.request(what, "GET", path, PodList, deadline_s, params=params)
            except KubernetesError as error:
                if error.status != 410 or params.pop("continue", None) is None or self._clock.now_s() >= deadline_s:
                    raise
                found.clear()
                self._clock.sleep(ANEW_S)
                continue
            found += page.items
            if not page.metadata.continue_:
                return tuple(found)
            params["continue"] = page.metadata.continue_
        raise KubernetesError(f"Kubernetes would not {what}: there were more than {MAX_PAGES} pages, and no last one")


def _of_owner(owner: str) -> str:
    return f"{SELECTOR},{OWNER_LABEL}={owner}"


def job_uid_of(pod: PodResponse) -> str:
    """The Job that a pod is of, whether that is there or not."""
    return pod.metadata.labels.get(JOB_UID_LABEL, "")


def owners_of(thing: JobResponse | PodResponse) -> tuple[str, ...]:
    """The uids of what an object is a part of."""
    return tuple(owner.uid for owner in thing.metadata.owner_references)


def family_of(uid: str, jobs: Sequence[JobResponse]) -> set[str]:
    """This uid, and those of all jobs that are a part of it, or of its parts."""
    found = {uid}
    while more := {job.metadata.uid for job in jobs if found & set(owners_of(job))} - found:
        found |= more
    return found
