"""The real clock."""

from types import SimpleNamespace

import pytest

from hydra.run import clock as clock_module
from hydra.run.clock import MonotonicClock


def test_it_never_goes_back():
    clock = MonotonicClock()
    seen = [clock.now_s() for _ in range(1000)]
    assert seen == sorted(seen)


def test_a_sleep_takes_its_time():
    clock = MonotonicClock()
    began_s = clock.now_s()
    clock.sleep(0.05)
    assert clock.now_s() - began_s >= 0.05


@pytest.mark.parametrize("seconds", [0, -1, -1e9])
def test_no_time_is_no_sleep(seconds, monkeypatch):
    slept = []
    # In this module alone: threads of other tests may sleep meanwhile.
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(sleep=slept.append))
    MonotonicClock().sleep(seconds)
    assert slept == []
