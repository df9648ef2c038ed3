"""The objects of a run whose controller is a Job of its own in the cluster: values in, values out.

Its result comes back in ConfigMaps that the Job owns, and not by its pod's log: a node keeps only the last 10 MiB or
so of a log, and none of it when the pod is gone. A ConfigMap has room for 1 MiB, so a result is packed and cut into as
many as it takes; the *manifest* is written when all are there, with the size and the SHA-256 of what was packed.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.codec import encode
from hydra.engine.kube_lease import KEEP_S
from hydra.engine.kube_objects import (
    APP_ANNOTATION,
    APP_LABEL,
    GROUP_LABEL,
    MANAGED_BY,
    OWNER_LABEL,
    Anchor,
    group_label,
    object_name,
    pod_spec,
)
from hydra.engine.kube_responses import JobResponse
from hydra.errors import KubernetesError
from hydra.options.options import Options

CONTROLLER = "controller"
CONTROLLER_UID = "HYDRA_KUBE_CONTROLLER_UID"
"""Variable of a controller in the cluster: the uid of its Job."""

ORDER_VARIABLE = "HYDRA_KUBE_ORDER"
"""Variable of a controller in the cluster: the file that says what to run."""

ORDER_FOLDER = "/hydra-order"
ORDER_FILE = "order.json"
MAX_ORDER_BYTES = 900_000
"""A Secret has room for 1 MiB."""

GRACE_S = 90
"""So long a controller has for its clean-up, once it is asked to end."""

PART_BYTES = 512 * 1024
MAX_RECORD_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Manifest:
    """How a run in the cluster ended, and what there is of its result."""

    exit_code: int
    error: str = ""
    """What ended it without a result, or after it."""
    hint: str = ""
    parts: int = 0
    """ConfigMaps; none where there is no record."""
    size: int = 0
    """Of the record, unpacked, in bytes."""
    sha256: str = ""
    """Of the record, unpacked."""
    version: str = hydra.__version__


def controller_id(group: str) -> str:
    """The controller of a group as an app's id."""
    return f"/{group}/{CONTROLLER}"


def controller_job(options: Options, account: str, owner: str) -> dict[str, Any]:
    """The Job of a controller.

    Args:
        options: of the run.
        account: the service account by which it makes the run's objects.
        owner: whose it is, as a label.
    """
    app_id = controller_id(options.app_prefix)
    labels = {**MANAGED_BY, APP_LABEL: CONTROLLER, GROUP_LABEL: group_label(options.app_prefix), OWNER_LABEL: owner}
    uid = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    variables: list[dict[str, object]] = [
        {"name": CONTROLLER_UID, "valueFrom": uid},
        {"name": ORDER_VARIABLE, "value": f"{ORDER_FOLDER}/{ORDER_FILE}"},
    ]
    pod = pod_spec(options, CONTROLLER, "exec hydra cli controller", variables)
    pod |= {
        "serviceAccountName": account,
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": GRACE_S,
    }
    pod["volumes"] += [{"name": "order", "secret": {"secretName": order_name(app_id, owner), "defaultMode": 0o440}}]
    pod["containers"][0]["volumeMounts"] += [{"name": "order", "mountPath": ORDER_FOLDER, "readOnly": True}]
    return {
        "metadata": {"name": object_name(app_id), "labels": labels, "annotations": {APP_ANNOTATION: app_id}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": longest_s(options),
            "ttlSecondsAfterFinished": KEEP_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def longest_s(options: Options) -> int:
    """No run with these options takes so long, in seconds, unless it hangs."""
    times_s = (2 * options.test_duration, options.warmup or 0, 2 * options.start_deadline_s, options.drain_timeout)
    return int(sum(times_s)) + 3600


def order_name(app_id: str, owner: str) -> str:
    """The name of the Secret with a controller's order; that of a Job before it may still be there."""
    return _order_of(object_name(app_id), owner)


def _order_of(job: str, owner: str) -> str:
    return f"{job}-{owner[:8]}"


def secrets_of(job: JobResponse) -> tuple[str, ...]:
    """The names of the Secrets that go with an anchor or a controller; apps have none."""
    metadata = job.metadata
    owner = metadata.labels.get(OWNER_LABEL, "")
    if metadata.labels.get(APP_LABEL) == CONTROLLER:
        return (_order_of(metadata.name, owner),)
    return () if APP_LABEL in metadata.labels else (Anchor(metadata.name, metadata.uid, owner).secret,)


def order_secret(app_id: str, uid: str, owner: str, order: bytes) -> dict[str, Any]:
    """The Secret with the order of the controller whose Job has this uid."""
    metadata = {"name": order_name(app_id, owner), "labels": {**MANAGED_BY, OWNER_LABEL: owner}}
    return {
        "metadata": {**metadata, "ownerReferences": [job_reference(app_id, uid)]},
        "data": {ORDER_FILE: base64.b64encode(order).decode()},
    }


def job_reference(app_id: str, uid: str) -> dict[str, str]:
    """What an object says that goes with that Job."""
    return {"apiVersion": "batch/v1", "kind": "Job", "name": object_name(app_id), "uid": uid}


def part_name(app_id: str, uid: str, index: int | None = None) -> str:
    """The name of a part of a result; without an index that of the manifest."""
    return f"{object_name(app_id)}-{uid[:8]}-{'result' if index is None else index}"


def packed(record: bytes | None, exit_code: int, error: str = "", hint: str = "") -> tuple[Manifest, tuple[bytes, ...]]:
    """The manifest of a result, and the parts of its record."""
    if record is None:
        return Manifest(exit_code, error, hint), ()
    content = zlib.compress(record)
    parts = tuple(content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES))
    digest = hashlib.sha256(record).hexdigest()
    return Manifest(exit_code, error, hint, len(parts), len(record), digest), parts


def unpacked(manifest: Manifest, parts: Sequence[bytes]) -> bytes:
    """The record that was packed.

    Raises:
        KubernetesError: it is not the one that the manifest is of.
    """
    if not 0 <= manifest.size <= MAX_RECORD_BYTES:
        raise KubernetesError(f"the result has {manifest.size} bytes, and at most {MAX_RECORD_BYTES} are read")
    unpacker = zlib.decompressobj()
    try:
        record = unpacker.decompress(b"".join(parts), manifest.size + 1)
    except zlib.error as error:
        raise KubernetesError(f"the result in the cluster is damaged ({error})") from error
    found = hashlib.sha256(record).hexdigest()
    if len(record) != manifest.size or found != manifest.sha256:
        was = f"{manifest.size} bytes with the SHA-256 {manifest.sha256}"
        raise KubernetesError(f"the result in the cluster is damaged: {len(record)} bytes with {found}, not {was}")
    return record


def config_map(app_id: str, uid: str, owner: str, index: int | None, content: bytes) -> Mapping[str, Any]:
    """The ConfigMap with a part of a result, or without an index with the manifest."""
    labels = {**MANAGED_BY, OWNER_LABEL: owner}
    references = [job_reference(app_id, uid)]
    return {
        "metadata": {"name": part_name(app_id, uid, index), "labels": labels, "ownerReferences": references},
        "binaryData": {"content": base64.b64encode(content).decode()},
    }


def manifest_content(manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    return encode(manifest)
