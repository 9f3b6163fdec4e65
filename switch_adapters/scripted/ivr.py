"""What does a caller do on whose call a program talks? Keys, prompts, bridges, and hanging up at any moment.

A socket call waits in park while its outbound socket runs applications on it, one at a time. Keys go to what
runs: play_and_get_digits collects them, those of playback_terminators break a prompt off; between
applications they are lost, as in the park of the real switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ocs.ports import Timer
from switch_adapters.scripted.calls import Call
from switch_adapters.scripted.channels import Channel
from switch_adapters.scripted.exchange import Exchange
from switch_adapters.scripted.script import CallScript
from switch_adapters.scripted.sounds import length_of, missing_of, said_for_ms
from switch_adapters.scripted.truth import Ender

KEY_GAP_MS: Final = 200
BROKEN_BY: Final = "playback_terminator_used"
FILE_MISSING: Final = "filestring::fail"
DIAL_PLAN_DONE: Final = "NORMAL_CLEARING"
"""How a call ends whose socket is gone, cannot be reached [d06], or has nothing after it."""

Done = Callable[[str], None]
"""Called with the Application-Response when an application is over."""


@dataclass(slots=True)
class _Collecting:
    """One play_and_get_digits: one attempt, as the outbound session asks."""

    done: Done
    min_digits: int
    max_digits: int
    first_timeout_ms: int
    terminators: str
    variable: str
    inter_digit_ms: int
    keys: str = ""

    @classmethod
    def parse(cls, data: str, done: Done) -> tuple[_Collecting, str]:
        """What is collected, and the prompt."""
        before, sound, after = data.split("'", 2)
        least, most, _tries, first, ends = before.split()
        _bad, variable, _regex, between = after.split()
        made = cls(done, int(least), int(most), max(1_000, int(first)), ends, variable, int(between))
        return made, sound


class SocketCall(Call):
    """A call that the dial plan hands to an outbound socket."""

    def __init__(
        self, exchange: Exchange, script: CallScript, dial_out: Callable[[SocketCall], None]
    ) -> None:
        """`dial_out` connects to the script's socket."""
        super().__init__(exchange, script)
        self.on_over: Callable[[], None] = lambda: None
        """The A leg is over; its socket is told."""
        self.on_interrupt: Callable[[], None] = lambda: None
        """Ends the application at hand, with its event [d02]."""
        self._dial_out = dial_out
        self._far_ends = list(script.far_ends)
        self._performing: Done | None = None
        self._collecting: _Collecting | None = None
        self._timer: Timer | None = None
        self._has_socket = True
        self._sent_on = False

    # --- into the socket --------------------------------------------------------------------------

    def _enter(self) -> None:
        self.phase = "parked"
        host, port = self.script.socket
        self.a_leg.run("socket", f"{host}:{port} {self.script.socket_mode}")
        for press in self.script.presses:
            self.after(press.at_ms, partial(self.press, press.keys))
        if self.script.leaves_after_ms is not None:
            self.after(self.script.leaves_after_ms, self.leave_now)
        self._dial_out(self)

    def taken(self) -> None:
        """The client said `connect`: the channel parks [d02]."""
        self._emit("CHANNEL_PARK", self.a_leg)

    def socket_gone(self) -> None:
        """Nobody controls the call: the dial plan goes on after what runs now, and has nothing more to do."""
        self._has_socket = False
        if self.phase == "parked" and self._performing is None:
            self.end(self.a_leg, DIAL_PLAN_DONE, Ender.SWITCH)

    def resume(self, extension: str, context: str) -> None:
        """It is transferred: from now on it is a call like any other."""
        self._sent_on = True
        super().resume(extension, context)

    # --- what the caller does ---------------------------------------------------------------------

    def leave_now(self) -> None:
        """The caller hangs up."""
        cause = "NORMAL_CLEARING" if self.a_leg.times.answered else "ORIGINATOR_CANCEL"
        self.end(self.a_leg, cause, Ender.CALLER)

    def press(self, keys: str) -> None:
        """The caller presses keys, the first one now."""
        for number, key in enumerate(keys):
            self.after(number * KEY_GAP_MS, partial(self._key, key)) if number else self._key(key)

    def _key(self, key: str) -> None:
        if not self.a_leg.up:
            return
        headers = {"DTMF-Digit": key, "DTMF-Duration": "1280", "DTMF-Source": "ENDPOINT"}
        self._emit("DTMF", self.a_leg, headers)
        if self._collecting is not None:
            self._collect(self._collecting, key)
        elif self._timer is not None and self.phase == "parked" and self._breaks_off(key):
            self.a_leg.variables[BROKEN_BY] = key
            self._finish("FILE PLAYED")

    def _breaks_off(self, key: str) -> bool:
        breakers = self.a_leg.variables.get("playback_terminators", "*")
        return breakers == "any" or key in breakers

    # --- applications -----------------------------------------------------------------------------

    def performs(self, application: str) -> bool:
        """Does this application take time, or a caller, here?"""
        return not self._sent_on and application in (
            "answer", "playback", "say", "sleep", "play_and_get_digits", "bridge",
        )  # fmt: skip

    def perform(self, application: str, data: str, done: Done) -> None:
        """Run it; `done` is called when it is over, unless the call is."""
        self._performing = done
        if application == "answer":
            self._answer_channel(self.a_leg)
            self._finish("_none_")
        elif application == "sleep":
            self._later(int(data), lambda: self._finish("_none_"))
        elif application == "play_and_get_digits":
            self._collecting, sound = _Collecting.parse(data, done)
            self.a_leg.variables.pop(self._collecting.variable, None)
            if length_of(sound)[1] == "FILE NOT FOUND":  # the real one waits for no key then, either
                self._finish("_none_")
                return
            self._play(sound, partial(self._wait_for_keys, self._collecting))
        elif application == "bridge":
            self._bridge_to(data)
        elif application == "say":
            self.a_leg.variables.pop(BROKEN_BY, None)
            self._later(said_for_ms(data), lambda: self._finish("_none_"))
        else:
            self.a_leg.variables.pop(BROKEN_BY, None)
            _, response = length_of(data)
            self.a_leg.variables["current_application_response"] = response
            self._play(data, lambda: self._finish(response))

    def stop_performing(self) -> None:
        """What runs is over now; whoever interrupts it says so."""
        if self._timer is not None:
            self._timer.cancel()
        self._performing = self._collecting = self._timer = None

    def _finish(self, response: str) -> None:
        done = self._performing
        self.stop_performing()
        if done is not None:
            done(response)
            if not self._has_socket and self._performing is None:
                self.socket_gone()

    def _later(self, ms: int, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        clock = self.exchange.clock
        self._timer = clock.call_at(clock.now_ms() + ms, action)
        self._timers.append(self._timer)

    def _play(self, sound: str, then: Callable[[], None]) -> None:
        for file in missing_of(sound):
            self.exchange.emit_plain("CUSTOM", {"Event-Subclass": FILE_MISSING, "File": file})
        self._later(length_of(sound)[0], then)

    # --- keys -------------------------------------------------------------------------------------

    def _wait_for_keys(self, collecting: _Collecting) -> None:
        self._later(collecting.first_timeout_ms, lambda: self._collected("timeout"))

    def _collect(self, collecting: _Collecting, key: str) -> None:
        if key in collecting.terminators:
            self._collected("success")
            return
        collecting.keys += key
        if len(collecting.keys) == collecting.max_digits:
            self._collected("success")
        else:
            self._later(collecting.inter_digit_ms, lambda: self._collected("timeout"))

    def _collected(self, result: str) -> None:
        collecting = self._collecting
        assert collecting is not None
        enough = len(collecting.keys) >= collecting.min_digits
        self.a_leg.variables["read_result"] = result if enough else "failure"
        if collecting.keys:
            self.a_leg.variables[collecting.variable] = collecting.keys
        self._finish("_none_")

    # --- bridges ----------------------------------------------------------------------------------

    def _bridge_to(self, dial_string: str) -> None:
        listed, _, target = dial_string.rpartition("}")
        named = (one.partition("=") for one in listed.lstrip("{").split(",") if one)
        self._set_on_leg = {name: value.strip("'") for name, _, value in named}
        number = target.partition("@")[0].rpartition("/")[2]
        far_end = self._far_ends.pop(0) if len(self._far_ends) > 1 else self._far_ends[0]
        self.script = replace(self.script, far_ends=(replace(far_end, number=number),))
        self._dial(0)
        self._set_on_leg = {}

    def _failed(self, cause: str, a_cause: str, acted: bool, attempt: int) -> None:
        if self._sent_on or self.a_leg.variables.get("continue_on_fail") != "true":
            super()._failed(cause, a_cause, acted, attempt)
            return
        _, b_leg = self.pairs[-1]
        self._hang_up(b_leg, cause, acted)
        self._complete(b_leg)
        self._back()

    def end(self, first: Channel, cause: str, ender: Ender, *, everywhere: bool = False) -> None:
        """See `Call.end`; a far end that hangs up gives the caller back to the socket."""
        b_leg = self.pairs[-1][1] if self.pairs else None
        stays = self.a_leg.variables.get("hangup_after_bridge") == "false" and not self._sent_on
        if first is b_leg and b_leg.up and self.phase == "talking" and stays:
            self._hang_up(b_leg, cause, ender is Ender.CALLEE)
            self._complete(b_leg)
            self.a_leg.variables["last_bridge_hangup_cause"] = cause
            self._unbridge(self.a_leg, b_leg)
            self._back()
            return
        super().end(first, cause, ender, everywhere=everywhere)

    def _back(self) -> None:
        self.a_leg.part()
        self.pairs = []
        self.phase = "parked"
        self._finish("_none_")

    # --- the end ----------------------------------------------------------------------------------

    def _hang_up(self, channel: Channel, cause: str, acted: bool) -> None:
        super()._hang_up(channel, cause, acted)
        if channel is self.a_leg and self.pairs:
            self.on_over()  # the notice overtakes the last events [d04]

    def _complete(self, channel: Channel) -> None:
        super()._complete(channel)
        if channel is self.a_leg:
            self.on_over()

    def _unpark(self) -> None:
        if self._sent_on:
            super()._unpark()
            return
        self.on_interrupt()
        self._emit("CHANNEL_UNPARK", self.a_leg)
        done = {"Application": "socket", "Application-Response": "_none_"}
        uuid = {"Application-UUID": self.exchange.new_uuid()}
        self._emit("CHANNEL_EXECUTE_COMPLETE", self.a_leg, done | uuid)
