"""What is left, whose it is, and whether the run that made it is over: pure, values in and values out.

What proves that a run is over is its trace (traces.py), whose lock nobody holds any more. What no trace here knows may
belong to a run of another user or machine: it is over only by its age, and only if somebody says from which age on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.records.identity import RUN_ID

KUBERNETES = "kubernetes:"
"""With what the place of a run on Kubernetes begins in its trace, before the API server and the namespace."""

Kind = Literal["app", "topic", "group", "folder", "file"]
State = Literal["over", "alive", "kept", "unknown"]


@dataclass(frozen=True)
class RunTrace:
    """What a controller notes before it makes anything that would outlive it, and removes when all of it is gone."""

    run_id: str
    pid: int
    marathon: str = ""
    """Address of the Marathon that may outlive it; ``stack:ID`` for a local stack's; empty if there is none."""
    brokers: str = ""
    """The same for Kafka."""
    owner: str = ""
    """The label of its apps."""
    app_prefix: str = ""
    """The group that they are in."""
    kept: bool = False
    """Its apps were to stay up (--keep_running)."""
    topics: tuple[str, ...] = ()
    """Its topics, which are named as its runs; names of groups begin with them, behind ``group_prefix``."""
    group_prefix: str = ""


@dataclass(frozen=True)
class Found:
    """One thing that bears Hydra's mark."""

    kind: Kind
    name: str
    where: str
    last_sign_s: float
    """When it was last changed or written to, as far as that is known, in seconds since the epoch."""
    owner: str = ""
    """Of an app: its owner's label."""
    in_use: str = ""
    """By what it is used at this moment, as seen where it is."""
    unproven: str = ""
    """Why its name alone says that it is Hydra's."""
    is_left: bool = False
    """Its owner is known to be dead."""


@dataclass(frozen=True)
class Judged:
    """A thing, and what is known of its run."""

    found: Found
    state: State
    whose: str
    """In words, with the reason."""
    by_age: bool = False
    """Nothing but its age tells that its run is over: a sign of life tells otherwise."""


def run_id_in(name: str, prefixes: Iterable[str] = ("",)) -> str:
    """The run that a topic or group is named after, behind a prefix; empty if its name is none of Hydra's."""
    match = next(filter(None, (RUN_ID.match(name, len(each)) for each in prefixes if name.startswith(each))), None)
    rest = name[match.end() :] if match else ""
    return match[0] if match and (not rest or rest[0] == "-") else ""


def judge(found: Found, traces: Mapping[RunTrace, bool], now_s: float, older_than_s: float | None) -> Judged:
    """Whether the run that something is of is over.

    Args:
        found: the thing.
        traces: those of this user, each with whether its controller is alive.
        now_s: seconds since the epoch.
        older_than_s: from which age on that counts as over which no run known here has made; None: from none on.
    """
    mine = [trace for trace in traces if _made_by(found, trace)]
    if found.is_left or mine:
        return _mine(found, [trace for trace in mine if traces[trace]], mine)
    if found.unproven:
        return Judged(found, "unknown", f"nobody's that is known here, and {found.unproven}")
    if found.in_use:
        return Judged(found, "alive", f"a run of another user or machine ({found.in_use})")
    if older_than_s is not None and now_s - found.last_sign_s >= older_than_s:
        return Judged(found, "over", "no run that is known here, and too old for one that goes on", by_age=True)
    return Judged(found, "unknown", "a run of another user or machine, over or not")


def _mine(found: Found, alive: Sequence[RunTrace], mine: Sequence[RunTrace]) -> Judged:
    if alive:
        return Judged(found, "alive", f"a run of yours that goes on (process {alive[0].pid})")
    if found.kind == "app" and any(trace.kept for trace in mine):
        return Judged(found, "kept", "a run of yours that left it up (--keep_running)")
    pid = f" (process {mine[0].pid})" if mine else ""
    return Judged(found, "over", f"a run of yours that is over{pid}")


def judged_in_order(
    found: Iterable[Found],
    traces: Mapping[RunTrace, bool],
    now_s: float,
    older_than_s: float | None,
    *,
    brokers_seen: bool = False,
) -> tuple[Judged, ...]:
    """All of them: apps first, since tasks write to topics and are in groups.

    An app that a run works with does not change for as long as it goes on: only brokers show that one does. So age
    judges apps only where brokers were looked at, and where nothing on them may be of another one's run.
    """
    order = {"app": 0, "topic": 1, "group": 2, "folder": 3, "file": 4}
    judged = [judge(each, traces, now_s, older_than_s) for each in found]
    others = [each for each in judged if each.found.kind in {"topic", "group"} and not _is_of_mine(each, traces)]
    lively = next((each.found for each in others if each.state != "over"), None)
    if not brokers_seen:
        why = "old, but nobody looked at the brokers of its runs, which is where life shows"
    elif lively is not None:
        why = f"old, but the {lively.kind} {lively.name} may be of a run of it that goes on"
    else:
        why = ""
    if why:
        judged = [
            Judged(each.found, "unknown", why) if each.by_age and each.found.kind == "app" else each for each in judged
        ]
    return tuple(sorted(judged, key=lambda each: (order[each.found.kind], each.found.where, each.found.name)))


def _is_of_mine(judged: Judged, traces: Mapping[RunTrace, bool]) -> bool:
    return any(_made_by(judged.found, trace) for trace in traces)


def counted(judged: Iterable[Judged]) -> str:
    """How much of what is left is of runs that are over: ``2 apps, 1 topic``; empty for nothing."""
    counts: dict[str, int] = {}
    for each in judged:
        if each.state == "over":
            counts[each.found.kind] = counts.get(each.found.kind, 0) + 1
    return ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counts.items())


def _made_by(found: Found, trace: RunTrace) -> bool:
    if found.kind == "app":
        return bool(found.owner) and found.owner == trace.owner
    prefixes = {"", trace.group_prefix} if found.kind == "group" else {""}
    return run_id_in(found.name, prefixes) in trace.topics if found.kind in {"topic", "group"} else False
