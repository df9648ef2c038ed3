"""Kubernetes for faults: a control plane that stays, with a namespace for each play; and a scripted one, with moods."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import yaml

from hydra.engine.kube_objects import role_text
from tests.commands import suspend, wait_until
from tests.kube_cluster import Cluster, cached_binary
from tests.scripted_kubernetes import ScriptedKubernetes

if TYPE_CHECKING:
    from stage import Stage

_NETS = range(60, 100, 3)
"""Addresses of pods are 127.N and 127.N+1 on two nodes, 127.N+2 with a scripted API server. The tests have others."""

_TAKEN: list[socket.socket] = []
"""Holds the nets of this process as long as it lives: two that run at once would give pods the same addresses."""


@cache
def nets() -> int:
    """The first of the three nets of this process."""
    for net in _NETS:
        taken = socket.socket()
        with contextlib.suppress(OSError):
            taken.bind((f"127.{net}.255.254", 7399))
            taken.listen()
            _TAKEN.append(taken)
            return net
        taken.close()
    raise AssertionError("no addresses are free for pods")


BACK_TIMEOUT_S = 60.0
"""What controllers, scheduler and a node take at most to be at work again."""

LEFT_WITHIN_S = 15.0
"""A run waits for its pods; its anchor, and what that owns, goes by the garbage collector of Kubernetes."""

AWAY_LEFT_WITHIN_S = 75.0
"""The same when the API server or a node was away: Kubernetes' controllers come back by and by."""

Answer = tuple[int, object, dict[str, str]]
Mood = Callable[[str, str, dict[str, list[str]]], "Answer | None"]
"""What a request gets in place of its answer, by method, path and query; None where it gets that."""


def is_built() -> bool:
    """Whether the control plane has been built here."""
    binary = cached_binary()
    return binary is not None and binary.exists()


class KubeLab:
    """A control plane that runs, for one play after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._numbers = itertools.count(1)

    def left_behind(self) -> list[str]:
        """Processes of the control plane, its nodes and its pods."""
        return [f"process {process}" for process in _processes_in(self.cluster.folder)]

    def namespace(self, stage: Stage, role: Callable[[str], str] = role_text) -> Namespace:
        """A namespace of a play's own, in which pods run at once; commands of the stage use it.

        Args:
            stage: of the play.
            role: the Role that the service account has, by the namespace's name. It has no other right.
        """
        name = f"play-{next(self._numbers)}"
        stage.place.environment["KUBECONFIG"] = str(self.cluster.new_namespace(name, role(name)))
        found = Namespace(self.cluster, name)
        stage.closing.callback(found.remove)
        found.wait_for_pods()
        stage.also_look(found.left, LEFT_WITHIN_S)
        return found


class Namespace:
    """Where one play's objects are, and the processes of its pods."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self._core = f"/api/v1/namespaces/{name}"
        self._jobs = f"/apis/batch/v1/namespaces/{name}/jobs"

    def pods(self, role: str) -> list[str]:
        """The names of the pods of a role that run."""
        return [name for name, _node in self.placed(role)]

    def placed(self, role: str) -> list[tuple[str, str]]:
        """The same, each with its node."""
        found = [pod for pod in self.cluster.pods(self.name) if pod["status"].get("phase") == "Running"]
        named = [(pod["metadata"]["name"], pod["spec"]["nodeName"]) for pod in found]
        return sorted((name, node) for name, node in named if role in name)

    def kill_pod(self, pod: str) -> None:
        """Kill all of a pod's processes."""
        processes = [each for each in _processes_in(self.cluster.folder / "pods") if f"/{pod}-" in each.cwd()]
        assert processes, f"no process of {pod}"
        os.killpg(os.getpgid(processes[0].pid), signal.SIGKILL)
        for each in processes:
            wait_until(lambda each=each: not _runs(each), 5, f"{each} is dead")

    def delete_pod(self, pod: str) -> None:
        """Delete a pod as an administrator does."""
        self.cluster.call("DELETE", f"{self._core}/pods/{pod}")

    def limit_pods(self, most: int) -> None:
        """Have a quota on pods, which is counted from now on."""
        quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": str(most)}}}
        self.cluster.call("POST", f"{self._core}/resourcequotas", quota)
        counted = lambda: "pods" in self.cluster.quota_used(self.name, "small")  # noqa: E731
        wait_until(counted, BACK_TIMEOUT_S, "the quota is counted")

    def change_role(self, role: str) -> None:
        """Have the service account's Role be another one."""
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.name}/roles/hydra"
        self.cluster.call("PUT", path, yaml.safe_load(role))

    def add_job(self, name: str, command: str, node: str | None = None) -> None:
        """Make a Job with one pod, which is nobody's."""
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "nodeSelector": {} if node is None else {"kubernetes.io/hostname": node},
            "containers": [{"name": "task", "image": "any:1", "command": ["/bin/sh", "-c", command]}],
        }
        self.cluster.call("POST", self._jobs, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}})

    def job(self, name: str) -> dict:
        """What the API server says of a Job."""
        return self.cluster.call("GET", f"{self._jobs}/{name}")

    def job_uids(self) -> set[str]:
        """Of all Jobs that are there, and not being deleted."""
        found = [job["metadata"] for job in self.cluster.call("GET", self._jobs)["items"]]
        return {job["uid"] for job in found if "deletionTimestamp" not in job}

    def delete_job(self, name: str) -> None:
        """Delete a Job, as kubectl does."""
        self.cluster.call("DELETE", f"{self._jobs}/{name}", {"propagationPolicy": "Background"})

    def administrator(self) -> str:
        """The kubeconfig of somebody with all rights."""
        return str(self.cluster.write_kubeconfig(f"admin-{self.name}", self.cluster.token, self.name))

    def delete(self) -> None:
        """Delete all of it, the namespace too."""
        self.cluster.call("DELETE", self._core)

    def remove_job(self, name: str) -> None:
        """Delete a Job, and see it gone with its pods."""
        self.delete_job(name)
        there = (f"jobs/{name}", f"pods/{name}-")
        gone = lambda: not any(each.startswith(there) for each in self.cluster.left_in(self.name))  # noqa: E731
        wait_until(gone, BACK_TIMEOUT_S, f"the job {name} is gone")

    def wait_for_pods(self) -> None:
        """See that a Job gets a pod, which runs, on each node, and that a Job goes with its pods.

        An API server that was away is back seconds before the controllers, and so is a node.
        """
        names = {f"probe-{number}": f"node-{number}" for number in range(self.cluster.node_count)}
        for name, node in names.items():
            self.add_job(name, "true", node)
        for name, node in names.items():
            ended = lambda name=name: self.job(name)["status"].get("succeeded")  # noqa: E731
            wait_until(ended, BACK_TIMEOUT_S, f"pods run on {node}")
        for name in names:
            self.remove_job(name)

    @contextlib.contextmanager
    def silent(self, node: str) -> Iterator[None]:
        """In the meantime the kubelet of a node stands still, while its pods run on."""
        kubelet = psutil.Process(self.cluster.processes[node].pid)
        suspend(kubelet)
        try:
            yield
        finally:
            kubelet.resume()

    @contextlib.contextmanager
    def without(self, process: str) -> Iterator[None]:
        """In the meantime the API server is not there, for it was killed; or a node with all of its pods."""
        if process.startswith("node-"):
            self.cluster.processes[process].terminate()
            self.cluster.processes[process].wait(BACK_TIMEOUT_S)
        else:
            self.cluster.kill(process)
        try:
            yield
        finally:
            self.cluster.restart(process)
            self.cluster.wait_ready()

    def is_lost(self, node: str) -> bool:
        """Whether Kubernetes takes a node for lost."""
        conditions = self.cluster.call("GET", f"/api/v1/nodes/{node}")["status"]["conditions"]
        return any(each["type"] == "Ready" and each["status"] != "True" for each in conditions)

    def left(self) -> list[str]:
        """What is there of objects, and of processes of pods."""
        processes = [f"process {process}" for process in _processes_in(self.cluster.folder / "pods")]
        try:
            return processes + [each.replace("/", " ", 1) for each in self.cluster.left_in(self.name)]
        except OSError as error:
            return [*processes, f"unknown {self.name}: the API server cannot be asked ({error})"]

    def remove(self) -> None:
        """Have it gone with all that is left in it."""
        with contextlib.suppress(OSError):
            self.delete()
            wait_until(lambda: not _processes_in(self.cluster.folder / "pods"), BACK_TIMEOUT_S, "no pod is left")


def _processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that have been started in a folder, or below it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _runs(process) and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


class MoodyKubernetes(ScriptedKubernetes):
    """A scripted API server that gives some requests another answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, net=nets() + 2)
        self.mood: Mood = lambda _method, _path, _query: None
        self.happened = 0
        """How many had another answer."""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: object) -> Answer:
        """See ScriptedKubernetes."""
        other = self.mood(method, path, query)
        if other is None:
            return super().answer(method, path, query, body)
        self.happened += 1
        return other

    def left(self) -> list[str]:
        """What is there of objects, and of processes of pods."""
        kinds = {"job": self.jobs, "pod": self.pods, "secret": self.secrets, "configmap": self.config_maps}
        objects = [f"{kind} {name}" for kind, things in kinds.items() for name in list(things)]
        return objects + [f"process {name}" for name, process in self.processes.items() if process.poll() is None]


def scripted(stage: Stage) -> MoodyKubernetes:
    """A scripted API server for one play, which commands of the stage use."""
    folder = stage.place.work.parent / "pods"
    folder.mkdir()
    server = MoodyKubernetes(folder)
    stage.closing.callback(server.close)
    stage.place.environment.update(server.kubeconfig(stage.place.work.parent / "kubeconfig"))
    stage.also_look(server.left)
    return server
