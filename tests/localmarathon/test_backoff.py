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
    strategy = {"backoffSeconds": 0.2, "backoffFactor": 100, "maxLaunchDelaySeconds": 3}
    env = {"LOG": str(log), "SECOND_RUNS_S": "0"}
    server.create("/x", cmd=FAILING, env=env, **strategy, **RESOURCES)
    delays = []

    def second_pause():
        delays.extend(item["delay"] for item in server.get("/v2/queue").json()["queue"])
        return len(pauses(log)) >= 2

    # By the factor alone the second pause would be of 20 s.
    poll(second_pause)
    assert [pause >= least for pause, least in zip(pauses(log), (0.2, 3), strict=False)] == [True] * 2
    assert {delay["timeLeftSeconds"] for delay in delays if not delay["overdue"]} <= {0, 1, 2, 3}
    assert any(delay["timeLeftSeconds"] >= 1 for delay in delays)


def test_another_configuration_begins_without_the_delay(server, poll):
    server.create("/x", cmd="exit 1", backoffSeconds=600, maxLaunchDelaySeconds=600, **RESOURCES)
    poll(lambda: server.app("/x").get("lastTaskFailure"))
    server.call("PUT", "/v2/apps/x?force=true", {"cmd": "exec sleep 1000"})
    server.wait_settled()
    assert server.app("/x")["tasksRunning"] == 1


def test_the_queue_tells_of_a_back_off_and_its_delay_can_be_ended(server, poll, tmp_path):
    go = tmp_path / "go"
    server.create("/x", backoffSeconds=300, cmd=f"test -e {go} && exec sleep 1000", **RESOURCES)

    def held_back():
        queue = server.get("/v2/queue").json()["queue"]
        return [item for item in queue if not item["delay"]["overdue"]]

    (item,) = poll(held_back)
    assert (item["app"]["id"], item["count"], item["role"]) == ("/x", 1, "*")
    assert 100 < item["delay"]["timeLeftSeconds"] <= 300
    assert item["since"].endswith("Z")
    go.touch()
    assert server.call("DELETE", "/v2/queue/x/delay").status_code == 204
    server.wait_settled()
    assert server.get("/v2/queue").json() == {"queue": []}


def test_a_new_app_of_the_same_id_begins_without_the_delay(server, poll):
    failing = {"cmd": "exit 1", "backoffSeconds": 3600, "maxLaunchDelaySeconds": 3600}
    server.create("/x", **failing)
    first = poll(lambda: server.app("/x").get("lastTaskFailure"))
    server.call("DELETE", "/v2/apps/x")
    server.wait_settled()
    server.create("/x", **failing)
    assert poll(lambda: server.app("/x").get("lastTaskFailure"))["taskId"] != first["taskId"]
