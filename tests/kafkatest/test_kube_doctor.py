"""What the doctor says of Kubernetes before it starts anything there."""

import contextlib
import dataclasses

import pytest

from hydra.engine.kube_objects import role_text
from hydra.errors import InfrastructureError
from hydra.kafkatest.kube_doctor import examine_kubernetes
from hydra.kafkatest.kube_engine import KubernetesEngine
from hydra.options.options import Options
from hydra.run.clock import MonotonicClock
from hydra.signals.keys import SignalKeys, new_key_pair
from tests.scripted_kubernetes import ScriptedKubernetes

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=20)
KEYS = SignalKeys(PAIR := new_key_pair(), PAIR.public, {})
FORBIDDEN = 'resourcequotas is forbidden: User "me" cannot list resource "resourcequotas" in API group ""'


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = ScriptedKubernetes()
    for name, value in server.kubeconfig(tmp_path / "config").items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


def findings(account=None, **changes):
    """Until the doctor would start a pod."""
    found = []
    with contextlib.closing(examine_kubernetes(dataclasses.replace(OPTIONS, **changes), (), account)) as examined:
        for finding in examined:
            found.append(finding)
            if finding.subject == "quotas" and finding.status != "error":
                break
            if len([each for each in found if each.subject == "quotas"]) == 2:
                break
    return found


def test_quotas_that_a_run_does_not_fit_into_are_named_before_anything_starts(server):
    status = {"hard": {"pods": "21", "requests.cpu": "2"}, "used": {"pods": "5", "requests.cpu": "500m"}}
    server.quotas.append({"metadata": {"name": "small"}, "spec": {"hard": status["hard"]}, "status": status})
    texts = [(each.status, each.text) for each in findings() if each.subject == "quotas"]
    assert texts == [
        ("error", "quota small: pods: 21 needed, 5 of 21 in use"),
        ("error", "quota small: requests.cpu: 2500m needed, 500m of 2 in use"),
    ]
    assert not server.jobs
    assert findings("runner", total_sub_apps=5)[-1].text == "resource quotas have room for the 7 pods of the run"


def test_who_may_not_look_at_quotas_is_told_so(server):
    server.fail("GET", "/resourcequotas", 403, FORBIDDEN, reason="Forbidden")
    found = findings()[-1]
    assert (found.status, "was not looked at" in found.text) == ("warning", True)
    assert not server.jobs


def limit_range(**fields):
    return {"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container", **fields}]}}


def test_limit_ranges_that_refuse_pods_are_named_before_anything_starts(server):
    server.limit_ranges.append(limit_range(max={"cpu": "200m"}, default={"cpu": "200m"}))
    with contextlib.closing(examine_kubernetes(OPTIONS, (), None)) as examined:
        found = next(each for each in examined if each.subject == "limits")
    text = "limit range r: the publisher requests cpu=500m, and each container may have 200m at most"
    assert (found.status, found.text) == ("error", text)
    assert not server.jobs


def test_who_may_not_look_at_limit_ranges_hears_of_the_quotas(server):
    server.fail("GET", "/limitranges", 403, FORBIDDEN.replace("resourcequotas", "limitranges"), reason="Forbidden")
    server.quotas.append({"metadata": {"name": "small"}, "spec": {"hard": {"limits.cpu": "1"}}})
    with contextlib.closing(examine_kubernetes(OPTIONS, (), None)) as examined:
        quotas = (each.text for each in examined if each.subject == "quotas")
        texts = [next(quotas), next(quotas)]
    assert texts[0].startswith("you may not list limitranges: whether")
    assert "limits.cpu is limited" in texts[1]


def test_a_run_tells_what_it_has_no_room_for_before_it_makes_anything_and_goes_on(server):
    server.quotas.append({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "5"}}})
    server.limit_ranges.append(limit_range(min={"memory": "200Mi"}))
    for keep, count in ((False, 2), (True, 0)):
        notes = []
        engine = KubernetesEngine(dataclasses.replace(OPTIONS, keep_running=keep), MonotonicClock(), notes.append)
        engine.begin(KEYS)
        assert "hydra-g1" in server.jobs
        engine.end(keep=False)
        engine.close()
        assert len(notes) == count
    server.fail("GET", "/resourcequotas", 403, FORBIDDEN, reason="Forbidden")
    notes = []
    engine = KubernetesEngine(OPTIONS, MonotonicClock(), notes.append)
    engine.begin(KEYS)
    engine.end(keep=False)
    engine.close()
    (told,) = notes
    assert told.startswith("not all pods of the run can be made: limit range r: a subscriber requests memory=128Mi")


def test_what_a_run_leaves_is_a_note_whoever_hears_the_error(server):
    notes = []
    engine = KubernetesEngine(OPTIONS, MonotonicClock(), notes.append)
    engine.begin(KEYS)
    server.fail("DELETE", "/jobs/hydra-g1", 403, 'admission webhook "p" denied the request: no')
    with pytest.raises(InfrastructureError, match="not all that the run made on Kubernetes is gone"):
        engine.end(keep=False)
    engine.close()
    (note,) = notes
    assert note.startswith("left in the namespace lab: ")
    assert "'hydra clean --engine=kubernetes --kube_namespace=lab' removes it" in note


def test_a_controller_in_the_cluster_needs_more_of_the_role_and_an_account(server):
    server.denied = {("get", "configmaps"), ("deletecollection", "pods")}
    assert findings()[-1].text == "you may not deletecollection pods"
    found = findings("runner")[-1]
    assert found.text == "you may not deletecollection pods, get configmaps"
    assert found.document == role_text("lab", "runner")
    assert "kind: ServiceAccount\nmetadata:\n  name: runner" in found.document
    assert findings("runner", kube_image=None)[-1].text == "--kube_controller needs --kube_image"


def test_pods_behind_the_api_server_need_one_right_more(server):
    server.denied = {("create", "pods")}
    assert findings()[-1].subject == "quotas"
    found = findings(kube_forward=True)[-1]
    assert found.text == "you may not create pods/portforward"
    assert found.document == role_text("lab", forward=True)
    assert 'resources: ["pods/portforward"]\n    verbs: ["create", "get"]' in found.document
