"""Why pods are missing: each reason with its pods, and what a lease that is over explains."""

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from hydra.engine.kube_lease import why_over
from hydra.engine.kube_objects import Anchor
from hydra.engine.kube_responses import ConditionResponse, EventResponse, JobResponse, JobStatus, Metadata, PodResponse
from hydra.engine.kube_seen import Seen, reasons, told
from hydra.engine.kube_states import refusal_text, troubles
from tests.scripted_kubernetes import running, terminated, unschedulable, waiting

DELETED_AT = "2026-01-01T00:00:01Z"


def pod(name, status, deleted=False):
    metadata = {"name": name, **({"deletionTimestamp": DELETED_AT} if deleted else {})}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}, PodResponse)


EVICTED = {"phase": "Failed", "reason": "Evicted"}
NOT_READY = {
    **running("127.0.0.9"),
    "conditions": [{"type": "Ready", "status": "False", "reason": "NodeStatusUnknown"}],
}


def test_each_reason_is_told_once_with_how_many_pods_it_is_of():
    pods = [
        pod("a", unschedulable("0/3 nodes are available")),
        pod("b", unschedulable("0/3 nodes are available")),
        pod("c", waiting("ImagePullBackOff", "Back-off pulling")),
        pod("d", terminated(137, "OOMKilled")),
        pod("e", terminated(137, "OOMKilled")),
        pod("f", terminated(137, "OOMKilled")),
        pod("g", {**EVICTED, "message": "The node was low on memory: 3Gi"}),
        pod("h", {**EVICTED, "message": "The node was low on memory: 4Gi"}),
        pod("i", NOT_READY),
        pod("k", running("127.0.0.1")),
    ]
    found = reasons(troubles(pods))
    assert {(each.pods, each.text) for each in found} == {
        (("a", "b"), "Unschedulable: 0/3 nodes are available"),
        (("c",), "ImagePullBackOff: Back-off pulling"),
        (("d", "e", "f"), "OOMKilled (exit code 137, signal 9)"),
        (("g", "h"), "Evicted: The node was low on memory: 3Gi"),
        (("i",), "its node n does not report (NodeStatusUnknown)"),
    }
    text = told(found, {"d": ", its last lines: x"}, refused="FailedCreate: exceeded quota")
    assert "d and 2 more: OOMKilled (exit code 137, signal 9), its last lines: x; " in text
    assert "a and 1 more: Unschedulable: 0/3 nodes are available; " in text
    assert text.endswith("; FailedCreate: exceeded quota")


def test_what_has_ended_comes_before_what_waits_and_the_rest_is_counted():
    pods = [pod("w", waiting("ErrImagePull", "no"))] + [pod(f"x{code}", terminated(code)) for code in range(1, 8)]
    found = reasons(troubles(pods))
    assert (found[0].ended, found[-1].ended) == (True, False)
    assert told(found, {}).endswith("; 3 more pods for other reasons")


def test_pods_that_are_not_there_any_more_are_one_reason_of_several():
    found = reasons(troubles([pod("a", terminated(1))]), ["a", "b", "c"])
    assert told(found, {}) == "a: Error (exit code 1); c and 1 more: it was deleted"


@pytest.mark.parametrize("status", [running("127.0.0.1"), terminated(143), terminated(137)])
def test_what_ends_because_it_is_deleted_has_not_failed(status):
    (found,) = reasons(troubles([pod("a", status, deleted=True)]))
    assert (found.text, found.deleted) == ("it is being deleted", True)


@pytest.mark.parametrize("status", [terminated(1), terminated(137, "OOMKilled"), {**EVICTED, "message": "low"}])
def test_what_had_failed_before_it_is_deleted_has_failed(status):
    (found,) = reasons(troubles([pod("a", status, deleted=True)]))
    assert not found.deleted


def test_a_lease_that_is_over_explains_deletions_and_nothing_else():
    pods = [pod("a", running("127.0.0.1"), deleted=True), pod("b", terminated(137, "OOMKilled"))]
    assert told(reasons(troubles(pods), ["c"]), {}, lease="the lease is over") == (
        "the lease is over; b: OOMKilled (exit code 137, signal 9)"
    )


def test_pods_are_missed_only_once_all_were_there():
    seen = Seen(settling=True)
    for names in ("abc", "ab"):
        seen.look(tuple(pod(name, running("127.0.0.1")) for name in names))
    assert seen.vanished == []
    seen.settling = False
    for names in ("b", "", ""):
        seen.look(tuple(pod(name, running("127.0.0.1")) for name in names))
    assert seen.vanished == ["a", "b"]


NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ANCHOR = Anchor("hydra-g1", "u1", "me")
ENDED = JobStatus(conditions=(ConditionResponse("Failed", "True", "DeadlineExceeded"),))
LATER = NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("job", "until", "words"),
    [
        (JobResponse(Metadata(uid="u1")), NOW - timedelta(hours=1), ""),  # nobody has looked at its deadline yet
        (JobResponse(Metadata(uid="u1"), status=ENDED), LATER, "was not renewed for 120 s (503 away)"),
        (JobResponse(Metadata(uid="u1", deletion_timestamp=NOW)), NOW, "was not renewed for 120 s (503 away)"),
        (JobResponse(Metadata(uid="u2")), NOW, "was not renewed for 120 s (503 away)"),
        (None, NOW, "was not renewed for 120 s (503 away)"),
        (None, LATER, "the job hydra-g1, which all of the run belongs to, was deleted by somebody else"),
        (JobResponse(Metadata(uid="u2")), LATER, "was deleted by somebody else"),
    ],
)
def test_why_an_anchor_is_not_there(job, until, words):
    text = why_over(ANCHOR, job, until, NOW, "503 away")
    assert words in text
    assert bool(text) is bool(words)
    assert "as when this machine slept" in why_over(ANCHOR, None, NOW, NOW, "")


def test_the_newest_event_counts_also_where_only_its_making_is_dated():
    events = [
        EventResponse(Metadata(creation_timestamp=NOW + timedelta(seconds=number)), "Warning", "FailedCreate", text)
        for number, text in ((1, "first"), (3, "last"), (2, "second"))
    ]
    assert refusal_text(events) == "FailedCreate: last"


def container(name, **state):
    return {"name": name, "state": state}


LOST = {"type": "Ready", "status": "False"}
ENDED_TASK = {"exitCode": 2, "reason": "Error"}
PROXY = container("istio-proxy", running={"startedAt": DELETED_AT})


@pytest.mark.parametrize(
    ("fields", "told_of"),
    [
        ({"containerStatuses": [PROXY, container("task", terminated=ENDED_TASK)]}, "Error (exit code 2)"),
        ({"containerStatuses": [container("task", running={})]}, ""),
        ({"containerStatuses": [container("task", running={})], "conditions": [LOST]}, "its node n does not report"),
        (
            {"phase": "Failed", "containerStatuses": [container("istio-proxy", terminated={"exitCode": 0}),
                                                      container("task", terminated=ENDED_TASK)]},
            "Error (exit code 2)",
        ),
        (
            {"phase": "Failed", "initContainerStatuses": [container("a", terminated={"exitCode": 0}),
                                                          container("b", terminated={"exitCode": 3})]},
            "ended (exit code 3)",
        ),
        (
            {"phase": "Pending", "conditions": [],
             "initContainerStatuses": [container("a", waiting={"reason": "ErrImagePull", "message": "no"})]},
            "ErrImagePull: no",
        ),
    ],
)  # fmt: skip
def test_the_task_is_what_is_told_of_whatever_others_put_into_its_pod(fields, told_of):
    not_ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    found = reasons(troubles([pod("a", {"phase": "Running", "conditions": [not_ready], **fields})]))
    assert told(found, {}).startswith(f"a: {told_of}" if told_of else "")
    assert bool(found) is bool(told_of)
