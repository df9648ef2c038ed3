"""Kubernetes as the engine of a session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from hydra.codec import encode
from hydra.engine.kube_access import kubernetes_access
from hydra.engine.kube_controller_objects import CONTROLLER_UID, controller_id, job_reference
from hydra.engine.kube_launcher import KubernetesLauncher
from hydra.errors import HydraError, InfrastructureError, KubernetesError
from hydra.kafkatest.kube_fit import look_at_fit
from hydra.kafkatest.leftovers import KUBERNETES
from hydra.options.options import Options
from hydra.run.clock import Clock
from hydra.run.protocols import Launcher
from hydra.signals.keys import SignalKeys, keys_of_tasks


class KubernetesEngine:
    """A namespace of Kubernetes; see Engine.

    Args:
        options: of the session.
        clock: the launcher waits by it.
        note: is told what keeps pods from running.

    Raises:
        UsageError: the kubeconfig cannot be used.
    """

    def __init__(self, options: Options, clock: Clock, note: Callable[[str], None]) -> None:
        self._options, self._note = options, note
        access = kubernetes_access(options.kube_context, options.kube_namespace)
        uid = os.environ.get(CONTROLLER_UID)
        controller = None if uid is None else job_reference(controller_id(options.app_prefix), uid)
        self._kubernetes = KubernetesLauncher(access, options, clock=clock, note=note, controller=controller)
        self.launcher: Launcher = self._kubernetes
        self.place = f"{KUBERNETES}{self._kubernetes.place}"
        self.url = access.server

    def facts(self) -> Mapping[str, str]:
        """See Engine."""
        version = self._kubernetes.facts().git_version
        return {"kubernetes": self._kubernetes.place, "kubernetes_version": version}

    def constrained(self) -> bool:
        """The attributes of Mesos' agents do not go with it."""
        return False

    def keys(self, given: SignalKeys) -> SignalKeys:
        """Tasks have a pair of their own, from a Secret."""
        return SignalKeys(given.controller, keys_of_tasks(given.controller).public, given.task_environment)

    def begin(self, keys: SignalKeys) -> None:
        """Make the anchor and the Secret of the run; tell before what the namespace has no room for."""
        if not self._options.keep_running:  # what is up already is in use of the quotas
            self._tell_fit()
        self._kubernetes.begin(keys.owner, encode(keys_of_tasks(keys.controller)).decode())

    def _tell_fit(self) -> None:
        """Only Kubernetes can refuse the run: who may not look, or cannot, is told nothing."""
        with contextlib.suppress(KubernetesError):
            fit = look_at_fit(self._kubernetes, self._options)
            for text in (*fit.short, *fit.refused):
                self._note(f"not all pods of the run can be made: {text}")

    def end(self, *, keep: bool) -> None:
        """See Engine. What is left is a note, too: where a start fails, nobody hears of what its undoing raises."""
        try:
            self._kubernetes.end(keep=keep)
        except HydraError as error:
            if keep:
                raise
            self._note(str(error))
            raise InfrastructureError("not all that the run made on Kubernetes is gone: see the note on it") from error

    def close(self) -> None:
        """See Engine."""
        self._kubernetes.close()
