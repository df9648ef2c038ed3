"""The error tree: one exit code a branch, and a sentence that a user can act on.

Exit codes 0 (pass) and 1 (loss) are verdicts of a run, not errors. Two more errors stand beside what raises them, and
have no branch of their own: ``DecodeError`` (codec.py) and ``SignalError`` (signals/messages.py). A signal that ends a
run is no error, and stands beside the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HydraError(Exception):
    """Anything that Hydra tells its user about; a bug of ours where no branch below says otherwise.

    Args:
        message: what is wrong, with the name and the value, as the start of a sentence.
        hint: what the user can do about it; left out where there is nothing.
    """

    exit_code: int = 70
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(HydraError):
    """A flag, an attribute of the batch API's options, or a combination of them that cannot be."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A hydra.ini that is missing, unreadable or wrong; names file, line and key."""


class CapacityError(UsageError):
    """This machine cannot hold what was asked for (file descriptors, memory); names the number that is needed."""


class DegradedError(HydraError):
    """Someone is missing, so that no honest answer can be given."""

    exit_code = 3


class NotReadyError(DegradedError):
    """The start deadline passed before everyone was ready; ``missing`` names apps, tasks or clients that were not."""

    def __init__(self, message: str, *, hint: str = "", missing: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.missing = tuple(missing)


class AccountingError(HydraError):
    """An identity that holds in every run does not hold in this one: the figures cannot be trusted."""


class InfrastructureError(HydraError):
    """The broker, Marathon, Java or the file system is unreachable or unusable."""

    exit_code = 4


class BrokerError(InfrastructureError):
    """Kafka cannot be reached, refused us, or died; names host:port or the topic."""


class JavaError(InfrastructureError):
    """There is no Java, or it is too old, or it does not start."""


class JarError(InfrastructureError):
    """A jar cannot be had, or is not the one that the lock names."""


class MarathonError(InfrastructureError):
    """Marathon cannot be reached, or answered what it should not; ``status`` is the HTTP status where there is one."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class AppLockedError(MarathonError):
    """409: the app is locked by deployments, named as far as they are known. Worth another try, never worth a force."""

    retryable = True

    def __init__(
        self, message: str, *, hint: str = "", status: int | None = 409, deployment_ids: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.deployment_ids = tuple(deployment_ids)


class KubernetesError(InfrastructureError):
    """Kubernetes cannot be reached, or refused something; ``status`` is the HTTP status where there is one."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StillGoingError(KubernetesError):
    """What had that name before is still being removed: worth another try."""

    retryable = True


class RemoteRunError(HydraError):
    """A run whose controller is elsewhere has ended with an error; exit code and words are those of that controller."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class OutputError(InfrastructureError):
    """A result file cannot be written; names the path and the reason."""


class InterruptedRunError(BaseException):
    """A signal reached the controller, such as SIGINT (2, exit 130), SIGTERM (15, 143) or SIGHUP (1, 129).

    As KeyboardInterrupt it is no Exception: whoever makes the best of an error and goes on must not go on after it.
    """

    hint = ""

    def __init__(self, signal_number: int) -> None:
        words = {2: "interrupted", 15: "terminated", 1: "ended by SIGHUP (the terminal closed)"}
        self.message = words.get(signal_number, f"ended by signal {signal_number}")
        super().__init__(self.message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
