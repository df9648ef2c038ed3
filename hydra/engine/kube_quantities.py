"""Quantities of Kubernetes, such as ``500m`` or ``1Gi``: values in, values out.

Forms: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Mapping[str, int] = {f"{letter}i": 1 << 10 * (power + 1) for power, letter in enumerate("KMGTPE")}
_MOST = Fraction(2**63 - 1)
"""Kubernetes takes what is larger for this, and so do we: ``1e999`` can be written, and is beyond every float."""


def quantity(text: str) -> Fraction:
    """The number that a quantity is.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity of Kubernetes")
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix in _BINARY:
        number *= _BINARY[suffix]
    else:
        number *= Fraction(10) ** int(match[3] or _DECIMAL[suffix])
    return max(-_MOST, min(number, _MOST))


def shown(amount: Fraction) -> str:
    """An amount as people write it: ``2600m``, ``25.3Gi``, ``101``."""
    if amount >= 1024**2:
        unit = max((name for name in _BINARY if _BINARY[name] <= amount), key=lambda name: _BINARY[name])
        return f"{float(amount / _BINARY[unit]):.3g}{unit}"
    return str(amount) if amount.denominator == 1 else f"{float(amount * 1000):.10g}m"
