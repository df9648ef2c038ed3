"""The entry scripts as a new user meets them: a fresh clone, an empty HOME, and little on PATH."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hydra

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("hydra", "test", "python", "make_venv.py")
SHELL_TOOLS = ("sh", "cmp", "readlink")

SET_UP_DEADLINE_S = 300.0
START_DEADLINE_S = 30.0
POLL_S = 0.02

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2 * SET_UP_DEADLINE_S)]
release = pytest.mark.release


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def real_python() -> str:
    """The Python below the virtualenv of the tests, as a fresh machine would have it."""
    return os.path.realpath(sys.executable)


def make_bin(folder: Path, **commands: str) -> Path:
    """A folder for PATH: what the scripts need of a POSIX system, the given commands, and neither java nor mvn."""
    folder.mkdir()
    for tool in SHELL_TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    for name, text in commands.items():
        write_script(folder / name, text)
    return folder


def plain_environment(bin_folder: Path, home: Path, **more: str) -> dict[str, str]:
    """The way to the package index, and nothing else of the developer's environment."""
    network = {
        name: value
        for name, value in os.environ.items()
        if name.upper().endswith(("_PROXY", "_CERT", "_CERT_FILE", "_CERT_DIR", "_CA_BUNDLE"))
        or name in {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CONFIG_FILE"}
    }
    return {**network, "PATH": str(bin_folder), "HOME": str(home), **more}


def copy_project(target: Path) -> None:
    """What a fresh clone would hold if the working tree were committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def copy_scripts(checkout: Path) -> None:
    """A project without dependencies, around the real scripts."""
    (checkout / "scripts").mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy2(ROOT / "scripts" / name, checkout / "scripts" / name)
    (checkout / "pyproject.toml").write_text('[project]\nname = "stand-in"\n')
    (checkout / "requirements.lock").write_text("")


def start(
    command: list[str | Path], environment: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=SET_UP_DEADLINE_S,
        check=False,
    )


@contextlib.contextmanager
def started(command: list[str | Path], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + START_DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {START_DEADLINE_S} s: {what}"
        time.sleep(POLL_S)


def is_locked(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class FreshClone:
    """A checkout whose first set-up was killed half-way, and that two users then started at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "check out"
        self.home = folder / "home"
        self.home.mkdir()
        self.bin = make_bin(folder / "bin", python3=f'exec "{real_python()}" "$@"')
        self.environment = plain_environment(self.bin, self.home)
        self.hydra = self.checkout / "scripts" / "hydra"
        copy_project(self.checkout)

    def interrupt_first_set_up(self) -> None:
        """SIGKILL, as soon as there is something in .venv."""
        venv = self.checkout / ".venv"
        with started([self.hydra, "--version"], self.environment) as process:
            wait_until((venv / "pyvenv.cfg").exists, "a half-made .venv")
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(START_DEADLINE_S) == -signal.SIGKILL
        assert not (venv / "made-from" / "checkout").exists()
        (venv / "half-made").touch()

    def start_two_at_once(self) -> list[tuple[int, str, str]]:
        command = [self.hydra, "--version"]
        with started(command, self.environment) as first, started(command, self.environment) as second:
            return [
                (process.wait(), stdout, stderr)
                for process in (first, second)
                for stdout, stderr in [process.communicate(timeout=SET_UP_DEADLINE_S)]
            ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = FreshClone(tmp_path_factory.mktemp("clone"))
    clone.interrupt_first_set_up()
    clone.first_starts = clone.start_two_at_once()
    return clone


@release
def test_two_first_starts_at_once_set_up_once_and_both_run(clone):
    assert [status for status, _, _ in clone.first_starts] == [0, 0], clone.first_starts
    assert all(hydra.__version__ in stdout for _, stdout, _ in clone.first_starts)
    told = "".join(stderr for _, _, stderr in clone.first_starts)
    assert told.count("setting up .venv") == 1
    assert told.count("waiting for another set-up") >= 1


@release
def test_a_half_made_venv_is_thrown_away(clone):
    assert not (clone.checkout / ".venv" / "half-made").exists()


@release
def test_a_later_start_says_and_writes_nothing_of_its_own(clone):
    log = clone.checkout / ".venv" / "setup.log"
    written_at_ns = log.stat().st_mtime_ns
    again = start([clone.hydra, "--version"], clone.environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert log.stat().st_mtime_ns == written_at_ns


@release
def test_bytecode_goes_to_the_venv_at_set_up_and_afterwards_also_where_nobody_writes_any(clone, tmp_path):
    bytecode = clone.checkout / ".venv" / "bytecode"
    compiled = {path.name.partition(".")[0] for path in bytecode.rglob("*.pyc")}
    assert {"kafka_pub", "kafka_sub", "runtest", "local_stack", "web_app"} <= compiled, "and web_app is aiohttp's"
    assert not list((clone.checkout / "hydra").rglob("__pycache__"))
    module = clone.checkout / "hydra" / "stray.py"
    module.write_text("")
    environment = {**clone.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    program = [clone.checkout / "scripts" / "python", "-c", "import hydra.stray"]
    assert start(program, environment, cwd=tmp_path).returncode == 0
    assert list(bytecode.rglob("stray.*.pyc"))
    module.unlink()


@release
def test_a_later_start_needs_no_python_on_path_and_no_home(clone, tmp_path):
    environment = plain_environment(make_bin(tmp_path / "bin"), Path("/dev/null"))
    del environment["HOME"]
    assert start([clone.hydra, "--version"], environment).returncode == 0


@release
def test_through_a_link_from_a_folder_with_another_hydra(clone, tmp_path):
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text("raise SystemExit('the wrong hydra')")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "inner").symlink_to(clone.hydra)
    (tmp_path / "run-hydra").symlink_to("links/inner")
    oddities = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path / "nowhere")}
    done = start([tmp_path / "run-hydra", "--version"], {**clone.environment, **oddities}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert hydra.__version__ in done.stdout


@release
def test_the_working_directory_and_the_arguments_stay_the_callers(clone, tmp_path):
    program = "import os, sys; print(os.getcwd(), sys.argv[1:])"
    done = start([clone.checkout / "scripts" / "python", "-c", program, "a b", ""], clone.environment, cwd=tmp_path)
    assert done.stdout == f"{tmp_path} ['a b', '']\n"


@release
def test_script_test_ends_with_pytests_line_and_fails_where_no_test_ran(clone, tmp_path):
    stray = clone.checkout / "tests" / "test_stray.py"
    stray.write_text("def test_one():\n    pass\n")
    command = [clone.checkout / "scripts" / "test", "tests/test_stray.py"]
    passed = start(command, clone.environment, cwd=tmp_path)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert re.fullmatch(r"1 passed in \d+\.\d+s", passed.stdout.splitlines()[-1])
    assert start([*command, "-k", "nothing"], clone.environment, cwd=tmp_path).returncode == 5


@release
def test_a_changed_project_file_updates_the_venv_in_place(clone):
    witness = clone.checkout / ".venv" / "kept"
    witness.touch()
    with (clone.checkout / "pyproject.toml").open("a") as project_file:
        project_file.write("# changed\n")
    updated = start([clone.hydra, "--version"], clone.environment)
    assert updated.returncode == 0, updated.stderr
    assert "updating .venv" in updated.stderr
    assert witness.exists()
    assert start([clone.hydra, "--version"], clone.environment).stderr == ""


@release
def test_pyb_package_holds_hydra_and_nothing_else(clone):
    left_by_tools = clone.checkout / "hydra" / "accounting" / ".mypy_cache" / "left.db"
    stale = clone.checkout / "build" / "lib" / "hydra" / "stale.py"
    for path in (left_by_tools, stale):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    before = {path.name for path in clone.checkout.iterdir()}
    pyb = [clone.checkout / "scripts" / "python", clone.checkout / ".venv" / "bin" / "pyb"]
    done = start([*pyb, "-x", "run_unit_tests", "package"], clone.environment, cwd=clone.checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in clone.checkout.iterdir()} - before <= {"target", ".pybuilder", "__pycache__"}

    [wheel] = (clone.checkout / "target" / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packaged = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "hydra"
    wanted = {f"hydra/{path.relative_to(package)}" for path in package.rglob("*.py")}
    wanted |= {f"hydra/{path.relative_to(package)}" for path in package.glob("broker/*.lock")}
    wanted |= {f"hydra/{path.relative_to(package)}" for path in package.glob("report/page.*")}
    wanted |= {f"hydra/{path.relative_to(package)}" for path in package.glob("report/live.*")}
    assert packaged >= wanted
    names = r"hydra/[\w/]+\.(py|lock|json|css|js|html(\.jinja)?|typed)|hydra/broker/kafka-[\d.]+\.lock"
    assert {name for name in packaged if not re.fullmatch(names, name)} == set()


@pytest.fixture
def stand_in(tmp_path):
    copy_scripts(tmp_path / "checkout")
    return tmp_path / "checkout"


def complete(checkout: Path) -> None:
    """The state that a finished set-up leaves, with a Python that tells that it ran."""
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "made-from").mkdir()
    write_script(venv / "bin" / "python", 'echo "ran $*"')
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy2(checkout / name, venv / "made-from" / name)
    (venv / "made-from" / "checkout").write_text(f"{checkout}\n")


def pretend(patch: str) -> str:
    """A Python that answers the scripts' question as if ``patch`` held, and names itself instead of setting up."""
    return f"""case $2 in
-c) exec "{real_python()}" -I -c 'import sys; {patch}; exec(sys.argv[1])' "$3" ;;
*) echo "taken: ${{0##*/}}" ;;
esac"""


def of_version(minor: int) -> str:
    return pretend(f'sys.version_info = (3, {minor}, 0, "final", 0)')


WITHOUT_ENSUREPIP = pretend('sys.modules["ensurepip"] = None')
STUB = "echo 'not installed here' >&2; exit 127"


@pytest.mark.parametrize(
    ("commands", "taken"),
    [
        ({"python3": of_version(10)}, "python3"),
        ({"python3": of_version(9), "python3.12": of_version(12)}, "python3.12"),
        ({"python3": WITHOUT_ENSUREPIP, "python3.11": of_version(11)}, "python3.11"),
        ({"python3": STUB, "python3.10": of_version(10)}, "python3.10"),
        ({"python3": of_version(15), "python3.13": of_version(13)}, "python3.13"),
        ({"python3": of_version(15)}, "python3"),
        ({"python": of_version(13)}, "python"),
    ],
)
def test_the_python_that_is_taken(stand_in, tmp_path, commands, taken):
    environment = plain_environment(make_bin(tmp_path / "bin", **commands), tmp_path)
    done = start([stand_in / "scripts" / "hydra"], environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"taken: {taken}\n", "")


@pytest.mark.parametrize(
    ("commands", "problem", "hint"),
    [
        ({}, "there is no python3 on PATH", "install Python 3.10 or newer"),
        ({"python3": STUB}, "there is no python3 on PATH", "install Python 3.10 or newer"),
        ({"python3": of_version(9)}, "bin/python3 is older than Python 3.10", "install Python 3.10 or newer"),
        ({"python3": WITHOUT_ENSUREPIP}, "bin/python3 has no venv or no ensurepip", "apt install python3-venv"),
    ],
)
def test_no_python_that_fits_is_one_clear_line(stand_in, tmp_path, commands, problem, hint):
    environment = plain_environment(make_bin(tmp_path / "bin", **commands), tmp_path)
    done = start([stand_in / "scripts" / "hydra", "--version"], environment)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1
    assert problem in done.stderr
    assert hint in done.stderr
    assert not (stand_in / ".venv").exists()


def test_a_moved_checkout_is_not_taken_for_set_up(stand_in, tmp_path):
    complete(stand_in)
    environment = plain_environment(make_bin(tmp_path / "bin", python3=of_version(12)), tmp_path)
    assert start([stand_in / "scripts" / "python"], environment).stdout == "ran \n"
    moved = stand_in.rename(tmp_path / "moved")
    assert start([moved / "scripts" / "python"], environment).stdout == "taken: python3\n"


def test_who_waited_uses_what_the_other_one_made(stand_in, tmp_path):
    environment = plain_environment(make_bin(tmp_path / "bin", python3=f'exec "{real_python()}" "$@"'), tmp_path)
    with (stand_in / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with started([stand_in / "scripts" / "python", "x"], environment) as process:
            assert process.stderr.readline() == "hydra: waiting for another set-up of .venv\n"
            complete(stand_in)
            fcntl.flock(lock, fcntl.LOCK_UN)
            stdout, stderr = process.communicate(timeout=START_DEADLINE_S)
    assert (process.returncode, stdout, stderr) == (0, "ran x\n", "")


def test_waiting_has_a_deadline(stand_in, tmp_path):
    make_venv = stand_in / "scripts" / "make_venv.py"
    make_venv.write_text(make_venv.read_text().replace("WAIT_DEADLINE_S = 900.0", "WAIT_DEADLINE_S = 0.3"))
    environment = plain_environment(make_bin(tmp_path / "bin", python3=f'exec "{real_python()}" "$@"'), tmp_path)
    with (stand_in / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = start([stand_in / "scripts" / "python"], environment)
    assert done.returncode == 4
    assert "another set-up has held" in done.stderr


@release
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_ended_set_up_leaves_no_process_behind(stand_in, tmp_path, number, status):
    environment = plain_environment(make_bin(tmp_path / "bin", python3=f'exec "{real_python()}" "$@"'), tmp_path)
    with started([stand_in / "scripts" / "python"], environment) as process:
        wait_until((stand_in / ".venv" / "pyvenv.cfg").exists, "a half-made .venv")
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=START_DEADLINE_S)
    assert process.returncode == status
    assert "Traceback" not in stderr
    wait_until(lambda: not is_locked(stand_in / ".venv.lock"), "the lock given back")
    assert not (stand_in / ".venv" / "made-from" / "checkout").exists()


def write_wheel(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "tampered-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tampered.py", "")
        wheel.writestr("tampered-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tampered\nVersion: 1.0\n")
        wheel.writestr("tampered-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tampered-1.0.dist-info/RECORD", "")


@release
def test_a_wheel_with_another_hash_is_refused(stand_in, tmp_path):
    write_wheel(tmp_path / "wheels")
    (stand_in / "requirements.lock").write_text(f"tampered==1.0 --hash=sha256:{'0' * 64}\n")
    where = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_TARGET": str(tmp_path / "astray")}
    bin_folder = make_bin(tmp_path / "bin", python3=f'exec "{real_python()}" "$@"')
    done = start([stand_in / "scripts" / "python"], plain_environment(bin_folder, Path("/dev/null"), **where))
    assert done.returncode == 4
    assert "installing requirements.lock failed" in done.stderr
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "astray").exists()
    assert not (stand_in / ".venv" / "made-from" / "checkout").exists()
