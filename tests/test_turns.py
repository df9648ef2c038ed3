"""The turns of a test run's workers: who waits for whom."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tests.conftest import wait_until
from tests.turns import Turns


class Worker:
    """A worker of a test run, which runs one test after the other until it is told that they are over."""

    def __init__(self, folder):
        self._turns = Turns(folder)
        self.inside = threading.Event()
        self.over = threading.Event()

    def start(self, *tests):
        """Begin with tests, each of them (alone, next_alone)."""
        self._thread = threading.Thread(target=self._run, args=(tests,))
        self._thread.start()

    def _run(self, tests):
        for alone, next_alone in tests:
            with self._turns.turn(alone=alone, next_alone=next_alone):
                self.inside.set()
                assert self.over.wait(20)

    def end(self):
        self.over.set()
        self._thread.join(20)


@pytest.fixture
def workers(tmp_path):
    made = [Worker(tmp_path) for _ in range(3)]
    yield made
    for worker in made:
        worker.end()


def test_any_number_goes_on_side_by_side(workers):
    for worker in workers:
        worker.start((False, False))
    wait_until(lambda: all(worker.inside.is_set() for worker in workers), 10, "all of them run")


def test_one_that_is_alone_waits_for_those_inside_and_lets_nobody_new_in(workers):
    inside, alone, new = workers
    inside.start((False, False))
    assert inside.inside.wait(10)
    alone.start((True, False))
    assert not alone.inside.wait(0.2)
    new.start((False, False))
    assert not new.inside.wait(0.2)
    inside.end()
    assert alone.inside.wait(10)
    assert not new.inside.wait(0.2)
    alone.end()
    assert new.inside.wait(10)


def test_neighbours_that_are_alone_share_a_turn(tmp_path, workers):
    other = workers[0]
    turns = Turns(tmp_path)
    with turns.turn(alone=True, next_alone=True):
        other.start((False, False))
    assert not other.inside.wait(0.2), "between two of them nobody comes in"
    with contextlib.suppress(RuntimeError), turns.turn(alone=True, next_alone=False):
        assert not other.inside.is_set()
        raise RuntimeError  # a test that fails gives its turn back all the same
    assert other.inside.wait(10)
    for worker in workers[1:]:
        worker.start()
