"""What all tests share: where commands run, in which order tests run, and how many random examples they take."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from hydra.cli.terminal import END_SIGNALS
from tests.commands import Command, Place
from tests.examples import examples

pytest_plugins = ["tests.browser", "tests.kafka_fixtures", "tests.marathon_fixtures"]

# The same examples in every run, on a machine of any speed, and nothing kept between runs.
settings.register_profile(
    "hydra", derandomize=True, deadline=None, database=None, max_examples=examples(100, at_least=25)
)
settings.load_profile("hydra")

LONGEST_FIRST = (
    "kafkatest/test_command.py",
    "sweep/test_sweep_command.py",
    "clients/test_drivers_on_kafka.py",
    "clients/test_secured_drivers.py",
    "kafkatest/test_batch_api.py",
    "kafkatest/test_faults.py",
    "kafkatest/test_interruptions.py",
    "kafkatest/test_stack.py",
    "kafkatest/test_marathon_elsewhere.py",
    "kafkatest/test_kubernetes.py",
    "report/test_page.py",
    "broker/test_embedded.py",
    "engine/test_marathon_launcher.py",
)
"""Begun first, so that no worker is left alone with them at the end."""


def pytest_configure() -> None:
    """What was ignored where the suite was started (nohup, a shell's background) is not what users ignore."""
    for number in END_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


TOGETHER = {
    "stack 1": (
        "kafkatest/test_batch_api.py",
        "kafkatest/test_clean.py",
        "kafkatest/test_command.py",
        "kafkatest/test_kubernetes.py",
        "kafkatest/test_metrics_watch.py",
    ),
    "stack 2": (
        "kafkatest/test_closed_terminal.py",
        "kafkatest/test_faulty_drivers.py",
        "kafkatest/test_marathon_elsewhere.py",
        "kafkatest/test_strangers.py",
        "sweep/test_sweep_command.py",
    ),
    "broker": (
        "broker/test_admin.py",
        "broker/test_embedded.py",
        "broker/test_process_watch.py",
        "broker/test_rights.py",
        "clients/test_drivers_on_kafka.py",
        "clients/test_group_membership.py",
    ),
    "browser": ("live/test_live_page.py", "localmarathon/test_guard.py", "report/test_page.py"),
}
"""Files for one worker, since they share what takes seconds to set up; any other file is for a worker of its own."""

_GROUPS = {f"tests/{name}": group for group, names in TOGETHER.items() for name in names}
_EXPENSIVE = {"running_stack", "broker", "look_at"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out files, not tests. (The marks of ``--dist=loadgroup`` are lost: pytest 9 knows no ``_nodeid``.)"""
    from xdist.scheduler import LoadScopeScheduling

    class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return _GROUPS.get(file, file)

    return FilesTogether(config, log)


def rank_of(path: Path) -> int:
    """The place in LONGEST_FIRST; behind it where the file does not stand there."""
    name = path.relative_to(Path(__file__).parent).as_posix()
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then the others that start processes."""
    folder = Path(__file__).parent
    assert all((folder / name).is_file() for name in LONGEST_FIRST), "LONGEST_FIRST names a file that is not there"
    for item in items:
        if item.get_closest_marker("release") is not None:
            continue
        assert item.get_closest_marker("alone") is None, f"{item.nodeid}: scripts/test has no turn for tests alone"
        if not _EXPENSIVE.isdisjoint(getattr(item, "fixturenames", ())):
            assert item.nodeid.partition("::")[0] in _GROUPS, f"{item.nodeid} belongs into a group of TOGETHER"
    items.sort(key=lambda item: (rank_of(item.path), item.get_closest_marker("integration") is None))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only marked tests are asked for (scripts/test), files without the mark are not even read."""
    marks = {name for name in ("alone", "release") if config.option.markexpr.split(" ")[0] == name}
    if marks and collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        return not any(f"mark.{name}" in collection_path.read_text() for name in marks) or None
    return None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of this test's own; nothing may be left in it afterwards."""
    here = Place(tmp_path)
    yield here
    try:
        here.assert_nothing_left()
    finally:
        here.end_all()


@pytest.fixture
def hydra(place: Place) -> Callable[..., Command]:
    """Start ``hydra`` with arguments."""

    def start(*arguments: str, prefix: list[str] | None = None) -> Command:
        return Command(place, list(arguments), prefix=prefix)

    return start
