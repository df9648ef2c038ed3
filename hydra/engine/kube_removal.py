"""The end of a run on Kubernetes: all that it has made goes, or it is said what is left.

Kubernetes' garbage collector removes what an anchor owns, though not soon when the API server or its controllers were
away. So jobs and pods are deleted here, and the Secret with the key, too, where the Role has that (optional) right.
Where it has not, the anchor is deleted in the *foreground*: it stays until the collector has let go of it, so that
what is left can be seen, and found by ``hydra clean``. In the background an anchor goes at once, and a Secret that
nobody may list would be left unseen.
"""

from __future__ import annotations

from collections import Counter

from hydra.engine.kube_namespace import KubernetesNamespace
from hydra.engine.kube_objects import JOB_NAME_LABEL, Anchor
from hydra.engine.kube_ours import is_owners
from hydra.engine.kube_refusals import KubernetesUnavailableError
from hydra.errors import HydraError, InfrastructureError
from hydra.run.clock import Clock

END_LIMIT_S = 60.0
"""So long the API server may be away at the end of a run."""

GOING_LIMIT_S = 10.0
"""So long pods that have been deleted may take to go; who waits for more waits for a node, or for a controller."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
"""Between two looks at what is left."""


class Removal:
    """Removes what is left of one run. Nothing is touched that does not bear the labels of its owner.

    Args:
        namespace: where it is.
        anchor: of the run.
    """

    def __init__(self, namespace: KubernetesNamespace, anchor: Anchor) -> None:
        self._namespace, self._anchor = namespace, anchor
        self._left: tuple[str, ...] = (
            f"perhaps the job {anchor.name}, the Secret {anchor.secret}, and the jobs and pods of the run",
        )
        self._only_going = False
        """Nothing is left but pods that have been deleted, and are still listed."""

    def finish(self, clock: Clock, limit_s: float = END_LIMIT_S) -> None:
        """Remove all of it, again and again until it is gone.

        Raises:
            InfrastructureError: it could not be done in time, or Kubernetes refused: says what is left, and what
                removes it.
        """
        deadline_s, pause_s = clock.now_s() + limit_s, FIRST_PAUSE_S
        going_since_s: float | None = None
        while True:
            reason = f"{limit_s:g} s after its removal was asked for, as when Kubernetes' controller manager is away"
            self._only_going = False
            try:
                self._left = self._once()
            except KubernetesUnavailableError as error:
                reason = error.message
            except HydraError as error:
                raise self._failure(f"{error}") from error
            else:
                if not self._left:
                    return
            now_s = clock.now_s()
            going_since_s = (going_since_s or now_s) if self._only_going else None
            if now_s >= deadline_s or (going_since_s is not None and now_s >= going_since_s + GOING_LIMIT_S):
                raise self._failure(reason)
            clock.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    def _failure(self, reason: str) -> InfrastructureError:
        namespace = self._namespace.namespace
        if self._only_going:
            return InfrastructureError(
                f"left in the namespace {namespace}: {', '.join(self._left)}, deleted and still there",
                hint="they go by themselves when their node, or Kubernetes' controller manager, is back",
            )
        return InfrastructureError(
            f"left in the namespace {namespace}: {', '.join(self._left)} ({reason})",
            hint=f"'hydra clean --engine=kubernetes --kube_namespace={namespace}' removes it",
        )

    def _once(self) -> tuple[str, ...]:
        """Ask for all of it to be deleted. Returns what there is still."""
        namespace, anchor = self._namespace, self._anchor
        alone = namespace.delete_secret(anchor.secret)
        jobs = [job for job in namespace.jobs() if is_owners(job.metadata, anchor.owner)]
        for job in jobs:
            is_anchor = job.metadata.uid == anchor.uid
            # What is deleted in the foreground already would be let go of, and its Secret be left unseen.
            if job.metadata.deletion_timestamp is None or (is_anchor and alone):
                namespace.delete(job.metadata.name, job.metadata.uid, foreground=is_anchor and not alone)
        pods = namespace.owners_pods(anchor.owner)
        if any(pod.metadata.deletion_timestamp is None for pod in pods):
            namespace.delete_owners_pods(anchor.owner)
        else:
            self._only_going = not jobs and bool(pods)
        named = [f"the job {job.metadata.name}" for job in jobs]
        if not alone and any(job.metadata.uid == anchor.uid for job in jobs):
            named.append(f"the Secret {anchor.secret}")
        counts = Counter(pod.metadata.labels.get(JOB_NAME_LABEL, "a job") for pod in pods)
        return (*named, *(f"{count} pod{'s' if count > 1 else ''} of {job}" for job, count in counts.items()))
