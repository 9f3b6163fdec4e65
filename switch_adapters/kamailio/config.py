"""What can be set about one Kamailio? Frozen values with their reasons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KamailioConfig:
    """How calls on one Kamailio are ended and limited. url: JSON-RPC over xhttp, "http://127.0.0.1:8060/RPC"."""

    url: str
    timeout_s: float = 2.0
    """One question, the wait for a free connection included. Answers take 1 ms."""
    extends: bool = True
    """Its configuration is ours (docker/kamailio): it has /limit and /cancel beside the JSON-RPC."""
    margin_s: int = 2
    """Its dialog timer runs this much later than ours: it ticks once a second, up to a second early."""
    attempts: int = 3
    """Orders to end a call before it is called failed; whoever ordered it asks again."""
    confirm_s: float = 1.0
    """How long after an order the call may still be listed before it is ordered again."""
    connections: int = 4
    """Asked at once: it has four processes for TCP in docker/kamailio."""
    listing_timeout_s: float = 10.0
    listing_calls: int = 20_000
    """More calls are not listed: the answer is built in Kamailio's private memory (start.sh: OCS_PRIVATE_MB),
    and when that runs out inside a listing, 5.6 keeps a lock and stands still."""
    max_answer: int = 64 * 1024
    max_listing: int = 32 * 1024 * 1024
    """100 bytes a call."""

    def __post_init__(self) -> None:
        if not self.url.startswith("http://"):
            raise ValueError(f"{self.url!r} does not begin with http://")
