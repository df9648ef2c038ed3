"""The back-off of tasks that end by themselves: how it grows, where it stops, when it is forgotten."""

from itertools import pairwise

import pytest

pytestmark = pytest.mark.integration

RESOURCES = {"cpus": 0.1, "mem": 16}
# Every incarnation writes when it begins and when it ends; the second one runs for a while.
FAILING = """
begin=$(date +%s.%N)
test "$(wc -l < "$LOG")" -ne 1 || sleep "$SECOND_RUNS_S"
echo "$begin $(date +%s.%N)" >> "$LOG"
exit 1
"""


@pytest.fixture
def log(tmp_path):
    """A file that tasks write to: a line for each, with its begin and its end in s."""
    path = tmp_path / "log"
    path.touch()
    return path


def pauses(log):
    """The times in s from the end of a task to the begin of the next one."""
    runs = [[float(moment) for moment in line.split()] for line in log.read_text().splitlines()]
    return [later[0] - earlier[1] for earlier, later in pairwise(runs)]


def test_the_delay_grows_by_its_factor_and_no_further_than_its_maximum(server, poll, log):
    strategy = {"backoffSeconds": 0.2, "backoffFactor": 100, "maxLaunchDelaySeconds": 1}
    env = {"LOG": str(log), "SECOND_RUNS_S": "0"}
    server.create("/x", cmd=FAILING, env=env, **strategy, **RESOURCES)
    delays = []

    def third_pause():
        delays.extend(item["delay"] for item in server.get("/v2/queue").json()["queue"])
        return len(pauses(log)) >= 3

    # By the factor alone the second pause would be of 20 s.
    poll(third_pause)
    assert [pause >= least for pause, least in zip(pauses(log), (0.2, 1, 1), strict=False)] == [True] * 3
    assert {delay["timeLeftSeconds"] for delay in delays if not delay["overdue"]} <= {0, 1}
    assert {"timeLeftSeconds": 1, "overdue": False} in delays


def test_the_delay_is_forgotten_when_nothing_fails_for_its_maximum(server, poll, log):
    strategy = {"backoffSeconds": 0.1, "backoffFactor": 100, "maxLaunchDelaySeconds": 3}
    env = {"LOG": str(log), "SECOND_RUNS_S": "3.1"}
    server.create("/x", cmd=FAILING, env=env, **strategy, **RESOURCES)
    poll(lambda: len(pauses(log)) >= 2)
    # Remembered, the delay after the second task would be the maximum.
    assert 0.1 <= pauses(log)[1] < 3
