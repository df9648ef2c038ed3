"""Where the tasks of a session run: Marathon, a local one or the user's, or Kubernetes (kube_engine.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

from hydra.engine.marathon_access import MarathonAccess, given_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.errors import InfrastructureError, UsageError
from hydra.files.atomic_write import try_lock
from hydra.files.folders import state_folder
from hydra.options.options import Options
from hydra.run.clock import Clock
from hydra.run.protocols import Launcher
from hydra.signals.keys import SignalKeys, keys_of_controller


class Engine(Protocol):
    """An engine that a session is connected to. Every call may raise a HydraError; ``close`` is harmless twice."""

    launcher: Launcher
    place: str
    """What the keys and the trace of a run call it; empty for the Marathon of a local stack."""
    url: str
    """Agents are where the route to it leads."""

    def facts(self) -> Mapping[str, str]:
        """What a result says of it; the first time that it is asked for anything."""

    def constrained(self) -> bool:
        """Whether its agents may have the attributes that the options name."""

    def keys(self, given: SignalKeys) -> SignalKeys:
        """The keys of the signals, where tasks are told the ``given`` ones as this engine can."""

    def begin(self, keys: SignalKeys) -> None:
        """Make what has to be there before apps are."""

    def end(self, *, keep: bool) -> None:
        """Remove it, with all that is left of the apps; with ``keep`` they stay up. Harmless without ``begin``."""

    def close(self) -> None:
        """Close the connections."""


class MarathonEngine:
    """A Marathon.

    Args:
        access: how it is reached.
        options: of the session.
        clock: the launcher waits by it.
    """

    def __init__(self, access: MarathonAccess, options: Options, clock: Clock) -> None:
        self._options = options
        self._marathon = MarathonLauncher(access, mesos_url=options.mesos_url, clock=clock)
        self.launcher: Launcher = self._marathon
        self.place = options.marathon_url or ""
        self.url = access.urls[0]

    def facts(self) -> Mapping[str, str]:
        """See Engine."""
        return {"marathon": self.place or "local", "marathon_version": self._marathon.facts().version}

    def constrained(self) -> bool:
        """On one machine only if its agents have the attributes that the options name."""
        if self.place:
            return True
        wanted = {cluster for cluster in (self._options.cluster0, self._options.cluster1) if cluster}
        try:
            agents = self._marathon.agents() if wanted else ()
        except InfrastructureError:
            return False
        return wanted <= {f"{name}.{value}" for agent in agents for name, value in agent.attributes.items()}

    def keys(self, given: SignalKeys) -> SignalKeys:
        """The ``given`` ones: nothing that Marathon gives a task is secret."""
        return given

    def begin(self, keys: SignalKeys) -> None:
        """Nothing: apps make their group."""

    def end(self, *, keep: bool) -> None:
        """Nothing: whoever made the apps removes them."""

    def close(self) -> None:
        """See Engine."""
        self._marathon.close()


def given_engine(options: Options, clock: Clock, note: Callable[[str], None]) -> Engine | None:
    """The engine that the options name, not asked for anything yet; None for the Marathon of a local stack.

    Raises:
        UsageError: the files that say how it is reached cannot be used.
    """
    if options.engine == "kubernetes":
        from hydra.kafkatest.kube_engine import KubernetesEngine

        return KubernetesEngine(options, clock, note)
    return MarathonEngine(given_access(options), options, clock) if options.marathon_url is not None else None


def controller_keys(place: str, options: Options, closing: ExitStack, kept: Callable[[], bool]) -> SignalKeys:
    """The keys of this user's controller of apps in one group at a place, which no other run may use meanwhile.

    Args:
        place: where the apps are.
        options: of the session.
        closing: gives them up, and removes them unless the apps are left up and are ``kept`` for the next controller.
        kept: asked when ``closing`` closes.

    Raises:
        UsageError: another run of this user's has them.
    """
    engine = f"{place} {options.app_prefix}".encode()
    file = state_folder() / f"signals-{hashlib.sha256(engine).hexdigest()[:16]}.key"
    if not closing.enter_context(try_lock(file.with_suffix(".lock"))):
        text = f"another run of yours uses the apps in {options.app_prefix} at {place}"
        raise UsageError(text, hint="wait for its end, or choose another --app_prefix")
    closing.callback(lambda: file.with_suffix(".lock").unlink(missing_ok=True))
    closing.callback(lambda: None if kept() else file.unlink(missing_ok=True))
    return keys_of_controller(file, keep=options.keep_running)
