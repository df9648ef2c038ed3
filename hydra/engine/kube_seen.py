"""What is known of an app's pods, and why some are missing: each reason with the number of its pods. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra.engine.kube_responses import PodResponse
from hydra.engine.kube_states import DELETED, Trouble

MOST_REASONS = 5


@dataclass
class Seen:
    """What is known of an app."""

    pods: tuple[PodResponse, ...] = ()
    at_s: float = float("-inf")
    took_s: float = 0.0
    wanted: int = 0
    job_uid: str = ""
    settling: bool = False
    """Its tasks have been asked for, and somebody waits for them."""
    whole: bool = False
    """All were there at the last look."""
    asked_at_s: float = float("-inf")
    """When the last call for its tasks returned."""
    refusals_at_s: float = float("-inf")
    fetches: bool = False
    """Its pods fetch their code from the controller."""
    unfetched_at_s: float = float("-inf")
    """When one was last asked whether it still waits for that; infinite once that was told."""
    refusals: set[str] = field(default_factory=set)
    """What was told of them, without the names of pods."""
    lines: dict[str, str] = field(default_factory=dict)
    """By pod: the end of its log."""
    vanished: list[str] = field(default_factory=list)
    """The pods that others have deleted, the latest at last."""

    def look(self, pods: tuple[PodResponse, ...]) -> None:
        """These are there now. A pod that others have deleted is remembered: nothing else will tell of it."""
        there = {pod.metadata.name for pod in pods}
        if not self.settling:
            gone = (pod.metadata.name for pod in self.pods if pod.metadata.name not in there)
            self.vanished += [name for name in gone if name not in self.vanished]
        self.pods = pods


@dataclass(frozen=True)
class Reason:
    """One thing that is wrong with some pods."""

    pods: tuple[str, ...]
    """The one first whose words these are."""
    text: str
    ended: bool = False
    deleted: bool = False
    """Somebody deletes them, and nothing says why."""

    def told(self, lines: str = "") -> str:
        """In words, with the end of the first pod's log, as a part of a sentence."""
        others = f" and {len(self.pods) - 1} more" if len(self.pods) > 1 else ""
        return f"{self.pods[0]}{others}: {self.text}{lines}"


def reasons(found: Sequence[tuple[PodResponse, Trouble]], vanished: Sequence[str] = ()) -> list[Reason]:
    """Why pods are missing, each kind of problem once, in the order in which they are found.

    Args:
        found: the pods that something is wrong with.
        vanished: those that are not even there any more, the latest at last.
    """
    groups: dict[str, tuple[Trouble, list[str]]] = {}
    for pod, trouble in found:
        groups.setdefault(trouble.kind, (trouble, []))[1].append(pod.metadata.name)
    made = [
        Reason(tuple(names), trouble.text, trouble.ended, trouble.kind == DELETED) for trouble, names in groups.values()
    ]
    there = {pod.metadata.name for pod, _trouble in found}
    gone = tuple(name for name in reversed(vanished) if name not in there)
    return [*made, Reason(gone, "it was deleted", ended=True, deleted=True)] if gone else made


def told(found: Sequence[Reason], lines: Mapping[str, str], lease: str = "", refused: str = "") -> str:
    """All reasons in one line.

    Args:
        found: them.
        lines: by pod, the end of its log.
        lease: why all that the run has made goes, where it does: no other reason for a deletion counts then.
        refused: why Kubernetes makes no more pods.
    """
    kept = [each for each in found if not (lease and each.deleted)]
    texts = [each.told(lines.get(each.pods[0], "")) for each in kept[:MOST_REASONS]]
    if more := sum(len(each.pods) for each in kept[MOST_REASONS:]):
        texts.append(f"{more} more pods for other reasons")
    return "; ".join(filter(None, (lease, *texts, refused)))
