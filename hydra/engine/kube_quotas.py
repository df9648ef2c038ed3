"""Whether a run fits into the resource quotas of a namespace: values in, values out.

Names: https://kubernetes.io/docs/concepts/policy/resource-quotas/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from hydra.engine.kube_limits import resources_of
from hydra.engine.kube_quantities import quantity, shown
from hydra.engine.kube_responses import LimitRangeResponse, QuotaResponse
from hydra.errors import KubernetesError
from hydra.options.options import Options

APPLYING = {"NotTerminating", "NotBestEffort"}
"""The scopes that Hydra's pods are in. A quota with another one does not count them, or counts by their priority."""


RESULT_PARTS = 10
"""ConfigMaps that a large result takes, and its manifest: 512 KiB hold those of some thousand clients."""


def needs(
    options: Options, ranges: Sequence[LimitRangeResponse] = (), *, controller: bool = False
) -> dict[str, Fraction]:
    """What a run takes of a namespace, by the name that quotas have for it.

    Args:
        options: of the run.
        ranges: the limit ranges of the namespace, whose defaults count, too.
        controller: its controller is in the cluster, too.

    Raises:
        KubernetesError: what a limit range gives is no quantity.
    """
    publishers = 2 if controller else 1
    pods, jobs, keys = publishers + options.total_sub_apps, publishers + 2, publishers
    found = {"pods": pods, "count/pods": pods, "count/jobs.batch": jobs, "secrets": keys, "count/secrets": keys}
    if controller:
        found |= {"configmaps": RESULT_PARTS, "count/configmaps": RESULT_PARTS}
    wanted = {name: Fraction(count) for name, count in found.items()}
    for count, resources in (
        (publishers, options.kube_pub_resources),
        (options.total_sub_apps, options.kube_sub_resources),
    ):
        given = resources_of(resources, ranges)
        amounts = [
            *((f"requests.{name}", value) for name, value in given.requests.items()),
            *((name, value) for name, value in given.requests.items() if name in {"cpu", "memory"}),
            *((f"limits.{name}", value) for name, value in given.limits.items()),
        ]
        try:
            for key, value in amounts:
                wanted[key] = wanted.get(key, Fraction(0)) + count * quantity(value)
        except ValueError as error:
            raise KubernetesError(f"what the limit ranges give to pods cannot be read: {error}") from error
    return wanted


def shortages(quotas: Iterable[QuotaResponse], wanted: Mapping[str, Fraction]) -> Sequence[str]:
    """Why a run does not fit: a sentence for each resource of a quota. What is not wanted may be short.

    Raises:
        ValueError: a quota of what is wanted is no quantity.
    """
    found = []
    for quota in quotas:
        scopes = {*quota.spec.scopes, *(each.scope_name for each in quota.spec.scope_selector.match_expressions)}
        if not scopes <= APPLYING:
            continue
        for name, limit in (quota.status.hard or quota.spec.hard).items():
            place = f"quota {quota.metadata.name}: {name}"
            used = quota.status.used.get(name, "0")
            if name.startswith("limits.") and name not in wanted:
                found.append(f"{place} is limited, so each pod has to name a limit, and Hydra's pods name none")
            elif name in {"cpu", "memory", "requests.cpu", "requests.memory"} and name not in wanted:
                found.append(f"{place} is limited, so each pod has to request some, and Hydra's pods are told not to")
            elif name in wanted and wanted[name] > quantity(limit) - quantity(used):
                found.append(f"{place}: {shown(wanted[name])} needed, {used} of {limit} in use")
    return found
