"""Faults of runs on Kubernetes, on its real control plane where that is built."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable, Mapping

import yaml
from kube_lab import AWAY_LEFT_WITHIN_S, Namespace, is_built
from kube_runs import RATE, SENDING, are_missing, assert_left, clean_up, clean_what_is_told, ends_well, kube_run
from rows import HONEST, Play, rows
from stage import Stage

from hydra.engine.kube_objects import role_text
from tests.commands import wait_until

SOON_S = 15.0
"""What a fault in the middle of a run is told within: by signals without an answer, and a look at the pods."""

LOST_SOON_S = 45.0
"""The same where Kubernetes has to take a node for lost first, which it does after 8 s here."""


def _sound(stage: Stage) -> None:
    """A run that nothing happens to."""
    stage.house.lab().namespace(stage)
    ends_well(stage, kube_run(stage, seconds=3), seconds=3)


def _pod_killed(stage: Stage) -> None:
    """It is named with its signal, and the rest stands."""
    namespace = stage.house.lab().namespace(stage)
    command = kube_run(stage)
    command.wait_for(SENDING)
    pod = random.choice(namespace.pods("kafka-sub"))  # noqa: S311
    namespace.kill_pod(pod)
    command.wait_for(re.escape(f"{pod} is missing: its process ended ({pod}: Error (exit code 137, signal 9)"), SOON_S)
    are_missing(stage, command, 2)


def _publisher_pod_killed(stage: Stage) -> None:
    """The run ends soon, and blames no broker."""
    namespace = stage.house.lab().namespace(stage)
    command = kube_run(stage, seconds=60)
    command.wait_for(SENDING)
    (pod,) = namespace.pods("kafka-pub")
    namespace.kill_pod(pod)
    command.wait_for(re.escape(f"{pod} is missing: its process ended ({pod}: Error (exit code 137, signal 9)"), SOON_S)
    assert command.end(40) == 3, command.errors[-6:]
    result = stage.place.record()["result"]
    assert "lower bound" in command.text
    assert (result["totals"]["records_lost"], result["bottleneck"]["limit"] == "broker") == (0, False), result


def _pod_deleted(stage: Stage) -> None:
    """It is told as deleted, and the rest stands."""
    namespace = stage.house.lab().namespace(stage)
    command = kube_run(stage)
    command.wait_for(SENDING)
    pod = random.choice(namespace.pods("kafka-sub"))  # noqa: S311
    namespace.delete_pod(pod)
    ended = rf"{re.escape(pod)} is missing: its process ended \({re.escape(pod)}: it (was|is being) deleted"
    command.wait_for(ended, SOON_S)
    are_missing(stage, command, 2)


def _kubelet_silent(stage: Stage) -> None:
    """A node that Kubernetes takes for lost for a time, while its pods go on: nothing is missing."""
    namespace = stage.house.lab().namespace(stage)
    command = kube_run(stage, seconds=25)
    command.wait_for(SENDING)
    _pod, node = random.choice(namespace.placed("kafka-sub"))  # noqa: S311
    with namespace.silent(node):
        wait_until(lambda: namespace.is_lost(node), 25, f"{node} is taken for lost")
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    ends_well(stage, command, seconds=25)


def _kubelet_silent_to_the_end(stage: Stage) -> None:
    """What was measured is told; that pods cannot be removed, too. They go when their node is back."""
    namespace = stage.house.lab().namespace(stage)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    command = kube_run(stage, seconds=15)
    command.wait_for(SENDING)
    _pod, node = random.choice(namespace.placed("kafka-sub"))  # noqa: S311
    with namespace.silent(node):
        assert command.end(120) in HONEST, command.errors[-6:]
    assert_left(command, "still not gone after 20 s")
    totals = stage.place.record()["result"]["totals"]
    assert (totals["records_counted"], totals["records_lost"]) == (15 * RATE, 0), totals
    clean_up(stage)


def _node_lost(stage: Stage) -> None:
    """Its pods are missing as soon as Kubernetes takes the node for lost, and go when it is back."""
    namespace = stage.house.lab().namespace(stage)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    command = kube_run(stage, seconds=35)
    command.wait_for(SENDING)
    publisher = {node for _pod, node in namespace.placed("kafka-pub")}
    placed = namespace.placed("kafka-sub")
    node = random.choice(sorted({node for _pod, node in placed} - publisher))  # noqa: S311
    lost = [pod for pod, where in placed if where == node]
    with namespace.without(node):
        for pod in lost:
            command.wait_for(rf"{re.escape(pod)} is missing: .*its node {node} does not report", LOST_SOON_S)
        command.wait_for("cleaning up", 60)
    code = command.end(90)
    assert code == 3, (code, command.errors[-6:])
    totals = stage.place.record()["result"]["totals"]
    assert (totals["clients_missing"], totals["records_lost"]) == (2 * len(lost), 0), totals


def _api_server_killed(stage: Stage) -> None:
    """The run goes on without it, and nothing is left when all controllers are back."""
    namespace = stage.house.lab().namespace(stage)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    command = kube_run(stage)
    command.wait_for(SENDING)
    with namespace.without("kube-apiserver"):
        time.sleep(random.uniform(0, 5))  # noqa: S311  # the outage itself
    ends_well(stage, command)
    clean_what_is_told(stage, command)


def _api_server_killed_at_a(moment: str) -> Play:
    """Where the run needs it: it waits until it is back. What it could not remove in time it tells, and clean knows."""

    def played(stage: Stage) -> None:
        namespace = stage.house.lab().namespace(stage)
        stage.left_within_s = AWAY_LEFT_WITHIN_S
        command = kube_run(stage, seconds=4)
        command.wait_for(moment)
        time.sleep(random.uniform(0, 1))  # noqa: S311  # some moment of it
        with namespace.without("kube-apiserver"):
            time.sleep(random.uniform(0, 2))  # noqa: S311  # the outage itself
        ends_well(stage, command, seconds=4)
        clean_what_is_told(stage, command)

    return played


def _deleted_by_others(delete: Callable[[Namespace], None], *, knows: bool = True) -> Play:
    """All of a run's pods at once: it ends soon, and what it can say of its end is that they were deleted."""

    def played(stage: Stage) -> None:
        namespace = stage.house.lab().namespace(stage)
        command = kube_run(stage, seconds=60)
        command.wait_for(SENDING)
        delete(namespace)
        command.wait_for(r"kafka-\S+ is missing: its process ended .*(deleted|does not exist)", SOON_S)
        assert command.end(60) == 3, command.errors[-6:]
        result = stage.place.record()["result"]
        assert (result["totals"]["records_lost"], result["bottleneck"]["limit"] == "broker") == (0, False), result
        if not knows:  # its account is gone, too: clean sees later that nothing is left
            stage.place.environment["KUBECONFIG"] = namespace.administrator()
            clean_up(stage)

    return played


def _two_at_once(stage: Stage) -> None:
    """With names of their own they share a namespace, and nothing else; of one name the second is refused."""
    stage.house.lab().namespace(stage)
    first = kube_run(stage, seconds=8)
    first.wait_for(SENDING)
    second = kube_run(stage, "--app_prefix=g2", "--output=second.json", seconds=3)
    third = kube_run(stage, "--output=third.json")
    assert third.end(40) == 2, third.errors[-6:]
    assert "another run of yours uses the apps in g1" in third.complaint, third.errors[-6:]
    ends_well(stage, first, seconds=8)
    assert second.end(60) in HONEST, second.errors[-6:]
    totals = stage.place.record("second.json")["result"]["totals"]
    assert (totals["records_counted"], totals["records_lost"], totals["clients_missing"]) == (3 * RATE, 0, 0), totals


def _controller_killed(stage: Stage) -> None:
    """What it left is known to clean, and goes."""
    namespace = stage.house.lab().namespace(stage)
    command = kube_run(stage, seconds=60)
    command.wait_for(SENDING)
    command.process.kill()
    assert command.end(10) == -signal.SIGKILL
    assert len(namespace.pods("kafka-")) == 4
    clean_up(stage, "app hydra-g1", "topic hydra-")


def _quota(stage: Stage) -> None:
    """It is named, in the words of Kubernetes."""
    stage.house.lab().namespace(stage).limit_pods(2)
    command = kube_run(stage, "--start_timeout=10")
    command.wait_for("exceeded quota: small", 40)
    assert command.end(60) == 4, command.errors[-6:]
    assert "exceeded quota: small" in command.complaint, command.errors[-6:]


def _image_missing(stage: Stage) -> None:
    """It is named at once: no waiting mends it."""
    stage.house.lab().namespace(stage)
    command = kube_run(stage, "--kube_image=missing:1", "--start_timeout=60")
    assert command.end(40) == 4, command.errors[-6:]
    assert 'cannot start: ImagePullBackOff: Back-off pulling image "missing:1"' in command.complaint, command.errors[
        -6:
    ]


def _lacking(*rights: tuple[str, str]) -> Callable[[str], str]:
    """The printed Role without some (verb, resource), by the namespace's name."""

    def role(namespace: str) -> str:
        found = yaml.safe_load(role_text(namespace))
        for verb, resource in rights:
            (rule,) = [each for each in found["rules"] if each["resources"] == [resource]]
            rule["verbs"].remove(verb)
        found["rules"] = [each for each in found["rules"] if each["verbs"]]
        return yaml.safe_dump(found)

    return role


def _forbidden(verb: str, resource: str, *, sees_its_pods: bool = True) -> Play:
    """What a run needs is refused. One that may not see its pods cannot know that they are gone: clean, later, does."""

    def played(stage: Stage) -> None:
        namespace = stage.house.lab().namespace(stage, _lacking((verb, resource)))
        command = kube_run(stage)
        assert command.end(30) == 4, command.errors[-6:]
        assert f'cannot {verb} resource "{resource}"' in command.complaint, command.errors[-6:]
        assert "'hydra doctor --engine=kubernetes' prints the Role" in command.complaint, command.errors[-6:]
        if not sees_its_pods:
            namespace.change_role(role_text(namespace.name))
            clean_up(stage)

    return played


def _forbidden_delete(stage: Stage) -> None:
    """What was measured is told; with the right that is missing, clean removes all."""
    namespace = stage.house.lab().namespace(stage, _lacking(("delete", "jobs")))
    command = kube_run(stage, seconds=3)
    assert command.end(90) in HONEST, command.errors[-6:]
    assert_left(command, 'cannot delete resource "jobs"')
    assert stage.place.record()["result"]["totals"]["records_counted"] == 3 * RATE
    namespace.change_role(role_text(namespace.name))
    clean_up(stage, "app hydra-g1")


def _forbidden_words(stage: Stage) -> None:
    """What only words are made of, a run does not need."""
    words = ("list", "events"), ("get", "pods/log"), ("list", "resourcequotas"), ("list", "jobs")
    stage.house.lab().namespace(stage, _lacking(*words))
    ends_well(stage, kube_run(stage, seconds=3), seconds=3)


def _name_taken(name: str) -> Play:
    def played(stage: Stage) -> None:
        namespace = stage.house.lab().namespace(stage)
        namespace.add_job(name, "sleep 300")
        (uid,) = namespace.job_uids()
        command = kube_run(stage)
        assert command.end(40) == 2, command.errors[-6:]
        assert f"the job {name} is there" in command.complaint, command.errors[-6:]
        assert uid in namespace.job_uids(), f"the run deleted the job {name}, which is not its own"
        clean_up(stage)
        assert uid in namespace.job_uids(), f"hydra clean deleted the job {name}, which is nobody's"
        namespace.remove_job(name)

    return played


ON_A_CLUSTER: Mapping[str, Play] = {
    "sound": _sound,
    "pod-killed": _pod_killed,
    "publisher-pod-killed": _publisher_pod_killed,
    "pod-deleted": _pod_deleted,
    "kubelet-silent": _kubelet_silent,
    "kubelet-silent-to-the-end": _kubelet_silent_to_the_end,
    "node-lost": _node_lost,
    "api-server-killed": _api_server_killed,
    "api-server-killed-at-the-start": _api_server_killed_at_a("^hydra: starting"),
    "api-server-killed-at-the-end": _api_server_killed_at_a("^hydra: (collecting|cleaning up)"),
    "anchor-deleted": _deleted_by_others(lambda namespace: namespace.delete_job("hydra-g1")),
    "namespace-deleted": _deleted_by_others(Namespace.delete, knows=False),
    "two-at-once": _two_at_once,
    "controller-killed": _controller_killed,
    "quota": _quota,
    "image-missing": _image_missing,
    "forbidden-create-jobs": _forbidden("create", "jobs"),
    "forbidden-get-jobs": _forbidden("get", "jobs"),
    "forbidden-patch-jobs": _forbidden("patch", "jobs"),
    "forbidden-list-pods": _forbidden("list", "pods", sees_its_pods=False),
    "forbidden-create-secrets": _forbidden("create", "secrets"),
    "forbidden-delete-jobs": _forbidden_delete,
    "forbidden-words": _forbidden_words,
    "name-taken-of-an-app": _name_taken("hydra-g1-kafka-sub"),
    "name-taken-of-the-anchor": _name_taken("hydra-g1"),
}


NOT_HERE: dict[str, str] = {}
"""Of these, what this machine has no means for."""

if is_built():
    rows("kube", dict(ON_A_CLUSTER))
else:
    how = "scripts/python -m tests.kube_cluster build (needs Go)"
    NOT_HERE["faults on a real control plane of Kubernetes"] = f"none is built here: {how}"
