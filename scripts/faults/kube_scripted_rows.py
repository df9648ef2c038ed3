"""Faults of runs on Kubernetes that a scripted API server plays: it refuses, breaks off, and answers something else."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from kube_lab import Answer, Mood, MoodyKubernetes, scripted
from kube_runs import RATE, SENDING, assert_left, clean_up, ends_well, kube_run
from rows import HONEST, Play, rows
from stage import Stage

REFUSED_SOON_S = 40.0
"""With the start of an interpreter, and half a minute in which an API server may come back."""


def _status(code: int, reason: str, words: str, **headers: str) -> Answer:
    return code, {"kind": "Status", "message": words, "reason": reason}, headers


def _with_mood(mood: Callable[[MoodyKubernetes], Mood]) -> Play:
    """A run to its end on an API server of this mood, which does not keep it from passing."""

    def played(stage: Stage) -> None:
        server = scripted(stage)
        server.mood = mood(server)
        command = kube_run(stage, seconds=3)
        ends_well(stage, command, seconds=3)
        assert server.happened

    return played


def _at_times(share: float, most: int) -> Callable[[], bool]:
    """Whether it is time, by chance: for that share of calls, and so many at most."""
    left = [most]

    def now() -> bool:
        is_time = left[0] > 0 and random.random() < share  # noqa: S311
        left[0] -= is_time
        return is_time

    return now


def _busy(_server: MoodyKubernetes) -> Mood:
    now = _at_times(0.3, 15)
    answer = _status(429, "TooManyRequests", "too many requests, please try again later")
    answer[2]["Retry-After"] = "1"
    return lambda _method, _path, _query: answer if now() else None


def _conflict(_server: MoodyKubernetes) -> Mood:
    now = _at_times(1, random.randint(1, 3))  # noqa: S311
    words = "Operation cannot be fulfilled on jobs.batch: the object has been modified; please apply your changes to"
    answer = _status(409, "Conflict", f"{words} the latest version and try again")
    return lambda method, _path, _query: answer if method == "PATCH" and now() else None


def _list_expired(server: MoodyKubernetes) -> Mood:
    server.page = 1
    now = _at_times(1, random.randint(1, 3))  # noqa: S311  # for certain: a small run has few pages
    answer = _status(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
    return lambda _method, _path, query: answer if "continue" in query and now() else None


def _answers_cut(server: MoodyKubernetes) -> Mood:
    now = _at_times(0.3, 15)

    def mood(_method: str, _path: str, _query: object) -> None:
        if now():
            server.cuts = 1
            server.happened += 1

    return mood


def _problems(_server: MoodyKubernetes) -> Mood:
    now = _at_times(0.3, 15)
    words = "etcdserver: request timed out"
    return lambda *_asked: _status(random.choice((500, 503, 504)), "", words) if now() else None  # noqa: S311


def _slow(server: MoodyKubernetes) -> Mood:
    now = _at_times(0.5, 30)

    def mood(_method: str, _path: str, _query: object) -> None:
        if now():
            time.sleep(random.uniform(0.2, 2))  # noqa: S311  # the answer is late
            server.happened += 1

    return mood


rows("kube", {
    "busy": _with_mood(_busy),
    "conflict": _with_mood(_conflict),
    "list-expired": _with_mood(_list_expired),
    "answers-cut": _with_mood(_answers_cut),
    "problems": _with_mood(_problems),
    "slow": _with_mood(_slow),
})  # fmt: skip


def _refused(answer: Answer, told: str) -> Play:
    """Every request gets this answer: the run is not begun, and says why."""

    def played(stage: Stage) -> None:
        server = scripted(stage)
        server.mood = lambda *_asked: answer
        command = kube_run(stage)
        assert command.end(REFUSED_SOON_S) == 4, command.errors[-6:]
        assert told in command.complaint, command.errors[-6:]
        assert server.happened

    return played


def _unreachable(stage: Stage) -> None:
    """The address is named."""
    server = scripted(stage)
    server.server.shutdown()
    server.server.server_close()
    command = kube_run(stage)
    assert command.end(REFUSED_SOON_S) == 4, command.errors[-6:]
    assert f"the API server at {server.url} cannot be reached" in command.complaint, command.errors[-6:]


rows("kube-refused", {
    "401": _refused(_status(401, "Unauthorized", "Unauthorized"), "does not accept the credentials"),
    "garbage": _refused((200, b"<html>busy</html>", {}), "unexpected response from http://127.0.0.1:"),
    "no-kubernetes": _refused((404, b"<html>no such page</html>", {}), "HTTP 404"),
    "500-for-ever": _refused(_status(500, "InternalError", "etcdserver: no leader"), "etcdserver: no leader"),
    "old-version": _refused((200, {"major": "1", "minor": "28", "gitVersion": "v1.28.9"}, {}), "has to be 1.29"),
    "unreachable": _unreachable,
})  # fmt: skip


def _no_longer_let_in(answer: Answer, told: str) -> Play:
    """In the middle of a run: it was measured and is told, and so is what could not be removed, which clean knows."""

    def played(stage: Stage) -> None:
        server = scripted(stage)
        command = kube_run(stage, seconds=5)
        command.wait_for(SENDING)
        server.mood = lambda *_asked: answer
        assert command.end(150) in HONEST, command.errors[-6:]
        assert_left(command, told)
        totals = stage.place.record()["result"]["totals"]
        assert (totals["records_counted"], totals["records_lost"]) == (5 * RATE, 0), totals
        server.mood = lambda *_asked: None
        assert server.jobs
        clean_up(stage, "app hydra-g1")

    return played


FORBIDDEN = 'jobs.batch is forbidden: User "me" cannot get resource "jobs" in API group "batch" in the namespace "lab"'
rows("kube-no-longer-let-in", {
    "401": _no_longer_let_in(_status(401, "Unauthorized", "Unauthorized"), "does not accept the credentials"),
    "403": _no_longer_let_in(_status(403, "Forbidden", FORBIDDEN), FORBIDDEN),
    "503": _no_longer_let_in(_status(503, "ServiceUnavailable", "the server is shutting down"), "shutting down"),
})  # fmt: skip


def _interrupted(number: signal.Signals, moment: str) -> Play:
    def played(stage: Stage) -> None:
        scripted(stage)
        command = kube_run(stage, seconds=60)
        command.wait_for(moment)
        time.sleep(random.uniform(0, 2))  # noqa: S311  # some moment of it
        command.send(number)
        assert command.end(25) == 128 + number, command.errors[-6:]
        if moment == SENDING:
            assert stage.place.record()["status"] == "interrupted"

    return played


rows("kube-interrupted", {
    f"{number.name}-{name}": _interrupted(number, moment)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for name, moment in (("sending", SENDING), ("starting", "^hydra: starting"))
})  # fmt: skip
