"""Make this checkout's .venv, or bring it up to date, then become its Python: ``make_venv.py ARGS...``.

Called by scripts/python, which has found a Python for it and needs no Python where .venv is current already.

``.venv/made-from/`` holds the inputs that .venv was made from. Its file ``checkout`` is written last and removed first:
an interrupted .venv has none, and is made again from scratch.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

WAIT_DEADLINE_S = 900.0
STEP_DEADLINE_S = 900.0
POLL_S = 0.1
LOG_LINES_SHOWN = 12

# What the processes of a run import, and so nearly all that they ever compile.
COMPILED = (
    "hydra.cli.main, hydra.kafkatest.runtest, hydra.kafkatest.session, hydra.kafkatest.local_stack_main,"
    " hydra.localmarathon.server, hydra.tasks.kafka_pub, hydra.tasks.kafka_sub"
)

# What a user sets to reach an index. Everything else (PIP_USER, PIP_TARGET, PIP_CONSTRAINT, PIP_REQUIREMENT, ...) would
# change what is installed, and where.
PIP_NETWORK_SETTINGS = {
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_KEYRING_PROVIDER",
    "PIP_NO_CACHE_DIR",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
}


class SetupError(Exception):
    """.venv cannot be made; the text is one sentence for the user."""


class Venv:
    """The checkout's .venv and the files that it is made from.

    Args:
        root: the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.log = self.folder / "setup.log"
        self.bytecode = self.folder / "bytecode"  # as scripts/python has it
        self.made_from = self.folder / "made-from"
        self.checkout = self.made_from / "checkout"
        try:
            self.inputs = {name: (root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")}
        except OSError as error:
            raise SetupError(f"{error.filename} cannot be read: {error.strerror}") from error

    def is_complete(self) -> bool:
        """Whether a set-up got to its end, and in this place: a .venv does not survive being moved."""
        try:
            made_for = self.checkout.read_text()
        except OSError:
            return False
        return made_for == f"{self.root}\n" and os.access(self.python, os.X_OK)

    def lacks(self, name: str) -> bool:
        """Whether .venv was made from another version of the file ``name``."""
        try:
            return (self.made_from / name).read_bytes() != self.inputs[name]
        except OSError:
            return True

    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return self.is_complete() and not any(map(self.lacks, self.inputs))

    def mark_incomplete(self) -> None:
        """Have the next set-up make this .venv from scratch."""
        self.checkout.unlink(missing_ok=True)

    def mark_complete(self) -> None:
        """Write what .venv was made from: the inputs as read before the set-up, even if one has changed since."""
        self.made_from.mkdir(exist_ok=True)
        for name, content in self.inputs.items():
            (self.made_from / name).write_bytes(content)
        written = self.made_from / "checkout.new"
        written.write_text(f"{self.root}\n")
        written.replace(self.checkout)


def main(root: Path, arguments: list[str]) -> NoReturn:
    """Set up what is missing, then run the .venv's Python with ``arguments`` in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        venv = Venv(root)
        with exclusive(root / ".venv.lock") as lock_fd:
            if not venv.is_current():
                SetUp(venv, lock_fd).run()
    except SetupError as error:
        say(str(error))
        sys.exit(4)
    except OSError as error:
        say(f"{error.filename or root / '.venv'} cannot be written: {error.strerror or error}")
        sys.exit(4)
    except KeyboardInterrupt:
        say("interrupted: the set-up starts again next time")
        sys.exit(130)
    os.execv(venv.python, [str(venv.python), *arguments])


class SetUp:
    """One set-up of a .venv, under the lock.

    Args:
        venv: what to make.
        lock_fd: the lock's descriptor. Every command inherits it: if this process is killed, the lock is held until no
            command writes to .venv any more.
    """

    def __init__(self, venv: Venv, lock_fd: int) -> None:
        self.venv = venv
        self.lock_fd = lock_fd

    def run(self) -> None:
        """Make .venv, or update a complete one in place: something that still runs from it keeps its files.

        Raises:
            SetupError: a command failed or took too long.
        """
        began_s = time.monotonic()
        if self.venv.is_complete():
            say("pyproject.toml or requirements.lock has changed: updating .venv")
            self.venv.mark_incomplete()
        else:
            say(f"setting up .venv with Python {sys.version.split()[0]} (first start only; it downloads about 130 MB)")
            self._make_empty()
        if self.venv.lacks("requirements.lock"):
            hashed = ("--require-hashes", "--only-binary=:all:")
            self._pip_install("installing requirements.lock", *hashed, "-r", str(self.venv.root / "requirements.lock"))
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        with self._compiling():
            self._pip_install("installing Hydra", *offline, "--editable", str(self.venv.root))
        self.venv.mark_complete()
        say(f".venv is ready after {time.monotonic() - began_s:.0f} s")

    def _make_empty(self) -> None:
        remove(self.venv.folder)
        self.venv.folder.mkdir()
        # The real path names the version: when the system moves on to the next Python, the link dangles and .venv is
        # made again, instead of a new Python running with the old one's packages.
        python = os.path.realpath(sys.executable)
        self._run("making .venv", python, "-I", "-m", "venv", str(self.venv.folder))

    def _pip_install(self, purpose: str, *arguments: str) -> None:
        # Compiling all modules takes a quarter of the time, and most of them are never imported.
        options = ("--no-user", "--no-input", "--no-compile", "--disable-pip-version-check")
        self._run(purpose, str(self.venv.python), "-I", "-m", "pip", "install", *options, *arguments)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """Compile what a run imports meanwhile, on another core: later starts may have no right to write to .venv.

        A module that fails here fails again when it is used, and tells its user why.
        """
        remove(self.venv.bytecode)
        with self._child(
            str(self.venv.python), "-c", f"import {COMPILED}", PYTHONPYCACHEPREFIX=str(self.venv.bytecode)
        ) as child:
            yield
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STEP_DEADLINE_S)

    def _run(self, purpose: str, *command: str) -> None:
        with self._child(*command) as child:
            try:
                status = child.wait(STEP_DEADLINE_S)
            except subprocess.TimeoutExpired as error:
                raise SetupError(f"{purpose} took longer than {STEP_DEADLINE_S:.0f} s: see {self.venv.log}") from error
        if status != 0:
            last_lines = self.venv.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            raise SetupError("\n  ".join([f"{purpose} failed ({status}); the end of {self.venv.log}:", *last_lines]))

    @contextlib.contextmanager
    def _child(self, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process that writes to the log and is gone at the end, with its own children: they write to .venv, too."""
        with self.venv.log.open("a") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**installing_environment(), **environment},
                cwd=self.venv.root,
                pass_fds=(self.lock_fd,),
                start_new_session=True,
            )
            try:
                yield child
            finally:
                if child.poll() is None:  # interrupted or too slow
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()


def installing_environment() -> dict[str, str]:
    """The environment, less what would tell Python or pip where to find or put packages."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON")) or name in PIP_NETWORK_SETTINGS
    }


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the kernel's lock on ``path``, which ends with its holder's process.

    Raises:
        SetupError: another set-up held it for longer than ``WAIT_DEADLINE_S``.
    """
    deadline_s = time.monotonic() + WAIT_DEADLINE_S
    with path.open("w") as lock:
        said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise SetupError(f"another set-up has held {path} for {WAIT_DEADLINE_S:.0f} s") from None
                if not said:
                    say("waiting for another set-up of .venv")
                    said = True
                time.sleep(POLL_S)
        yield lock.fileno()


def remove(folder: Path) -> None:
    """Remove the file or folder, without following a link."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def say(line: str) -> None:
    """Tell the user, on stderr: stdout belongs to the command that was asked for."""
    print(f"hydra: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent, sys.argv[1:])
