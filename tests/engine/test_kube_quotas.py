"""Resource quotas of Kubernetes, and whether a run fits into them."""

from fractions import Fraction

import pytest

from hydra.engine.kube_quantities import quantity, shown
from hydra.engine.kube_quotas import needs, shortages
from hydra.engine.kube_responses import Metadata, QuotaResponse, QuotaSpec, QuotaStatus, ScopeRequirement, ScopeSelector
from hydra.options.options import Options

OPTIONS = Options(total_sub_apps=20)
"""20 x (100m, 128Mi), and a publisher with 500m and 256Mi."""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("500m", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("128Mi", 128 * 1024**2),
        ("1.5Gi", 3 * 2**29),
        ("12e6", 12_000_000),
        ("12E-3", Fraction(12, 1000)),
        ("1E", 10**18),
        ("-3", -3),
        ("100n", Fraction(1, 10**7)),
        ("1e-3", Fraction(1, 1000)),
        ("1e999", 2**63 - 1),  # as Kubernetes caps it
        ("-9Ei", 1 - 2**63),
    ],
)
def test_a_quantity_is_a_number(text, number):
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1e", "1e9999", "0x1"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)


def quota(hard, used=None, **fields):
    return QuotaResponse(Metadata(name="small"), QuotaSpec(hard, **fields), QuotaStatus(hard, used or {}))


LIMITED = "quota small: limits.cpu is limited, so each pod has to name a limit, and Hydra's pods name none"


@pytest.mark.parametrize(
    ("hard", "used", "told"),
    [
        ({"pods": "21"}, {}, []),
        ({"pods": "21"}, {"pods": "1"}, ["quota small: pods: 21 needed, 1 of 21 in use"]),
        ({"requests.cpu": "2500m", "cpu": "2.5"}, {}, []),
        ({"requests.cpu": "2"}, {}, ["quota small: requests.cpu: 2500m needed, 0 of 2 in use"]),
        ({"memory": "3Gi"}, {"memory": "1Gi"}, ["quota small: memory: 2.75Gi needed, 1Gi of 3Gi in use"]),
        ({"count/jobs.batch": "2"}, {}, ["quota small: count/jobs.batch: 3 needed, 0 of 2 in use"]),
        ({"secrets": "0"}, {}, ["quota small: secrets: 1 needed, 0 of 0 in use"]),
        ({"services": "0", "requests.storage": "0"}, {}, []),
        ({"limits.cpu": "100"}, {}, [LIMITED]),
        ({"services": "2", "requests.nvidia.com/gpu": "0"}, {"services": "3", "requests.nvidia.com/gpu": "1"}, []),
        ({"services": "many", "pods": "21"}, {"services": "1 Gi"}, []),
        ({"pods": "20"}, {"pods": "30"}, ["quota small: pods: 21 needed, 30 of 20 in use"]),
    ],
)  # fmt: skip
def test_a_run_fits_or_it_is_told_what_is_short(hard, used, told):
    assert list(shortages([quota(hard, used)], needs(OPTIONS))) == told


def test_pods_that_request_nothing_are_refused_where_that_is_limited():
    wanted = needs(Options(kube_sub_resources=("cpu=1",), kube_pub_resources=("cpu=1",)))
    (told,) = shortages([quota({"requests.memory": "100Gi"})], wanted)
    assert "requests.memory is limited, so each pod has to request some" in told


@pytest.mark.parametrize(
    ("scope", "counts"), [("NotTerminating", True), ("BestEffort", False), ("PriorityClass", False)]
)
def test_a_quota_counts_the_pods_of_its_scope(scope, counts):
    old = quota({"pods": "1"}, scopes=(scope,))
    new = quota({"pods": "1"}, scope_selector=ScopeSelector((ScopeRequirement(scope),)))
    assert len(shortages([old, new], needs(OPTIONS))) == 2 * counts


def test_a_controller_in_the_cluster_takes_one_of_each_more():
    here, there = needs(OPTIONS), needs(OPTIONS, controller=True)
    assert there["pods"] - here["pods"] == there["count/jobs.batch"] - here["count/jobs.batch"] == 1
    assert there["requests.cpu"] - here["requests.cpu"] == Fraction(1, 2)


@pytest.mark.parametrize(
    ("amount", "text"), [(Fraction(21), "21"), (Fraction(5, 2), "2500m"), (Fraction(2**31), "2Gi")]
)
def test_an_amount_is_shown_as_people_write_it(amount, text):
    assert shown(amount) == text
