"""What a controller in the cluster is told, and what it tells while it runs: lines of JSON in the log of its pod."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import hydra
from hydra.codec import DecodeError, decode, encode
from hydra.errors import UsageError
from hydra.options.kafka_access import KafkaAccess
from hydra.options.options import Options
from hydra.run.protocols import LiveCounts, Progress


@dataclass(frozen=True)
class ControllerOrder:
    """The content of the Secret that a controller in the cluster reads."""

    options: Options
    access: KafkaAccess
    """How Kafka lets it in: it has none of the files that the options name."""
    version: str = hydra.__version__


@dataclass(frozen=True)
class ToldLine:
    """Something that a run has told."""

    number: int
    """From 1 on."""
    event: Literal["phase", "counts", "note"]
    text: str = ""
    detail: str = ""
    counts: LiveCounts | None = field(default=None)


def check_controller(options: Options) -> None:
    """Raise UsageError, which names the option and its value, where a controller in the cluster cannot do it."""
    if options.engine != "kubernetes":
        raise UsageError("--kube_controller needs --engine=kubernetes", hint="add it")
    if options.kube_image is None:
        raise UsageError(
            "--kube_controller needs --kube_image",
            hint="an image with Hydra in it, as the Dockerfile makes: pods cannot fetch code from here",
        )
    if options.kube_forward:
        text = "--kube_forward does not go with --kube_controller"
        raise UsageError(text, hint="leave one of the two out: a controller in the cluster reaches pods by itself")
    if options.keep_running:
        raise UsageError("--keep_running does not go with --kube_controller", hint="leave one of the two out")
    files = {"pub_driver": options.pub_driver, "sub_driver": options.sub_driver, "payload": options.payload}
    for name, value in files.items():
        if ".py:" in value or (name == "payload" and value not in {"zeros", "random"}):
            hint = "the controller is in the cluster, where this file is not"
            raise UsageError(f"--{name}={value} does not go with --kube_controller", hint=hint)


class ToldProgress:
    """Tells of a run in lines.

    Args:
        write: takes each line.
    """

    wants_figures = True

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._number = 0
        self._phase = ("", "")

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins, or its detail changed."""
        if (name, detail) != self._phase:
            self._phase = (name, detail)
            self._tell("phase", name, detail)

    def counts(self, live: LiveCounts) -> None:
        """New counts."""
        self._tell("counts", counts=live)

    def note(self, text: str) -> None:
        """Something that a user should see."""
        self._tell("note", text)

    def _tell(
        self,
        event: Literal["phase", "counts", "note"],
        text: str = "",
        detail: str = "",
        counts: LiveCounts | None = None,
    ) -> None:
        self._number += 1
        self._write(encode(ToldLine(self._number, event, text, detail, counts)).decode())


class Listener:
    """Passes on what lines tell to somebody's progress, each once, however often it is read."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._heard = 0
        self.others: tuple[str, ...] = ()
        """What else the log says, at last."""

    def hear(self, lines: Iterable[str]) -> None:
        """Pass on what is new in the end of a log."""
        others = []
        for line in lines:
            try:
                told = decode(line.encode(), ToldLine)
            except DecodeError:
                others.append(line.strip())
                continue
            if told.number <= self._heard:
                continue
            self._heard = told.number
            if told.event == "phase":
                self._progress.phase(told.text, told.detail)
            elif told.event == "note":
                self._progress.note(told.text)
            elif told.counts is not None:
                self._progress.counts(told.counts)
        self.others = tuple(filter(None, others))
