"""Where a polled client reads on when its position was out of the log's range."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hydra.accounting.tally import ClientTally
from hydra.clients.round_robin import PolledClient


def client_at(offset):
    tally = ClientTally("c", b"", [(0, offset)])
    return SimpleNamespace(tally=tally, lasting_error="")


@pytest.mark.parametrize(
    ("at", "start", "end", "to"),
    [(50, 60, 80, 60), (50, 0, 40, 40), (50, 0, 80, 50), (50, 50, 80, 50), (50, 0, 50, 50)],
)
def test_nothing_that_the_log_holds_is_passed_over(at, start, end, to):
    client = client_at(at)
    assert PolledClient.jump(client, 0, start, end) == to
    part = client.tally.partitions[0]
    assert (part.next_offset, bool(part.jumps), bool(client.lasting_error)) == (to, to != at, to != at)
