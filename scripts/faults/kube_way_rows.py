"""Faults of runs on a real Kubernetes whose pods are reached through the API server, or whose controller is a pod."""

from __future__ import annotations

import random
import re
import signal
import time

from kube_lab import AWAY_LEFT_WITHIN_S, Namespace, is_built
from kube_rows import LOST_SOON_S, SOON_S
from kube_runs import SENDING, are_missing, clean_what_is_told, ends_well, kube_run
from rows import rows
from stage import Stage

from hydra.engine.kube_objects import role_text
from hydra.kafkatest.leftovers import run_id_in
from tests.commands import Command

FORWARD = "--kube_forward"
ACCOUNT = "runner"
INSIDE = f"--kube_controller={ACCOUNT}"


def _behind(stage: Stage) -> Namespace:
    """A namespace whose pods are reached through the API server."""
    return stage.house.lab().namespace(stage, lambda name: role_text(name, forward=True))


def _forward_sound(stage: Stage) -> None:
    """A run that nothing happens to."""
    _behind(stage)
    ends_well(stage, kube_run(stage, FORWARD, seconds=3), seconds=3)


def _forward_pod_killed(stage: Stage) -> None:
    """It is named with its signal, and the rest stands."""
    namespace = _behind(stage)
    command = kube_run(stage, FORWARD)
    command.wait_for(SENDING)
    pod = random.choice(namespace.pods("kafka-sub"))  # noqa: S311
    namespace.kill_pod(pod)
    command.wait_for(re.escape(f"{pod} is missing: its process ended ({pod}: Error (exit code 137, signal 9)"), SOON_S)
    are_missing(stage, command, 2)


def _forward_api_server_killed(stage: Stage) -> None:
    """The load goes on, and signals do when it is back."""
    namespace = _behind(stage)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    command = kube_run(stage, FORWARD, seconds=20)
    command.wait_for(SENDING)
    with namespace.without("kube-apiserver"):
        time.sleep(random.uniform(0, 5))  # noqa: S311  # the outage itself
    ends_well(stage, command, seconds=20)
    clean_what_is_told(stage, command)


def _forward_forbidden(stage: Stage) -> None:
    """It is told at once, with the right that is missing."""
    stage.house.lab().namespace(stage)
    command = kube_run(stage, FORWARD)
    assert command.end(40) == 4, command.errors[-6:]
    assert "pods/portforward" in command.complaint, command.errors[-6:]


def _inside(stage: Stage, seconds: int) -> tuple[Namespace, Command, str]:
    """A run whose controller is a pod, and sends; with the name of that pod."""
    namespace = stage.house.lab().namespace(stage, lambda name: role_text(name, ACCOUNT))
    command = kube_run(stage, INSIDE, seconds=seconds)
    command.wait_for(SENDING)
    (pod,) = namespace.pods("hydra-g1-controller")
    return namespace, command, pod


def _inside_sound(stage: Stage) -> None:
    """A run that nothing happens to."""
    _namespace, command, _pod = _inside(stage, 3)
    ends_well(stage, command, seconds=3)


def _inside_pod_killed(stage: Stage) -> None:
    """The command says how it ended, and removes everything but the topic, which it does not know."""
    namespace, command, pod = _inside(stage, 60)
    namespace.kill_pod(pod)
    assert command.end(60) == 4, command.errors[-6:]
    assert "exit code 137, signal 9" in command.complaint, command.errors[-6:]
    _remove_topics(stage)


def _inside_pod_deleted(stage: Stage) -> None:
    """It is asked to end, stores what it knows, and leaves nothing."""
    namespace, command, pod = _inside(stage, 60)
    namespace.delete_pod(pod)
    assert command.end(90) == 128 + signal.SIGTERM, command.errors[-6:]
    assert stage.place.record()["status"] == "interrupted"


def _inside_interrupted(stage: Stage) -> None:
    """The run in the cluster is ended, and its result brought here."""
    _namespace, command, _pod = _inside(stage, 60)
    command.send(signal.SIGINT)
    assert command.end(90) == 128 + signal.SIGINT, command.errors[-6:]
    assert stage.place.record()["status"] == "interrupted"


def _inside_command_killed(stage: Stage) -> None:
    """The run goes on; its result is fetched by another command."""
    _namespace, command, _pod = _inside(stage, 6)
    command.process.kill()
    assert command.end(10) == -signal.SIGKILL
    ends_well(stage, stage.hydra("cli", "result", "--engine=kubernetes", "--output=result.json"), seconds=6)


def _inside_api_server_killed(stage: Stage) -> None:
    """The run goes on without it, and its result comes when it is back."""
    namespace, command, _pod = _inside(stage, 12)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    with namespace.without("kube-apiserver"):
        time.sleep(random.uniform(0, 5))  # noqa: S311  # the outage itself
    ends_well(stage, command)


def _inside_node_lost(stage: Stage) -> None:
    """The command says that the controller's node does not report; all of it goes when that is back."""
    namespace, command, pod = _inside(stage, 60)
    stage.left_within_s = AWAY_LEFT_WITHIN_S
    node = dict(namespace.placed("hydra-g1-controller"))[pod]
    with namespace.without(node):
        command.wait_for(f"its node {node} does not report", LOST_SOON_S)
    assert command.end(90) == 4, command.errors[-6:]
    _remove_topics(stage)


def _remove_topics(stage: Stage) -> None:
    """Those of a controller that was killed: only it knew them."""
    admin = stage.house.admin
    admin.delete_groups([name for name in admin.groups() if run_id_in(name)])
    for name in admin.topics():
        if run_id_in(name):
            admin.delete_topic(name)


if is_built():
    rows("kube-forward", {
        "sound": _forward_sound,
        "pod-killed": _forward_pod_killed,
        "api-server-killed": _forward_api_server_killed,
        "forbidden": _forward_forbidden,
    })  # fmt: skip
    rows("kube-inside", {
        "sound": _inside_sound,
        "pod-killed": _inside_pod_killed,
        "pod-deleted": _inside_pod_deleted,
        "interrupted": _inside_interrupted,
        "command-killed": _inside_command_killed,
        "api-server-killed": _inside_api_server_killed,
        "node-lost": _inside_node_lost,
    })  # fmt: skip
