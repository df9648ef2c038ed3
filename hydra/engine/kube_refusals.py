"""What a refusal of an API server means: whose it is, whether it passes, and what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from hydra.engine.kube_responses import StatusResponse
from hydra.errors import KubernetesError, StillGoingError

ROLE_HINT = "'hydra doctor --engine=kubernetes' prints the Role that it needs"
PATH_HINT = "every cluster lets those who log in ask for it, unless it was changed (the ClusterRole system:discovery)"
ADMISSION_HINT = "an admission policy of this cluster refuses it, and no right is missing: ask who runs that policy"
WEBHOOK_HINT = "an admission webhook of this cluster does not answer, and no right is missing: ask who runs it"

MOST_CHARACTERS = 1000
"""Of what Kubernetes says of a refusal: it is one line."""

_DENIED = re.compile(
    r'admission webhook "[^"]*" (denied the request|attempted)|AdmissionPolicy .*denied request|violates PodSecurity'
)
"""In messages of webhooks, of ValidatingAdmissionPolicies, and of the Pod Security Standards."""

_NO_RIGHT = re.compile(r'User "[^"]*" cannot ')
"""In messages of authorizers; others than these say "cannot", too."""

_WEBHOOK_AWAY = re.compile(r"failed (calling|to call) webhook")


_CREDENTIALS = re.compile(r"//[^/@\s']*@")


class KubernetesUnavailableError(KubernetesError):
    """No response, or one that says that the API server is busy or has a problem: a later try may succeed."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None, after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint, status=status)
        self.after_s = after_s
        """How long the server wants not to be asked (Retry-After)."""


def is_missing_right(refused: KubernetesError) -> bool:
    """Whether it was refused for want of a right, as far as the API server knows."""
    return refused.hint in {ROLE_HINT, PATH_HINT}


def without_credentials(text: str) -> str:
    """A text without the names and passwords that the URLs in it may have, such as a proxy's."""
    return _CREDENTIALS.sub("//", text)


def refusal(server: str, what: str, status: int, content: bytes, headers: Mapping[str, str]) -> KubernetesError:
    """The error of a response that is a refusal, in the API server's words."""
    try:
        told = msgspec.json.decode(content, type=StatusResponse)
    except (msgspec.MsgspecError, RecursionError):
        told = StatusResponse()
    message = " ".join(told.message.split())
    shown = message if len(message) <= MOST_CHARACTERS else f"{message[:MOST_CHARACTERS]}..."
    text = f"Kubernetes would not {what}: HTTP {status} {shown}".rstrip()
    if _DENIED.search(message):  # with whatever status the policy chose, and whatever words
        return KubernetesError(text, hint=ADMISSION_HINT, status=status)
    # That of a uid says that another object has the name now.
    changed_meanwhile = status == 409 and "Operation cannot be fulfilled" in message and "recondition" not in message
    if status == 429 or status >= 500 or changed_meanwhile:
        after = headers.get("Retry-After", "")
        after_s = float(after) if after.isdecimal() else 0.0
        hint = WEBHOOK_HINT if _WEBHOOK_AWAY.search(message) else ""
        return KubernetesUnavailableError(text, hint=hint, status=status, after_s=after_s)
    if status == 401:
        hint = "log in again, or check the plugin of the kubeconfig: see 'kubectl auth whoami'"
        return KubernetesError(f"the API server at {server} does not accept the credentials", hint=hint, status=status)
    if status == 409 and "being deleted" in message:
        return StillGoingError(text, status=status)
    if status == 403 and _NO_RIGHT.search(message):
        hint = PATH_HINT if "cannot get path" in message else ROLE_HINT
        return KubernetesError(text, hint=hint, status=status)
    return KubernetesError(text, status=status)
