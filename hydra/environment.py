"""The environment that Hydra's own Python processes start with: settings for the user's programs are not for them."""

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
    """Without PYTHONWARNINGS, PYTHONDEVMODE, PYTHONOPTIMIZE and the like, which would end or slow what is measured.

    And without the controller's secrets, which are for the controller alone.
    """
    return {
        name: value
        for name, value in environment.items()
        if (not name.startswith("PYTHON") or name in _KEPT) and not name.startswith(_SECRETS)
    }
