"""The virtual agents of a local Marathon, as text: ``127.0.0.1 rack:a cpus:4, 127.0.0.2 rack:b``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CPUS = 1000.0
MEM_MIB = 1_000_000.0
"""More than a machine has: nothing holds a task to what it asked for, and an app asks for a whole CPU by default."""

_ADDRESS = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}", re.ASCII)


@dataclass(frozen=True)
class AgentSpec:
    """One virtual agent."""

    host: str = "127.0.0.1"
    """Address of this machine that its tasks are reached at; also its host name."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    cpus: float = CPUS
    mem_mib: float = MEM_MIB


def parse_agents(text: str) -> tuple[AgentSpec, ...]:
    """Agents with commas between them: an IPv4 address, then attributes ``name:value``, ``cpus:N`` and ``mem:MiB``.

    Raises:
        ValueError: with the rest of the sentence 'NAME=TEXT ...'.
    """
    agents = tuple(_parse_agent(part.split()) for part in text.split(","))
    if len({agent.host for agent in agents}) < len(agents):
        raise ValueError("names an address twice")
    return agents


def _parse_agent(words: list[str]) -> AgentSpec:
    host = words[0] if words else ""
    if not _ADDRESS.fullmatch(host) or not all(int(part) <= 255 for part in host.split(".")):
        raise ValueError("must be agents that begin with an IPv4 address each, such as 127.0.0.2 rack:b cpus:4")
    named: dict[str, str] = {}
    for word in words[1:]:
        name, _colon, value = word.partition(":")
        if not name or not value or name in named or name == "hostname":
            raise ValueError(f"has {word!r} where name:value is wanted, each name once")
        named[name] = value
    cpus, mem_mib = _amount(named, "cpus", CPUS), _amount(named, "mem", MEM_MIB)
    return AgentSpec(host, named, cpus, mem_mib)


def _amount(named: dict[str, str], name: str, default: float) -> float:
    text = named.pop(name, "")
    if not text:
        return default
    amount = float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else 0.0
    if not 0 < amount <= 1e9:
        raise ValueError(f"has {name}:{text} where a number is wanted")
    return amount
