"""The environment that processes start with: the controller's secrets are for none of them.

Nor are settings for the user's Python programs for Hydra's own processes.
"""

from __future__ import annotations

from collections.abc import Mapping

_KEPT = {
    "PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONHASHSEED",
}  # fmt: skip
"""Where modules and bytecode are, and how text is encoded. All others change how a program behaves."""


_SECRETS = ("HYDRA_KAFKA_", "HYDRA_MARATHON_")
"""What the names of the controller's secrets begin with."""


def for_own_processes(environment: Mapping[str, str]) -> dict[str, str]:
    """Without PYTHONWARNINGS, PYTHONDEVMODE, PYTHONOPTIMIZE and the like, which would end or slow what is measured."""
    return {
        name: value
        for name, value in for_other_programs(environment).items()
        if not name.startswith("PYTHON") or name in _KEPT
    }


def for_other_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """For programs that are not Hydra's: all but the controller's secrets, since nobody knows what else they need."""
    return {name: value for name, value in environment.items() if not name.startswith(_SECRETS)}
