"""Whose an object is, by its labels: nothing that does not bear Hydra's own is ever changed or deleted. Pure."""

from __future__ import annotations

from hydra.engine.kube_objects import APP_ANNOTATION, GROUP_LABEL, MANAGED_BY, OWNER_LABEL
from hydra.engine.kube_responses import JobResponse, Metadata
from hydra.errors import UsageError

ELSEWHERE_HINT = "choose another --app_prefix or --kube_namespace"


def is_hydras(thing: Metadata) -> bool:
    """Whether Hydra made it: some run of it, or its doctor."""
    return MANAGED_BY.items() <= thing.labels.items()


def is_owners(thing: Metadata, owner: str | None) -> bool:
    """Whether this owner's run made it; without an owner: whether Hydra did."""
    return is_hydras(thing) and (owner is None or thing.labels.get(OWNER_LABEL) == owner)


def check_owner(job: JobResponse, owner: str, hint: str) -> None:
    """Raise UsageError where a job that stands under a name of ours is somebody else's.

    Args:
        job: it.
        owner: who it is to be of; empty where Hydra's is enough.
        hint: what to do about that of another run.
    """
    text = f"the job {job.metadata.name} is there, and "
    if not is_hydras(job.metadata):
        raise UsageError(f"{text}is none of Hydra's", hint=ELSEWHERE_HINT)
    if owner and not is_owners(job.metadata, owner):
        raise UsageError(f"{text}belongs to another run of Hydra", hint=hint)


def app_id_of(job: JobResponse) -> str:
    """The app that a job is; empty for an anchor."""
    return job.metadata.annotations.get(APP_ANNOTATION, "")


def group_of(job: JobResponse) -> str:
    """The group of apps that a job is of."""
    return job.metadata.labels.get(GROUP_LABEL, "").replace(".", "/")
