"""Python settings of the user's shell: they do not reach Hydra's own processes, and do not end the controller."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hydra
from hydra.environment import for_other_programs, for_own_processes

ROOT = Path(hydra.__file__).parents[1]

SETTINGS = {
    "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "2", "PYTHONASYNCIODEBUG": "1",
    "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "PYTHONPROFILEIMPORTTIME": "1", "PYTHONTRACEMALLOC": "5",
    "PYTHONINTMAXSTRDIGITS": "640", "PYTHON_GIL": "1",
}  # fmt: skip
ENDING = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "1", "PYTHONASYNCIODEBUG": "1"}
"""What a command that no flag can isolate has to bear."""


def test_what_changes_a_program_is_left_out():
    kept = {"PATH": "/bin", "PYTHONPATH": "/drivers", "PYTHONPYCACHEPREFIX": "/cache", "PYTHONHOME": "/python"}
    secrets = {"HYDRA_KAFKA_PASSWORD": "x", "HYDRA_MARATHON_PASSWORD": "x"}
    assert for_own_processes({**kept, **SETTINGS, **secrets}) == kept
    assert for_other_programs({**kept, **SETTINGS, **secrets}) == {**kept, **SETTINGS}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "settings"),
    [([str(ROOT / "scripts" / "hydra")], SETTINGS), ([sys.executable, "-m", "hydra"], ENDING)],
    ids=["scripts/hydra", "python -m hydra"],
)
@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (["kafka", "--acks=2"], 2, "hydra: "),
        # A controller with a stack of its own, up to the first look at the broker.
        pytest.param(
            *(["kafka", "--bootstrap_servers=127.0.0.1:9", "--total_sub_apps=1"], 4, "127.0.0.1:9: Connection refused"),
            marks=pytest.mark.release,
        ),
    ],
)
def test_a_refused_command_is_refused_as_ever(tmp_path, command, settings, arguments, exit_code, complaint):
    environment = {**os.environ, **settings, "TMPDIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    ended = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == exit_code, ended.stderr
    assert complaint in ended.stderr
    assert "Warning" not in ended.stderr + ended.stdout
