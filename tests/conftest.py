"""What all tests share: where commands run, in which order tests run, and how many random examples they take."""

from __future__ import annotations

import gc
import signal
import sys
import warnings
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
    "kafkatest/test_faults.py",
    "sweep/test_sweep_command.py",
    "kafkatest/test_stack.py",
    "kafkatest/test_interruptions.py",
    "clients/test_drivers_on_kafka.py",
    "engine/test_marathon_launcher.py",
    "kafkatest/test_marathon_elsewhere.py",
    "kafkatest/test_group_mode.py",
    "kafkatest/test_running_stack.py",
    "kafkatest/test_batch_api.py",
    "kafkatest/test_command.py",
    "report/test_page.py",
    "broker/test_embedded.py",
    "test_notebook.py",
)
"""Begun first, so that no worker is left alone with them at the end."""


def pytest_configure() -> None:
    """What was ignored where the suite was started (nohup, a shell's background) is not what users ignore."""
    for number in END_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, then the others that start processes."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    assert all(path.is_file() for path in ranks), "LONGEST_FIRST names a file that is not there"
    items.sort(key=lambda item: (ranks.get(item.path, len(ranks)), item.get_closest_marker("integration") is None))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only marked tests are asked for (scripts/test), files without the mark are not even read."""
    marks = {name for name in ("alone", "release") if config.option.markexpr.split(" ")[0] == name}
    if marks and collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        return not any(f"mark.{name}" in collection_path.read_text() for name in marks) or None
    return None


@pytest.fixture(scope="module", autouse=True)
def sockets_of_kafka_python() -> Iterator[None]:
    """kafka-python leaves sockets of refused connections to the garbage collector: in no other test's time."""
    yield
    if "kafka" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


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
