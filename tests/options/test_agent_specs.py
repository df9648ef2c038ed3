"""The virtual agents of a local Marathon, as text."""

import pytest

from hydra.options.agent_specs import AgentSpec, parse_agents


def test_agents_are_read():
    first, second = parse_agents("127.0.0.1 slave_id:slave-set1_0 zone:x:y, 127.0.0.2 cpus:2.5 mem:512")
    assert first == AgentSpec("127.0.0.1", {"slave_id": "slave-set1_0", "zone": "x:y"})
    assert second == AgentSpec("127.0.0.2", {}, 2.5, 512)


@pytest.mark.parametrize(
    "text",
    ["", "here", "127.0.0.1,", "127.0.0.1, 127.0.0.1", "127.0.0.1 rack", "127.0.0.1 rack:a rack:b", "127.0.0.1 cpus:no",
     "127.0.0.1 mem:0", "127.0.0.1 hostname:x", "127.0.0.1 :x"],
)  # fmt: skip
def test_agents_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"must be agents|twice|wanted"):
        parse_agents(text)
