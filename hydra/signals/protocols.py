"""The seam to the tasks: signals out, replies in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hydra.endpoints import Endpoint
from hydra.signals.messages import Request


@dataclass(frozen=True)
class SignalReply:
    """A peer's reply to a signal, or why there is none."""

    body: bytes = b""
    """JSON of the reply's ``result``; empty when there is an error."""
    error: str = ""
    silent: bool = False
    """No reply came at all; false where the peer refused."""
    sent_s: float = 0.0
    received_s: float = 0.0
    """When the request went out and the reply was there, on the asker's clock."""

    @property
    def ok(self) -> bool:
        """Whether the peer carried the signal out."""
        return not self.error


class Signals(Protocol):
    """Sends signals to tasks. Not in the contract: order between peers; that a silent peer did nothing."""

    def ask(self, requests: Mapping[Endpoint, Request], timeout_s: float) -> Mapping[Endpoint, SignalReply]:
        """Send each peer its request, all at once, and wait until all have answered or ``timeout_s`` is over.

        Returns an answer for every endpoint; a peer that stayed silent has an ``error`` that says so. Never raises for
        a peer.
        """
        ...

    def close(self) -> None:
        """Let go of all sockets at once, whatever is under way; harmless the second time."""
        ...
