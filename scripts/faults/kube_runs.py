"""A run on Kubernetes, with the Kafka of the house; and what has to come of it."""

from __future__ import annotations

from rows import RESULT
from stage import Stage

from tests.commands import Command

RATE = 100
SIZE = ("--total_sub_apps=3", "--clients_per_app=2", f"--msg_rate={RATE}", "--warmup=0", "--kube_image=hydra:1")
SENDING = "delivered [1-9]"


def _servers(stage: Stage) -> str:
    return f"--bootstrap_servers={stage.house.kafka}"


def kube_run(stage: Stage, *arguments: str, seconds: int = 12) -> Command:
    """Start it."""
    duration = f"--test_duration={seconds}"
    return stage.hydra("kafka", "--engine=kubernetes", _servers(stage), *SIZE, duration, RESULT, *arguments)


def ends_well(stage: Stage, command: Command, seconds: int = 12) -> None:
    """All that was planned was measured, nothing is missing, and the verdict is that or the harness's."""
    code = command.end(150)
    assert code in {0, 3}, (code, command.errors[-6:])
    result = stage.place.record()["result"]
    totals = result["totals"]
    found = (totals["records_counted"], totals["records_lost"], totals["clients_missing"])
    told = [line for line in command.errors if "delivered" not in line]
    assert found == (seconds * RATE, 0, 0), (found, told[-8:])
    assert code == 0 or result["bottleneck"]["limit"] == "harness", (result["bottleneck"], result["reasons"])


def are_missing(stage: Stage, command: Command, clients: int) -> None:
    """So many clients are missing, and the others have lost nothing."""
    assert command.end(90) == 3, command.errors[-6:]
    totals = stage.place.record()["result"]["totals"]
    found = (totals["clients_missing"], totals["records_lost"])
    assert found == (clients, 0), (found, command.errors[-6:])


def assert_left(command: Command, told: str) -> None:
    """The command said what could not be removed, and why: that is no part of its verdict."""
    said = [line for line in command.errors if "not everything could be cleaned up: " in line]
    assert any(told in line for line in said), command.errors[-6:]


def clean_what_is_told(stage: Stage, command: Command) -> None:
    """After an API server was away: what the run could not remove in time it has told, and clean knows it."""
    if any("not everything could be cleaned up: " in line for line in command.errors):
        clean_up(stage)


def clean_up(stage: Stage, *removed: str) -> None:
    """``hydra clean`` finds and removes what was left, these among it."""
    cleaned = stage.hydra("clean", "--force", "--engine=kubernetes", _servers(stage))
    assert cleaned.end(90) == 0, cleaned.errors
    for what in removed:
        assert f"removed  {what}" in cleaned.text, cleaned.text
