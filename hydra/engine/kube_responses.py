"""What Hydra reads of Kubernetes' objects (v1 and batch/v1), as far as it needs them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec


class KubernetesObject(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a response; fields that are not listed are ignored."""


class OwnerReference(KubernetesObject, frozen=True):
    """Of what an object is a part."""

    name: str = ""
    uid: str = ""


class Metadata(KubernetesObject, frozen=True):
    """What all objects have."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()


class ConditionResponse(KubernetesObject, frozen=True):
    """One thing that is so, or not."""

    type: str
    status: str = ""
    reason: str | None = None
    message: str | None = None


class WaitingState(KubernetesObject, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class TerminatedState(KubernetesObject, frozen=True):
    """How a container ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(KubernetesObject, frozen=True):
    """One of the three is set."""

    waiting: WaitingState | None = None
    running: object = None
    terminated: TerminatedState | None = None


class ContainerStatus(KubernetesObject, frozen=True):
    """A container of a pod."""

    name: str = ""
    state: ContainerState = ContainerState()


class PodStatus(KubernetesObject, frozen=True):
    """What is known of a pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: datetime | None = None
    conditions: tuple[ConditionResponse, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    """Of what others put into our pods (an admission webhook): it runs before the task."""


class PodSpec(KubernetesObject, frozen=True):
    """Where a pod is."""

    node_name: str = ""


class PodResponse(KubernetesObject, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class JobSpec(KubernetesObject, frozen=True):
    """How many pods a job is to have."""

    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None


class JobStatus(KubernetesObject, frozen=True):
    """How far a job is."""

    start_time: datetime | None = None
    active: int = 0
    failed: int = 0
    failed_indexes: str = ""
    completed_indexes: str = ""
    conditions: tuple[ConditionResponse, ...] = ()


class JobResponse(KubernetesObject, frozen=True):
    """A job."""

    metadata: Metadata
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class EventResponse(KubernetesObject, frozen=True):
    """What a controller says of an object."""

    metadata: Metadata
    type: str = ""
    reason: str = ""
    message: str = ""
    last_timestamp: datetime | None = None


class ListMetadata(KubernetesObject, frozen=True):
    """How a list goes on."""

    continue_: str = msgspec.field(default="", name="continue")


class PodList(KubernetesObject, frozen=True):
    """Pods."""

    items: tuple[PodResponse, ...]
    metadata: ListMetadata = ListMetadata()


class JobList(KubernetesObject, frozen=True):
    """Jobs."""

    items: tuple[JobResponse, ...]
    metadata: ListMetadata = ListMetadata()


class EventList(KubernetesObject, frozen=True):
    """Events."""

    items: tuple[EventResponse, ...]
    metadata: ListMetadata = ListMetadata()


class ScopeRequirement(KubernetesObject, frozen=True):
    """Which pods a quota counts."""

    scope_name: str = ""


class ScopeSelector(KubernetesObject, frozen=True):
    """The same, in the newer way."""

    match_expressions: tuple[ScopeRequirement, ...] = ()


class QuotaSpec(KubernetesObject, frozen=True):
    """What a quota allows."""

    hard: Mapping[str, str] = {}
    scopes: tuple[str, ...] = ()
    scope_selector: ScopeSelector = ScopeSelector()


class QuotaStatus(KubernetesObject, frozen=True):
    """What of it is in use."""

    hard: Mapping[str, str] = {}
    used: Mapping[str, str] = {}


class QuotaResponse(KubernetesObject, frozen=True):
    """A resource quota."""

    metadata: Metadata
    spec: QuotaSpec = QuotaSpec()
    status: QuotaStatus = QuotaStatus()


class QuotaList(KubernetesObject, frozen=True):
    """Resource quotas."""

    items: tuple[QuotaResponse, ...]


class LimitRangeItem(KubernetesObject, frozen=True):
    """The limits of one kind of thing. Quantities, by resource."""

    type: str = ""
    max: Mapping[str, str] = {}
    min: Mapping[str, str] = {}
    default: Mapping[str, str] = {}
    """The limit of a container that names none."""
    default_request: Mapping[str, str] = {}
    max_limit_request_ratio: Mapping[str, str] = {}


class LimitRangeSpec(KubernetesObject, frozen=True):
    """What a limit range says."""

    limits: tuple[LimitRangeItem, ...] = ()


class LimitRangeResponse(KubernetesObject, frozen=True):
    """A limit range."""

    metadata: Metadata
    spec: LimitRangeSpec = LimitRangeSpec()


class LimitRangeList(KubernetesObject, frozen=True):
    """Limit ranges."""

    items: tuple[LimitRangeResponse, ...]


class ConfigMapResponse(KubernetesObject, frozen=True):
    """A ConfigMap."""

    binary_data: Mapping[str, str] = {}


class StatusResponse(KubernetesObject, frozen=True):
    """The body of a refusal, and of some answers."""

    message: str = ""
    reason: str = ""


class VersionResponse(KubernetesObject, frozen=True):
    """What an API server says of itself."""

    git_version: str = ""
    major: str = ""
    minor: str = ""


class AccessReviewStatus(KubernetesObject, frozen=True):
    """Whether we may."""

    allowed: bool = False
    reason: str = ""


class AccessReview(KubernetesObject, frozen=True):
    """The answer to: may I?"""

    status: AccessReviewStatus = AccessReviewStatus()
