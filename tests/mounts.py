"""File systems of a test's own, which are full or have an option, and go with the program that uses them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

MOUNT = 'mount -t tmpfs -o "$1" none "$TMPDIR" && shift && exec "$@"'


@pytest.fixture
def mounted(tmp_path):
    """Runs a program whose temporary folder is a file system in memory, mounted with options."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "XDG_STATE_HOME": str(tmp_path)}

    def run(options, *program):
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", MOUNT, "sh", options, *program],
            env=environment, capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip

    if run("size=1m", "true").returncode:
        pytest.skip("this user may not mount a file system")
    return run
