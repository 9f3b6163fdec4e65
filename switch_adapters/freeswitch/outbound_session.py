"""One call that the switch handed to us: what can be done with it, by a handler that reads like the call?

The dial plan runs `socket host:port async full`; the switch connects, and every command on that connection is
about that one channel. The vocabulary is greenswitch's OutboundSession, under it is our `Wire`. What differs:

- an application is over when CHANNEL_EXECUTE_COMPLETE carries the id that we gave it, not its name;
- whoever waits is told at once that the caller is gone (HungUp), whichever sign of it comes first: the
  channel's hang-up, the linger notice (which may overtake it [d04]), a notice, the end of the stream;
- every wait has a deadline (Overdue);
- variables are read from events, never by `getvar`, whose answer a value with a line break would forge;
- nothing is run with event-lock: behind a locked bridge the channel hears no warning and no hang-up [c07].

Not for several greenlets: one call is one conversation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import structlog
from gevent import joinall
from gevent import socket as gsocket
from gevent.event import AsyncResult
from greenswitch.esl import ESLProtocol, OutboundSessionHasGoneAway
from greenswitch.esl import OutboundSession as GreenOutboundSession

from ocs.errors import CallerError, OutsideError
from ocs.ports import Clock, Timer
from switch_adapters.freeswitch import outbound_words as words
from switch_adapters.freeswitch.config import OutboundConfig
from switch_adapters.freeswitch.frames import BODY, Event, Frame, text
from switch_adapters.freeswitch.link import DISCONNECT, LinkBusy, LinkEvent, LinkLost, Reply, Wire
from switch_adapters.freeswitch.observe import Observer
from switch_adapters.freeswitch.outbound_words import Prompt, Say, Speech

log = structlog.get_logger(__name__)

KEYS: Final = "ocs_keys"
"""The variable that holds what was keyed in, until we have read it: a PIN has no place in call records."""

BROKEN_BY: Final = "playback_terminator_used"
"""The variable that holds the key that broke a prompt off, until we have read it: it may begin a PIN."""

_SAID_MS: Final = 60
"""A value is spoken for longer than that; an application that is over sooner had no sounds for it."""
_QUESTIONS: Final = 16
"""Files that are asked for in one go; the link bounds what may be pending."""
_FILE_MISSING: Final = "filestring::fail"
_EVENTS: Final = (
    "CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_UNBRIDGE CHANNEL_EXECUTE_COMPLETE CHANNEL_HANGUP "
    f"CHANNEL_HANGUP_COMPLETE DTMF CUSTOM {_FILE_MISSING}"
)
_UUID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


class HungUp(OutsideError, OutboundSessionHasGoneAway):  # type: ignore[misc]
    """The caller is gone; nothing more can be done with the call. `cause` is the switch's, if it told one."""

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class Overdue(OutsideError):
    """The switch did not say in time that it is done. The call is still there."""


class NotServed(OutsideError):
    """The connection is no call that we can serve: the wrong mode, or no switch at all."""


@dataclass(frozen=True, slots=True)
class BridgeResult:
    """How a bridge ended. `talk_ms` is 0 if nobody answered; by the switch's clock, not to charge by."""

    cause: str
    talk_ms: int
    answered: bool


class OutboundSession(Wire, GreenOutboundSession):  # type: ignore[misc]
    """One call. Its blocking methods raise HungUp, Overdue, and CallerError for values that cannot be sent.

    What `on_hangup` and `register_handle` are given runs in the connection's own greenlet: it must not wait.
    """

    def __init__(
        self,
        sock: gsocket.socket,
        config: OutboundConfig,
        clock: Clock,
        observer: Observer | None = None,
        name: str = "outbound",
    ) -> None:
        ESLProtocol.__init__(self)
        self._prepare(name, clock, config.link, observer)
        self.config = config
        self.session_data: Event = {}
        self.expected_events: dict[str, list[Any]] = {}
        self.sock = sock
        self._uuid = ""
        self._gone: HungUp | None = None
        self._served = False
        self._left = False
        self._bridging = False
        self._runs: dict[str, AsyncResult[Event]] = {}
        self._runs_made = 0
        self._missing: set[str] = set()
        self.key_pressed = ""
        """The key that broke off what was played or spoken last; empty: none did."""
        self._far_answered_us = 0
        self._hangup_actions: list[Callable[[str], None]] = []

    # --- who it is ------------------------------------------------------------------------------

    @property
    def uuid(self) -> str:
        """The channel's Unique-ID."""
        return self._uuid

    @property
    def core(self) -> str:
        """Which life of which switch this is."""
        return text(self.session_data, "Core-UUID")

    @property
    def caller(self) -> str:
        """The caller's number as the switch has it."""
        return text(self.session_data, "Caller-Caller-ID-Number")

    @property
    def destination(self) -> str:
        """The number that was dialled."""
        return text(self.session_data, "Caller-Destination-Number")

    def variable(self, name: str) -> str | None:
        """A channel variable as the switch last told it (with each application's end), or None."""
        header = f"variable_{name}"
        return text(self.session_data, header) if header in self.session_data else None

    @property
    def up(self) -> bool:
        """The caller is there and the call is ours."""
        return self._gone is None and not self._left

    def on_hangup(self, action: Callable[[str], None]) -> None:
        """Call this once with the cause when the caller is gone; at once if that is so already."""
        if self._gone is not None:
            action(self._gone.cause)
        else:
            self._hangup_actions.append(action)

    def raise_if_disconnected(self) -> None:
        """Raises HungUp if the caller is gone, CallerError if the call was sent elsewhere."""
        if self._gone is not None:
            raise HungUp(self._gone.message, self._gone.cause)
        if self._left:
            raise CallerError("the call was transferred and is not ours any more")

    # --- beginning and end ----------------------------------------------------------------------

    def connect(self) -> Event:
        """Take the call over: who it is, and its events from now on. Raises NotServed, HungUp."""
        self.meet()
        self.subscribe()
        return self.session_data

    def meet(self) -> None:
        """Ask which call this is. Raises NotServed (also for a mode we cannot serve in), HungUp."""
        self.connected = True
        self.start_event_handlers()
        reply = self._said(self.post("connect", timeout_s=self.limits.connect_timeout_s))
        self.session_data = {name: unquote(value) for name, value in reply.headers.items()}
        uuid = text(self.session_data, "Unique-ID")
        if not _UUID.fullmatch(uuid):
            raise NotServed("the peer did not say which channel this is")
        self._uuid = uuid
        mode = text(self.session_data, "Socket-Mode"), text(self.session_data, "Control")
        if mode != ("async", "full"):
            raise NotServed(
                f"the dial plan's socket is {mode[0] or 'without a mode'}, {mode[1] or 'without control'}",
                hint='write <action application="socket" data="HOST:PORT async full"/>',
            )

    def subscribe(self) -> None:
        """Ask for the events of the call and of the leg it is bridged to. Raises NotServed, HungUp."""
        asked = [
            f"linger {self.config.linger_s}",
            f"event json {_EVENTS}",
            f"filter Unique-ID {self._uuid}",
            f"filter Other-Leg-Unique-ID {self._uuid}",
            f"filter Event-Subclass {_FILE_MISSING}",
        ]
        for command in [self.post(one) for one in asked]:
            said = self._said(command)
            if not said.ok:
                raise NotServed(f"the switch refused to tell about the call: {said.text[:80]!r}")
        self._served = True

    def finish(self, cause: str = "NORMAL_CLEARING") -> None:
        """End the call if it is ours, say goodbye, leave nothing behind. Harmless if repeated.

        A call that was not served is left to its dial plan, which goes on.
        """
        try:
            if self.up and self._served:
                self.hangup(cause)
            if self.connected and self._served:
                self.send("exit")
        except (HungUp, Overdue, LinkLost, LinkBusy) as error:
            log.debug("the call could not be ended in order", channel=self._uuid, why=error.message)
        finally:
            self.drop("finished")
        joinall(self._greenlets, timeout=self.config.stop_s)

    def abandon(self, cause: str) -> None:
        """We stop: end the call, or let people who talk go on; the call ends with its bridge. Never waits."""
        try:
            if self.connected and self._served and self.up:
                if self._bridging:
                    self._left = True
                    self.post(f"api uuid_setvar {self._uuid} hangup_after_bridge true")
                    self._lost("we are stopping")
                else:
                    self.post(f"api uuid_kill {self._uuid} {words.hangup_cause(cause)}")
        except (LinkLost, LinkBusy) as error:
            log.debug("the call could not be abandoned in order", channel=self._uuid, why=error.message)

    # --- what can be done with it ---------------------------------------------------------------

    def answer(self) -> None:
        """Answer the call: from now on the caller pays, if calls to this number cost anything."""
        self._execute("answer", "", self.config.answer_max_s)

    def play(self, *prompts: Prompt) -> tuple[Prompt, ...]:
        """Play prompts one after the other, without gaps. Returns those that the switch does not have [c06].

        A key breaks them off if the channel's playback_terminators name it (`*`, unless it is set), and is
        `key_pressed` then; other keys are lost.
        """
        self.key_pressed = ""
        self._missing.clear()
        files = self._files(prompts)
        if not any(files):
            return prompts
        done = self._execute("playback", words.file_string(_flat(files)), self.config.play_max_s)
        self.key_pressed = self._broken_by(done)
        nothing = text(done, "Application-Response") not in ("FILE PLAYED", "")
        return tuple(
            prompt
            for prompt, parts in zip(prompts, files, strict=True)
            if nothing or not parts or not self._missing.isdisjoint(parts)
        )

    def say(self, language: str, kind: str, method: str, value: str) -> tuple[Prompt, ...]:
        """Speak one value: `play(Say(...))`."""
        return self.play(Say(language, kind, method, value))

    def pronounce(self, value: Say) -> bool:
        """Have one value spoken by the switch's own application: not every language lists its files.

        False: there was nothing to be heard. Keys are as in `play`.
        """
        self.key_pressed = ""
        began_ms = self._clock.monotonic_ms()
        done = self._execute("say", value.argument(), self.config.play_max_s)
        self.key_pressed = self._broken_by(done)
        return bool(self.key_pressed) or self._clock.monotonic_ms() - began_ms >= _SAID_MS

    @property
    def unplayed(self) -> frozenset[str]:
        """Files and streams that the last `play` or `ask` could not open, as they were named."""
        return frozenset(self._missing)

    # --- what the switch has ----------------------------------------------------------------------

    def said(self, value: Say) -> tuple[str, ...]:
        """The files that a value is spoken from; none if the switch cannot tell."""
        said = self._command(value.command(self.config.sound_extension)).text
        return words.said_files(said, self.config.said_sounds.get(value.language, ""))

    def sound_prefix(self) -> str:
        """Where the switch looks for files that do not begin with `/`; empty: it did not tell."""
        own = self.variable("sound_prefix")
        return self._command("api global_getvar sound_prefix").text.strip() if own is None else own

    def exist(self, paths: Sequence[str]) -> list[bool | None]:
        """Are there such files on the switch? Whole paths; None: it answered neither yes nor no."""
        answers: list[bool | None] = []
        for first in range(0, len(paths), _QUESTIONS):
            some = [words.sound_file(path) for path in paths[first : first + _QUESTIONS]]
            self.raise_if_disconnected()
            asked = [self._posted(f"api file_exists {path}") for path in some]
            answers += [{"true": True, "false": False}.get(self._said(one).text.strip()) for one in asked]
        return answers

    # --- keys, and other ends -------------------------------------------------------------------

    def ask(
        self,
        prompts: Sequence[Prompt] = (),
        *,
        min_digits: int = 1,
        max_digits: int = 1,
        terminators: str = "#",
        first_timeout_ms: int = 5_000,
        inter_digit_ms: int = 2_000,
    ) -> str:
        """Play prompts and collect keys; the first key stops the prompts. Returns "" if too few came in time.

        `terminators` end the input and are not part of it; none: only its length and time do. Time-outs count
        from the prompts' end and from the last key; the switch rounds the first up to a second.
        """
        self._missing.clear()
        files = [*_flat(self._files(prompts)), words.SILENCE]  # a sound must open, or no key is waited for
        argument = words.collecting(
            words.file_string(files),
            KEYS,
            min_digits=min_digits,
            max_digits=max_digits,
            terminators=terminators,
            first_timeout_ms=first_timeout_ms,
            inter_digit_ms=inter_digit_ms,
        )
        collect_s = (max(1_000, first_timeout_ms) + max_digits * inter_digit_ms) / 1000
        done = self._execute("play_and_get_digits", argument, self.config.play_max_s + collect_s)
        keys = text(done, f"variable_{KEYS}")
        if keys:
            self._unset(KEYS)
        return keys if len(keys) >= min_digits else ""

    def bridge(
        self, dial_string: str, variables: Mapping[str, str] | None = None, *, ring_s: int = 60
    ) -> BridgeResult:
        """Call one far end and let them talk; returns when it is over and the caller is with us again.

        `variables` go to the far end's leg, which may ring for `ring_s`. Raises HungUp if it was the caller
        who hung up.
        """
        argument = words.bridging(dial_string, {"originate_timeout": str(int(ring_s)), **(variables or {})})
        self._command(f"api uuid_setvar_multi {self._uuid} continue_on_fail=true;hangup_after_bridge=false")
        self._far_answered_us = 0
        self._bridging = True
        try:
            done = self._execute("bridge", argument, self.config.bridge_max_s)
        finally:
            self._bridging = False
        if not self._far_answered_us:
            cause = _either(done, "variable_originate_failed_cause", "variable_originate_disposition")
            return BridgeResult(cause, 0, answered=False)
        cause = _either(done, "variable_bridge_hangup_cause", "variable_last_bridge_hangup_cause")
        ended_us = _microseconds(done, "Event-Date-Timestamp")
        return BridgeResult(cause, max(0, ended_us - self._far_answered_us) // 1000, answered=True)

    def transfer(self, extension: str, dialplan: str = "XML", context: str = "default") -> None:
        """Send the call to an extension of the dial plan. It is not ours after that."""
        self._execute("transfer", words.transferring(extension, dialplan, context), self.config.answer_max_s)
        self._left = True

    def hangup(self, cause: str = "NORMAL_CLEARING") -> None:
        """End the call; returns when it is over. Harmless if it is."""
        named = words.hangup_cause(cause)
        if not self.up:
            return
        over = self._runs["hangup"] = AsyncResult()
        try:
            # Not sendmsg's hangup, which waits its turn behind whatever the channel does [c07].
            if self._command(f"api uuid_kill {self._uuid} {named}").ok:
                self._within(over, self.config.answer_max_s, "the hang-up")
        except HungUp:
            return
        finally:
            del self._runs["hangup"]

    def set(self, name: str, value: str) -> None:
        """Set a channel variable; an empty value unsets it."""
        reply = self._command(f"api uuid_setvar {self._uuid} {words.variable(name, value)}")
        if not reply.ok:
            raise OutsideError(f"the switch did not set {name}: {reply.text[:80]!r}")

    def sleep(self, ms: int) -> None:
        """Wait, listening to nothing; ends at once if the caller hangs up."""
        self._execute("sleep", str(max(0, int(ms))), ms / 1000 + self.config.margin_s)

    # --- greenswitch's words for the same ---------------------------------------------------------

    def call_command(
        self,
        app_name: str,
        app_args: str | None = None,
        block: bool = False,
        response_timeout: float | None = None,
    ) -> Any:
        """Run any application; `app_args` is not looked at but for line breaks. With `block`, until it is
        over (at most `response_timeout` seconds); its last event is returned.
        """
        if block:
            wait_s = self.config.play_max_s if response_timeout is None else response_timeout
            return LinkEvent(self._execute(app_name, app_args or "", wait_s))
        return self._command(f"sendmsg {self._uuid}", _execute(app_name, app_args or ""))

    def register_expected_event(
        self, expected_event: str, expected_variable: str, expected_value: str, async_response: Any
    ) -> None:
        """greenswitch's way of waiting (playback, play_and_get_digits), with a deadline."""
        super().register_expected_event(expected_event, expected_variable, expected_value, async_response)
        self._give_up_in(async_response, self.config.play_max_s, expected_value)

    # --- waiting --------------------------------------------------------------------------------

    def _files(self, prompts: Sequence[Prompt]) -> list[tuple[str, ...]]:
        """The files of each prompt; none for a value that the switch lists none for."""
        found: list[tuple[str, ...]] = []
        for prompt in prompts:
            match prompt:
                case str():
                    found.append((words.sound_file(prompt),))
                case Speech():
                    found.append((prompt.stream(),))
                case Say():
                    found.append(self.said(prompt))
        return found

    def _broken_by(self, done: Event) -> str:
        key = text(done, f"variable_{BROKEN_BY}")
        if key:
            self._unset(BROKEN_BY)
        return key

    def _unset(self, name: str) -> None:
        self._command(f"api uuid_setvar {self._uuid} {name}")
        self.session_data = {k: v for k, v in self.session_data.items() if k != f"variable_{name}"}

    def _execute(self, application: str, argument: str, max_s: float) -> Event:
        """Run an application until it is over; its CHANNEL_EXECUTE_COMPLETE."""
        self.raise_if_disconnected()
        self._runs_made += 1
        run = f"ocs-{self._runs_made}"
        result = self._runs[run] = AsyncResult()
        try:
            order = _execute(application, argument) | {"Event-UUID": run}
            reply = self._command(f"sendmsg {self._uuid}", order)
            if not reply.ok:
                raise OutsideError(f"the switch did not run {application}: {reply.text[:80]!r}")
            done: Event = self._within(result, max_s + self.config.margin_s, application)
            return done
        except Overdue:
            if application != "bridge":
                self._command(f"api uuid_break {self._uuid} all")
            raise
        finally:
            del self._runs[run]

    def _command(self, data: str, headers: Mapping[str, str] | None = None) -> Reply:
        self.raise_if_disconnected()
        return self._said(self._posted(data, headers))

    def _posted(self, data: str, headers: Mapping[str, str] | None = None) -> Any:
        try:
            return self.post(data, headers)
        except LinkLost as lost:
            self._lost(lost.message)
            raise HungUp(lost.message) from None

    def _said(self, pending: Any) -> Reply:
        """The reply to a posted command. Raises HungUp."""
        try:
            return self.wait(pending)
        except LinkLost as lost:
            self._lost(lost.message)
            assert self._gone is not None
            raise HungUp(self._gone.message, self._gone.cause) from None

    def _within(self, result: AsyncResult[Any], wait_s: float, what: str) -> Any:
        timer = self._give_up_in(result, wait_s, what)
        try:
            return result.get()
        finally:
            timer.cancel()

    def _give_up_in(self, result: AsyncResult[Any], wait_s: float, what: str) -> Timer:
        def give_up() -> None:
            if not result.ready():
                result.set_exception(Overdue(f"{what} took more than {wait_s:g} s"))

        return self._clock.call_at(self._clock.now_ms() + int(wait_s * 1000), give_up)

    # --- hearing --------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if frame.content_type == "text/disconnect-notice":
            lingering = frame.headers.get("Content-Disposition") == "linger"
            if lingering:  # in its place among the events that came before it
                self._enqueue(frame)
                return
        super()._take(frame)

    def _handle(self, frame: Frame) -> None:
        if frame.content_type == "text/disconnect-notice":
            self._lost("the switch lingers: the channel is over")
        else:
            super()._handle(frame)

    def _call(self, name: str, event: LinkEvent) -> None:
        if name == DISCONNECT:
            self._lost(self.lost_because)
        elif self._gone is None:
            self._hear(name, event.headers)
        super()._call(name, event)

    def _hear(self, name: str, event: Event) -> None:
        if name == _FILE_MISSING:
            self._missing.add(text(event, "File"))
        elif text(event, "Unique-ID") != self._uuid:
            if name == "CHANNEL_ANSWER":
                self._far_answered_us = _microseconds(event, "Caller-Channel-Answered-Time")
        else:
            if "variable_uuid" in event:
                self.session_data = {key: value for key, value in event.items() if key != BODY}
            if name == "CHANNEL_EXECUTE_COMPLETE":
                result = self._runs.get(text(event, "Application-UUID"))
                if result is not None and not result.ready():
                    result.set(event)
                self.on_event(LinkEvent(event))  # for those that wait by greenswitch's `expected_events`
            elif name in ("CHANNEL_HANGUP", "CHANNEL_HANGUP_COMPLETE"):
                self._lost("the caller hung up", text(event, "Hangup-Cause"))

    def _lost(self, why: str, cause: str = "") -> None:
        """The caller is gone: whoever waits hears it now."""
        if self._gone is not None:
            return
        self._gone = HungUp(why, cause)
        expected = [result for waiting in self.expected_events.values() for *_, result in waiting]
        for result in [*self._runs.values(), *expected]:
            if not result.ready():
                result.set_exception(HungUp(why, cause))
        for action in () if self._left else self._hangup_actions:
            try:
                action(cause)
            except Exception:  # whoever was told must not keep the others from hearing it
                log.exception("a hang-up action failed", channel=self._uuid)


def _either(event: Event, first: str, second: str) -> str:
    return text(event, first) or text(event, second)


def _microseconds(event: Event, name: str) -> int:
    """A time that the switch told; 0 for what is no time."""
    value = text(event, name)
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _flat(files: Sequence[tuple[str, ...]]) -> list[str]:
    return [file for parts in files for file in parts]


def _execute(application: str, argument: str) -> dict[str, str]:
    message = {"call-command": "execute", "execute-app-name": application}
    return message | {"execute-app-arg": argument} if argument else message
