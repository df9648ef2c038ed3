"""The traces of this user's runs: who made what where, for as long as it is there.

A run holds the lock of its trace for as long as it lives, and the kernel releases it however the run ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from hydra.codec import DecodeError, decode, encode
from hydra.errors import OutputError
from hydra.files.atomic_write import atomic_write, try_lock
from hydra.files.bounded_read import read_bounded
from hydra.files.folders import state_folder
from hydra.kafkatest import running_stack
from hydra.kafkatest.leftovers import RunTrace

MAX_TRACE_BYTES = 1024 * 1024


class Trace:
    """The trace of a run that lives. ``close`` removes it unless something was left; harmless the second time."""

    def __init__(self, trace: RunTrace) -> None:
        self._trace = trace
        self._file = _folder() / f"{trace.run_id}.json"
        self._closing = contextlib.ExitStack()
        self._closing.enter_context(try_lock(_lock(self._file)))
        self._left = False
        self._write()

    def begin_topic(self, topic: str) -> None:
        """A topic, and groups named after it, are about to be made."""
        self._change(topics=(*self._trace.topics, topic))

    def end_topic(self, topic: str) -> None:
        """They are gone."""
        self._change(topics=tuple(each for each in self._trace.topics if each != topic))

    def apps_are_left(self) -> None:
        """The apps could not be removed."""
        self._left = True

    def close(self) -> None:
        """The run is over."""
        for other, alive in read_traces().items():
            if not alive and other.owner == self._trace.owner and not other.topics:
                forget_trace(other)  # of the apps that this run had found, and has left up or removed
        if not (self._left or self._trace.kept or self._trace.topics):
            _remove(self._file)
        self._closing.close()

    def _change(self, **fields: object) -> None:
        self._trace = dataclasses.replace(self._trace, **fields)  # type: ignore[arg-type]  # names of its fields
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OutputError):  # a full disk is no reason not to measure
            atomic_write(self._file, encode(self._trace))


def read_traces() -> Mapping[RunTrace, bool]:
    """Every trace of this user, with whether its run lives."""
    found: dict[RunTrace, bool] = {}
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, DecodeError):
            trace = decode(read_bounded(file, MAX_TRACE_BYTES, own=True), RunTrace)
            with try_lock(_lock(file)) as free:
                found[trace] = not free
    return found


def forget_trace(trace: RunTrace) -> None:
    """Remove the trace of a run that is over."""
    _remove(_folder() / f"{trace.run_id}.json")


def forget_stacks_that_ended() -> None:
    """Remove the traces of runs that are over and were on local stacks only, none of which is up: nothing is left."""
    running = running_stack.find()
    up = f"stack:{running.run_id}" if running is not None else ""
    for trace, alive in read_traces().items():
        places = {place for place in (trace.marathon, trace.brokers) if place}
        if not alive and all(place.startswith("stack:") and place != up for place in places):
            forget_trace(trace)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    _lock(file).unlink(missing_ok=True)


def _lock(file: Path) -> Path:
    return file.with_suffix(".lock")


def _folder() -> Path:
    folder = state_folder() / "runs"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder
