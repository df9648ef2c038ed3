"""The real clock."""

import time

import pytest

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
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("it slept"))
    clock = MonotonicClock()
    began_s = clock.now_s()
    clock.sleep(seconds)
    assert clock.now_s() >= began_s
