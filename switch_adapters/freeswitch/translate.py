"""What does an event of FreeSWITCH mean for a call? Pure: (event, book of channels) to call events.

CHANNEL_HANGUP_COMPLETE is the authority on how long a call was up (billmsec) and why it ended; the meter
starts at the A leg's own answer time. A call is over when the channel that carries it hangs up and no leg
of it talks on. Which of the two it is cannot be read from one event: the legs of one hang-up report within
milliseconds of each other, in any order. So the end waits for the ends of the legs that were answered, at
most `hold_back_ms`; if one of them talks on, the call has moved there. The switch's own hang-up times tell
a late report from a transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ocs.rating.units import LONGEST_TALK_MS
from ocs.sessions.events import Answered, CallEvent, Ended, EndedBy, Mode, Moved, Offered, Ringing
from switch_adapters.freeswitch.channels import Call, Channel, Channels, Ending, micros
from switch_adapters.freeswitch.config import Direction, Offer, OfferRule
from switch_adapters.freeswitch.frames import Event, text

Delivery = tuple[str, CallEvent]
"""The channel that names the call, and what happened to it."""

EVENTS: Final = (
    "CHANNEL_CREATE",
    "CHANNEL_PARK",
    "CHANNEL_PROGRESS",
    "CHANNEL_PROGRESS_MEDIA",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_HANGUP_COMPLETE",
)
"""What the book needs to hear."""

SEEN: Final = "CHANNEL_DATA"
"""The name of what `uuid_dump` answers; handled like an event."""

_UNDERSTOOD: Final = frozenset((*EVENTS, SEEN))
_SAME_HANGUP_US: Final = 200_000
"""Legs whose hang-up times are this close went together: the times tick every 20 ms."""
_MAX_ATTRIBUTE: Final = 256
"""Longer variables (SDP bodies) are no facts about who pays."""
_RECEIVED: Final = ("recv_bye", "recv_cancel", "recv_refuse")


class ChannelBook(Channels):
    """Translates one switch's events in their order. `now_ms` is our clock; all other times are the
    switch's.
    """

    def __init__(
        self,
        rules: Iterable[OfferRule],
        *,
        destination_variable: str | None = None,
        keep_variables: Iterable[str] = (),
        fact_variables: Iterable[str] | None = None,
        cut_cause: str = "ALLOTTED_TIMEOUT",
        hold_back_ms: int = 500,
        unauthorised: Callable[[str], None] = lambda channel: None,
    ) -> None:
        """`unauthorised` hears of calls that a rule wanted authorised and that talked without asking."""
        super().__init__()
        self._rules = tuple(rules)
        self._destination_variable = destination_variable
        self._keep_variables = tuple(keep_variables)
        self.fact_variables = fact_variables
        """Channel variables that become facts of an offer; may be replaced at any time."""
        self._cut_cause = cut_cause
        self._hold_back_ms = hold_back_ms
        self._unauthorised = unauthorised
        self._ending: dict[str, Call] = {}
        """Calls whose end is held back, by channel; a few of thousands."""

    def translate(self, event: Event, now_ms: int) -> list[Delivery]:
        """What the event means, in order. Events of channels that are no business of ours give nothing."""
        uuid = text(event, "Unique-ID")
        name = text(event, "Event-Name")
        if not uuid or name not in _UNDERSTOOD or uuid in self.gone:
            return []
        channel = self.see(event, uuid, now_ms)
        root = self.root(uuid)
        call = self.calls.get(root)
        told: list[Delivery] = []
        if call is None and root == uuid and not channel.loopback:
            call = self._consider(event, name, channel, told)
        if call is not None:
            call.legs[uuid] = channel
            self._follow(call, channel, event, name, told)
        if name == "CHANNEL_HANGUP_COMPLETE":
            self.forget(uuid)
            if call is not None:
                self._hung_up(call, channel, event, now_ms, told)
        return told

    def due(self, now_ms: int) -> list[Delivery]:
        """Ends that waited long enough for their other legs: those calls have moved."""
        told: list[Delivery] = []
        for call in list(self._ending.values()):
            if call.ending is not None and call.ending.due_ms <= now_ms:
                self._move_or_end(call, told)
        return told

    def next_due_ms(self) -> int | None:
        """When `due` has something to say, by our clock."""
        return min((call.ending.due_ms for call in self._ending.values() if call.ending), default=None)

    def moved(self, call: Call, to: str, at_ms: int) -> Delivery:
        """The call goes on under another channel of its own."""
        call.live, call.ending = to, None
        self._ending.pop(call.channel, None)
        return call.channel, Moved(at_ms=at_ms, channel=to)

    def close(self, call: Call) -> None:
        """The call is over."""
        super().close(call)
        self._ending.pop(call.channel, None)

    # --- beginnings -----------------------------------------------------------------------------

    def _consider(self, event: Event, name: str, channel: Channel, told: list[Delivery]) -> Call | None:
        offer = self._rule_for(event, channel)
        parked = name == "CHANNEL_PARK" or (name == SEEN and _waits(event))
        ended = name == "CHANNEL_HANGUP_COMPLETE"
        if offer is Offer.AUTHORISE and ended and _talked_ms(event):
            self._unauthorised(channel.uuid)
        if offer is Offer.AUTHORISE and parked:
            mode = Mode.AUTHORISE
        elif offer is Offer.WATCH and (not ended or _talked_ms(event)):
            mode = Mode.WATCH
        else:
            return None
        call = Call(channel=channel.uuid, live=channel.uuid, mode=mode, parked=parked)
        self.offer(call)
        told.append((call.channel, self._offered(event, mode)))
        return call

    def _offered(self, event: Event, mode: Mode) -> Offered:
        dialled = text(event, "Caller-Destination-Number")
        wanted = text(event, f"variable_{self._destination_variable}") if self._destination_variable else ""
        return Offered(
            at_ms=_event_ms(event),
            mode=mode,
            origin=text(event, "Caller-ANI") or text(event, "Caller-Caller-ID-Number"),
            destination=wanted or dialled,
            attributes=attributes(event, self.fact_variables),
        )

    def asks_again(self, dump: Event) -> list[Delivery]:
        """The offer once more, if the dump shows that the call waits for a yes or no that was not taken.

        It is answered as before (`ocs.sessions.table.offered_again`).
        """
        call = self.calls.get(text(dump, "Unique-ID"))
        if call is None or not call.unanswered:
            return []
        call.unanswered = False
        if not _waits(dump):
            return []  # it went on: the yes was taken
        call.mode, call.parked = Mode.AUTHORISE, True
        return [(call.channel, self._offered(dump, call.mode))]

    def _rule_for(self, event: Event, channel: Channel) -> Offer | None:
        direction = Direction.INBOUND if channel.inbound else Direction.OUTBOUND
        for rule in self._rules:
            if rule.direction is direction and _holds(rule, event):
                return rule.offer
        return None

    def _follow(self, call: Call, channel: Channel, event: Event, name: str, told: list[Delivery]) -> None:
        first = channel.uuid == call.channel
        if first and not call.context:
            call.context = text(event, "Caller-Context")
            call.dialled = text(event, "Caller-Destination-Number")
            call.variables = {one: text(event, f"variable_{one}") for one in self._keep_variables}
        if first and name != SEEN:
            call.parked = name == "CHANNEL_PARK"
        if not first and name == "CHANNEL_ANSWER":
            call.peer_disposition = ""
        progress = name in ("CHANNEL_PROGRESS", "CHANNEL_PROGRESS_MEDIA")
        announcing = first and call.mode is Mode.AUTHORISE  # our own announcement is no ringing
        if progress and not announcing and not call.ringing and not call.answered_us:
            call.ringing = True
            told.append((call.channel, Ringing(at_ms=_event_ms(event))))
        if first and channel.answered_us and not call.answered_us:
            call.answered_us = channel.answered_us
            told.append((call.channel, Answered(at_ms=_to_ms(call.answered_us))))

    # --- ends -----------------------------------------------------------------------------------

    def _hung_up(self, call: Call, channel: Channel, event: Event, now_ms: int, told: list[Delivery]) -> None:
        call.legs.pop(channel.uuid, None)
        disposition = text(event, "variable_sip_hangup_disposition")
        if channel.uuid == call.live:
            self._ending[call.channel] = call
            call.ending = Ending(
                ended=self._read_end(call, channel, event),
                hung_up_us=_hung_up_us(event),
                due_ms=now_ms + self._hold_back_ms,
                disposition=disposition,
                of_caller=channel.inbound and channel.uuid == call.channel,
                peer_went_first=bool(text(event, "variable_last_bridge_hangup_cause")),
            )
        elif disposition:
            call.peer_disposition = disposition
        ending = call.ending
        if ending is None or (call.answered_us and call.talking_legs()):
            return
        if channel.uuid != call.live and _hung_up_us(event) - ending.hung_up_us > _SAME_HANGUP_US:
            call.live = channel.uuid  # it had moved here; we were not asked in between
            ending.ended = self._read_end(call, channel, event)
            ending.disposition, ending.of_caller = disposition, False
        self._end(call, told)

    def _move_or_end(self, call: Call, told: list[Delivery]) -> None:
        assert call.ending is not None
        talking = [uuid for uuid in call.talking_legs() if not self.channels[uuid].loopback]
        if not talking:
            self._end(call, told)
            return
        told.append(self.moved(call, talking[0], _to_ms(call.ending.hung_up_us)))

    def _end(self, call: Call, told: list[Delivery]) -> None:
        assert call.ending is not None
        ended = call.ending.ended
        by = self._who_ended(call, call.ending)
        told.append(
            (
                call.channel,
                Ended(ended.at_ms, ended.duration_ms, ended.cause, by, ended.answered_at_ms, ended.source),
            )
        )
        self.close(call)

    def _read_end(self, call: Call, channel: Channel, event: Event) -> Ended:
        hung_up_us = _hung_up_us(event)
        cause = text(event, "Hangup-Cause") or text(event, "variable_hangup_cause")
        if channel.uuid == call.channel:
            duration_ms = _billed_ms(event)
        else:  # a leg that took over: the call's time began with the first leg's answer
            began_us = call.answered_us or channel.answered_us or hung_up_us
            duration_ms = max(0, _to_ms(hung_up_us) - _to_ms(began_us))
        if not call.answered_us and cause == "NORMAL_CLEARING":  # the A leg's cause hides NO_ANSWER [b04]
            cause = text(event, "variable_last_bridge_hangup_cause") or cause
        return Ended(
            at_ms=_to_ms(hung_up_us),
            duration_ms=duration_ms,
            cause=cause,
            answered_at_ms=_to_ms(call.answered_us) if call.answered_us else None,
        )

    def _who_ended(self, call: Call, ending: Ending) -> EndedBy:
        if call.ended_by is not None:
            return call.ended_by
        if ending.disposition in _RECEIVED:
            return EndedBy.CALLER if ending.of_caller else EndedBy.CALLEE
        known = {
            self._cut_cause: EndedBy.US,
            "SYSTEM_SHUTDOWN": EndedBy.SWITCH,
            "MANAGER_REQUEST": EndedBy.OPERATOR,
        }
        if (by := known.get(ending.ended.cause)) is not None:
            return by
        if call.peer_disposition:
            return EndedBy.CALLEE if call.peer_disposition in _RECEIVED else EndedBy.SWITCH
        if ending.peer_went_first:
            return EndedBy.CALLEE if call.live == call.channel else EndedBy.UNKNOWN
        return EndedBy.SWITCH if ending.disposition else EndedBy.UNKNOWN


def attributes(event: Event, variables: Iterable[str] | None = None) -> dict[str, str]:
    """The facts that payer rules look at; `variables` are the channel variables they name, None: all.

    sip_user is the user that authenticated, from_user the one that the caller only claims to be. source_ip
    is where the INVITE came from. Every channel variable of up to 256 characters is there as
    "variable:NAME".
    """
    if variables is None:
        variables = [name[9:] for name in event if name.startswith("variable_")]
    facts: dict[str, str] = {}
    for name in variables:
        value = text(event, f"variable_{name}")
        if value and len(value) <= _MAX_ATTRIBUTE:
            facts[f"variable:{name}"] = value
    named = {
        "sip_user": text(event, "variable_sip_auth_username") or text(event, "variable_user_name"),
        "from_user": text(event, "variable_sip_from_user"),
        "source_ip": text(event, "variable_sip_network_ip") or text(event, "Caller-Network-Addr"),
        "context": text(event, "Caller-Context"),
        "profile": text(event, "variable_sofia_profile_name"),
        "gateway": text(event, "variable_sip_gateway_name"),
        "accountcode": text(event, "variable_accountcode"),
        "dialled": text(event, "Caller-Destination-Number"),
    }
    facts.update((name, value) for name, value in named.items() if value)
    if "\0" in "".join(facts.values()):  # PostgreSQL stores no NUL
        return {name: value.replace("\0", "") for name, value in facts.items()}
    return facts


def _waits(dump: Event) -> bool:
    return text(dump, "variable_current_application") == "park"


def _holds(rule: OfferRule, event: Event) -> bool:
    if rule.context is not None and text(event, "Caller-Context") != rule.context:
        return False
    if rule.profile is not None and text(event, "variable_sofia_profile_name") != rule.profile:
        return False
    if rule.variable is not None:
        value = text(event, f"variable_{rule.variable}")
        if not value or (rule.variable_pattern and not rule.variable_pattern.fullmatch(value)):
            return False
    dialled = text(event, "Caller-Destination-Number")
    return rule.destination_pattern is None or bool(rule.destination_pattern.fullmatch(dialled))


def _to_ms(micro: int) -> int:
    return micro // 1000


def _event_ms(event: Event) -> int:
    return _to_ms(micros(event, "Event-Date-Timestamp"))


def _hung_up_us(event: Event) -> int:
    return micros(event, "Caller-Channel-Hangup-Time") or micros(event, "Event-Date-Timestamp")


def _billed_ms(event: Event) -> int | None:
    stated = _stated_ms(event)
    return None if stated is not None and stated > LONGEST_TALK_MS else stated


def _stated_ms(event: Event) -> int | None:
    billed = text(event, "variable_billmsec")
    if billed.isascii() and billed.isdigit():
        return int(billed)
    billed = text(event, "variable_billusec")
    if billed.isascii() and billed.isdigit():
        return int(billed) // 1000
    answered_us = micros(event, "Caller-Channel-Answered-Time")
    hung_up_us = micros(event, "Caller-Channel-Hangup-Time")
    if not hung_up_us:
        return None
    return max(0, _to_ms(hung_up_us) - _to_ms(answered_us)) if answered_us else 0


def _talked_ms(event: Event) -> int:
    return _billed_ms(event) or 0
