"""How many old and new tasks there are at each moment of an exchange, by the app's upgrade strategy."""

import pytest

pytestmark = pytest.mark.integration

RESOURCES = {"cpus": 0.1, "mem": 16}
CHECK = {
    "protocol": "COMMAND", "command": {"value": "test -e healthy"}, "intervalSeconds": 0.05, "delaySeconds": 0,
    "timeoutSeconds": 5,
}  # fmt: skip
ENDS = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}


def counts(events):
    """After each event, how many tasks there are and how many of them are healthy."""
    seen, healthy = set(), set()
    for event in events:
        if event["eventType"] == "instance_health_changed_event":
            (healthy.add if event["healthy"] else healthy.discard)(event["instanceId"])
        elif event["eventType"] == "instance_changed_event":
            instance_id = event["instanceId"]
            if f"TASK_{event['condition'].upper()}" in ENDS:
                seen.discard(instance_id)
                healthy.discard(instance_id)
            else:
                seen.add(instance_id)
        yield len(seen), len(healthy)


@pytest.mark.parametrize(
    ("instances", "minimum", "maximum", "bounds", "moments"),
    [
        # Two of four must stay, five may be there.
        (4, 0.5, 0.25, (2, 5), [(2, 3), (1, 4), (0, 4)]),
        # A share of 0.75 tasks that must stay is one task; room for 4.8 tasks is room for four.
        (3, 0.25, 0.6, (1, 4), [(1, 3), (0, 3)]),
        # It may only shrink.
        (2, 0.5, 0, (1, 2), [(1, 1), (0, 2)]),
        # It may only grow.
        (2, 1, 0.5, (2, 3), [(2, 1), (1, 2)]),
    ],
)
def test_an_exchange_by_a_share_goes_step_by_step(server, poll, listen, instances, minimum, maximum, bounds, moments):
    events = listen("instance_changed_event", "instance_health_changed_event")
    poll(lambda: events)
    strategy = {"minimumHealthCapacity": minimum, "maximumOverCapacity": maximum}
    cmd = 'test -n "$WAITS" || touch healthy; exec sleep 1000'
    app = {"cmd": cmd, "upgradeStrategy": strategy, "healthChecks": [CHECK], **RESOURCES}
    old = {task["id"] for task in server.start_app("/x", instances=instances, **app)}
    poll(lambda: list(counts(events))[-1] == (instances, instances))
    begin = len(events) - 1
    assert server.call("PUT", "/v2/apps/x", {"env": {"WAITS": "yes"}}).status_code == 200

    def there():
        ids = {task["id"] for task in server.tasks("/x") if task["state"] == "TASK_RUNNING"}
        return len(ids & old), len(ids - old)

    # No new task becomes healthy until it is told to: every moment stays until then.
    told = set()
    for moment in moments:
        poll(lambda moment=moment: there() == moment)
        assert server.deployments()
        new = sorted(task["id"] for task in server.tasks("/x") if task["id"] not in old | told)
        (server.sandbox(new[0]) / "healthy").touch()
        told.add(new[0])
    for task in server.tasks("/x"):
        (server.sandbox(task["id"]) / "healthy").touch()
    server.wait_settled()
    poll(lambda: list(counts(events))[-1] == (instances, instances))
    during = list(counts(events))[begin:]
    assert (min(healthy for _seen, healthy in during), max(seen for seen, _healthy in during)) == bounds
