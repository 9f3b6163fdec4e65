"""How does a call go? It plays its script, and gives way to what clients order over the Event Socket.

A call is a row of bridges from the caller's side to the far end's: (owner, peer) pairs, one as a rule, two
with a loopback channel between. Whatever ends it, the channels go down along that row from the side that
ended it, in the order that recordings show (named in brackets; tests/scripted/test_order.py compares).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from ocs.ports import Timer
from switch_adapters.scripted import channels as facts
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.exchange import Exchange
from switch_adapters.scripted.script import CallScript, FarEnd, Turn
from switch_adapters.scripted.truth import CallTruth, Ender
from switch_adapters.scripted.wire import Section

Phase = Literal["new", "parked", "dialling", "talking", "over"]

GRANTED: Final = "ocs_granted_s"
"""The variable in which our door leaves the granted seconds; only for the line that people read."""

FAR_IP: Final = "198.51.100.5"
_LEFT_ALONE: Final = 0.3
"""How often a B leg that outlives its A leg by a moment reports itself as the call [b01, not b07]."""


class Call:
    """One call on the exchange. `a_leg` is the channel it was offered on; it may end before the call does."""

    def __init__(self, exchange: Exchange, script: CallScript) -> None:
        self.exchange = exchange
        self.script = script
        self.phase: Phase = "new"
        self.pairs: list[tuple[Channel, Channel]] = []
        """Bridges (or attempts at one), the caller's side first."""
        self._timers: list[Timer] = []
        self._set_on_leg: dict[str, str] = {}
        """Variables that the dial string sets on the far end's leg."""
        number = script.caller_number
        self.truth = CallTruth(
            name=script.name,
            account=script.account,
            caller=number,
            destination=script.destination,
            mode=script.mode,
            offered_at_ms=exchange.clock.now_ms(),
        )
        port = exchange.rng.randrange(20_000, 30_000)
        name = f"sofia/internal/{number}@{script.source_ip}:{port}"
        self.a_leg, session = self._channel("inbound", name, script.destination)
        self.a_leg.variables.update(
            facts.inbound_variables(self.a_leg, session, port, script.account, script.gateway)
        )
        self.owner = self.a_leg
        """The channel that the call stands on: the A leg, or the B leg that goes on without it."""
        self.truth.channel = self.a_leg.uuid
        exchange.truth.add(self.truth)

    # --- into the dial plan -----------------------------------------------------------------------

    def begin(self) -> None:
        """The INVITE is here."""
        self._emit("CHANNEL_CREATE", self.a_leg)
        self._run_dial_plan()
        self.note("comes in")
        if self.script.cancel_after_ms is not None:
            self.after(self.script.cancel_after_ms, self._cancel)
        self._enter()

    def _enter(self) -> None:
        """What the dial plan does with it first."""
        if self.script.mode == "park":
            self._park()
        else:
            self._dial(0)

    def _run_dial_plan(self) -> None:
        a, script = self.a_leg, self.script
        if script.account:
            a.variables["accountcode"] = script.account
            a.variables["ocs_account"] = script.account
        a.variables["ocs_tenant"] = "acme"
        a.variables["DP_MATCH"] = [script.destination, script.destination]
        a.variables["nolocal:ocs_aleg_uuid"] = a.uuid
        a.variables["export_vars"] = "nolocal:ocs_aleg_uuid,ocs_account"
        a.variables.update(script.variables)
        a.state, a.call_state = "CS_EXECUTE", "RINGING"

    def _park(self) -> None:
        self.phase = "parked"
        self.a_leg.run("park")
        self._emit("CHANNEL_PARK", self.a_leg)
        now_ms = self.exchange.clock.now_ms()
        due_ms = (now_ms // 1000 + self.script.park_timeout_s) * 1000  # counted in whole seconds [c03]
        self.after(due_ms - now_ms, self._park_timeout)

    def _park_timeout(self) -> None:
        if self.phase == "parked":
            self.end(self.a_leg, "CALL_REJECTED", Ender.PARK_TIMEOUT)

    def _cancel(self) -> None:
        if self.phase in ("parked", "dialling"):
            self.end(self.a_leg, "ORIGINATOR_CANCEL", Ender.CALLER)

    def _unpark(self) -> None:
        self._emit("CHANNEL_UNPARK", self.a_leg)
        done = {"Application": "park", "Application-Response": "_none_"}
        self._emit(
            "CHANNEL_EXECUTE_COMPLETE", self.a_leg, done | {"Application-UUID": self.exchange.new_uuid()}
        )

    def resume(self, extension: str, context: str) -> None:
        """A parked call is transferred: it was authorised, and dials its far ends now [c01]."""
        self.truth.authorised_at_ms = self.exchange.clock.now_ms()
        self._new_profile(self.a_leg, extension, context)
        self._unpark()
        self.note("is let through" + self._granted())
        self._dial(0)

    def _granted(self) -> str:
        granted = self.a_leg.variables.get(GRANTED)
        return f" for {granted} s" if granted else ""

    # --- dialling ---------------------------------------------------------------------------------

    def _dial(self, attempt: int) -> None:
        self.phase = "dialling"
        far_end = self.script.far_ends[attempt]
        number = far_end.number or self.script.destination
        self.a_leg.variables |= {"originate_disposition": "failure", "DIALSTATUS": "INVALIDARGS"}
        self.a_leg.run("bridge", f"sofia/internal/{number}@{FAR_IP}:5090")
        if self.script.loopback:
            lo_a, lo_b = self._loopback(number)
            b_leg = self._b_leg(lo_b, number)
            self.pairs = [(self.a_leg, lo_a), (lo_b, b_leg)]
        else:
            b_leg = self._b_leg(self.a_leg, number)
            self.pairs = [(self.a_leg, b_leg)]
        self._play_far_end(far_end, b_leg, attempt)

    def _play_far_end(self, far_end: FarEnd, b_leg: Channel, attempt: int) -> None:
        def at(ms: int | None, step: Callable[[], None]) -> None:
            if ms is not None:
                self.after(ms, lambda: step() if b_leg.up else None)

        def unanswered(cause: str, a_cause: str, acted: bool) -> None:
            if self.phase == "dialling":
                self._note_failure(cause)
                self.a_leg.variables["last_bridge_hangup_cause"] = cause
                self._failed(cause, a_cause, acted, attempt)

        at(far_end.ring_after_ms, self._ring)
        at(far_end.early_media_after_ms, self._early_media)
        at(far_end.refuse_after_ms, lambda: unanswered(far_end.refuse_cause, far_end.refuse_cause, True))
        at(far_end.give_up_after_ms, lambda: unanswered("NO_ANSWER", "NORMAL_CLEARING", False))  # [b04]
        at(far_end.answer_after_ms, self._answer)

    def _b_leg(self, dialler: Channel, number: str) -> Channel:
        b_leg, session = self._channel("outbound", f"sofia/internal/{number}@{FAR_IP}:5090", number)
        self._originate(dialler, b_leg)
        b_leg.state = "CS_NONE"
        self._emit("CHANNEL_OUTGOING", b_leg)
        b_leg.state = "CS_INIT"
        b_leg.variables.update(facts.outbound_variables(b_leg, dialler, session))
        if "accountcode" in dialler.variables or dialler.direction == "outbound":
            b_leg.variables["ocs_account"] = dialler.variables.get("ocs_account", "")
        if "sip_h_X-OCS-Account" in dialler.variables:
            b_leg.variables["sip_h_X-OCS-Account"] = dialler.variables["sip_h_X-OCS-Account"]
        b_leg.variables |= self._set_on_leg
        self._emit("CHANNEL_CREATE", b_leg)
        self._emit("CHANNEL_ORIGINATE", b_leg)
        b_leg.state = "CS_CONSUME_MEDIA"
        return b_leg

    def _loopback(self, number: str) -> tuple[Channel, Channel]:
        """Two more channels, glued back to back; the second runs the dial plan as a call of its own [b14]."""
        a = self.a_leg
        a.answer_state, a.times.progress_media = "early", self.exchange.now_us
        self._emit("CHANNEL_PROGRESS_MEDIA", a)
        lo_a, _ = self._channel("outbound", f"loopback/{number}-a", number)
        lo_b, _ = self._channel("inbound", f"loopback/{number}-b", number)
        self._originate(a, lo_a)
        for leg, other, letter in ((lo_a, lo_b, "A"), (lo_b, lo_a, "B")):
            leg.variables.update(
                {
                    "direction": leg.direction,
                    "uuid": leg.uuid,
                    "call_uuid": leg.call_uuid,
                    "channel_name": leg.name,
                    "ocs_aleg_uuid": a.uuid,
                    "ocs_account": self.script.account,
                    "other_loopback_leg_uuid": other.uuid,
                    "loopback_leg": letter,
                    "is_loopback": "1",
                }
            )
            self._emit("CHANNEL_CREATE", leg)
            leg.state = "CS_EXECUTE" if leg is lo_b else "CS_CONSUME_MEDIA"
        return lo_a, lo_b

    def _originate(self, dialler: Channel, leg: Channel) -> None:
        leg.call_uuid = dialler.uuid
        leg.meet(dialler, "originator")
        leg.callee_name, leg.callee_number = "Outbound Call", leg.destination
        leg.rdnis, leg.media = dialler.rdnis, leg.name.startswith("loopback/")
        leg.variables["ocs_aleg_uuid"] = dialler.uuid

    def _ring(self) -> None:
        for channel in self._upwards():
            channel.times.progress = channel.other_times.progress = self.exchange.now_us
            if channel.answer_state != "ringing":
                continue
            self._hear(channel)
            self._emit("CHANNEL_PROGRESS", channel)
            channel.call_state = "RINGING"

    def _early_media(self) -> None:
        for channel in self._upwards():
            channel.times.progress_media = channel.other_times.progress_media = self.exchange.now_us
            self._hear(channel)
            channel.answer_state = "early"
            channel.variables["endpoint_disposition"] = "EARLY MEDIA"
            channel.variables |= facts.answered_variables(channel)
            self._emit("CHANNEL_PROGRESS_MEDIA", channel)
            channel.call_state, channel.media = "EARLY", True
        for owner, peer in reversed(self.pairs):
            self._bridge(owner, peer)

    def _hear(self, channel: Channel) -> None:
        """What the far end's first word brings: a B leg's SIP dialogue, an A leg's callee."""
        by_sip = channel.name.startswith("sofia/") and channel.direction == "outbound"
        if by_sip and "sip_to_tag" not in channel.variables:
            channel.variables |= facts.dialogue_variables(channel)
        peer = dict(self.pairs).get(channel)
        if peer is not None:
            channel.callee_name, channel.callee_number = "Outbound Call", peer.destination

    def _upwards(self) -> list[Channel]:
        """The channels, from the far end's side to the caller's; loopback's A side first [b14]."""
        if len(self.pairs) == 2:
            (a_leg, lo_a), (lo_b, b_leg) = self.pairs
            return [b_leg, lo_a, lo_b, a_leg]
        return [channel for pair in self.pairs for channel in reversed(pair)]

    # --- talking ----------------------------------------------------------------------------------

    def _answer(self) -> None:
        self.phase = "talking"
        owners = dict(self.pairs)
        for channel in self._upwards():
            self._answer_channel(channel)
            if channel in owners and channel.other is not owners[channel]:
                self._bridge(channel, owners[channel])
        self._run_on_answer()
        if self.script.talk_ms is not None:
            self.after(self.script.talk_ms, self._talked)
        for turn in self.script.turns:
            self.after(turn.at_ms, partial(self._take, turn))

    def _answer_channel(self, channel: Channel) -> None:
        if channel.times.answered:
            return
        channel.times.answered = self.exchange.now_us
        channel.answer_state, channel.media = "answered", True
        if not channel.name.startswith("loopback/"):
            self._hear(channel)
            channel.variables |= facts.answered_variables(channel)
        if channel is self.a_leg:
            self.truth.answered_at_ms = self.exchange.clock.now_ms()
            self.note("is answered")
        self._emit("CHANNEL_ANSWER", channel)
        channel.variables["endpoint_disposition"] = "ANSWER"
        channel.call_state = "ACTIVE"

    def _bridge(self, owner: Channel, peer: Channel) -> None:
        owner.meet(peer, "originatee")
        self._hear(owner)
        owner.times.bridged = self.exchange.now_us
        owner.call_state = peer.call_state = "ACTIVE" if owner.times.answered else "EARLY"
        peer.state = "CS_EXCHANGE_MEDIA"
        owner.variables.update({"originate_disposition": "SUCCESS", "DIALSTATUS": "SUCCESS"})
        owner.variables["signal_bond"] = peer.uuid
        legs = {"Bridge-A-Unique-ID": owner.uuid, "Bridge-B-Unique-ID": peer.uuid}
        self._emit("CHANNEL_BRIDGE", owner, legs)
        peer.times.bridged = self.exchange.now_us
        for leg, other in ((owner, peer), (peer, owner)):
            leg.variables |= dict.fromkeys(("bridge_to", "last_bridge_to", "bridge_uuid"), other.uuid)
            leg.variables["bridge_channel"] = other.name
            leg.variables["last_sent_callee_id_name"] = "Outbound Call"
            leg.variables["last_sent_callee_id_number"] = peer.destination

    def _run_on_answer(self) -> None:
        """`execute_on_answer…` variables: the dead man's switch that was armed before the answer [c01]."""
        for channel in (self.a_leg, *(peer for _, peer in self.pairs)):
            for name, value in list(channel.variables.items()):
                if name.startswith("execute_on_answer") and isinstance(value, str):
                    app, _, arguments = value.replace("::", " ", 1).partition(" ")
                    if app == "sched_hangup":
                        when, _, cause = arguments.partition(" ")
                        cause = (cause.split() or ["ALLOTTED_TIMEOUT"])[0].upper()
                        self.exchange.schedule_hangup(channel.uuid, when, cause)

    def _talked(self) -> None:
        by_caller = self.script.hangs_up == "caller"
        first = self.owner if by_caller or not self.pairs else self.pairs[-1][1]
        self.end(first, "NORMAL_CLEARING", Ender.CALLER if by_caller else Ender.CALLEE)

    def _take(self, turn: Turn) -> None:
        if self.phase != "talking":
            return
        steps: dict[str, Callable[[], None]] = {
            "hold": self._hold,
            "unhold": self._unhold,
            "forward": lambda: self.forward(turn.number),
            "refer": lambda: self._refer(turn.number),
            "leave": lambda: self.leave(turn.number),
        }
        steps[turn.kind]()
        self.note(f"{turn.kind} {turn.number}".rstrip())

    def _hold(self) -> None:
        self.owner.call_state = "HELD"
        self._emit("CHANNEL_HOLD", self.owner)
        self.owner.times.last_hold = self.exchange.now_us

    def _unhold(self) -> None:
        owner = self.owner
        owner.call_state = "UNHELD"
        owner.times.hold_accum += self.exchange.now_us - owner.times.last_hold
        self._emit("CHANNEL_UNHOLD", owner)
        owner.call_state = "ACTIVE"

    def forward(self, number: str) -> None:
        """The owner leaves its peer and is bridged to another B leg [e01]."""
        owner, old = self.pairs.pop()
        self._hang_up(old, "NORMAL_CLEARING", acted=False)
        self._complete(old)
        owner.part()
        self._new_profile(owner, number, owner.context)
        self._unbridge(owner, old)
        self._join(owner, number)

    def leave(self, extension: str) -> None:
        """The dial plan takes the B leg away: the A leg ends, the B leg talks on alone [e02]."""
        a, b = self._part()
        self._complete(a)
        self._new_profile(b, extension, b.context)
        b.run("echo")
        self.pairs = []

    def _refer(self, number: str) -> None:
        """The caller transfers blind: the A leg ends, the B leg is bridged to a new leg [e04]."""
        a, b = self._part(disposition="BLIND_TRANSFER")
        b.variables["sip_refer_to"] = f"<sip:{number}@192.0.2.1:5080>"
        self._new_profile(b, number, b.context)
        self.pairs = []
        c = self._b_leg(b, number)
        self._complete(a)
        self._join(b, number, c)

    def _part(self, disposition: str = "ANSWER") -> tuple[Channel, Channel]:
        """The A leg hangs up and leaves the B leg standing; returns both."""
        a, b = self.pairs[-1]
        a.variables["endpoint_disposition"] = disposition
        self._unbridge(a, b)
        self._hang_up(a, "NORMAL_CLEARING", acted=False)
        b.part()
        b.call_uuid, self.owner = b.uuid, b
        b.state, b.variables["ocs_aleg_uuid"] = "CS_EXECUTE", a.uuid
        return a, b

    def _join(self, owner: Channel, number: str, leg: Channel | None = None) -> None:
        """Bridge the owner to a new leg that answers at once."""
        owner.run("bridge", f"sofia/internal/{number}@{FAR_IP}:5090")
        leg = leg or self._b_leg(owner, number)
        self.pairs.append((owner, leg))
        self._answer_channel(leg)
        self._bridge(owner, leg)

    # --- the end ----------------------------------------------------------------------------------

    def dead_man(self, channel: Channel, cause: str) -> None:
        """A scheduled hang-up fires."""
        channel.run("sched_hangup", cause)
        self.end(channel, cause, Ender.DEAD_MAN)

    def end(self, first: Channel, cause: str, ender: Ender, *, everywhere: bool = False) -> None:
        """Take everything down, beginning where it ended. Harmless if that is over already.

        everywhere: the other legs get the same cause, not NORMAL_CLEARING.
        """
        if self.phase == "over" or not first.up:
            return
        parked = self.phase == "parked"
        if self.phase == "dialling":
            self._note_failure("ORIGINATOR_CANCEL")
        self.phase = "over"
        acted = ender in (Ender.CALLER, Ender.CALLEE)
        if not self.pairs:
            self._hang_up(first, cause, acted)
            if parked:
                self._unpark()
            self._complete(first)
        elif any(first is owner for owner, _ in self.pairs):
            self._end_from_caller(first, cause, acted, cause if everywhere else "NORMAL_CLEARING")
        else:
            self._end_from_callee(first, cause, acted)
        self._over(cause, ender)

    def _end_from_caller(self, first: Channel, cause: str, acted: bool, rest: str) -> None:
        for owner, peer in self.pairs:
            self._hang_up(owner, cause if owner is first else rest, acted and owner is first)
            peer.variables["last_bridge_hangup_cause"] = owner.hangup_cause
            self._hang_up(peer, rest if peer.times.answered else "ORIGINATOR_CANCEL", acted=False)
            if self.exchange.rng.random() < _LEFT_ALONE:
                peer.call_uuid = peer.uuid
            self._complete(peer)
            if owner.other is peer:
                self._unbridge(owner, peer)
            self._complete(owner)

    def _end_from_callee(self, first: Channel, cause: str, acted: bool) -> None:
        for owner, peer in reversed(self.pairs):
            self._hang_up(peer, cause, acted and peer is first)
            self._complete(peer)
            owner.variables["last_bridge_hangup_cause"] = cause
            if owner.other is peer:
                self._unbridge(owner, peer)
            self._hang_up(owner, cause, acted=False)
            self._complete(owner)

    def _note_failure(self, cause: str) -> None:
        variables = self.a_leg.variables
        variables["originate_disposition"] = variables["originate_failed_cause"] = cause
        variables["DIALSTATUS"] = facts.DIALSTATUS.get(cause, cause)

    def _failed(self, cause: str, a_cause: str, acted: bool, attempt: int) -> None:
        """A far end did not answer: the next one is tried [b13], or the call ends [b05, b06]."""
        a = self.a_leg
        b_leg = self.pairs[-1][1]
        for owner, peer in reversed(self.pairs):
            self._hang_up(peer, cause, acted and peer is b_leg)
            self._complete(peer)
            if owner is not a:
                self._hang_up(owner, a_cause, acted=False)
                self._complete(owner)
        a.part()
        self.pairs = []
        if attempt + 1 < len(self.script.far_ends):
            self._dial(attempt + 1)
        else:
            self.phase = "over"
            self._hang_up(a, a_cause, acted=False)
            self._complete(a)
            self._over(a_cause, Ender.CALLEE)

    def vanish(self) -> None:
        """The switch died: the channels are gone without events."""
        if self.phase != "over":
            self.phase = "over"
            for channel in self.channels():
                channel.up = False
                self.exchange.forget(channel)
            self._over("", Ender.SWITCH)

    def channels(self) -> list[Channel]:
        """Every channel of the call that is up."""
        known = self.exchange.channels
        return [known[uuid] for uuid in self.truth.channels if uuid in known]

    def _over(self, cause: str, ender: Ender) -> None:
        for timer in self._timers:
            timer.cancel()
        self.truth.ended_at_ms = self.exchange.clock.now_ms()
        self.truth.ended_by, self.truth.cause = ender, cause
        self.note(_last_words(self.truth))

    def _unbridge(self, owner: Channel, peer: Channel) -> None:
        for leg, other in ((owner, peer), (peer, owner)):
            leg.variables.pop("bridge_to", None)
            if other.hangup_cause:
                leg.variables["bridge_hangup_cause"] = other.hangup_cause
        if owner.disposition == "recv_bye":
            owner.variables["sip_hangup_disposition"] = owner.disposition
        legs = {"Bridge-A-Unique-ID": owner.uuid, "Bridge-B-Unique-ID": peer.uuid}
        self._emit("CHANNEL_UNBRIDGE", owner, legs)

    def _hang_up(self, channel: Channel, cause: str, acted: bool) -> None:
        """The SIP side is over. acted: its far party did it (recv_…), else the switch (send_…)."""
        channel.hangup_cause, channel.answer_state = cause, "hangup"
        if acted:
            self._hear(channel)
        facts.note_disposition(channel, acted)
        self._emit("CHANNEL_HANGUP", channel)

    def _complete(self, channel: Channel) -> None:
        channel.up = False
        channel.state, channel.call_state = "CS_REPORTING", "HANGUP"
        channel.times.hangup = self.exchange.now_us
        channel.variables.update(facts.final_variables(channel))
        self._emit("CHANNEL_HANGUP_COMPLETE", channel)
        self._emit("CHANNEL_DESTROY", channel)
        self.exchange.gone(channel)

    # --- small things -----------------------------------------------------------------------------

    def after(self, ms: int, action: Callable[[], None]) -> None:
        """Do it in so many ms, unless the call is over by then."""

        def run() -> None:
            if self.phase != "over":
                action()

        self._timers.append(self.exchange.clock.call_at(self.exchange.clock.now_ms() + ms, run))

    def note(self, text: str) -> None:
        """One readable line for whoever watches the switch."""
        self.exchange.note(self.truth, text)

    def _emit(self, name: str, channel: Channel, extra: Section | None = None) -> None:
        self.exchange.emit(name, channel, extra)

    def _channel(
        self, direction: Literal["inbound", "outbound"], name: str, destination: str
    ) -> tuple[Channel, int]:
        script = self.script
        channel, session = self.exchange.new_channel(
            direction,
            name,
            caller=(script.caller_number, script.display),
            destination=destination,
            context=script.context,
            source_ip=script.source_ip,
            uuid=self._set_on_leg.get("origination_uuid", "") if direction == "outbound" else "",
        )
        self.exchange.calls[channel.uuid] = self
        self.truth.channels.append(channel.uuid)
        return channel, session

    def _new_profile(self, channel: Channel, extension: str, context: str) -> None:
        now_us = self.exchange.now_us
        source = f"{now_us // 1_000_000}:{self.exchange.new_uuid()}:bl_xfer:{extension}/{context}/XML"
        channel.new_profile(extension, now_us, source)


def _last_words(truth: CallTruth) -> str:
    """How a call ended, for people."""
    answered = truth.answered_at_ms is not None
    after = f"after {truth.talk_ms / 1000:.2f} s" if answered else "unanswered"
    words = {
        Ender.CALLER: f"the caller hangs up {after}",
        Ender.CALLEE: f"the callee hangs up {after}" if answered else "does not get through",
        Ender.CLIENT: f"is cut {after}" if answered else "is refused",
        Ender.DEAD_MAN: f"is ended by the switch's own timer {after}",
        Ender.PARK_TIMEOUT: "waited for a yes in vain",
        Ender.SWITCH: f"goes down with the switch {after}",
    }
    return f"{words[truth.ended_by or Ender.SWITCH]} ({truth.cause or 'without a word'})"
