"""Where a fault is played: a place of its own each time, beside one stack that stays; and what is left afterwards."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from kube_lab import KubeLab, nets

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.embedded import EmbeddedBroker
from hydra.broker.listener_security import listener_security
from hydra.engine.marathon_access import local_access
from hydra.engine.marathon_launcher import MarathonLauncher
from hydra.kafkatest.leftovers import run_id_in
from hydra.options.kafka_access import KafkaAccess
from tests.commands import Command, Place, wait_until
from tests.kafka_parts import kafka_parts
from tests.kube_cluster import Cluster

LEFT_TIMEOUT_S = 8.0


class Stage:
    """One fault, once: commands in a place that is new, and what they find there."""

    def __init__(self, place: Place, house: House) -> None:
        self.place = place
        self.house = house
        self.commands: list[Command] = []
        self.closing = contextlib.ExitStack()
        """What ends with it, when all has been looked at."""
        self.looks: list[Callable[[], list[str]]] = []
        self.left_within_s = LEFT_TIMEOUT_S
        """So long what is left may take to go."""

    def also_look(self, look: Callable[[], list[str]], within_s: float = LEFT_TIMEOUT_S) -> None:
        """Have what ``look`` finds when the play is over counted as left, where it is still there so long after."""
        self.looks.append(look)
        self.left_within_s = max(self.left_within_s, within_s)

    def hydra(self, *arguments: str, prefix: list[str] | None = None) -> Command:
        """Start ``hydra``."""
        self.commands.append(Command(self.place, list(arguments), prefix=prefix))
        return self.commands[-1]

    def end_commands(self) -> None:
        """Kill those that have not ended: what they leave then is what a kill leaves."""
        for command in self.commands:
            with contextlib.suppress(Exception):
                command.process.kill()
                command.end(10)

    def on_stack(self) -> Stage:
        """Have commands use the stack that stays."""
        self.place.use(self.house.stack)
        return self


Played = TypeVar("Played")


def play_in_random_order(
    played: Iterable[Played], times: int, seed: int, play: Callable[[Played, House, str], None]
) -> list[str]:
    """Play each so many times in one house; ``play`` also gets the number of the turn. Returns what the stack left."""
    order = [each for each in played for _time in range(times)]
    random.Random(seed).shuffle(order)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder))
        try:
            house.open()
            for number, each in enumerate(order, start=1):
                play(each, house, f"{number}/{len(order)}")
        finally:
            left = house.close()
    return left


@dataclass(frozen=True)
class SecuredBroker:
    """A Kafka, and how one is let in."""

    bootstrap_servers: str
    access: KafkaAccess


class House:
    """What all faults share: the stack that stays, and a Kafka that may be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = Place(_made(folder / "stack"))
        self._closing = contextlib.ExitStack()
        self._mortal: EmbeddedBroker | None = None
        self._guarded: EmbeddedBroker | None = None
        self._secured: SecuredBroker | None = None
        self._lab: KubeLab | None = None

    def open(self) -> None:
        """Start the stack."""
        up = Command(self.stack, ["local", "up"])
        assert up.end(180) == 0, up.errors
        (file,) = self.stack.state.rglob("stack.json")
        self.record = json.loads(file.read_text())
        self.kafka: str = self.record["bootstrap_servers"]
        launcher = MarathonLauncher(local_access(self.record["marathon_url"], Path(self.record["folder"])))
        self._closing.callback(launcher.close)
        self.launcher = launcher
        self.admin = KafkaTopicAdmin(self.kafka)
        self._closing.callback(self.admin.close)

    def mortal(self) -> EmbeddedBroker:
        """A Kafka that a fault may end: it is started again for the next one."""
        if self._mortal is None:
            parts = kafka_parts(self.folder / "mortal")
            broker = EmbeddedBroker(**parts, properties={"broker.session.timeout.ms": "2000"})
            self._mortal = self._closing.enter_context(broker)
        elif self._mortal.returncode() is not None:
            self._mortal.start(60)
        return self._mortal

    def guarded(self) -> EmbeddedBroker:
        """A Kafka that looks at ACLs; without one everything is allowed."""
        if self._guarded is None:
            rules = {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "true",
            }
            broker = EmbeddedBroker(**kafka_parts(self.folder / "guarded"), properties=rules)
            self._guarded = self._closing.enter_context(broker)
        return self._guarded

    def secured(self) -> SecuredBroker:
        """A Kafka that lets in over TLS, by SCRAM, alone."""
        if self._secured is None:
            security = listener_security("sasl_ssl:scram-sha-512")
            assert security is not None
            parts = kafka_parts(self.folder / "secured")
            broker = self._closing.enter_context(EmbeddedBroker(**parts, security=security))
            self._secured = SecuredBroker(broker.bootstrap_servers, security.access)
        return self._secured

    def lab(self) -> KubeLab:
        """A control plane of Kubernetes with two nodes."""
        if self._lab is None:
            self._lab = KubeLab(self._closing.enter_context(Cluster(self.folder / "kube", net=nets())))
        return self._lab

    def close(self) -> list[str]:
        """End all of it. Returns what is left."""
        self._closing.close()
        down = Command(self.stack, ["local", "down", "--force"])
        down.end(60)
        lab_left = [] if self._lab is None else _soon_empty(self._lab.left_behind)
        left = _soon_empty(self.stack.left_behind)
        self.stack.end_all()
        return [*left, *lab_left]

    @contextlib.contextmanager
    def stage(self) -> Iterator[Stage]:
        """A place for one fault, whose processes are gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as folder:
            stage = Stage(Place(Path(folder)), self)
            try:
                yield stage
            finally:
                stage.end_commands()
                stage.place.end_all()
                stage.closing.close()

    def left_by(self, stage: Stage) -> list[str]:
        """Processes (and with them their ports), folders, apps, topics and groups that are left after a while."""

        def look() -> list[str]:
            own = [*stage.place.left_behind(), *self._left_on_stack(), *_traces(stage.place)]
            return own + [found for other in stage.looks for found in other()]

        return _soon_empty(look, stage.left_within_s)

    def _left_on_stack(self) -> list[str]:
        return [
            *(f"app {app.id}" for app in self.launcher.apps()),
            *(f"topic {name}" for name in self.admin.topics() if run_id_in(name)),
            *(f"group {name}" for name in self.admin.groups() if run_id_in(name)),
        ]

    def clear(self) -> None:
        """Remove from the stack what a fault has left, so that it counts once."""
        self.admin.delete_groups([name for name in self.admin.groups() if run_id_in(name)])
        for name in self.admin.topics():
            if run_id_in(name):
                self.admin.delete_topic(name)
        for app in self.launcher.apps():
            with contextlib.suppress(Exception):
                self.launcher.delete(app.id, force=True)
        for name in ("runs/*.json", "runs/*.lock"):
            for file in self.stack.state.rglob(name):
                file.unlink()


def wait_dead(process: psutil.Process) -> None:
    """See that a process that was killed is dead: the fault happened."""
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5, f"{process} is dead")


def _traces(place: Place) -> list[str]:
    return [f"file {path.name}" for path in place.state.rglob("runs/*.json")]


def _soon_empty(look: Callable[[], list[str]], timeout_s: float = LEFT_TIMEOUT_S) -> list[str]:
    deadline_s = time.monotonic() + timeout_s
    while (left := look()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return left


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
