"""The objects of a run on Kubernetes, as they are sent: values in, JSON-like values out.

A run has one *anchor*: a Job that never has a pod. Everything else is owned by it, so that one delete removes all. It
has a deadline that the controller moves on as long as it lives (kube_lease.py); past it Kubernetes itself ends the Job
and removes it, and all that it owns.

Each app is an Indexed Job with ``completions = parallelism``, which is scaled by changing both. It has
``backoffLimitPerIndex: 0`` and not ``backoffLimit: 0``: the latter ends all pods of a Job when one has failed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.engine.apps import FILE_NAME, PUBLISHER, SUBSCRIBER, agent_python
from hydra.engine.kube_fetch import FETCH, FETCH_LIMIT_S
from hydra.options.options import Options
from hydra.run.protocols import AppSpec
from hydra.signals.keys import TASK_KEY

PORT = 7400
"""Each pod has an address of its own, and listens there."""

FORWARD_HOST = "127.0.0.1"
"""A port-forward leads from here, and to here in the pod: there it listens for nobody else (--kube_forward)."""

USER_ID = 10001
TASK_FOLDER = "/hydra-task"
"""The one folder of a task that can be written to; it goes with the pod."""

GRACE_S = 1
"""A process with the id 1 does not end by SIGTERM unless it says so."""

LEASE_S = 120
"""So long after its controller's end a run is removed by Kubernetes itself."""

ALONE_S = 600
"""The same for an app without a run, such as the doctor's."""

OWNER_LABEL = "hydra-scaletest/owner"
APP_LABEL = "hydra-scaletest/app"
GROUP_LABEL = "hydra-scaletest/group"
APP_ANNOTATION = "hydra-scaletest/app-id"
SPEC_ANNOTATION = "hydra-scaletest/spec"
MANAGED_BY = {"app.kubernetes.io/managed-by": "hydra-scaletest"}
SELECTOR = "app.kubernetes.io/managed-by=hydra-scaletest"
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"
"""What Kubernetes labels a pod with, by its Job."""

SECRET_FIELD = "task-key"  # noqa: S105  # the name of a field

OPTIONAL_FIT_RULE = """  - apiGroups: [""]  # optional: it is then told before a run whether it fits
    resources: ["resourcequotas", "limitranges"]
    verbs: ["list"]
"""

OPTIONAL_KEY_RULE = """\
  - apiGroups: [""]  # optional: the key of a run then goes with it, however late Kubernetes' garbage collector is
    resources: ["secrets"]
    verbs: ["delete"]
"""

ACCOUNT = """---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {account}
  namespace: {namespace}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: hydra-{account}
  namespace: {namespace}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: hydra
subjects:
  - kind: ServiceAccount
    name: {account}
    namespace: {namespace}
"""
"""The service account of a controller in the cluster, with the Role of the name hydra."""


@dataclass(frozen=True)
class Anchor:
    """The object that owns a run's others."""

    name: str
    uid: str
    owner: str

    @property
    def secret(self) -> str:
        """The name of its Secret. That of an anchor before it may still be there, with another key."""
        return f"{self.name}-{self.uid[:8]}"


def object_name(app_id: str) -> str:
    """The name of an app's Job."""
    return "hydra-" + app_id.strip("/").replace("/", "-")


def group_label(app_id: str) -> str:
    """The group of an app, or a group itself, as the value of a label."""
    return app_id.strip("/").replace("/", ".")


def anchor_job(options: Options, owner: str, controller: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The anchor of a run, which goes with its controller where that is a Job of the cluster, too (a reference)."""
    labels = {**MANAGED_BY, OWNER_LABEL: owner, GROUP_LABEL: group_label(options.app_prefix)}
    pod = pod_spec(options, PUBLISHER, "exit 0", [])
    return {
        "metadata": {
            "name": object_name(options.app_prefix),
            "labels": labels,
            "ownerReferences": [] if controller is None else [controller],
        },
        "spec": {
            "parallelism": 0,
            "completions": 1,
            "activeDeadlineSeconds": LEASE_S,
            "ttlSecondsAfterFinished": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def key_secret(anchor: Anchor, content: str) -> dict[str, Any]:
    """The Secret with the key of a run's tasks."""
    return {
        "metadata": {"name": anchor.secret, "labels": {**MANAGED_BY, OWNER_LABEL: anchor.owner}, **_owned_by(anchor)},
        "stringData": {SECRET_FIELD: content},
    }


def app_job(spec: AppSpec, options: Options, anchor: Anchor | None) -> dict[str, Any]:
    """The Job of an app."""
    role = spec.app_id.rpartition("/")[2]
    labels = {**MANAGED_BY, APP_LABEL: role, GROUP_LABEL: group_label(spec.app_id.rpartition("/")[0])}
    if anchor is not None:
        labels[OWNER_LABEL] = anchor.owner
    variables: list[dict[str, object]] = [{"name": name, "value": value} for name, value in spec.env.items()]
    if anchor is not None:
        reference = {"name": anchor.secret, "key": SECRET_FIELD}
        variables.append({"name": TASK_KEY, "valueFrom": {"secretKeyRef": reference}})
    pod = pod_spec(options, role, _command(spec, options), variables)
    template = {"metadata": {"labels": labels}, "spec": pod}
    digest = hashlib.sha256(json.dumps([template, hydra.__version__], sort_keys=True).encode()).hexdigest()
    metadata: dict[str, Any] = {
        "name": object_name(spec.app_id),
        "labels": labels,
        "annotations": {APP_ANNOTATION: spec.app_id, SPEC_ANNOTATION: digest},
    }
    job: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": spec.instances,
        "parallelism": spec.instances,
        "backoffLimitPerIndex": 0,
        "template": template,
    }
    if anchor is not None:
        metadata |= _owned_by(anchor)
    else:
        job |= {"activeDeadlineSeconds": ALONE_S, "ttlSecondsAfterFinished": 0}
    return {"metadata": metadata, "spec": job}


def role_rules(*, controller: bool = False, forward: bool = False) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """(API group, resource, verbs) that a run needs in its namespace.

    Args:
        controller: its controller is there, too.
        forward: pods are reached through the API server.
    """
    result = (("", "configmaps", ("create", "get")),) if controller else ()
    # A WebSocket begins with a GET; from Kubernetes 1.35 on it takes both.
    signals = (("", "pods/portforward", ("create", "get")),) if forward else ()
    return (
        ("batch", "jobs", ("create", "get", "list", "patch", "delete")),
        ("", "pods", ("list", "deletecollection")),
        ("", "pods/log", ("get",)),
        ("", "secrets", ("create",)),
        ("", "events", ("list",)),
        *result,
        *signals,
    )


def role_text(namespace: str, account: str | None = None, *, forward: bool = False) -> str:
    """The Role with these rights, as YAML to apply; with the service account of a controller that has it."""
    rules = "".join(
        f'  - apiGroups: ["{group}"]\n    resources: ["{resource}"]\n    verbs: {json.dumps(list(verbs))}\n'
        for group, resource, verbs in role_rules(controller=account is not None, forward=forward)
    )
    rules += OPTIONAL_FIT_RULE + OPTIONAL_KEY_RULE
    head = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n"
    role = f"{head}  name: hydra\n  namespace: {namespace}\nrules:\n{rules}"
    return role if account is None else role + ACCOUNT.format(namespace=namespace, account=account)


def _owned_by(anchor: Anchor) -> dict[str, object]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": anchor.name, "uid": anchor.uid}
    return {"ownerReferences": [owner]}


def _command(spec: AppSpec, options: Options) -> str:
    """For a shell: what agents of Mesos do before a command, and the command."""
    if not spec.fetch:
        return spec.command
    fetch = f"-I -c {shlex.quote(FETCH)} {shlex.join(spec.fetch)} {FILE_NAME} {FETCH_LIMIT_S}"
    return f"({agent_python(options.agent_python)} {fetch}) || exit 1\n{spec.command}"


def _image(options: Options) -> str:
    return options.kube_image or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def pod_spec(options: Options, role: str, command: str, variables: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """A pod that fits the Pod Security Standard "restricted", and has no access to the API server."""
    requests = options.kube_pub_resources if role == PUBLISHER else options.kube_sub_resources
    nodes = options.kube_pub_nodes if role == PUBLISHER else options.kube_sub_nodes
    container = {
        "name": "task",
        "image": _image(options),
        "command": ["/bin/sh", "-c", command],
        "env": [*_variables(options), *variables],
        "workingDir": TASK_FOLDER,
        "ports": [{"name": "signals", "containerPort": PORT}],
        "resources": {"requests": dict(each.split("=", 1) for each in requests)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "task", "mountPath": TASK_FOLDER}],
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "task", "emptyDir": {}}],
        "nodeSelector": dict(each.split("=", 1) for each in nodes),
        "tolerations": [_toleration(text) for text in options.kube_tolerations],
        "affinity": {"podAntiAffinity": _apart_from(options, SUBSCRIBER if role == PUBLISHER else PUBLISHER)},
    }
    if role == SUBSCRIBER:
        pod["topologySpreadConstraints"] = [_spread(options, role)]
    if options.kube_pull_secret is not None:
        pod["imagePullSecrets"] = [{"name": options.kube_pull_secret}]
    return pod


def _variables(options: Options) -> list[Mapping[str, object]]:
    """What a task is told of its place, as Mesos does."""
    fields = {"MESOS_TASK_ID": "metadata.name", "HOST": "status.podIP", "NODE_NAME": "spec.nodeName"}
    values = {"PORT0": str(PORT)} | dict.fromkeys(("MESOS_SANDBOX", "TMPDIR", "HOME"), TASK_FOLDER)
    if options.kube_forward:
        del fields["HOST"]
        values["HOST"] = FORWARD_HOST
    referred = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    return [*referred, *({"name": name, "value": value} for name, value in values.items())]


def _of_role(options: Options, role: str) -> dict[str, object]:
    return {"matchLabels": {APP_LABEL: role, GROUP_LABEL: group_label(options.app_prefix)}}


def _apart_from(options: Options, role: str) -> dict[str, object]:
    """Publisher and subscribers on different nodes, where there are nodes enough."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": _of_role(options, role)}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}


def _spread(options: Options, role: str) -> dict[str, object]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": _of_role(options, role),
    }


def _toleration(text: str) -> dict[str, str]:
    """``KEY``, ``KEY=VALUE``, each with ``:EFFECT`` or without."""
    named, _colon, effect = text.partition(":")
    key, equals, value = named.partition("=")
    found = {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}
    return {**found, "effect": effect} if effect else found
