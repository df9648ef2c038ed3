"""Whether the limit ranges of a namespace let a run's pods in, and what they give them: values in, values out.

What they do: https://kubernetes.io/docs/concepts/policy/limit-range/ (plugin/pkg/admission/limitranger of Kubernetes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hydra.engine.kube_quantities import quantity
from hydra.engine.kube_responses import LimitRangeItem, LimitRangeResponse
from hydra.options.options import Options

CONTAINER, POD = "Container", "Pod"


@dataclass(frozen=True)
class Resources:
    """What a pod of Hydra's has at last: it is one container."""

    requests: Mapping[str, str]
    limits: Mapping[str, str]


def resources_of(requests: Sequence[str], ranges: Iterable[LimitRangeResponse] = ()) -> Resources:
    """What is requested (``NAME=QUANTITY``), with the defaults of a namespace: Hydra's pods name no limits."""
    named = dict(each.split("=", 1) for each in requests)
    limits: dict[str, str] = {}
    for item in (item for each in ranges for item in each.spec.limits if item.type == CONTAINER):
        default = {**item.max, **item.default}  # as Kubernetes fills in what a limit range leaves out
        named = {**item.min, **default, **item.default_request, **named}
        limits = {**default, **limits}
    return Resources(named, limits)


def refusals(ranges: Sequence[LimitRangeResponse], options: Options) -> Sequence[str]:
    """Why pods of a run will be refused: a sentence for each limit that they do not keep to."""
    found: dict[str, None] = {}
    for who, requests in (
        ("the publisher", options.kube_pub_resources),
        ("a subscriber", options.kube_sub_resources),
    ):
        resources = resources_of(requests, ranges)
        for each in ranges:
            for item in each.spec.limits:
                if item.type in {CONTAINER, POD}:
                    said = _said(item, resources, who)
                    found |= dict.fromkeys(f"limit range {each.metadata.name}: {text}" for text in said)
    return list(found)


def _said(item: LimitRangeItem, resources: Resources, who: str) -> Iterator[str]:
    kind = item.type.lower()
    for name, least in item.min.items():
        request = resources.requests.get(name)
        if request is None:
            yield f"{who} requests no {name}, and each {kind} has to request {least} at least"
        elif quantity(request) < quantity(least):
            yield f"{who} requests {name}={request}, and each {kind} has to request {least} at least"
    for name, most in item.max.items():
        request, limit = resources.requests.get(name), resources.limits.get(name)
        if limit is None:
            yield f"each {kind} has to name a limit of {name}, and Hydra's pods name none"
        elif request is not None and quantity(request) > quantity(most):
            yield f"{who} requests {name}={request}, and each {kind} may have {most} at most"
    # Only containers are given defaults: those of another kind are in no pod's limits.
    for name, limit in (item.default if item.type == CONTAINER else {}).items():
        request = resources.requests.get(name)
        told = name in item.max and request is not None and quantity(request) > quantity(item.max[name])
        over = request is not None and quantity(request) > quantity(resources.limits[name])
        if over and not told:
            yield f"{who} requests {name}={request}, more than the limit of {limit} that it is given"
    for name, ratio in item.max_limit_request_ratio.items():
        request, limit = resources.requests.get(name), resources.limits.get(name, "")
        if request is None or not quantity(request) or not limit:
            yield f"each {kind} has to have a limit and a request of {name}, and {who} has not"
        elif quantity(limit) / quantity(request) > quantity(ratio):
            yield f"{who} requests {name}={request}, and its limit {limit} is more than {ratio} times that"
