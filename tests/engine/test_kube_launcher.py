"""The launcher on Kubernetes, against a server that is told what to answer."""

import dataclasses
import socket
import threading

import pytest

from hydra.engine import kube_lease
from hydra.engine.apps import PUBLISHER, SUBSCRIBER, Placement, app_spec
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.engine.kube_lease import KEEP_S
from hydra.engine.kube_objects import LEASE_S, MANAGED_BY, OWNER_LABEL, PORT
from hydra.errors import (
    InfrastructureError,
    InterruptedRunError,
    KubernetesError,
    NotReadyError,
    StillGoingError,
    UsageError,
)
from hydra.options.options import Options
from tests.commands import wait_until
from tests.scripted_kubernetes import playing_kubernetes, running, terminated, unschedulable, waiting

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=3)
APP = "/g1/kafka-sub"
JOB = "hydra-g1-kafka-sub"


@pytest.fixture
def server():
    with playing_kubernetes() as played:
        yield played


@pytest.fixture
def config(server, tmp_path):
    return server.kubeconfig(tmp_path / "config")


@pytest.fixture
def notes():
    return []


@pytest.fixture
def launcher(config, clock, notes):
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock, note=notes.append)
    launcher.begin("owner-1", '{"public": "", "secret": ""}')
    yield launcher
    launcher.close()


def spec(instances=3, role=SUBSCRIBER, owner="owner-1", **fields):
    return dataclasses.replace(app_spec(OPTIONS, role, instances, Placement(owner=owner)), **fields)


def settled(launcher, clock, instances=3):
    clock.sleep(1)
    launcher.tasks(APP)
    clock.sleep(6)
    tasks = launcher.tasks(APP)
    return len(tasks) == instances and all(task.running for task in tasks)


def test_an_app_is_an_indexed_job_whose_pods_are_its_tasks(server, launcher):
    launcher.apply(spec())
    job = server.jobs[JOB]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 3, 3)
    # with backoffLimit: 0 one pod that dies would take all others with it
    assert job["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in job
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    tasks = launcher.tasks(APP)
    assert [task.task_id for task in tasks] == list(server.pods)
    assert all(task.running and task.endpoint.port == PORT for task in tasks)


def test_all_that_a_run_makes_goes_with_its_anchor(server, launcher):
    launcher.apply(spec())
    launcher.apply(spec(1, PUBLISHER))
    assert set(server.jobs) == {"hydra-g1", JOB, "hydra-g1-kafka-pub"}
    assert set(server.secrets) == {f"hydra-g1-{server.jobs['hydra-g1']['metadata']['uid'][:8]}"}
    launcher.end(keep=False)
    assert (server.jobs, server.pods, server.secrets) == ({}, {}, {})


def test_a_run_removes_the_keys_that_a_killed_one_has_left(killed_folder, launcher):
    assert not killed_folder.exists()


def test_an_anchor_has_no_pod_and_a_deadline_that_is_moved_on(server, launcher):
    anchor = server.jobs["hydra-g1"]["spec"]
    assert anchor["parallelism"] == 0
    assert anchor["ttlSecondsAfterFinished"] == 0
    # it was created long ago by the server's clock: the deadline is counted from then
    assert anchor["activeDeadlineSeconds"] > LEASE_S
    assert not any(pod.startswith("hydra-g1-0") for pod in server.pods)


def test_what_is_kept_lives_for_a_day(server, launcher):
    before = server.jobs["hydra-g1"]["spec"]["activeDeadlineSeconds"]
    launcher.end(keep=True)
    assert server.jobs["hydra-g1"]["spec"]["activeDeadlineSeconds"] - before >= 23 * 3600


def test_a_renewal_that_is_under_way_does_not_shorten_the_day(server, config, clock, monkeypatch):
    monkeypatch.setattr(kube_lease, "RENEW_EVERY_S", 0.05)
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    launcher.begin("owner-1", '{"public": "", "secret": ""}')
    deadlines_s, users, under_way, extend = [], set(), threading.Event(), launcher._lease.extend

    def slow(seconds):
        users.add(threading.current_thread())
        if threading.current_thread() is launcher._lease._thread:
            under_way.set()
            launcher._lease._ended.wait(10)
        extend(seconds)
        deadlines_s.append(seconds)
        users.discard(threading.current_thread())
        assert not users, "two threads use one connection"

    launcher._lease.extend = slow
    assert under_way.wait(10)
    launcher.end(keep=True)
    launcher._lease._thread.join(10)
    assert deadlines_s == [LEASE_S, KEEP_S]
    assert server.jobs["hydra-g1"]["spec"]["activeDeadlineSeconds"] > KEEP_S
    launcher.close()


def test_a_renewal_that_does_not_end_is_told(launcher, monkeypatch):
    monkeypatch.setattr(kube_lease, "LAST_RENEWAL_LIMIT_S", 0.05)
    monkeypatch.setattr(kube_lease, "CLOSE_LIMIT_S", 0.05)
    hangs = threading.Event()
    launcher._lease.close()
    launcher._lease._thread = threading.Thread(target=hangs.wait)
    launcher._lease.start()
    with pytest.raises(KubernetesError, match="is still being renewed after"):
        launcher.end(keep=True)
    hangs.set()
    launcher._lease._thread.join(10)


def test_scaling_changes_both_numbers_and_leaves_the_others_alone(server, launcher, clock):
    launcher.apply(spec(2))
    first = set(server.pods)
    launcher.apply(spec(5))
    assert (server.jobs[JOB]["spec"]["completions"], server.jobs[JOB]["spec"]["parallelism"]) == (5, 5)
    assert settled(launcher, clock, 5)
    assert first < set(server.pods)
    launcher.apply(spec(1))
    assert settled(launcher, clock, 1)


def test_the_same_app_again_changes_nothing(server, launcher):
    launcher.apply(spec())
    count = len(server.requests)
    launcher.apply(spec())
    assert [method for method, _path, _headers in server.requests[count:]] == ["GET"]


@pytest.mark.parametrize("change", ["another command", "a pod has ended"])
def test_a_job_that_cannot_become_what_is_wanted_is_exchanged(server, launcher, change):
    launcher.apply(spec())
    old = server.jobs[JOB]["metadata"]["uid"]
    if change == "a pod has ended":
        server.jobs[JOB]["status"]["failedIndexes"] = "1"
    new = spec(command="exec other") if change == "another command" else spec()
    with pytest.raises(StillGoingError) as caught:
        launcher.apply(new)
    assert caught.value.retryable
    launcher.apply(new)
    assert server.jobs[JOB]["metadata"]["uid"] != old


def test_an_app_of_another_run_is_neither_changed_nor_removed(server, launcher, config):
    launcher.apply(spec())
    server.jobs[JOB]["metadata"]["labels"][OWNER_LABEL] = "owner-2"
    with pytest.raises(UsageError, match="belongs to another run of Hydra"):
        launcher.apply(spec(5))
    launcher.remove(APP)
    assert JOB in server.jobs
    assert launcher.removed(APP)


def test_an_anchor_of_another_run_is_left_alone(server, launcher, config, clock):
    other = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    with pytest.raises(UsageError, match="the job hydra-g1 is there, and belongs to another run of Hydra"):
        other.begin("owner-2", "{}")
    other.end(keep=False)
    other.close()
    assert "hydra-g1" in server.jobs


def test_removed_means_that_no_pod_is_left(server, launcher):
    launcher.apply(spec())
    launcher.remove(APP)
    assert launcher.removed(APP)
    launcher.remove(APP)
    labels = {**MANAGED_BY, OWNER_LABEL: "owner-1", "batch.kubernetes.io/job-name": JOB}
    server.pods["late"] = {"metadata": {"name": "late", "labels": labels}, "status": {}}
    assert not launcher.removed(APP)


FOREIGN = {"metadata": {"name": JOB, "uid": "theirs", "labels": {"app": "billing"}}, "spec": {}, "status": {}}


def test_a_job_of_others_under_an_apps_name_is_refused_and_left_alone(server, launcher):
    server.jobs[JOB] = FOREIGN
    labels = {"batch.kubernetes.io/job-name": JOB, "batch.kubernetes.io/controller-uid": "theirs"}
    server.pods["theirs"] = {"metadata": {"name": "theirs", "labels": labels}, "status": {}}
    with pytest.raises(UsageError, match="is there, and is none of Hydra's: choose another --app_prefix"):
        launcher.apply(spec())
    assert launcher.tasks(APP) == ()
    launcher.remove(APP)
    assert launcher.removed(APP)
    launcher.end(keep=False)
    launcher.remove(APP)
    del server.jobs[JOB]  # and its pods are others' still
    assert launcher.removed(APP)
    launcher.delete_pods(["theirs"])
    assert list(server.pods) == ["theirs"]


def test_a_job_of_others_under_the_anchors_name_is_refused_and_left_alone(server, config, clock):
    theirs = {**FOREIGN, "metadata": {**FOREIGN["metadata"], "name": "hydra-g1"}}
    server.jobs["hydra-g1"] = theirs
    other = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    with pytest.raises(UsageError, match="the job hydra-g1 is there, and is none of Hydra's"):
        other.begin("owner-1", "{}")
    other.end(keep=False)
    other.close()
    assert server.jobs == {"hydra-g1": theirs}


def test_a_job_that_was_exchanged_meanwhile_is_not_scaled(server, launcher):
    launcher.apply(spec(2))
    with pytest.raises(StillGoingError):
        launcher.scale(APP, 5, "another")
    assert server.jobs[JOB]["spec"]["parallelism"] == 2


def test_pods_of_another_run_do_not_go_with_ours(server, launcher):
    launcher.apply(spec(1))
    server.collects_garbage = False
    launcher.remove(APP)
    (pod,) = server.pods.values()
    pod["metadata"]["labels"][OWNER_LABEL] = "owner-2"
    assert launcher.removed(APP)
    assert len(server.pods) == 1


@pytest.mark.parametrize("forbidden", [False, True])
def test_pods_that_kubernetes_does_not_collect_soon_are_deleted(server, launcher, notes, forbidden):
    launcher.apply(spec())
    server.collects_garbage = False
    launcher.remove(APP)
    assert (
        len(server.pods),
        [pod.metadata.labels["batch.kubernetes.io/job-name"] for pod in launcher.lost_pods()],
    ) == (
        3,
        [JOB] * 3,
    )
    if forbidden:
        message = 'pods is forbidden: User "me" cannot deletecollection resource "pods" in API group ""'
        server.fail("DELETE", "/pods", 403, message, reason="Forbidden", times=2)
        assert not launcher.removed(APP)
        assert not launcher.removed(APP)
        assert len(notes) == 1
        assert "left to the garbage collector" in notes[0]
    assert not launcher.removed(APP)
    assert launcher.removed(APP)
    assert server.pods == {}
    assert launcher.lost_pods() == []


@pytest.mark.parametrize(
    ("status", "words", "unplaced"),
    [
        (unschedulable("0/3 nodes are available: 3 Insufficient cpu."), "Unschedulable: 0/3 nodes are", True),
        (waiting("ErrImagePull", "not found"), "ErrImagePull: not found", True),
        ({**running("127.0.0.9"), "conditions": [{"type": "Ready", "status": "False"}]}, "node node-0 does not", True),
        (terminated(137, "OOMKilled"), "OOMKilled (exit code 137, signal 9)", False),
        (terminated(2), "Error (exit code 2)", False),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted: low on memory", False),
        (
            terminated(143, conditions=[{"type": "DisruptionTarget", "reason": "PreemptionByScheduler"}]),
            "PreemptionByScheduler",
            False,
        ),
    ],
)  # fmt: skip
def test_the_reason_is_told_in_the_words_of_kubernetes(server, launcher, status, words, unplaced):
    server.pod_status = status
    launcher.apply(spec())
    reason = launcher.waiting_reason(APP)
    assert words in reason.text
    assert f"{JOB}-" in reason.text
    assert reason.unplaced is unplaced


@pytest.mark.parametrize(
    "message",
    [
        'pods "x" is forbidden: exceeded quota: small, requested: cpu=100m, used: cpu=2, limited: cpu=2',
        'admission webhook "policy.example.com" denied the request: no image from there',
    ],
)
def test_pods_that_kubernetes_refuses_to_make_are_told_by_the_jobs_events(server, launcher, clock, notes, message):
    server.makes_pods = False
    launcher.apply(spec())
    uid = server.jobs[JOB]["metadata"]["uid"]
    event = {"reason": "FailedCreate", "message": message, "lastTimestamp": None, "metadata": {"name": "e"}}
    server.events.append({**event, "involvedObject": {"uid": uid}})
    for _ in range(20):
        assert launcher.tasks(APP) == ()
        clock.sleep(0.25)
    assert notes == [f"{APP}: FailedCreate: {message}"]
    assert clock.now_s() < 6
    reason = launcher.waiting_reason(APP)
    assert reason.unplaced
    assert message in reason.text


def test_what_kept_pods_from_being_made_before_explains_nothing_of_those_that_are_there(server, launcher, clock):
    launcher.apply(spec())
    uid = server.jobs[JOB]["metadata"]["uid"]
    event = {"reason": "FailedCreate", "message": "exceeded quota", "lastTimestamp": None, "metadata": {"name": "e"}}
    server.events.append({**event, "involvedObject": {"uid": uid}})
    assert settled(launcher, clock)
    assert launcher.waiting_reason(APP).text == ""


def test_pods_that_were_deleted_before_an_app_was_asked_for_again_explain_nothing(server, launcher, clock):
    launcher.apply(spec())
    assert settled(launcher, clock)
    del server.pods[next(iter(server.pods))]
    clock.sleep(1)
    launcher.tasks(APP)
    assert "it was deleted" in launcher.waiting_reason(APP).text
    server.remove(JOB)
    launcher.apply(spec())
    assert settled(launcher, clock)
    server.pods[next(iter(server.pods))]["status"] = terminated(1)
    clock.sleep(1)
    launcher.tasks(APP)
    assert "it was deleted" not in launcher.waiting_reason(APP).text


def test_what_keeps_pods_from_running_is_told_once(server, launcher, clock, notes):
    server.pod_status = unschedulable("0/1 nodes are available")
    launcher.apply(spec())
    for _ in range(5):
        launcher.tasks(APP)
        clock.sleep(1)
    assert len(notes) == 1
    assert "Unschedulable: 0/1 nodes are available" in notes[0]


def test_a_pod_that_ends_at_its_start_ends_the_wait_with_its_last_lines(server, launcher):
    server.pod_status = terminated(2)
    launcher.apply(spec(1))
    (name,) = server.pods
    server.logs[name] = "hydra: cannot\nthe end\n"
    with pytest.raises(
        NotReadyError, match=r"Error \(exit code 2\), its last lines: hydra: cannot \| the end"
    ) as caught:
        launcher.tasks(APP)
    assert caught.value.missing == (name,)


def test_a_pod_that_runs_for_a_moment_and_ends_has_ended_at_its_start(server, launcher, clock):
    launcher.apply(spec(1))
    (task,) = launcher.tasks(APP)
    assert task.running
    for _ in range(10):  # somebody waits for its answer
        clock.sleep(1)
        launcher.tasks(APP)
    server.pods[task.task_id]["status"] = terminated(2)
    clock.sleep(1)
    with pytest.raises(NotReadyError, match=r"exit code 2"):
        launcher.tasks(APP)


def test_a_pod_that_ends_soon_after_the_wait_for_all_is_missing(server, launcher, clock):
    launcher.apply(spec())
    assert len(launcher.tasks(APP)) == 3
    first = next(iter(server.pods))
    server.pods[first]["status"] = terminated(137)
    clock.sleep(2.5)
    assert [task.task_id for task in launcher.tasks(APP)] == list(server.pods)[1:]
    assert launcher.waiting_reason(APP).text == f"{first}: Error (exit code 137, signal 9)"


def test_an_image_that_is_not_there_ends_the_wait(server, launcher):
    server.pod_status = waiting("ImagePullBackOff", 'Back-off pulling image "hydra:1"')
    launcher.apply(spec(1))
    with pytest.raises(KubernetesError, match="cannot start: ImagePullBackOff: Back-off pulling") as caught:
        launcher.tasks(APP)
    assert caught.value.exit_code == 4


def test_a_container_that_cannot_be_made_is_not_its_registrys(server, launcher):
    server.pod_status = waiting("CreateContainerConfigError", "image will run as root")
    launcher.apply(spec(3))
    with pytest.raises(KubernetesError, match=" and 2 more cannot start: CreateContainerConfigError: image") as caught:
        launcher.tasks(APP)
    assert "kubectl describe pod" in caught.value.hint


def test_a_pod_that_ends_while_a_run_goes_on_is_missing_and_the_others_are_not(server, launcher, clock):
    launcher.apply(spec())
    assert settled(launcher, clock)
    first = next(iter(server.pods))
    server.pods[first]["status"] = terminated(137)
    clock.sleep(1)
    assert [task.task_id for task in launcher.tasks(APP)] == list(server.pods)[1:]
    assert "exit code 137" in launcher.waiting_reason(APP).text


def test_a_pod_that_somebody_deleted_is_told(server, launcher, clock):
    launcher.apply(spec())
    assert settled(launcher, clock)
    gone = next(iter(server.pods))
    del server.pods[gone]
    clock.sleep(1)
    assert len(launcher.tasks(APP)) == 2
    assert launcher.waiting_reason(APP).text == f"{gone}: it was deleted"


def lapse(server, launcher, *, renewed):
    """The anchor goes, with all that it owns."""
    launcher._lease.extend(LEASE_S if renewed else -1)
    server.remove("hydra-g1")


@pytest.mark.parametrize(
    ("renewed", "words"),
    [
        (False, "the run's lease on Kubernetes is over: it was not renewed for 120 s"),
        (True, "the job hydra-g1, which all of the run belongs to, was deleted by somebody else"),
    ],
)
@pytest.mark.parametrize("left", ["nothing", "the job and a pod"])
def test_pods_that_go_with_the_runs_lease_are_told_so(server, launcher, clock, renewed, words, left):
    launcher.apply(spec())
    assert settled(launcher, clock)
    job, (name, pod) = server.jobs[JOB], next(iter(server.pods.items()))
    lapse(server, launcher, renewed=renewed)
    if left != "nothing":  # the garbage collector takes its time
        server.jobs[JOB] = job
        server.pods[name] = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:01Z"}}
    clock.sleep(1)
    assert [task.running for task in launcher.tasks(APP)] == ([] if left == "nothing" else [False])
    text = launcher.waiting_reason(APP).text
    assert text.startswith(words)
    assert "it was deleted" not in text
    assert "being deleted" not in text


def test_a_lease_that_is_over_ends_a_wait_for_tasks(server, launcher, clock):
    server.pod_status = unschedulable("0/1 nodes are available")
    launcher.apply(spec())
    launcher.tasks(APP)
    lapse(server, launcher, renewed=False)
    with pytest.raises(KubernetesError, match="lease on Kubernetes is over"):
        launcher._lease.extend(LEASE_S)
    clock.sleep(1)
    with pytest.raises(KubernetesError, match="lease on Kubernetes is over"):
        launcher.tasks(APP)


def test_a_lease_that_is_over_is_told_once_and_not_asked_for_again(server, config, clock, notes, monkeypatch):
    monkeypatch.setattr(kube_lease, "RENEW_EVERY_S", 0.05)
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock, note=notes.append)
    launcher.begin("owner-1", '{"public": "", "secret": ""}')
    server.remove("hydra-g1")
    wait_until(lambda: notes, 10, "it is told")
    launcher._lease._thread.join(5)
    assert not launcher._lease._thread.is_alive()
    assert len(notes) == 1
    assert "was deleted by somebody else" in notes[0]
    launcher.close()


def test_a_lease_that_is_being_renewed_when_its_run_ends_says_nothing(server, config, clock, notes, monkeypatch):
    monkeypatch.setattr(kube_lease, "RENEW_EVERY_S", 0.05)
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock, note=notes.append)
    launcher.begin("owner-1", '{"public": "", "secret": ""}')
    asked, ended, look = threading.Event(), threading.Event(), launcher._lease.look

    def late(job, now):
        asked.set()
        ended.wait(10)
        return look(None, now)

    launcher._lease.look = late
    assert asked.wait(10)
    launcher._lease._ended.set()
    ended.set()
    launcher.end(keep=False)
    assert notes == []
    launcher.close()


WAITS = "hydra: the code cannot be fetched from 10.0.0.5:9800 (timed out), and is asked for again"
FETCHED = f"{WAITS}\nhydra: the code was fetched\n"
FETCH = ("http://10.0.0.5:9800/x/hydra.pyz",)


def test_a_start_that_runs_out_of_time_tells_that_pods_still_wait_for_the_code(server, launcher, clock):
    launcher.apply(spec(5, fetch=FETCH))
    launcher.tasks(APP)
    *others, last = server.pods
    server.logs.update(dict.fromkeys(others[1:], FETCHED) | {last: f"{WAITS}\n" * 3})
    reason = launcher.waiting_reason(APP)
    assert (reason.text, reason.unplaced) == (f"{last}: {WAITS}", False)
    server.logs[last] = FETCHED
    assert launcher.waiting_reason(APP).text == ""


def test_logs_of_pods_that_have_their_code_are_not_asked_for(server, launcher, clock):
    launcher.apply(spec())
    launcher.apply(spec(1, PUBLISHER, fetch=FETCH))
    assert settled(launcher, clock)
    for role in (SUBSCRIBER, PUBLISHER):
        for _look in range(3):
            clock.sleep(1)
            launcher.tasks(f"/g1/{role}")
    clock.sleep(6)
    launcher.tasks(f"/g1/{PUBLISHER}")
    before = [path for _method, path, _headers in server.requests if path.endswith("/log")]
    assert all(PUBLISHER in path for path in before), "an image has its code"
    assert 1 <= len(before) <= 2, "and not while it was looked for"
    for role in (SUBSCRIBER, PUBLISHER):
        clock.sleep(6)
        launcher.tasks(f"/g1/{role}")
        launcher.waiting_reason(f"/g1/{role}")
    assert [path for _method, path, _headers in server.requests if path.endswith("/log")] == before


def test_that_a_pod_waits_for_the_code_is_told_once_and_at_once(server, launcher, clock, notes):
    launcher.apply(spec(1, fetch=FETCH))
    (name,) = server.pods
    for text in ("", WAITS, WAITS.replace("timed out", "Connection refused")):
        server.logs[name] = text
        for _look in range(7):
            clock.sleep(1)
            launcher.tasks(APP)
    assert notes == [f"{name}: {WAITS}"]


def test_several_reasons_are_told_each_with_its_pods(server, launcher, clock):
    launcher.apply(spec(5))
    assert settled(launcher, clock, 5)
    names = list(server.pods)
    for name in names[:2]:
        server.pods[name]["status"] = terminated(137, "OOMKilled")
    server.pods[names[2]]["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    del server.pods[names[3]]
    clock.sleep(1)
    assert len(launcher.tasks(APP)) == 1
    text = launcher.waiting_reason(APP).text
    assert f"{names[0]} and 1 more: OOMKilled (exit code 137, signal 9)" in text
    assert f"{names[2]}: Evicted: low on memory" in text
    assert f"{names[3]}: it was deleted" in text


def test_a_pod_that_is_being_deleted_is_there_and_does_not_run(server, launcher, clock):
    launcher.apply(spec())
    assert settled(launcher, clock)
    next(iter(server.pods.values()))["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    clock.sleep(1)
    assert [task.running for task in launcher.tasks(APP)] == [False, True, True]


def test_pods_of_a_job_before_are_no_tasks_and_the_app_is_not_gone_before_they_are(server, launcher, clock):
    launcher.apply(spec(1))
    (old,) = server.pods.values()
    launcher.delete(JOB, server.jobs[JOB]["metadata"]["uid"])
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    server.pods[old["metadata"]["name"]] = old  # on a node that is lost
    launcher.apply(spec(1))
    clock.sleep(1)
    (task,) = launcher.tasks(APP)
    assert task.running
    assert launcher.waiting_reason(APP).text == ""
    launcher.remove(APP)
    assert not launcher.removed(APP)
    del server.pods[old["metadata"]["name"]]
    assert launcher.removed(APP)


def test_a_list_is_read_page_by_page_and_anew_when_a_page_has_expired(server, launcher, clock):
    launcher.apply(spec(5))
    server.page = 2
    assert settled(launcher, clock, 5)
    launcher.apply(spec(5))
    answer, calls = server.list_pods, []

    def expire_once(query):
        calls.append("continue" in query)
        if calls.count(True) == 1 and calls[-1]:
            return 410, {"message": "The provided continue parameter is too old", "reason": "Expired"}, {}
        return answer(query)

    server.list_pods = expire_once
    clock.sleep(1)
    assert len({task.task_id for task in launcher.tasks(APP)}) == 5
    assert calls == [False, True, False, True, True]


def test_a_server_that_is_busy_is_asked_again_when_it_says(server, launcher, clock):
    server.fail("POST", "/jobs", 429, "too many requests", Retry_After="7")
    before_s = clock.now_s()
    launcher.apply(spec())
    assert JOB in server.jobs
    assert clock.now_s() - before_s >= 7


MODIFIED = (
    'Operation cannot be fulfilled on jobs.batch "x": the object has been modified; please apply your changes to the'
    " latest version and try again"
)


@pytest.mark.parametrize(
    ("method", "status", "message", "fields"),
    [
        ("PATCH", 409, MODIFIED, {"reason": "Conflict"}),
        ("PATCH", 429, "too many requests", {"Retry_After": "1"}),
        ("PATCH", 504, "Timeout: request did not complete", {}),
        ("GET", 200, "cut", {}),
    ],
)
def test_a_change_goes_through_what_passes(server, launcher, method, status, message, fields):
    launcher.apply(spec(2))
    if message == "cut":
        server.cuts = 2
    else:
        server.fail(method, JOB, status, message, times=2, **fields)
    launcher.apply(spec(4))
    assert (len(server.pods), server.faults, server.cuts) == (4, [], 0)


@pytest.mark.parametrize(
    ("method", "status", "message", "fields", "kind", "words"),
    [
        ("POST", 429, "too many requests", {"Retry_After": "3600"}, KubernetesError, "HTTP 429 too many requests"),
        ("POST", 409, "object is being deleted: jobs.batch", {}, StillGoingError, "is being deleted"),
        ("POST", 403, 'admission webhook "p" denied the request: no', {}, KubernetesError, "denied the request: no"),
        ("POST", 422, "Job is invalid: spec.template", {}, KubernetesError, "HTTP 422 Job is invalid"),
        ("GET", 410, "too old resource version", {}, KubernetesError, "HTTP 410 too old resource version"),
    ],
)
def test_a_refusal_that_does_not_pass_is_told_at_once_and_leaves_nothing(
    server, launcher, clock, method, status, message, fields, kind, words
):
    server.fail(method, "/jobs", status, message, **fields)
    before_s = clock.now_s()
    with pytest.raises(kind, match=words):
        launcher.apply(spec())
    assert clock.now_s() == before_s
    launcher.end(keep=False)
    assert (server.jobs, server.pods, server.secrets) == ({}, {}, {})


def test_a_create_whose_response_was_lost_goes_on(server, launcher):
    server.fail("GET", JOB, 404)
    launcher.apply(spec())
    server.fail("GET", JOB, 404)
    launcher.apply(spec())  # it is created again, and found
    assert len(server.pods) == 3


@pytest.mark.parametrize("status", [500, 503, 504])
def test_an_api_server_that_is_away_is_waited_for(server, launcher, status):
    server.fail("GET", JOB, status, "away", times=3)
    launcher.apply(spec())
    assert JOB in server.jobs


def look_until_it_raises(launcher, clock):
    for _ in range(30):
        clock.sleep(3)
        launcher.tasks(APP)


def test_while_the_api_server_is_away_the_tasks_are_those_that_were_seen_last(server, launcher, clock):
    launcher.apply(spec())
    assert settled(launcher, clock)
    server.fail("GET", "/pods", 503, "away", times=10_000)
    clock.sleep(1)
    assert len(launcher.tasks(APP)) == 3
    with pytest.raises(KubernetesError, match="503 away"):
        look_until_it_raises(launcher, clock)


def test_who_may_not_hears_of_the_role(server, launcher):
    message = 'jobs.batch is forbidden: User "me" cannot create resource "jobs" in API group "batch"'
    server.fail("POST", "/jobs", 403, message, reason="Forbidden", times=10_000)
    with pytest.raises(KubernetesError, match="would not create the job") as caught:
        launcher.apply(spec())
    assert "hydra doctor --engine=kubernetes" in caught.value.hint
    assert caught.value.exit_code == 4


def test_what_kubernetes_has_not_collected_yet_of_a_run_before_is_not_taken_for_ours(server, launcher, config, clock):
    launcher.apply(spec(1))
    (before,) = server.secrets
    orphan, anchor = server.jobs[JOB], server.jobs.pop("hydra-g1")
    launcher.close()
    following = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    following.begin("owner-2", '{"public": "", "secret": ""}')
    assert server.jobs["hydra-g1"]["metadata"]["uid"] != anchor["metadata"]["uid"]
    assert len(set(server.secrets) - {before}) == 1  # whose key is another one
    with pytest.raises(StillGoingError, match="of a run before"):
        following.apply(spec(1, owner="owner-2"))
    server.remove(orphan["metadata"]["name"])
    following.apply(spec(1, owner="owner-2"))
    following.close()


def test_a_right_that_we_had_is_asked_for_again(server, launcher):
    """An API server that has just started refuses what its caches do not know yet."""
    launcher.apply(spec(1))
    message = 'jobs.batch "hydra-g1-kafka-sub" is forbidden: User "me" cannot get resource "jobs" in API group "batch"'
    server.fail("GET", JOB, 403, message, reason="Forbidden", times=3)
    launcher.apply(spec(2))
    assert len(server.pods) == 2
    server.fail("GET", "/log", 403, 'pods "x" is forbidden: User "me" cannot get resource "pods/log"')
    with pytest.raises(KubernetesError, match="403"):
        launcher.log("x", 100)
    assert not [fault for fault in server.faults if fault[0] == "GET"]


def test_credentials_that_are_refused_are_renewed_once(server, launcher):
    server.fail("GET", JOB, 401, "Unauthorized")
    launcher.apply(spec())
    server.fail("GET", JOB, 401, "Unauthorized", times=2)
    with pytest.raises(KubernetesError, match="does not accept the credentials"):
        launcher.apply(spec())


def test_a_cluster_that_is_too_old_is_refused(server, launcher):
    assert launcher.facts().git_version == "v1.37.2"
    for minor in ("28+", "28\N{SUPERSCRIPT TWO}"):
        server.version = {"major": "1", "minor": minor, "gitVersion": "v1.28.9"}
        with pytest.raises(KubernetesError, match=r"v1\.28\.9"):
            launcher.facts()


def test_what_is_no_api_server_is_told(server, launcher):
    server.version = []
    with pytest.raises(KubernetesError, match="unexpected response"):
        launcher.facts()


def test_a_server_that_is_not_there_is_told(server, config, clock):
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    server.server.socket.close()
    server.fail("GET", "/version", 503, "closing", times=1000)
    with pytest.raises(KubernetesError):
        launcher.facts()
    launcher.close()


def test_the_tasks_key_stands_in_a_secret_and_nowhere_else(server, launcher):
    launcher.apply(spec(env={"HYDRA_CONTROLLER_KEY": "c0ffee"}))
    (container,) = server.jobs[JOB]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    assert variables["HYDRA_CONTROLLER_KEY"]["value"] == "c0ffee"
    assert "value" not in variables["HYDRA_TASK_KEY"]
    assert variables["HYDRA_TASK_KEY"]["valueFrom"]["secretKeyRef"]["name"] in server.secrets


@pytest.fixture
def forwarding(config, clock, notes):
    options = dataclasses.replace(OPTIONS, kube_forward=True)
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), options, clock=clock, note=notes.append)
    launcher.begin("owner-1", '{"public": "", "secret": ""}')
    yield launcher
    launcher.close()


def test_pods_behind_the_api_server_listen_for_nobody_else_and_have_ports_here(server, forwarding, clock):
    forwarding.apply(spec())
    (container,) = server.jobs[JOB]["spec"]["template"]["spec"]["containers"]
    hosts = [each for each in container["env"] if each["name"] == "HOST"]
    assert hosts == [{"name": "HOST", "value": "127.0.0.1"}]
    endpoints = [task.endpoint for task in forwarding.tasks(APP)]
    assert {endpoint.host for endpoint in endpoints} == {"127.0.0.1"}
    assert PORT not in {endpoint.port for endpoint in endpoints}
    assert len(set(endpoints)) == 3
    forwarding.apply(spec(2))
    clock.sleep(1)
    assert [task.endpoint for task in forwarding.tasks(APP)] == endpoints[:2]
    for endpoint in endpoints[:2]:
        socket.create_connection((endpoint.host, endpoint.port), timeout=5).close()


def test_no_waiting_helps_who_may_not_reach_pods_through_the_api_server(server, forwarding, clock, notes):
    forwarding.apply(spec(1))
    message = 'pods "x" is forbidden: User "me" cannot get resource "pods/portforward" in API group ""'
    server.fail("GET", "/portforward", 403, message, reason="Forbidden", times=100)
    (task,) = forwarding.tasks(APP)
    with socket.create_connection((task.endpoint.host, task.endpoint.port), timeout=20) as connection:
        assert connection.recv(1) == b""
    clock.sleep(1)
    with pytest.raises(KubernetesError, match="pods/portforward") as caught:
        forwarding.tasks(APP)
    assert "prints the Role" in caught.value.hint
    assert message in forwarding.waiting_reason(APP).text
    assert len(notes) == 1


MAY_NOT = 'secrets "x" is forbidden: User "me" cannot delete resource "secrets" in API group ""'


@pytest.mark.parametrize("may", [True, False])
def test_a_run_goes_with_its_key_and_pods_though_nothing_collects_them_or_it_says_what_is_left(
    server, launcher, clock, may
):
    launcher.apply(spec())
    server.collects_garbage = False
    if not may:
        server.fail("DELETE", "/secrets", 403, MAY_NOT, reason="Forbidden", times=1000)
        with pytest.raises(InfrastructureError) as caught:
            launcher.end(keep=False)
        (secret,) = server.secrets
        assert caught.value.message.startswith(
            f"left in the namespace lab: the job hydra-g1, the Secret {secret} (60 s after its removal"
        )
        assert "pods" not in caught.value.message
        assert caught.value.hint == "'hydra clean --engine=kubernetes --kube_namespace=lab' removes it"
        assert set(server.jobs) == {"hydra-g1"}
        assert 60 <= clock.now_s() < 75
    else:
        launcher.end(keep=False)
        assert (server.jobs, server.secrets) == ({}, {})
        assert clock.now_s() < 5
    assert server.pods == {}


def test_the_end_of_a_run_waits_for_an_api_server_that_is_away(server, launcher, clock):
    launcher.apply(spec())
    server.fail("DELETE", "", 503, "away", times=10_000)
    server.fail("GET", "", 503, "away", times=10_000)
    clock.meanwhile = lambda: server.faults.clear() if clock.now_s() > 45 else None
    launcher.end(keep=False)
    assert (server.jobs, server.pods, server.secrets) == ({}, {}, {})


def test_what_may_be_left_behind_an_api_server_that_stays_away_is_told(server, launcher, clock):
    launcher.apply(spec())
    (secret,) = server.secrets
    server.fail("DELETE", "", 503, "away", times=10_000)
    with pytest.raises(InfrastructureError) as caught:
        launcher.end(keep=False)
    assert f"perhaps the job hydra-g1, the Secret {secret}, and the jobs and pods of the run" in caught.value.message
    assert "HTTP 503 away" in caught.value.message
    assert clock.now_s() < 75


def test_what_kubernetes_refuses_at_the_end_is_told_with_what_is_left(server, launcher):
    launcher.apply(spec())
    server.fail("DELETE", JOB, 403, 'admission webhook "p" denied the request: no')
    with pytest.raises(InfrastructureError, match=r'left in the namespace lab: .*"p" denied the request: no'):
        launcher.end(keep=False)


def test_the_end_of_a_run_touches_nothing_of_others(server, launcher):
    launcher.apply(spec(1))
    (pod,) = server.pods.values()
    labels = {**pod["metadata"]["labels"], OWNER_LABEL: "owner-2"}
    metadata = {
        **pod["metadata"],
        "name": "other",
        "labels": labels,
        "ownerReferences": [{"name": "other", "uid": "o"}],
    }
    server.pods["other"] = {**pod, "metadata": metadata}
    server.jobs["other"] = {**server.jobs[JOB], "metadata": {"name": "other", "uid": "o", "labels": labels}}
    theirs = {"batch.kubernetes.io/job-name": JOB, OWNER_LABEL: "owner-1"}
    server.pods["theirs"] = {"metadata": {"name": "theirs", "uid": "t", "labels": theirs, "ownerReferences": []}}
    launcher.end(keep=False)
    assert (set(server.jobs), set(server.pods)) == ({"other"}, {"other", "theirs"})


def test_an_app_whose_removal_could_not_be_asked_for_is_asked_for_again(server, launcher, clock):
    launcher.apply(spec())
    server.fail("GET", JOB, 503, "away", times=1000)
    launcher.remove(APP)
    server.faults.clear()
    assert not launcher.removed(APP)
    assert launcher.removed(APP)
    assert server.pods == {}


@pytest.mark.parametrize("sign", ["is being deleted", "its lease is over"])
@pytest.mark.parametrize("goes", [True, False])
def test_a_run_waits_for_the_anchor_of_one_before_that_is_still_being_removed(server, config, clock, goes, sign):
    body = {"metadata": {"name": "hydra-g1", "uid": "old", "labels": dict(MANAGED_BY)}, "spec": {}, "status": {}}
    if sign == "is being deleted":
        body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    else:
        body["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]
    server.jobs["hydra-g1"] = body
    clock.meanwhile = lambda: server.jobs.clear() if goes and 5 < clock.now_s() < 8 else None
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    if goes:
        launcher.begin("owner-1", "{}")
        assert server.jobs["hydra-g1"]["metadata"]["uid"] != "old"
    else:
        with pytest.raises(StillGoingError, match="the job hydra-g1 of a run before is still being removed"):
            launcher.begin("owner-1", "{}")
        assert clock.now_s() < 35
    launcher.close()


def hold(server):
    """Pods that are deleted stay listed, as those do whose node or controller is away."""

    def mark(query):
        for pod in server.pods.values():
            pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:01Z"}
        return 200, {"items": []}, {}

    server.delete_pods, server.collects_garbage = mark, False


@pytest.mark.parametrize("is_over", [True, False])
def test_pods_that_have_been_deleted_and_stay_are_told_soon_and_not_as_what_clean_removes(
    server, launcher, clock, is_over
):
    launcher.apply(spec())
    hold(server)
    launcher.remove(APP)
    assert not launcher.removed(APP)
    if is_over:
        for pod in server.pods.values():
            pod["metadata"]["deletionGracePeriodSeconds"] = 0
    assert launcher.removed(APP) is is_over  # as far as a process is concerned
    with pytest.raises(InfrastructureError) as caught:
        launcher.end(keep=False)
    text = f"left in the namespace lab: 3 pods of {JOB}, deleted and still there"
    assert caught.value.message == text
    assert "hydra clean" not in caught.value.hint
    assert clock.now_s() < 15
    assert (server.jobs, server.secrets) == ({}, {})


def test_an_anchor_whose_making_a_signal_interrupted_is_removed(server, config, clock, monkeypatch):
    launcher = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS, clock=clock)
    made = launcher._made

    def interrupted(*asked):
        made(*asked)
        raise InterruptedRunError(15)

    monkeypatch.setattr(launcher, "_made", interrupted)
    with pytest.raises(InterruptedRunError):
        launcher.begin("owner-1", '{"public": "", "secret": ""}')
    assert list(server.jobs) == ["hydra-g1"]
    launcher.end(keep=False)
    assert (server.jobs, server.secrets) == ({}, {})
    launcher.close()
