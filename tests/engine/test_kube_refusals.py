"""Refusals of an API server: whose they are, and what is to be done about them."""

import json

import pytest

from hydra.engine.kube_refusals import ADMISSION_HINT, ROLE_HINT, WEBHOOK_HINT, KubernetesUnavailableError, refusal
from hydra.errors import KubernetesError

WEBHOOK = 'admission webhook "policy.example.com" denied the request: '
FORBIDDEN = 'jobs.batch is forbidden: User "me" cannot create resource "jobs" in API group "batch"'


def refused(status, message, **headers):
    content = json.dumps({"kind": "Status", "message": message}).encode()
    return refusal("https://k", "create the job x", status, content, headers)


@pytest.mark.parametrize("status", [400, 403, 409, 422, 429, 500])
@pytest.mark.parametrize(
    "message",
    [
        f"{WEBHOOK}pods cannot run here",
        f"{WEBHOOK}{FORBIDDEN}",
        f"{WEBHOOK}the object has been modified, which cannot be",
        "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: it cannot be",
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": it cannot run as root',
    ],
)
def test_what_a_policy_refuses_is_told_in_its_words_and_is_no_missing_right(status, message):
    error = refused(status, message)
    assert type(error) is KubernetesError  # it does not pass
    assert error.message == f"Kubernetes would not create the job x: HTTP {status} {message}"
    assert error.hint == ADMISSION_HINT


def test_a_webhook_that_does_not_answer_may_come_back_and_is_told_as_what_it_is():
    message = 'Internal error occurred: failed calling webhook "p": failed to call webhook: Post "https://p": refused'
    error = refused(500, message)
    assert isinstance(error, KubernetesUnavailableError)
    assert error.hint == WEBHOOK_HINT


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (FORBIDDEN, ROLE_HINT),
        ('pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2', ""),
        ('jobs.batch "x" is forbidden: unable to create new content in namespace lab: it cannot be', ""),
    ],
)
def test_only_what_an_authorizer_says_is_a_missing_right(message, hint):
    error = refused(403, message)
    assert type(error) is KubernetesError
    assert error.hint == hint


@pytest.mark.parametrize(("told", "after_s"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-3", 0.0)])
def test_how_long_a_busy_server_wants_to_be_left_alone(told, after_s):
    error = refused(429, "too many requests", **{"Retry-After": told})
    assert isinstance(error, KubernetesUnavailableError)
    assert error.after_s == after_s


def test_what_is_said_is_one_line_of_bounded_length():
    error = refused(403, "denied\n  by " + "x" * 5000)
    assert "denied by xxx" in error.message
    assert error.message.endswith("...")
    assert len(error.message) < 1100


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ('on jobs.batch "x": the object has been modified; please apply your changes to the latest version', True),
        ('on resourcequotas "small": StorageError: invalid object, Code: 4', True),
        ('on jobs.batch "x": the UID in the precondition (a) does not match the UID in record (b)', False),
        ('on jobs.batch "x": StorageError: invalid object: Precondition failed: UID in precondition: a', False),
    ],
)
def test_a_conflict_passes_unless_it_is_that_of_another_object(message, passes):
    error = refused(409, f"Operation cannot be fulfilled {message}")
    assert isinstance(error, KubernetesUnavailableError) is passes
