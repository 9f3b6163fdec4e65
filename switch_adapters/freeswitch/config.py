"""What can be set about one FreeSWITCH? Frozen values with their reasons; the settings file maps onto them.

Times end in their unit. Every wait of the door is one of these numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from ocs.refusals import Refusal
from ocs.services.refusal_codes import SIP_ANSWERS


class Offer(StrEnum):
    """What to do with a call that a rule matches."""

    AUTHORISE = "authorise"
    """It waits in park for our yes."""
    WATCH = "watch"
    """It goes on by itself; it is metered from its events and cut when its credit is gone."""
    IGNORE = "ignore"
    """Not our business."""


class Direction(StrEnum):
    """The side of the switch on which the call's first channel was made."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    """Made by the switch itself (originate) and belonging to no other channel: a call-back, a click to
    dial.
    """


@dataclass(frozen=True, slots=True)
class OfferRule:
    """Which calls are offered, and how. All conditions that are set must hold; the first rule that holds
    decides.

    `variable` must be visible and, with `variable_pattern`, match it whole. A watch rule should name a
    variable that the dial plan sets once it has routed the call: before that the rule does not hold, and
    the call is looked at again with its next event. `destination_pattern` matches the number dialled,
    whole.
    """

    offer: Offer
    context: str | None = None
    profile: str | None = None
    variable: str | None = None
    variable_pattern: re.Pattern[str] | None = None
    destination_pattern: re.Pattern[str] | None = None
    direction: Direction = Direction.INBOUND


@dataclass(frozen=True, slots=True)
class Rejection:
    """How one refusal is told to the caller.

    `respond` is a SIP status line such as "402 Payment Required"; without it, or once the call is answered,
    it is hung up with `cause`. `announcement` is a file or tone_stream, played in early media before.
    """

    cause: str = "CALL_REJECTED"
    respond: str | None = None
    announcement: str | None = None


_CAUSES: Final[Mapping[Refusal, str]] = {
    Refusal.OVERLOADED: "SWITCH_CONGESTION",
    Refusal.UNAVAILABLE: "NORMAL_TEMPORARY_FAILURE",
    Refusal.CALL_CLOSED: "NORMAL_TEMPORARY_FAILURE",
    Refusal.CALL_ID_IN_USE: "CALL_REJECTED",
    Refusal.NO_PAYER: "OUTGOING_CALL_BARRED",
    Refusal.BAD_NUMBER: "INVALID_NUMBER_FORMAT",
    Refusal.NO_RATE: "NO_ROUTE_DESTINATION",
    Refusal.NUMBER_BLOCKED: "OUTGOING_CALL_BARRED",
    Refusal.RATE_LIMIT: "SWITCH_CONGESTION",
    Refusal.ACCOUNT_UNKNOWN: "OUTGOING_CALL_BARRED",
    Refusal.ACCOUNT_BLOCKED: "OUTGOING_CALL_BARRED",
    Refusal.CONCURRENCY_LIMIT: "USER_BUSY",
    Refusal.DAILY_SPEND_LIMIT: "CALL_REJECTED",
    Refusal.INSUFFICIENT_FUNDS: "CALL_REJECTED",
}


def default_rejections() -> dict[Refusal, Rejection]:
    """The hang-up cause of each refusal, and the SIP answer that every door gives for it."""
    return {reason: Rejection(cause, SIP_ANSWERS[reason].line) for reason, cause in _CAUSES.items()}


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one Event Socket connection."""

    connect_timeout_s: float = 5.0
    """TCP, greeting and authentication, each."""
    reply_timeout_s: float = 5.0
    """A command's reply: replies take 1 ms, so after this the switch or the network has stalled."""
    max_pending: int = 2_000
    """Commands waiting for a reply; more means that the switch does not keep up."""
    max_queued_events: int = 20_000
    """About 20 s of events at the pace where FreeSWITCH saturates on two cores (1,000 events/s)."""
    max_queued_bytes: int = 128 * 1024 * 1024
    max_header: int = 64 * 1024
    max_body: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts to connect: doubling from base to max, each shortened by up to `jitter` at
    random.
    """

    base_s: float = 0.5
    max_s: float = 30.0
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class WarningSound:
    """How the caller hears that the credit ends. `leg`: aleg (the caller only) or both."""

    sound: str = "tone_stream://%(300,100,800);loops=2"
    leg: str = "aleg"


@dataclass(frozen=True, slots=True)
class ResyncLimits:
    """When a listing is asked for and how far it is believed."""

    period_s: float = 30.0
    recheck_s: float = 2.0
    """After a listing in which a call is missing: `show channels` lags by up to 0.3 s."""
    gap_s: float = 1.0
    """Listings asked for out of turn are this far apart: a call whose orders fail asks for one each time."""
    breaker_calls: int = 5
    breaker_share: float = 0.3
    """More than both of these missing at once: believe nothing …"""
    breaker_patience_s: float = 60.0
    """… but a call that the switch denied by name in every pass for so long. After a gap many calls are gone
    indeed, and their holds must not stay for ever."""
    max_dumps: int = 500
    """`uuid_dump` takes the switch 0.6 ms; the rest waits for the next pass."""


@dataclass(frozen=True, slots=True)
class CdrFolder:
    """Where mod_json_cdr writes its files. Taken ones move to `taken/` inside it, bad ones to
    `quarantine/`.
    """

    path: Path
    period_s: float = 5.0
    settle_s: float = 2.0
    """A file younger than this may still be written to."""
    keep_s: float = 86_400.0
    """Taken files are deleted when they are this old."""


@dataclass(frozen=True, slots=True)
class FreeSwitchConfig:
    """One switch. `name` is what calls and logs name it by."""

    name: str
    host: str = "127.0.0.1"
    port: int = 8021
    password: str = field(default="ClueCon", repr=False)
    rules: tuple[OfferRule, ...] = ()
    destination_variable: str | None = None
    """Channel variable that holds the number to be charged for; the number dialled if unset or missing."""
    transfer: str = "{destination} XML authorised"
    """Where an allowed call is sent: extension, dial plan, context. {destination} is the number as charged
    for, {dialled} as the switch had it, {context} the call's own, {variable_NAME} one of its channel
    variables.
    """
    fact_variables: tuple[str, ...] | None = None
    """Channel variables that payer rules look at; None: any (an event has about 150)."""
    call_id_variable: str = "ocs_call_id"
    granted_variable: str = "ocs_granted_s"
    rejections: Mapping[Refusal, Rejection] = field(default_factory=default_rejections)
    announcement_max_s: int = 15
    """An announcement that does not end is cut here."""
    warning: WarningSound = WarningSound()
    deadman_margin_s: int = 2
    """The switch's own timer runs this much later than ours: it is up to 0.95 s early and 0.23 s late."""
    cut_cause: str = "ALLOTTED_TIMEOUT"
    operator_cause: str = "MANAGER_REQUEST"
    hold_back_s: float = 0.5
    """How long the end of a leg waits for the ends of the legs it talked to; then it was a transfer."""
    heartbeat_timeout_s: float = 50.0
    """Two of the switch's HEARTBEATs (20 s apart) may be missed."""
    link: LinkLimits = LinkLimits()
    backoff: Backoff = Backoff()
    resync: ResyncLimits = ResyncLimits()
    cdr_folder: CdrFolder | None = None


_CALL_LIMITS: Final = LinkLimits(
    max_pending=32,
    max_queued_events=2_000,
    max_queued_bytes=4 * 1024 * 1024,
    max_header=128 * 1024,
    max_body=1024 * 1024,
)
"""One call's connection carries one call's events, about 10 KB each. What a call's INVITE brought stands in
headers there, so these are longer."""


@dataclass(frozen=True, slots=True)
class OutboundConfig:
    """Where calls come in over the outbound socket, and the bounds of each."""

    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 8084),)
    """Addresses; port 0 takes a free one."""
    peers: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks whose switches may connect. The protocol knows no password in this direction."""
    max_calls: int = 500
    """Calls at once; past it a connection is closed and the dial plan goes on with its next action."""
    linger_s: int = 5
    """How long the switch keeps the connection after the hang-up, so that its last events arrive."""
    answer_max_s: float = 10.0
    """Applications that take no time of their own: answer, transfer."""
    play_max_s: float = 120.0
    """All prompts of one `play` or `ask`; a longer one is broken off."""
    bridge_max_s: float = 86_400.0
    """Ringing and talking. Charging cuts long before; this is for a switch that never says how it ended."""
    margin_s: float = 5.0
    """On top of what an application may take by its own time-outs, before the switch is given up."""
    sound_extension: str = "wav"
    """Of the files that spoken numbers are made of."""
    said_sounds: Mapping[str, str] = field(default_factory=dict)
    """By language, the folder of those files: `say_string` names them without the language's sound-prefix.
    A language that is not here: where all of the switch's sounds are (its sound_prefix or sounds_dir).
    """
    stop_s: float = 5.0
    """How long `stop` waits for calls to be ended."""
    link: LinkLimits = _CALL_LIMITS
