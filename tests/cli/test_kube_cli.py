"""``hydra cli`` on Kubernetes: it changes and deletes what is Hydra's, and nothing else."""

import json

import pytest

from hydra.cli import kube_cli
from hydra.engine.apps import SUBSCRIBER, Placement, app_spec
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.errors import UsageError
from hydra.options.options import Options
from tests.scripted_kubernetes import playing_kubernetes

OPTIONS = Options(engine="kubernetes", bootstrap_servers="127.0.0.1:9", kube_image="hydra:1", total_sub_apps=3)
APP = "/g1/kafka-sub"
JOB = "hydra-g1-kafka-sub"
LABELS = {"app": "billing", "hydra-scaletest/group": "g1", "hydra-scaletest/owner": "owner-1"}
FOREIGN = {
    "metadata": {
        "name": "theirs",
        "uid": "t",
        "labels": LABELS,
        "annotations": {"hydra-scaletest/app-id": "/g1/theirs"},
    },
    "spec": {"parallelism": 1},
    "status": {},
}


@pytest.fixture
def server():
    with playing_kubernetes() as played:
        yield played


@pytest.fixture
def launcher(server, tmp_path):
    """Of a command, beside the run of another process; a job of others is there, which looks like Hydra's."""
    config = server.kubeconfig(tmp_path / "config")
    run = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS)
    run.begin("owner-1", "{}")
    run.apply(app_spec(OPTIONS, SUBSCRIBER, 3, Placement(owner="owner-1")))
    server.jobs["theirs"] = json.loads(json.dumps(FOREIGN))
    command = KubernetesLauncher(kubernetes_access(None, None, config), OPTIONS)
    yield command
    command.close()
    run.close()


def test_only_hydras_apps_are_listed(launcher, capsys):
    kube_cli.list_apps(launcher, as_json=True)
    assert [each["app"] for each in json.loads(capsys.readouterr().out)] == [APP]
    kube_cli.list_tasks(launcher, APP, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.parametrize("what", [APP, "/g1"])
def test_stopping_takes_an_app_or_a_group_with_its_key_and_nothing_of_others(server, launcher, capsys, what):
    server.collects_garbage = False
    kube_cli.stop_app(launcher, what, as_json=False)
    assert capsys.readouterr().out == f"stopped {APP}\n"
    assert set(server.jobs) == ({"theirs"} if what == "/g1" else {"theirs", "hydra-g1"})
    assert server.pods == {}
    assert bool(server.secrets) is (what == APP)
    assert server.jobs["theirs"] == FOREIGN


def test_a_group_without_an_app_is_named_as_what_was_stopped(server, launcher, capsys):
    kube_cli.stop_app(launcher, APP, as_json=False)
    capsys.readouterr()
    kube_cli.stop_app(launcher, "/g1", as_json=False)
    assert capsys.readouterr().out == "stopped /g1\n"
    assert set(server.jobs) == {"theirs"}


def test_what_is_not_hydras_is_no_app(server, launcher):
    for act in (
        lambda: kube_cli.stop_app(launcher, "/g1/theirs", as_json=False),
        lambda: kube_cli.scale_app(launcher, "/g1/theirs", 5, as_json=False),
        lambda: kube_cli.list_tasks(launcher, "/g1/theirs", as_json=False),
    ):
        with pytest.raises(UsageError, match="there is no app /g1/theirs"):
            act()
    assert server.jobs["theirs"] == FOREIGN


def test_an_app_is_scaled(server, launcher, capsys):
    kube_cli.scale_app(launcher, APP, 5, as_json=False)
    assert (len(server.pods), server.jobs[JOB]["spec"]["completions"]) == (5, 5)
    assert capsys.readouterr().out == f"{APP}: 5 of 5 tasks run\n"
