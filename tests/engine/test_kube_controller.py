"""A controller that is a Job in the cluster, against a server that is told what to answer."""

import json

import pytest

from hydra.engine import kube_controller_objects
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller import ControllerJob
from hydra.engine.kube_controller_objects import Manifest, config_map, packed, part_name, unpacked
from hydra.engine.kube_lease import KEEP_S
from hydra.engine.kube_refusals import KubernetesUnavailableError
from hydra.errors import KubernetesError, UsageError
from hydra.options.options import Options
from tests.scripted_kubernetes import playing_kubernetes, terminated, unschedulable, waiting

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=3)
JOB = "hydra-g1-controller"
RECORD = json.dumps({"counts": list(range(3000))}).encode()


@pytest.fixture
def server():
    with playing_kubernetes() as played:
        yield played


@pytest.fixture
def open_job(server, tmp_path, clock):
    made = []

    def start():
        access = kubernetes_access(None, None, server.kubeconfig(tmp_path / "config"))
        made.append(ControllerJob(access, clock, "g1"))
        return made[-1]

    yield start
    for job in made:
        job.close()


@pytest.fixture
def job(open_job):
    job = open_job()
    job.create(OPTIONS, "runner", b"{}")
    return job


def uid(server):
    return server.jobs[JOB]["metadata"]["uid"]


def test_it_has_the_account_the_order_and_an_end(server, job):
    spec = server.jobs[JOB]["spec"]
    pod = spec["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("runner", True)
    assert spec["backoffLimit"] == 0  # a run that failed does not begin again
    assert spec["ttlSecondsAfterFinished"] == KEEP_S
    assert spec["activeDeadlineSeconds"] > OPTIONS.test_duration
    (secret,) = server.secrets.values()
    assert secret["metadata"]["ownerReferences"][0]["uid"] == uid(server)
    assert pod["volumes"][1]["secret"]["secretName"] == secret["metadata"]["name"]
    assert "e30=" not in json.dumps(server.jobs)  # which is the order
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_a_run_in_the_cluster_removes_the_keys_that_a_killed_command_has_left(killed_folder, job):
    assert not killed_folder.exists()


def test_a_second_one_is_refused_and_the_first_stays(server, job, open_job):
    other = open_job()
    with pytest.raises(UsageError, match="of a run that was started before") as caught:
        other.create(OPTIONS, "runner", b"{}")
    assert "hydra cli result" in caught.value.hint
    other.remove()
    assert JOB in server.jobs


def test_a_create_whose_response_was_lost_goes_on(server, open_job):
    job = open_job()
    answer = server.answer_jobs

    def lose_first(method, name, body, query):
        answered = answer(method, name, body, query)
        if method == "POST":
            server.answer_jobs = answer
            return 503, {"message": "lost"}, {}
        return answered

    server.answer_jobs = lose_first
    job.create(OPTIONS, "runner", b"{}")
    assert len(server.secrets) == len(server.jobs) == 1


@pytest.mark.parametrize("part_bytes", [2000, 512 * 1024])
def test_a_result_comes_back_whole_whatever_its_size(server, job, open_job, monkeypatch, part_bytes):
    monkeypatch.setattr(kube_controller_objects, "PART_BYTES", part_bytes)
    assert job.manifest() is None
    inside, (manifest, parts) = open_job(), packed(RECORD, 3, "the broker died", "restart it")
    assert (len(parts) > 2) is (part_bytes == 2000)
    inside.adopt(uid(server))
    inside.store(manifest, parts)
    inside.store(manifest, parts)
    found = job.manifest()
    assert found == manifest
    assert (found.exit_code, found.error, found.hint) == (3, "the broker died", "restart it")
    assert job.record(found) == RECORD
    assert all(len(json.dumps(each)) < 1024 * 1024 for each in server.config_maps.values())
    job.remove()
    assert (server.jobs, server.pods, server.secrets, server.config_maps) == ({}, {}, {}, {})
    assert job.removed()


def test_the_manifest_comes_last(server, job, open_job):
    inside, (manifest, parts) = open_job(), packed(RECORD, 0)
    inside.adopt(uid(server))
    server.fail("POST", "/configmaps", 403, "exceeded quota: small", times=1)
    with pytest.raises(KubernetesError, match="would not store the result: HTTP 403 exceeded quota"):
        inside.store(manifest, parts)
    assert job.manifest() is None


@pytest.mark.parametrize("damage", ["content", "size", "digest", "missing", "bomb"])
def test_a_result_that_is_not_what_was_stored_is_refused(server, job, damage):
    manifest, parts = packed(RECORD, 0)
    if damage == "content":
        parts = (parts[0][:-9] + b"x" * 9,)
    elif damage == "size":
        manifest = Manifest(0, parts=1, size=len(RECORD) - 1, sha256=manifest.sha256)
    elif damage == "digest":
        manifest = Manifest(0, parts=1, size=len(RECORD), sha256="0" * 64)
    elif damage == "bomb":
        manifest = Manifest(0, parts=1, size=2**40)
    if damage == "missing":
        with pytest.raises(KubernetesError, match="404"):
            job.record(manifest)
        return
    with pytest.raises(KubernetesError, match=r"damaged|at most"):
        unpacked(manifest, parts)


def test_what_others_stored_is_no_manifest(server, job):
    server.config_maps[part_name("/g1/controller", uid(server))] = config_map("/g1/controller", "x", "", None, b"{}")
    with pytest.raises(KubernetesError, match="of another version"):
        job.manifest()


def test_progress_is_the_end_of_the_pods_log(server, job):
    (name,) = server.pods
    assert job.look().lines == ()  # there is none yet
    server.logs[name] = "one\ntwo\n"
    state = job.look()
    assert (state.pod, state.lines, state.runs, state.ended) == (name, ("one", "two"), True, False)
    server.fail("GET", "/log", 500, "dial tcp: connection refused")
    assert job.look().lines == (), "its node is away, and the server tells how the pod is"
    server.pods[name]["status"] = terminated(137, "OOMKilled")
    state = job.look()
    assert (state.runs, state.ended, state.reason) == (False, True, "OOMKilled (exit code 137, signal 9)")


@pytest.mark.parametrize(
    ("status", "words", "final"),
    [
        (unschedulable("0/3 nodes are available"), "Unschedulable: 0/3 nodes", False),
        (waiting("ImagePullBackOff", "Back-off"), "ImagePullBackOff: Back-off", True),
    ],
)
def test_why_it_does_not_start_is_told_in_the_words_of_kubernetes(server, open_job, status, words, final):
    server.pod_status = status
    job = open_job()
    job.create(OPTIONS, "runner", b"{}")
    state = job.look()
    assert words in state.reason
    assert (state.runs, state.ended, state.final) == (False, False, final)


def test_an_account_that_is_not_there_is_told_by_the_jobs_events(server, open_job):
    server.makes_pods = False
    job = open_job()
    job.create(OPTIONS, "runner", b"{}")
    message = 'pods "x" is forbidden: error looking up service account lab/runner: serviceaccount "runner" not found'
    event = {"reason": "FailedCreate", "message": message, "lastTimestamp": None, "metadata": {"name": "e"}}
    server.events.append({**event, "involvedObject": {"uid": uid(server)}})
    assert job.look().reason == f"FailedCreate: {message}"


def test_a_job_that_somebody_deleted_is_told_and_an_api_server_that_is_away_is_another_thing(server, job):
    server.fail("GET", JOB, 503, "away", times=100)
    with pytest.raises(KubernetesUnavailableError):
        job.look()
    server.faults.clear()
    server.remove(JOB)
    with pytest.raises(KubernetesError, match="was deleted"):
        job.look()


FOREIGN = {"metadata": {"name": JOB, "uid": "theirs", "labels": {"app": "billing"}}, "spec": {}, "status": {}}


def test_a_job_of_others_under_its_name_is_refused_and_left_alone(server, open_job):
    server.jobs[JOB] = FOREIGN
    for act in (lambda job: job.create(OPTIONS, "runner", b"{}"), lambda job: job.attach()):
        job = open_job()
        with pytest.raises(UsageError, match=f"the job {JOB} is there, and is none of Hydra's"):
            act(job)
        job.remove()
    assert server.jobs == {JOB: FOREIGN}
    assert {method for method, _path, _headers in server.requests} == {"GET", "POST"}


def test_a_job_that_is_no_controller_is_none_to_follow(server, job, open_job):
    server.jobs[JOB]["metadata"]["labels"]["hydra-scaletest/app"] = "kafka-sub"
    with pytest.raises(UsageError, match="is no controller of a run"):
        open_job().attach()


def test_a_controller_that_another_command_has_started_since_stays(server, job):
    server.jobs[JOB]["metadata"]["uid"] = "another"
    job.remove()
    assert JOB in server.jobs


def test_to_stop_it_leaves_the_job_for_its_result(server, job):
    job.stop()
    assert server.jobs[JOB]["spec"]["activeDeadlineSeconds"] == 1
    (name,) = server.pods
    assert "deletionTimestamp" in server.pods[name]["metadata"]
    assert (job.look().ended, job.look().runs) == (False, False)  # it cleans up
    del server.pods[name]
    assert job.look().ended


def test_who_has_made_none_stops_none_and_has_nothing_to_wait_for(server, job, open_job):
    other, before = open_job(), json.dumps(server.jobs)
    other.stop()
    other.remove()
    assert other.removed()
    assert json.dumps(server.jobs) == before
    assert all("deletionTimestamp" not in pod["metadata"] for pod in server.pods.values())


def test_what_a_run_in_the_cluster_made_goes_with_it_though_nothing_collects_it(server, job):
    server.collects_garbage = False
    job.remove()
    assert not job.removed()
    assert job.removed()
    assert server.pods == {}


def test_somebody_elses_command_finds_it_and_may_remove_it(server, job, open_job):
    later = open_job()
    later.attach()
    assert later.look().runs
    later.remove()
    assert server.jobs == {}
    with pytest.raises(UsageError, match=f"there is no job {JOB}"):
        open_job().attach()
