"""Whether a namespace of Kubernetes has room for a run, as far as this user may look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hydra.engine.kube_limits import refusals
from hydra.engine.kube_namespace import KubernetesNamespace
from hydra.engine.kube_quotas import needs, shortages
from hydra.errors import KubernetesError
from hydra.options.options import Options

T = TypeVar("T")


@dataclass(frozen=True)
class Fit:
    """What a look at the quotas and limit ranges of a namespace has shown."""

    pods: int
    """That the run needs."""
    short: Sequence[str]
    """Why it does not fit into quotas."""
    refused: Sequence[str]
    """Why limit ranges let its pods not in."""
    unseen: Sequence[str]
    """What this user may not list."""
    quotas: int
    ranges: int


def look_at_fit(namespace: KubernetesNamespace, options: Options, *, controller: bool = False) -> Fit:
    """Look at the namespace.

    Args:
        namespace: where the run is to be.
        options: of the run.
        controller: its controller is there, too, and not yet.

    Raises:
        KubernetesError: it cannot be looked at; without the right to, the rest is.
    """
    ranges, may_ranges = _listed(namespace.limit_ranges)
    quotas, may_quotas = _listed(namespace.quotas)
    wanted = needs(options, ranges, controller=controller)
    unseen = [name for name, may in (("resourcequotas", may_quotas), ("limitranges", may_ranges)) if not may]
    try:
        short, refused = shortages(quotas, wanted), refusals(ranges, options)
    except ValueError as error:
        raise KubernetesError(f"the quotas or limit ranges of {namespace.place} cannot be read: {error}") from error
    return Fit(int(wanted["pods"]), short, refused, unseen, len(quotas), len(ranges))


def _listed(listing: Callable[[], Sequence[T]]) -> tuple[Sequence[T], bool]:
    """What is there, and whether we may look."""
    try:
        return listing(), True
    except KubernetesError as error:
        if error.status != 403:
            raise
        return (), False
