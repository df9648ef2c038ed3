"""How many random examples the tests take."""

from __future__ import annotations

import os


def examples(count: int, *, at_least: int = 1) -> int:
    """A tenth of the examples; all of them where ``HYDRA_TEST_EXHAUSTIVE`` is set."""
    return count if os.environ.get("HYDRA_TEST_EXHAUSTIVE") else max(at_least, count // 10)
