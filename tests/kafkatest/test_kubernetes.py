"""Whole runs on Kubernetes: on a server that plays it, and on its real control plane where that has been built."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from urllib.error import URLError

import pytest

from hydra.engine import kube_removal
from hydra.engine.apps import SUBSCRIBER, Placement, app_spec
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller import ControllerJob
from hydra.engine.kube_controller_objects import packed
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.engine.kube_objects import LEASE_S, OPTIONAL_KEY_RULE, role_text
from hydra.errors import InfrastructureError, StillGoingError, UsageError
from hydra.options.options import Options
from hydra.run.clock import MonotonicClock
from tests.commands import wait_until
from tests.kube_cluster import Cluster, cached_binary
from tests.scripted_kubernetes import ScriptedKubernetes

pytestmark = pytest.mark.integration


def on_a_cluster(test):
    """A test on a real control plane, whose start counts for the first of them."""
    return pytest.mark.release(pytest.mark.timeout(400)(test))


SMALL = ["--clients_per_app=2", "--test_duration=1", "--msg_rate=100", "--kube_image=hydra:1"]


@pytest.fixture
def played(tmp_path, place):
    """A server that plays Kubernetes and runs pods as processes; the commands of this test find it."""
    folder = tmp_path / "pods"
    folder.mkdir()
    server = ScriptedKubernetes(folder)
    try:
        place.environment |= server.kubeconfig(tmp_path / "kubeconfig")
        yield server
    finally:
        server.close()


def on_kubernetes(command, brokers, *arguments):
    return [command, "--engine=kubernetes", f"--bootstrap_servers={brokers}", *SMALL, *arguments]


def test_a_run_passes_and_leaves_nothing(hydra, place, played, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=2", "--output=result.json"))
    assert command.end(90) in {0, 3}, command.errors
    totals = place.record()["result"]["totals"]
    assert totals["records_counted"] == 100
    assert place.record()["cluster"]["kubernetes_version"] == "v1.37.2"
    assert (played.jobs, played.pods, played.secrets, played.processes) == ({}, {}, {}, {})


@pytest.mark.release
def test_a_pod_that_fails_at_its_start_is_told_with_its_last_lines(hydra, played, external_kafka):
    played.variables = {"HYDRA_CONTROLLER_KEY": "nonsense"}
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=2", "--start_timeout=20"))
    assert command.end(100) == 3, command.errors
    # how soon: by the speed of this machine
    assert "not told the controller's key" in "\n".join(command.errors)
    assert (played.jobs, played.pods, played.secrets) == ({}, {}, {})


@pytest.mark.release
def test_what_a_killed_controller_left_is_known_to_clean_and_removed(hydra, place, played, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=1", "--test_duration=60"))
    command.wait_for("sending", 90)
    command.send(signal.SIGKILL)
    command.end(10)
    assert len(played.pods) == 2
    clean = hydra("clean", "--force", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}")
    assert clean.end(60) == 0, clean.errors
    assert "removed  app hydra-g1" in clean.text
    assert (played.jobs, played.pods, played.secrets, played.processes) == ({}, {}, {}, {})


CONTROLLER = ["--kube_controller", "--total_sub_apps=2", "--output=result.json"]


@pytest.mark.release
def test_a_run_with_its_controller_in_the_cluster_brings_its_result_back(hydra, place, played, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, *CONTROLLER))
    assert command.end(90) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 100
    assert "the run is in the cluster: Ctrl-C ends it" in "\n".join(command.errors)
    assert any("sending" in line for line in command.errors)
    assert (played.jobs, played.pods, played.secrets, played.config_maps, played.processes) == ({}, {}, {}, {}, {})


@pytest.mark.release
def test_a_closed_terminal_leaves_the_run_to_whoever_fetches_its_result(hydra, place, played, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, *CONTROLLER, "--test_duration=3"))
    command.wait_for("sending", 90)
    command.send(signal.SIGHUP)
    assert command.end(20) == 129
    assert "hydra-g1-controller" in played.jobs
    again = hydra(*on_kubernetes("kafka", external_kafka, *CONTROLLER))
    assert again.end(30) == 2
    assert "hydra cli result" in again.complaint
    fetch = hydra("cli", "result", "--engine=kubernetes", "--output=fetched.json", "--csv=fetched.csv")
    assert fetch.end(90) in {0, 3}, fetch.errors
    assert place.record("fetched.json")["result"]["totals"]["records_counted"] == 300
    assert (place.work / "fetched.csv").exists()
    assert (played.jobs, played.pods, played.secrets, played.config_maps, played.processes) == ({}, {}, {}, {}, {})
    fetch = hydra("cli", "result", "--engine=kubernetes")
    assert fetch.end(30) == 2
    assert "there is no job hydra-g1-controller" in fetch.complaint


@pytest.mark.release
def test_ctrl_c_ends_the_run_in_the_cluster_and_leaves_nothing(hydra, place, played, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, *CONTROLLER, "--test_duration=100"))
    command.wait_for("sending", 90)
    command.send(signal.SIGINT)
    assert command.end(90) == 130, command.errors
    assert "the run in the cluster is being ended" in "\n".join(command.errors)
    assert place.record()["status"] == "interrupted"
    assert (played.jobs, played.pods, played.secrets, played.config_maps, played.processes) == ({}, {}, {}, {}, {})


@pytest.mark.release
def test_a_run_in_the_cluster_that_cannot_be_says_why_with_its_own_exit_code(hydra, place, played):
    command = hydra(*on_kubernetes("kafka", "127.0.0.1:9", *CONTROLLER))
    assert command.end(90) == 4, command.errors
    assert "127.0.0.1:9" in command.complaint
    assert (played.jobs, played.pods, played.secrets, played.config_maps, played.processes) == ({}, {}, {}, {}, {})


@on_a_cluster
def test_without_it_kubernetes_removes_it_when_the_lease_is_over(hydra, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=1", "--test_duration=200"))
    command.wait_for("sending", 90)
    command.send(signal.SIGKILL)
    command.end(10)
    assert cluster.left_in(namespace)
    wait_until(lambda: not cluster.left_in(namespace), LEASE_S + 60, "all is gone by itself")
    clean = hydra("clean", "--force", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}")
    assert clean.end(60) == 0, clean.errors
    assert "removed  topic" in clean.text


@pytest.fixture(scope="module")
def cluster():
    """A real control plane with two nodes."""
    binary = cached_binary()
    if binary is None or not binary.exists():
        pytest.skip("no control plane is built here: scripts/python -m tests.kube_cluster build (needs Go)")
    folder = Path(tempfile.mkdtemp(prefix="kube-"))
    try:
        with Cluster(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def namespace(cluster, place, request):
    """A namespace of its own, whose service account has the Role that the doctor prints, and no right beside it."""
    name = f"t-{abs(hash(request.node.name)) % 10**8}"
    place.environment["KUBECONFIG"] = str(cluster.new_namespace(name, role_text(name)))
    return name


@on_a_cluster
def test_a_run_on_a_real_control_plane(hydra, place, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=3", "--output=result.json"))
    assert command.end(110) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 100
    wait_until(lambda: not cluster.left_in(namespace), 10, "all that was made is gone")


@pytest.fixture
def behind(cluster, place, request):
    """A namespace as before, whose account may reach pods through the API server, and whose pods listen there only."""
    name = f"f-{abs(hash(request.node.name)) % 10**8}"
    place.environment["KUBECONFIG"] = str(cluster.new_namespace(name, role_text(name, forward=True)))
    return name


@on_a_cluster
def test_a_run_whose_pods_are_behind_a_real_api_server(hydra, place, cluster, behind, external_kafka):
    arguments = ["--kube_forward", "--total_sub_apps=3", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    assert command.end(110) in {0, 3}, command.errors
    # where a pod does not listen yet, the API server has a connection end before it began
    assert "no task of Hydra" not in "\n".join(command.errors)
    assert place.record()["result"]["totals"]["records_counted"] == 100
    wait_until(lambda: not cluster.left_in(behind), 10, "all that was made is gone")


@on_a_cluster
def test_signals_that_go_through_the_api_server_go_on_when_it_is_back(hydra, place, cluster, behind, external_kafka):
    arguments = ["--kube_forward", "--total_sub_apps=2", "--test_duration=20", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    cluster.kill("kube-apiserver")
    command.wait_for("is not reached: the API server", 30)
    cluster.restart("kube-apiserver")
    assert command.end(120) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 2000
    cluster.wait_ready()
    wait_until(lambda: not cluster.left_in(behind), 60, "all that was made is gone")


@on_a_cluster
def test_a_pod_behind_the_api_server_that_is_deleted_is_told_as_deleted(hydra, cluster, behind, external_kafka):
    arguments = ["--kube_forward", "--total_sub_apps=3", "--test_duration=15"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    pod = next(each["metadata"]["name"] for each in cluster.pods(behind) if "kafka-sub" in each["metadata"]["name"])
    cluster.call("DELETE", f"/api/v1/namespaces/{behind}/pods/{pod}")
    assert command.end(90) == 3, command.errors
    assert f"{pod} is missing: its process ended ({pod}: it was deleted)" in "\n".join(command.errors)


@on_a_cluster
def test_who_may_not_reach_pods_through_a_real_api_server_is_told_at_once(hydra, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--kube_forward", "--total_sub_apps=2"))
    assert command.end(60) == 4, command.errors
    assert "pods/portforward" in command.complaint
    assert not cluster.left_in(namespace)
    doctor = ["doctor", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}", "--kube_image=hydra:1"]
    command = hydra(*doctor, "--kube_forward")
    assert command.end(60) == 4
    assert "you may not create pods/portforward, get pods/portforward" in command.text


@on_a_cluster
def test_the_doctor_looks_through_a_real_api_server(hydra, cluster, behind, external_kafka):
    doctor = ["doctor", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}", "--kube_image=hydra:1"]
    command = hydra(*doctor, "--kube_forward")
    assert command.end(60) == 4  # this Kafka is on 127.0.0.1
    assert "reached from here through the API server" in command.text
    assert role_text(behind, forward=True) in command.text + "\n"
    assert not cluster.left_in(behind)


@on_a_cluster
@pytest.mark.parametrize("laptop", ["stays", "is killed"])
def test_a_controller_in_a_real_cluster_brings_its_result_back(hydra, place, cluster, external_kafka, laptop):
    name = f"controller-{laptop.replace(' ', '-')}"
    place.environment["KUBECONFIG"] = str(cluster.new_namespace(name, role_text(name, "runner")))
    arguments = ["--kube_controller=runner", "--total_sub_apps=3", "--test_duration=5", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    if laptop == "is killed":
        command.wait_for("sending", 90)
        command.send(signal.SIGKILL)
        command.end(10)
        command = hydra("cli", "result", "--engine=kubernetes", "--output=result.json")
    assert command.end(150) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 500
    assert any("cleaning up" in line for line in command.errors)
    wait_until(lambda: not cluster.left_in(name), 10, "all that was made is gone")


@on_a_cluster
def test_a_real_cluster_takes_a_result_of_many_megabytes(cluster):
    file = cluster.new_namespace("large", role_text("large", "runner"))
    job, inside = (
        ControllerJob(kubernetes_access(None, None, {"KUBECONFIG": str(file)}), MonotonicClock(), "g1")
        for _ in range(2)
    )
    with contextlib.closing(job), contextlib.closing(inside):
        for each in (job, inside):
            each.check_right("get")
            each.check_right("create")
        options = Options(engine="kubernetes", bootstrap_servers="k:9092", kube_image="missing:1")
        job.create(options, "runner", b"{}")
        (made,) = job.jobs()
        inside.adopt(made.metadata.uid)
        record = os.urandom(5 * 1024 * 1024)
        inside.store(*packed(record, 0))
        manifest = job.manifest()
        assert manifest.parts == 11
        assert job.record(manifest) == record
        job.remove()
        wait_until(job.removed, 30, "it is removed")
    wait_until(lambda: not cluster.left_in("large"), 15, "all that was made is gone")


@on_a_cluster
def test_a_controller_in_a_real_cluster_bears_that_the_api_server_is_away(hydra, place, cluster, external_kafka):
    name = "controller-away"
    place.environment["KUBECONFIG"] = str(cluster.new_namespace(name, role_text(name, "runner")))
    arguments = ["--kube_controller=runner", "--total_sub_apps=2", "--test_duration=12", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    cluster.kill("kube-apiserver")
    command.wait_for("the API server cannot be reached; the run goes on", 30)
    cluster.restart("kube-apiserver")
    assert command.end(150) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 1200
    cluster.wait_ready()
    wait_until(lambda: not cluster.left_in(name), 60, "all that was made is gone")


@on_a_cluster
@pytest.mark.parametrize("fault", ["ctrl-c", "its pod is deleted"])
def test_a_controller_in_a_real_cluster_that_is_ended_leaves_nothing(hydra, place, cluster, external_kafka, fault):
    name = f"controller-{fault.replace(' ', '-')}"
    place.environment["KUBECONFIG"] = str(cluster.new_namespace(name, role_text(name, "hydra2")))
    arguments = ["--kube_controller=hydra2", "--total_sub_apps=2", "--test_duration=100", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    if fault == "ctrl-c":
        command.send(signal.SIGINT)
        assert command.end(150) == 130, command.errors
    else:
        pods = [each["metadata"]["name"] for each in cluster.pods(name)]
        (pod,) = [each for each in pods if each.startswith("hydra-g1-controller")]
        cluster.call("DELETE", f"/api/v1/namespaces/{name}/pods/{pod}")
        assert command.end(150) == 143, command.errors  # it was asked to end, and told its result
    assert place.record()["status"] == "interrupted"
    wait_until(lambda: not cluster.left_in(name), 15, "all that was made is gone")


@on_a_cluster
def test_a_pod_that_is_deleted_during_a_run_is_missing_and_the_rest_stands(
    hydra, place, cluster, namespace, external_kafka
):
    arguments = ["--total_sub_apps=3", "--test_duration=15", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    pod = next(each["metadata"]["name"] for each in cluster.pods(namespace) if "kafka-sub" in each["metadata"]["name"])
    cluster.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}")
    assert command.end(90) == 3, command.errors
    assert f"{pod} is missing: its process ended ({pod}: it was deleted)" in "\n".join(command.errors)
    assert "4 of 6" in command.text or place.record()["result"]["totals"]["clients_missing"] == 2
    wait_until(lambda: not cluster.left_in(namespace), 10, "all that was made is gone")


@on_a_cluster
def test_what_a_killed_controller_left_is_removed_by_clean(hydra, place, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=2", "--test_duration=60"))
    command.wait_for("sending", 90)
    command.send(signal.SIGKILL)
    command.end(10)
    assert "jobs/hydra-g1" in cluster.left_in(namespace)
    clean = hydra("clean", "--force", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}")
    assert clean.end(60) == 0, clean.errors
    assert "removed  app hydra-g1" in clean.text
    wait_until(lambda: not cluster.left_in(namespace), 15, "clean removed all")


@on_a_cluster
def test_pods_that_nothing_collects_are_removed_by_clean(hydra, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=2", "--test_duration=60"))
    command.wait_for("sending", 90)
    command.send(signal.SIGKILL)
    command.end(10)
    cluster.kill("kube-controller-manager")
    for name in [each for each in cluster.left_in(namespace) if each.startswith("jobs/")]:
        cluster.call("DELETE", f"/apis/batch/v1/namespaces/{namespace}/{name}", {"propagationPolicy": "Background"})
    assert len(cluster.pods(namespace)) == 3
    clean = hydra("clean", "--force", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}")
    assert clean.end(60) == 0, clean.errors
    assert "removed  app hydra-g1-kafka-sub (pods without their job)" in clean.text
    assert all("deletionTimestamp" in pod["metadata"] for pod in cluster.pods(namespace))
    cluster.restart("kube-controller-manager")  # which lets go of them
    wait_until(lambda: not cluster.left_in(namespace), 60, "clean removed all")


@on_a_cluster
def test_a_run_goes_on_while_the_api_server_is_away(hydra, place, cluster, namespace, external_kafka):
    arguments = ["--total_sub_apps=2", "--test_duration=20", "--output=result.json"]
    command = hydra(*on_kubernetes("kafka", external_kafka, *arguments))
    command.wait_for("sending", 90)
    cluster.kill("kube-apiserver")
    with pytest.raises(URLError):
        cluster.call("GET", "/version")
    cluster.restart("kube-apiserver")
    assert command.end(120) in {0, 3}, command.errors
    assert place.record()["result"]["totals"]["records_counted"] == 2000
    cluster.wait_ready()
    wait_until(lambda: not cluster.left_in(namespace), 60, "all that was made is gone")


@on_a_cluster
def test_what_a_run_leaves_behind_an_api_server_that_stays_away_is_told_and_cleaned(
    hydra, place, cluster, namespace, external_kafka
):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=1", "--test_duration=6"))
    command.wait_for("sending", 90)
    cluster.kill("kube-apiserver")
    try:
        assert command.end(150) in {0, 3}, command.errors
    finally:
        cluster.restart("kube-apiserver")
    told = "\n".join(command.errors)
    assert f"left in the namespace {namespace}: perhaps the job hydra-g1, the Secret hydra-g1-" in told
    assert f"'hydra clean --engine=kubernetes --kube_namespace={namespace}' removes it" in told
    cluster.wait_ready()
    assert "jobs/hydra-g1" in cluster.left_in(namespace)
    clean = ["clean", "--force", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}"]
    command = hydra(*clean)
    assert command.end(90) == 0, command.errors
    assert "removed  app hydra-g1" in command.text
    wait_until(lambda: not cluster.left_in(namespace), 60, "clean removed all")
    again = hydra(*clean)
    assert again.end(60) == 0
    assert "nothing is left by runs that are over" in again.text
    assert "perhaps more of the run" not in again.text


@on_a_cluster
def test_pods_that_go_since_the_lease_was_not_renewed_are_told_so(hydra, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=1", "--test_duration=240"))
    command.wait_for("sending", 90)
    cluster.kill("kube-apiserver")
    over_s = time.monotonic() + LEASE_S + 5
    with contextlib.ExitStack() as held:
        try:
            command.wait_for("the run's lease on Kubernetes was not renewed: the API server", 90)
            # When the server is back, a run that is quicker than its controllers renews the lease all the same.
            held.enter_context(command.held())
            wait_until(lambda: time.monotonic() > over_s, LEASE_S + 10, "its time is over")
        finally:
            cluster.restart("kube-apiserver")
        cluster.wait_ready()
        wait_until(lambda: not cluster.left_in(namespace), 90, "Kubernetes has removed the run")
    assert command.end(120) == 3
    told = "\n".join(command.errors)
    assert "the run's lease on Kubernetes is over: it was not renewed for 120 s (the API server at" in told
    assert "it was deleted" not in told


@contextlib.contextmanager
def launching(file):
    """A launcher that has begun a run."""
    options = Options(engine="kubernetes", bootstrap_servers="k:9092", kube_image="hydra:1", total_sub_apps=2)
    launcher = KubernetesLauncher(kubernetes_access(None, None, {"KUBECONFIG": str(file)}), options)
    with contextlib.closing(launcher):
        launcher.begin("owner", "{}")
        yield launcher, app_spec(options, SUBSCRIBER, 2, Placement(owner="owner"))


@on_a_cluster
@pytest.mark.parametrize("may", [True, False])
def test_a_run_ends_without_the_controllers_of_a_real_cluster_or_says_what_is_left(cluster, monkeypatch, may):
    name = f"stuck-{may}".lower()
    role = role_text(name)
    assert OPTIONAL_KEY_RULE in role
    file = cluster.new_namespace(name, role if may else role.replace(OPTIONAL_KEY_RULE, ""))
    monkeypatch.setattr(kube_removal.Removal.finish, "__defaults__", (12.0,))
    with launching(file) as (launcher, spec):
        launcher.apply(spec)
        wait_until(lambda: len(cluster.pods(name)) == 2, 20, "there are pods")
        cluster.kill("kube-controller-manager")
        try:
            # pods stay until the controller of jobs has taken note of their end
            words = "2 pods of hydra-g1-kafka-sub, deleted and still there"
            words = words if may else r"the job hydra-g1, the Secret hydra-g1-\w+, 2 pods of hydra-g1-kafka-sub \("
            with pytest.raises(InfrastructureError, match=f"left in the namespace {name}: {words}"):
                launcher.end(keep=False)
            left = [each for each in cluster.left_in(name) if not each.startswith("pods/")]
            assert [each.partition("/")[0] for each in left] == ([] if may else ["jobs", "secrets"])
            assert all("deletionTimestamp" in pod["metadata"] for pod in cluster.pods(name))
        finally:
            cluster.restart("kube-controller-manager")
    wait_until(lambda: not cluster.left_in(name), 90, "all is gone once they are back")


@on_a_cluster
def test_a_real_cluster_keeps_what_is_not_hydras(cluster, namespace, place):
    labels = {"app": "billing"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "hydra:1", "command": ["sleep", "600"]}]}
    theirs = {"template": {"metadata": {"labels": labels}, "spec": pod}}
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    made = cluster.call("POST", jobs, {"metadata": {"name": "hydra-g1-kafka-sub", "labels": labels}, "spec": theirs})
    with launching(place.environment["KUBECONFIG"]) as (launcher, spec):
        with pytest.raises(UsageError, match="the job hydra-g1-kafka-sub is there, and is none of Hydra's"):
            launcher.apply(spec)
        launcher.remove(spec.app_id)
        assert launcher.removed(spec.app_id)
        with pytest.raises(StillGoingError, match=r"metadata\.uid"):
            launcher.scale(spec.app_id, 5, "00000000-0000-0000-0000-000000000000")
        launcher.end(keep=False)
    (job,) = cluster.call("GET", jobs)["items"]
    assert (job["metadata"]["uid"], job["spec"]["parallelism"]) == (made["metadata"]["uid"], 1)
    cluster.call("DELETE", f"{jobs}/hydra-g1-kafka-sub", {"propagationPolicy": "Background"})


@on_a_cluster
def test_what_a_real_limit_range_refuses_is_told_before_a_run(hydra, cluster, namespace, external_kafka):
    limits = [{"type": "Container", "max": {"cpu": "200m"}}, {"type": "Pod", "min": {"memory": "200Mi"}}]
    body = {"metadata": {"name": "small"}, "spec": {"limits": limits}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/limitranges", body)
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=1", "--start_timeout=10"))
    assert command.end(90) == 4
    told = "\n".join(command.errors)
    assert "limit range small: the publisher requests cpu=500m, and each container may have 200m at most" in told
    assert "limit range small: a subscriber requests memory=128Mi, and each pod has to request 200Mi at least" in told
    assert "must be less than or equal to cpu limit of 200m" in told  # as Kubernetes says it
    wait_until(lambda: not cluster.left_in(namespace), 10, "all that was made is gone")


@on_a_cluster
def test_what_keeps_pods_from_running_is_told_in_the_words_of_kubernetes(hydra, cluster, namespace, external_kafka):
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=2", "--kube_image=missing:1"))
    assert command.end(60) == 4
    assert "cannot start: ImagePullBackOff" in "\n".join(command.errors)
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    command = hydra(*on_kubernetes("kafka", external_kafka, "--total_sub_apps=3", "--start_timeout=10"))
    assert command.end(90) == 4
    assert "exceeded quota: small" in command.errors[-1]
    wait_until(lambda: not cluster.left_in(namespace), 10, "all that was made is gone")


@on_a_cluster
def test_the_doctor_prints_the_role_and_looks_from_a_pod(hydra, cluster, namespace, external_kafka):
    doctor = ["doctor", "--engine=kubernetes", f"--bootstrap_servers={external_kafka}", "--kube_image=hydra:1"]
    command = hydra(*doctor)
    assert command.end(60) == 4
    errors = [line for line in command.output if line.startswith("ERROR")]
    assert len(errors) == 1
    assert "which on each pod is the pod itself" in errors[0]  # this Kafka is on 127.0.0.1
    assert role_text(namespace) in command.text + "\n"
    assert f"reaches {external_kafka}" in command.text
    assert "resource quotas are none in the namespace" in command.text
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "50", "requests.cpu": "2"}}}
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    wait_until(lambda: cluster.quota_used(namespace, "small"), 20, "the quota is counted")
    command = hydra(*doctor, "--total_sub_apps=60")
    assert command.end(60) == 4
    assert "quota small: pods: 61 needed, 0 of 50 in use" in command.text
    assert "quota small: requests.cpu: 6500m needed, 0 of 2 in use" in command.text
    assert not cluster.left_in(namespace)
