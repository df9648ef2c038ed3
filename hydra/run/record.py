"""The record of a run: everything that is known of it, as the result file holds it.

The format of the file is versioned; a reader refuses a version that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hydra.accounting.evidence import Evidence
from hydra.accounting.result import Result
from hydra.errors import HydraError, InterruptedRunError
from hydra.options.order import RunOrder

FORMAT = "hydra-result"
FORMAT_VERSION = 3


@dataclass(frozen=True)
class RunRecord:
    """One run, complete or not."""

    order: RunOrder
    status: Literal["complete", "failed", "interrupted"]
    started_at: str
    """ISO 8601, UTC."""
    exit_code: int
    error: str = ""
    """Why it has no result; empty where it has one."""
    phases_s: Mapping[str, float] = field(default_factory=dict)
    """How long each phase took."""
    seed_keys: Mapping[str, int | float] = field(default_factory=dict)
    """The eleven keys of the original's result dict; none where there is no result."""
    result: Result | None = None
    evidence: Evidence = field(default_factory=Evidence)
    """As far as the run got."""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    cluster: Mapping[str, Any] = field(default_factory=dict)
    format: str = FORMAT
    format_version: int = FORMAT_VERSION


def failed_record(order: RunOrder, started_at: str, error: BaseException) -> RunRecord:
    """The record of a run that an error ended."""
    interrupted = isinstance(error, (InterruptedRunError, KeyboardInterrupt))
    exit_code = error.exit_code if isinstance(error, (HydraError, InterruptedRunError)) else 130 if interrupted else 70
    return RunRecord(
        order=order,
        status="interrupted" if interrupted else "failed",
        started_at=started_at,
        exit_code=exit_code,
        error=str(error) or type(error).__name__,
    )
