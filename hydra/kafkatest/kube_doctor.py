"""The doctor on Kubernetes: the API server, each right of the Role, and a small pod that tells what it reaches."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence

from hydra.endpoints import Endpoint
from hydra.engine.agent_probe import probe_agents
from hydra.engine.code_server import CodeServer, is_wanted
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.engine.kube_objects import role_rules, role_text
from hydra.errors import HydraError
from hydra.kafkatest.doctor import Finding, clock_and_network
from hydra.kafkatest.kube_fit import Fit, look_at_fit
from hydra.kafkatest.kube_order import check_controller
from hydra.options.options import Options

PROBE_TIMEOUT_S = 45.0


def examine_kubernetes(options: Options, brokers: Sequence[Endpoint], account: str | None) -> Iterator[Finding]:
    """Yield every finding as it is made; what depends on something that is missing is left out.

    Args:
        options: of the run that is to be.
        brokers: what pods have to reach.
        account: the service account of a controller that is in the cluster, too; None for one that is here.
    """
    try:
        if account is not None:
            check_controller(options)
        access = kubernetes_access(options.kube_context, options.kube_namespace)
        notes: list[str] = []
        with contextlib.closing(KubernetesLauncher(access, options, note=notes.append)) as launcher:
            text = f"{access.server} is {launcher.facts().git_version}, namespace {access.namespace}"
            yield Finding("Kubernetes", "ok", text)
            role = role_text(access.namespace, account, forward=options.kube_forward)
            rules = role_rules(controller=account is not None, forward=options.kube_forward)
            missing = list(_missing_rights(launcher, access.namespace, rules))
            if missing:
                text = f"you may not {', '.join(missing)}"
                yield Finding("Kubernetes", "error", text, "have this Role bound to you", role)
                return
            yield Finding(
                "Kubernetes", "ok", "all rights that a run needs, which are those of this Role", document=role
            )
            yield from _fit(look_at_fit(launcher, options, controller=account is not None))
            yield from _probe(launcher, options, access.server, brokers, notes, from_here=account is None)
    except HydraError as error:
        yield Finding("Kubernetes", "error", error.message, error.hint)


def _fit(fit: Fit) -> Iterator[Finding]:
    """Whether the quotas and limit ranges of the namespace let the run in; who may not look at them is told so."""
    if fit.unseen:
        text = f"you may not list {', '.join(fit.unseen)}: whether the run fits into them was not looked at"
        yield Finding("quotas", "warning", text, "apply the optional rules of the Role")
    remedy = "raise the quota, or ask for fewer: --clients, --kube_sub_resources, --kube_pub_resources"
    yield from (Finding("quotas", "error", text, remedy) for text in fit.short)
    if "resourcequotas" not in fit.unseen and not fit.short:
        room = f"have room for the {fit.pods} pods of the run" if fit.quotas else "are none in the namespace"
        yield Finding("quotas", "ok", f"resource quotas {room}")
    remedy = "change the limit range, or what pods request: --kube_sub_resources, --kube_pub_resources"
    yield from (Finding("limits", "error", text, remedy) for text in fit.refused)
    if fit.ranges and not fit.refused:
        yield Finding("limits", "ok", "limit ranges let the pods of the run in")


def _missing_rights(
    launcher: KubernetesLauncher, namespace: str, rules: Sequence[tuple[str, str, Sequence[str]]]
) -> Iterator[str]:
    for group, resource, verbs in rules:
        name, _slash, subresource = resource.partition("/")
        for verb in verbs:
            attributes = {"namespace": namespace, "group": group, "resource": name, "subresource": subresource}
            if not launcher.may(verb, attributes):
                yield f"{verb} {resource}"


def _probe(
    launcher: KubernetesLauncher,
    options: Options,
    server: str,
    brokers: Sequence[Endpoint],
    notes: Sequence[str],
    *,
    from_here: bool,
) -> Iterator[Finding]:
    """A pod that reports what a run would find in it."""
    name = f"doctor-{secrets.token_hex(3)}"
    targets = [str(endpoint) for endpoint in brokers]
    with contextlib.ExitStack() as closing:
        if is_wanted(options):
            code_server = CodeServer(options, f"hydra-{name}", server)
            closing.callback(code_server.close)
            targets.append(code_server.url.partition("//")[2].partition("/")[0])
            yield Finding("code server", "ok", f"the task bundle is served at {targets[-1]}")
        (probed,) = probe_agents(launcher, options, name=name, agents=1, targets=targets, timeout_s=PROBE_TIMEOUT_S)
    facts = probed.facts
    if facts is None:
        text = f"its port cannot be reached from here ({probed.error})"
        if options.kube_forward:
            text = f"its port cannot be reached through the API server ({'; '.join((probed.error, *notes))})"
            remedy = (
                "see whether 'kubectl port-forward' works; or start the controller in the cluster, --kube_controller"
            )
            yield Finding(f"pod {probed.task.task_id}", "error", text, remedy)
        elif from_here:
            remedy = "reach it through the API server (--kube_forward), or start the controller in the cluster, too"
            remedy += " (--kube_controller): see docs/kubernetes.md"
            yield Finding(f"pod {probed.task.endpoint}", "error", text, remedy)
        else:
            text += ", as the controller in the cluster may; what pods reach was not looked at"
            yield Finding(f"pod {probed.task.endpoint}", "warning", text)
        return
    subject = f"pod {probed.task.task_id if options.kube_forward else facts.host}"
    way = " through the API server" if options.kube_forward else ""
    yield Finding(subject, "ok", f"Python {facts.python} on {facts.platform}, reached from here{way}")
    yield from clock_and_network(
        subject,
        probed,
        facts,
        "run NTP or chrony on the controller and the nodes",
        "see network policies, and advertised.listeners of the brokers",
    )
