"""Wanted minus seen."""

import pytest

from hydra.endpoints import Endpoint
from hydra.run.app_spec import ScalingDifference, Task, difference

PLACE = Endpoint("127.0.0.1", 31000)


def tasks(running=0, staged=0, without_port=0):
    kinds = [(True, PLACE)] * running + [(False, None)] * staged + [(True, None)] * without_port
    return [Task(f"t{number}", "/g1/kafka-sub", up, place) for number, (up, place) in enumerate(kinds)]


@pytest.mark.parametrize(
    ("wanted", "seen", "missing", "surplus"),
    [
        (0, tasks(), 0, 0),
        (3, tasks(), 3, 0),
        (3, tasks(running=3), 0, 0),
        (3, tasks(running=2, staged=1), 1, 0),
        (3, tasks(running=2, without_port=1), 1, 0),
        (3, tasks(running=5), 0, 2),
        (2, tasks(running=1, staged=3), 1, 2),
        (0, tasks(staged=1), 0, 1),
    ],
)
def test_the_difference(wanted, seen, missing, surplus):
    found = difference(wanted, seen)
    assert found == ScalingDifference(missing, surplus)
    assert found.settled is (missing == surplus == 0)


@pytest.mark.parametrize(
    ("host", "text"), [("10.0.0.2", "10.0.0.2:9092"), ("::1", "[::1]:9092"), ("kafka-1.lab", "kafka-1.lab:9092")]
)
def test_an_endpoint_as_text(host, text):
    assert str(Endpoint(host, 9092)) == text
