"""Limit ranges of Kubernetes: which pods they refuse, and what they give to those that they let in."""

from fractions import Fraction

import msgspec
import pytest

from hydra.engine.kube_limits import refusals, resources_of
from hydra.engine.kube_quotas import needs, shortages
from hydra.engine.kube_responses import LimitRangeResponse, Metadata, QuotaResponse, QuotaSpec, QuotaStatus
from hydra.errors import KubernetesError
from hydra.options.options import Options

OPTIONS = Options(total_sub_apps=20)
"""20 x (100m, 128Mi), and a publisher with 500m and 256Mi."""


def limit_range(kind="Container", **fields):
    item = {"type": kind, **fields}
    return msgspec.convert({"metadata": {"name": "r"}, "spec": {"limits": [item]}}, LimitRangeResponse)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("Container", {}, []),
        ("Container", {"max": {"cpu": "500m"}, "min": {"cpu": "0.1"}}, []),
        (
            "Container",
            {"max": {"cpu": "400m"}},
            ["the publisher requests cpu=500m, and each container may have 400m at most"],
        ),
        (
            "Container",
            {"min": {"memory": "200Mi"}},
            ["a subscriber requests memory=128Mi, and each container has to request 200Mi at least"],
        ),
        ("Container", {"min": {"ephemeral-storage": "1Gi"}}, []),  # which it is given
        (
            "Pod",
            {"min": {"ephemeral-storage": "1Gi"}},
            [
                "the publisher requests no ephemeral-storage, and each pod has to request 1Gi at least",
                "a subscriber requests no ephemeral-storage, and each pod has to request 1Gi at least",
            ],
        ),
        ("Pod", {"max": {"cpu": "8"}}, ["each pod has to name a limit of cpu, and Hydra's pods name none"]),
        (
            "Container",
            {"default": {"cpu": "200m"}, "max": {"cpu": "4"}},
            ["the publisher requests cpu=500m, more than the limit of 200m that it is given"],
        ),
        (
            "Container",
            {"default": {"cpu": "800m"}, "maxLimitRequestRatio": {"cpu": "4"}},
            ["a subscriber requests cpu=100m, and its limit 800m is more than 4 times that"],
        ),
        (
            "Pod",
            {"maxLimitRequestRatio": {"memory": "4"}},
            [
                "each pod has to have a limit and a request of memory, and the publisher has not",
                "each pod has to have a limit and a request of memory, and a subscriber has not",
            ],
        ),
        ("PersistentVolumeClaim", {"max": {"storage": "1Gi"}, "min": {"storage": "1Gi"}}, []),
        ("Pod", {"default": {"cpu": "100m"}}, []),  # which no pod is given
    ],
)
def test_what_a_limit_range_refuses_is_told_once_for_each_kind_of_pod(kind, fields, told):
    assert refusals([limit_range(kind, **fields)], OPTIONS) == [f"limit range r: {text}" for text in told]


def test_what_a_pod_does_not_name_it_is_given():
    ranges = [limit_range(default={"cpu": "1", "memory": "1Gi"}, defaultRequest={"memory": "64Mi"})]
    given = resources_of(("cpu=100m",), ranges)
    assert given.requests == {"cpu": "100m", "memory": "64Mi"}
    assert given.limits == {"cpu": "1", "memory": "1Gi"}
    assert resources_of(("cpu=100m",)).limits == {}


def quota(**hard):
    hard = {name.replace("_", "."): value for name, value in hard.items()}
    return QuotaResponse(Metadata(name="small"), QuotaSpec(hard), QuotaStatus(hard, {}))


def test_a_quota_on_limits_counts_those_that_pods_are_given():
    ranges = [limit_range(default={"cpu": "1"})]
    wanted = needs(OPTIONS, ranges)
    assert wanted["limits.cpu"] == Fraction(21)
    assert list(shortages([quota(limits_cpu="21")], wanted)) == []
    assert list(shortages([quota(limits_cpu="20")], wanted)) == ["quota small: limits.cpu: 21 needed, 0 of 20 in use"]
    (told,) = shortages([quota(limits_memory="20Gi")], wanted)
    assert "Hydra's pods name none" in told


def test_a_quota_on_requests_counts_those_that_pods_are_given():
    options = Options(total_sub_apps=1, kube_sub_resources=("cpu=1",), kube_pub_resources=("cpu=1",))
    ranges = [limit_range(defaultRequest={"memory": "1Gi"})]
    assert list(shortages([quota(requests_memory="2Gi")], needs(options, ranges))) == []
    assert len(shortages([quota(requests_memory="1Gi")], needs(options, ranges))) == 1
    assert len(shortages([quota(requests_memory="2Gi")], needs(options))) == 1


def test_defaults_beyond_every_number_are_told_and_what_is_none_is_an_error_of_kubernetes():
    (told,) = shortages([quota(limits_cpu="20")], needs(OPTIONS, [limit_range(default={"cpu": "1e999"})]))
    assert told == "quota small: limits.cpu: 168Ei needed, 0 of 20 in use"
    with pytest.raises(KubernetesError, match="what the limit ranges give to pods cannot be read: 'one' is not"):
        needs(OPTIONS, [limit_range(default={"cpu": "one"})])
