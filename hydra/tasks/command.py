"""``hydra task ROLE``: what Marathon runs. Each role imports only what it needs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from hydra.errors import HydraError, UsageError

ROLES = {"kafka-pub": "hydra.tasks.kafka_pub", "kafka-sub": "hydra.tasks.kafka_sub"}


def task(arguments: Sequence[str]) -> int:
    """Run as a task of the given role until Marathon ends it. Returns an exit code only when that cannot be."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        if len(arguments) != 1 or arguments[0] not in ROLES:
            raise UsageError(f"hydra task {' '.join(arguments)}", hint=f"must name one of {', '.join(ROLES)}")
        import_module(ROLES[arguments[0]]).main()
    except HydraError as error:
        sys.stderr.write(f"hydra: {error}\n")
        return error.exit_code
    return 0
