"""Whether a run fits into the resource quotas of a namespace: values in, values out.

Names and forms: https://kubernetes.io/docs/concepts/policy/resource-quotas/ and, for quantities such as ``500m`` or
``1Gi``, https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from hydra.engine.kube_responses import QuotaResponse
from hydra.options.options import Options

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Mapping[str, int] = {f"{letter}i": 1 << 10 * (power + 1) for power, letter in enumerate("KMGTPE")}

APPLYING = {"NotTerminating", "NotBestEffort"}
"""The scopes that Hydra's pods are in. A quota with another one does not count them, or counts by their priority."""


RESULT_PARTS = 10
"""ConfigMaps that a large result takes, and its manifest: 512 KiB hold those of some thousand clients."""


def quantity(text: str) -> Fraction:
    """The number that a quantity is.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity of Kubernetes")
    number = Fraction(match[1])
    if (suffix := match[2] or "") in _BINARY:
        return number * _BINARY[suffix]
    power = int(match[3] or _DECIMAL[suffix])
    scale = Fraction(int(10 ** abs(power)))
    return number * scale if power >= 0 else number / scale


def needs(options: Options, *, controller: bool = False) -> dict[str, Fraction]:
    """What a run takes of a namespace, by the name that quotas have for it.

    Args:
        options: of the run.
        controller: its controller is in the cluster, too.
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
        for resource in resources:
            name, _equals, value = resource.partition("=")
            for key in (f"requests.{name}", *((name,) if name in {"cpu", "memory"} else ())):
                wanted[key] = wanted.get(key, Fraction(0)) + count * quantity(value)
    return wanted


def shortages(quotas: Iterable[QuotaResponse], wanted: Mapping[str, Fraction]) -> Sequence[str]:
    """Why a run does not fit: a sentence for each resource of a quota."""
    found = []
    for quota in quotas:
        scopes = {*quota.spec.scopes, *(each.scope_name for each in quota.spec.scope_selector.match_expressions)}
        if not scopes <= APPLYING:
            continue
        for name, limit in (quota.status.hard or quota.spec.hard).items():
            place = f"quota {quota.metadata.name}: {name}"
            used = quota.status.used.get(name, "0")
            if name.startswith("limits."):
                found.append(f"{place} is limited, so each pod has to name a limit, and Hydra's pods name none")
            elif name in {"cpu", "memory", "requests.cpu", "requests.memory"} and name not in wanted:
                found.append(f"{place} is limited, so each pod has to request some, and Hydra's pods are told not to")
            elif wanted.get(name, 0) > quantity(limit) - quantity(used):
                found.append(f"{place}: {shown(wanted[name])} needed, {used} of {limit} in use")
    return found


def shown(amount: Fraction) -> str:
    """An amount as people write it: ``2600m``, ``25.3Gi``, ``101``."""
    if amount >= 1024**2:
        unit = max((name for name in _BINARY if _BINARY[name] <= amount), key=lambda name: _BINARY[name])
        return f"{float(amount / _BINARY[unit]):.3g}{unit}"
    return str(amount) if amount.denominator == 1 else f"{float(amount * 1000):.10g}m"
