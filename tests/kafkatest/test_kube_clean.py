"""``hydra clean`` on Kubernetes: what a run has left there, also where its garbage collector lags behind."""

import dataclasses
import threading

import pytest

from hydra.engine.apps import SUBSCRIBER, Placement, app_spec
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.engine.kube_objects import MANAGED_BY
from hydra.errors import InfrastructureError, KubernetesError
from hydra.kafkatest import clean
from hydra.kafkatest.clean import Remains
from hydra.kafkatest.leftovers import KUBERNETES, RunTrace
from hydra.kafkatest.traces import Trace, read_traces
from hydra.options.options import Options
from tests.scripted_kubernetes import ScriptedKubernetes

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=3)
OWNER = "aa" * 8
RUN = "hydra-20260101-000000-abcdef"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Kubernetes with the apps of a run whose controller is gone without a word."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    server = ScriptedKubernetes()
    for name, value in server.kubeconfig(tmp_path / "config").items():
        monkeypatch.setenv(name, value)
    launcher = KubernetesLauncher(kubernetes_access(None, None), OPTIONS)
    launcher.begin(OWNER, "{}")
    launcher.apply(app_spec(OPTIONS, SUBSCRIBER, 3, Placement(owner=OWNER)))
    trace = Trace(RunTrace(RUN, 41, f"{KUBERNETES}{launcher.place}", owner=OWNER, app_prefix="g1"))
    trace.apps_are_left()
    trace.close()
    launcher.close()
    server.collects_garbage = False
    yield server
    server.close()
    assert not [each for each in threading.enumerate() if each.name == "kubernetes-lease"]


def cleaned():
    """The names of what is found, each with its state, once what is over is removed."""
    with Remains(dataclasses.replace(OPTIONS, bootstrap_servers=None)) as remains:
        found = remains.find()
        for each in found:
            if each.state == "over":
                remains.remove(each)
        remains.forget(())
        return {each.found.name: each.state for each in found}


def test_an_anchor_goes_with_its_jobs_and_pods_though_nothing_collects_them(server):
    assert cleaned() == {"hydra-g1": "over"}
    assert (server.jobs, server.pods) == ({}, {})
    assert read_traces() == {}


def test_a_controller_in_the_cluster_goes_with_all_that_its_run_has_made_when_it_does_not_run(server):
    labels = {**MANAGED_BY, "hydra-scaletest/owner": OWNER, "hydra-scaletest/app": "controller"}
    metadata = {"name": "hydra-g1-controller", "uid": "c", "labels": labels}
    server.jobs["hydra-g1-controller"] = {"metadata": metadata, "spec": {}, "status": {"active": 1}}
    server.jobs["hydra-g1"]["metadata"]["ownerReferences"] = [{"name": "hydra-g1-controller", "uid": "c"}]
    labels["hydra-scaletest/owner"] = "bb" * 8
    with Remains(dataclasses.replace(OPTIONS, bootstrap_servers=None), 1.0) as remains:
        (found,) = remains.find()
        assert (found.state, found.found.in_use) == ("alive", "its controller is in the cluster, and runs")
    labels["hydra-scaletest/owner"], server.jobs["hydra-g1-controller"]["status"] = OWNER, {}
    assert cleaned() == {"hydra-g1-controller": "over"}
    assert (server.jobs, server.pods) == ({}, {})


def test_pods_whose_job_is_gone_are_found_and_removed(server):
    server.jobs.clear()
    assert cleaned() == {"hydra-g1-kafka-sub (pods without their job)": "over"}
    assert server.pods == {}
    assert cleaned() == {}


def test_pods_without_a_job_that_are_not_known_here_or_are_being_deleted_stay(server):
    server.jobs.clear()
    first, *others = server.pods.values()
    first["metadata"]["labels"]["hydra-scaletest/owner"] = "bb" * 8
    for other in others:
        other["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    assert cleaned() == {"hydra-g1-kafka-sub (pods without their job)": "unknown"}
    assert len(server.pods) == 3


@pytest.mark.parametrize("may", [True, False])
def test_a_key_goes_with_its_anchor_or_the_anchor_stays_until_it_has_gone(server, monkeypatch, may):
    monkeypatch.setattr(clean, "REMOVE_TIMEOUT_S", 0.5)
    if not may:
        message = 'secrets "x" is forbidden: User "me" cannot delete resource "secrets" in API group ""'
        server.fail("DELETE", "/secrets", 403, message, reason="Forbidden", times=2)
        with pytest.raises(InfrastructureError, match=r"of hydra-g1 are still there .*controller manager"):
            cleaned()
        assert (set(server.jobs), server.pods, len(server.secrets)) == ({"hydra-g1"}, {}, 1)
        assert len(read_traces()) == 1
        server.collects_garbage = True  # it is back
    assert cleaned() == {"hydra-g1": "over"}
    assert (server.jobs, server.secrets) == ({}, {})
    assert read_traces() == {}


def test_jobs_whose_anchor_is_gone_and_that_nothing_collects_are_found(server):
    del server.jobs["hydra-g1"]
    assert cleaned() == {"hydra-g1-kafka-sub": "over"}
    assert (server.jobs, server.pods) == ({}, {})


def test_pods_of_another_run_under_the_same_name_stay(server):
    server.jobs.clear()
    first, *_others = server.pods.values()
    first["metadata"]["labels"] |= {"hydra-scaletest/owner": "bb" * 8, "batch.kubernetes.io/controller-uid": "u2"}
    assert sorted(cleaned().values()) == ["over", "unknown"]
    assert list(server.pods.values()) == [first]


def test_what_bears_no_label_of_hydras_is_not_even_found(server):
    anchor = server.jobs["hydra-g1"]
    theirs = {"name": "hydra-g1-theirs", "uid": "t", "labels": {"hydra-scaletest/owner": OWNER}}
    theirs["ownerReferences"] = [{"name": "hydra-g1", "uid": anchor["metadata"]["uid"]}]
    server.jobs["hydra-g1-theirs"] = {"metadata": theirs, "spec": {}, "status": {}}
    labels = {"batch.kubernetes.io/controller-uid": anchor["metadata"]["uid"]}
    server.pods["theirs"] = {"metadata": {"name": "theirs", "labels": labels}, "status": {}}
    assert cleaned() == {"hydra-g1": "over"}
    assert (set(server.jobs), set(server.pods)) == ({"hydra-g1-theirs"}, {"theirs"})


def test_what_cannot_be_removed_is_told(server, monkeypatch):
    monkeypatch.setattr(clean, "REMOVE_TIMEOUT_S", 0.2)
    server.jobs.clear()
    server.delete_pods = lambda _query: (200, {}, {})
    with pytest.raises(InfrastructureError, match="are still there"):
        cleaned()
    message = 'pods is forbidden: User "me" cannot deletecollection resource "pods" in API group ""'
    server.fail("DELETE", "/pods", 403, message, reason="Forbidden")
    with pytest.raises(KubernetesError, match="would not delete pods without a job: HTTP 403") as caught:
        cleaned()
    assert "prints the Role" in caught.value.hint
