"""How do calls on FreeSWITCH's outbound socket come to the menus, and far ends to their callers?

What callers hear is in `ocs.runtime.ivr_voice`; far ends are bridges.

`ocs.runtime.bootstrap` makes one `IvrDoor`; nothing here listens before `start`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import structlog
from gevent.event import AsyncResult
from prometheus_client import Counter, Gauge, Histogram

from ocs.errors import OutsideError
from ocs.ivr.engine import Collect, Spoken
from ocs.ledger.model import NotRedeemed, Redeemed
from ocs.ports import Clock
from ocs.rating.units import Unit
from ocs.refusals import VoucherRefusal
from ocs.runtime.ivr_voice import Speaker, Voice
from ocs.runtime.metrics import Metrics
from ocs.runtime.settings.ivr import IvrSettings
from ocs.services.card_calls import CUT_CAUSE, PREFIX, CardCalls, LineEnd
from ocs.services.charge_calls import ChargeCalls
from ocs.services.identify import find_account
from ocs.services.ivr import (
    CallerGone,
    Checked,
    Credited,
    IvrCall,
    IvrDesk,
    IvrObserver,
    Phone,
    Pins,
    Records,
    Redeem,
)
from ocs.services.lockout import Locked
from ocs.services.manage_accounts import AccountView
from ocs.services.pins import Pins as PinService
from ocs.services.pins import Verified, Wrong
from ocs.services.simulate import Simulator
from ocs.services.vouchers import Vouchers
from ocs.sessions.events import EndedBy, Mode
from ocs.sessions.session import Role
from switch_adapters.freeswitch.cdr import CARD_VARIABLE
from switch_adapters.freeswitch.config import Offer, OfferRule
from switch_adapters.freeswitch.frames import text
from switch_adapters.freeswitch.link import LinkBusy, LinkEvent, LinkLost
from switch_adapters.freeswitch.outbound import OutboundObserver, OutboundServer
from switch_adapters.freeswitch.outbound_session import HungUp, OutboundSession
from switch_adapters.freeswitch.translate import attributes

log = structlog.get_logger("ocs.ivr")

LANGUAGE_VARIABLE: Final = "ocs_language"
"""The dial plan may say which language a call begins in."""

DIALLED_VARIABLE: Final = "ocs_dialled"
"""The dial plan may hand over whom the caller has dialled already."""

CALL_VARIABLE: Final = "ocs_ivr"
"""The dial plan sets it before it hands a call over: such a call is no business of the other door."""

IGNORE_RULE: Final = OfferRule(Offer.IGNORE, variable=CALL_VARIABLE)
"""Stands before the rules of every switch of the settings."""

BREAKERS: Final = "playback_terminators"
"""The channel's variable of the keys that break off what is played."""

_NOT_REDEEMED: Final = {
    VoucherRefusal.USED: "used",
    VoucherRefusal.EXPIRED: "expired",
    VoucherRefusal.LOCKED: "locked",
}
_END_WAIT_MS: Final = 2_000
"""How long the far end's last word is waited for; it comes within milliseconds."""


class IvrDoor:
    """The outbound socket with the menus behind it, and the switch of the calls that are made there."""

    def __init__(
        self,
        settings: IvrSettings,
        charging: ChargeCalls,
        clock: Clock,
        metrics: Metrics,
        *,
        daemon: str,
        account: Callable[[str], AccountView | None],
        simulate: Simulator,
        records: Records,
        pins: Pins,
        redeem: Redeem,
        ours: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """`daemon`: the name of this one among several, empty if it is the only one. `ours`: as CardCalls."""
        self._settings = settings
        self._charging = charging
        self._clock = clock
        self.name = _life(daemon, charging.desk.new_call_id()) if daemon else f"{PREFIX}cards"
        """Of the calls' switch. Among several daemons each life has its own."""
        self.cards: CardCalls | None = None
        if settings.dial:
            deadman_ms = (settings.deadman_margin_s + 1) * 1000  # the switch counts whole seconds
            self.cards = CardCalls(self.name, charging, clock, deadman_ms=deadman_ms, ours=ours)
        self._counts = IvrCounts(metrics)
        menus = settings.read_menus()
        self._voice = Voice(settings, menus, clock, self._counts.prompt_missing)
        self._desk = IvrDesk(
            menus,
            clock,
            identify=self._identify,
            account=account,
            simulate=simulate,
            records=records,
            cards=self.cards,
            pins=pins,
            redeem=redeem,
            operator=settings.operator,
            observer=self._counts,
        )
        self.server: OutboundServer | None = None
        if settings.listen:
            self.server = OutboundServer(settings.server_config(), clock, self._serve, self._counts)

    def start(self) -> None:
        """Listen. Raises OutsideError if an address cannot be had."""
        if self.server is None:
            return
        try:
            self.server.start()
        except OSError as fault:
            raise OutsideError(f"the IVR cannot listen: {fault}", hint="see ivr.listen") from None

    def stop(self) -> None:
        """Take no more callers, end the calls that were made here and those who are in the menus."""
        if self.cards is not None:
            self.cards.stop()
        if self.server is not None:
            self.server.stop()

    def let_go(self) -> None:
        """Another daemon took the calls that were made here."""
        if self.cards is not None:
            self.cards.let_go()

    def _serve(self, session: OutboundSession) -> None:
        phone = SocketPhone(session, self._settings, self._voice, self._clock)
        IvrCall(self._desk, phone, session.variable(LANGUAGE_VARIABLE) or "").run()

    def _identify(self, phone: Phone) -> str | None:
        """Whose call it is, if settings say that it can be known. Only accounts of customers."""
        desk = self._charging.desk
        code: str | None = None
        if self._settings.caller == "number" and phone.caller:
            code = desk.normalise(phone.caller) or phone.caller
        elif self._settings.caller == "payer":
            call = {"origin": phone.caller, "destination": "", "switch": ""}
            code = find_account(desk.payer_rules, ChainMap(call, dict(phone.facts)), Mode.AUTHORISE)
        found = desk.directory.find(code) if code else None
        return found.code if found is not None and found.role is Role.CUSTOMER else None


def _life(daemon: str, unique: str) -> str:
    """A switch's name that no other life of a daemon has; it must pass through the switch's dial string."""
    return f"{PREFIX}{re.sub('[^A-Za-z0-9_.-]', '-', daemon)[-24:]}:{unique}"


class PrepaidPins:
    """`ocs.services.pins.Pins` as the menus ask."""

    def __init__(self, pins: PinService) -> None:
        self._pins = pins

    def check_account(self, account: str, pin: str, caller: str) -> Checked:
        """See `ocs.services.ivr.Pins`."""
        return _checked(self._pins.verify_account(account, pin, caller=caller))

    def check_card(self, card: str, pin: str, caller: str) -> Checked:
        """See `ocs.services.ivr.Pins`."""
        return _checked(self._pins.verify_card(card, pin, caller=caller))


def _checked(answer: Verified | Wrong | Locked) -> Checked:
    match answer:
        case Verified(_, account):
            return Checked("ok", account)
        case Locked():
            return Checked("locked")
        case Wrong():
            return Checked("wrong")


def redeeming(vouchers: Vouchers) -> Redeem:
    """`ocs.services.vouchers.Vouchers` as the menus ask."""

    def redeem(account: str, code: str, caller: str, key: str) -> Credited:
        match vouchers.redeem(account, code, caller=caller, key=f"ivr:{key}", actor="ivr"):
            case Redeemed(ticks=ticks, units=units, unit=unit):
                return (
                    Credited("money", ticks) if ticks else Credited("units", 0, units * (unit == Unit.SECOND))
                )
            case Locked():
                return Credited("locked")
            case NotRedeemed(reason):
                return Credited(_NOT_REDEEMED.get(reason, "wrong"))

    return redeem


class SocketPhone:
    """An `ocs.services.ivr.Phone` on the outbound socket."""

    def __init__(self, session: OutboundSession, settings: IvrSettings, voice: Voice, clock: Clock) -> None:
        self._session = session
        self._settings = settings
        self._speaker = Speaker(voice, session)
        self._clock = clock

    @property
    def call(self) -> str:
        """See `Phone.call`."""
        return self._session.uuid

    @property
    def caller(self) -> str:
        """See `Phone.caller`."""
        return self._session.caller

    @property
    def dialled(self) -> str:
        """See `Phone.dialled`."""
        return self._session.variable(DIALLED_VARIABLE) or ""

    @property
    def facts(self) -> Mapping[str, str]:
        """See `Phone.facts`."""
        return attributes(self._session.session_data)

    def answer(self) -> None:
        """See `Phone.answer`."""
        with _gone():
            self._session.answer()
            self._session.set(BREAKERS, "any")

    def play(self, parts: Sequence[Spoken]) -> None:
        """See `Phone.play`."""
        with _gone():
            self._speaker.play(parts)

    def collect(self, wanted: Collect) -> str:
        """See `Phone.collect`."""
        with _gone():
            return self._speaker.collect(wanted)

    def line(self) -> BridgedLine:
        """See `Phone.line`."""
        self._speaker.forget()
        return BridgedLine(self._session, self._settings, self._clock)

    def transfer(self, operator: str) -> None:
        """See `Phone.transfer`."""
        extension, dialplan, context = operator.split()
        with _gone():
            self._session.set(BREAKERS, "")
            self._session.transfer(extension, dialplan, context)

    def hang_up(self) -> None:
        """See `Phone.hang_up`."""
        with _gone():
            self._session.hangup()


class BridgedLine:
    """An `ocs.services.card_calls.Line`: the B leg of the caller's channel, under an id of ours."""

    def __init__(self, session: OutboundSession, settings: IvrSettings, clock: Clock) -> None:
        self.channel = str(uuid4())
        self._session = session
        self._settings = settings
        self._clock = clock
        self._leg = self.channel
        """The B leg's id by the switch."""
        self._answered_us = 0
        self._on_answer: Callable[[int], None] = lambda at_ms: None
        self._over: AsyncResult[Mapping[str, Any]] = AsyncResult()

    def connect(
        self,
        destination: str,
        *,
        switch: str,
        call_id: str,
        granted_ms: int,
        on_answer: Callable[[int], None],
    ) -> LineEnd:
        """See `Line.connect`."""
        self._on_answer = on_answer
        for name in ("CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE"):
            self._session.register_handle(name, self._hear)
        gone = False
        try:
            cause = self._session.bridge(
                self._settings.dial.format(destination=destination),
                {
                    "origination_uuid": self.channel,
                    "ocs_call_id": call_id,
                    CARD_VARIABLE: switch,
                    "force_process_cdr": "true",  # of all B legs this one at least
                    "media_timeout": "60000",  # a far end that vanished without a BYE must not stay billable
                    "execute_on_answer_ocs": f"sched_hangup +{self._deadman_s(granted_ms)} {CUT_CAUSE}",
                },
                ring_s=self._settings.ring_s,
            ).cause
        except HungUp as hung_up:
            gone, cause = True, hung_up.cause
        finally:
            over_ms = self._clock.now_ms()
            last = self._last_word() if self._answered_us else None
            for name in ("CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE"):
                self._session.unregister_handle(name, self._hear)
        by = EndedBy.CALLER if gone else EndedBy.CALLEE
        known = self._session.connected  # a channel that lingers is over, and the far end with it
        if not self._answered_us:
            return LineEnd(cause or "ORIGINATOR_CANCEL", over_ms, by=by, known=known)
        answered_at_ms = self._answered_us // 1000
        if last is not None:
            cause = text(last, "Hangup-Cause") or text(last, "variable_hangup_cause") or cause
            ended_ms = _number(last, "Caller-Channel-Hangup-Time") // 1000 or over_ms
            talk_ms = _number(last, "variable_billmsec") or max(0, ended_ms - answered_at_ms)
            return LineEnd(cause, ended_ms, answered_at_ms, talk_ms, by)
        return LineEnd(cause, over_ms, answered_at_ms, max(0, over_ms - answered_at_ms), by, known)

    def limit(self, left_ms: int) -> bool:
        """See `Line.limit`. Timers add up, so the old one goes first."""
        seconds = self._deadman_s(left_ms)
        return self._api(f"sched_del {self._leg}", f"sched_hangup +{seconds} {self._leg} {CUT_CAUSE}")

    def warn(self) -> bool:
        """See `Line.warn`."""
        return self._api(f"uuid_broadcast {self._session.uuid} {self._settings.warning_sound} aleg")

    def cut(self, *, by_operator: bool) -> bool:
        """See `Line.cut`."""
        return self._api(f"uuid_kill {self._leg} {'MANAGER_REQUEST' if by_operator else CUT_CAUSE}")

    def abandon(self) -> None:
        """See `Line.abandon`."""
        try:
            self._session.post(f"api uuid_kill {self._leg} NORMAL_TEMPORARY_FAILURE")
        except (LinkLost, LinkBusy) as fault:
            log.warning("far_end_not_ended", channel=self._leg, why=fault.message)

    def _hear(self, event: LinkEvent) -> None:
        headers = event.headers
        if text(headers, "Unique-ID") == self._session.uuid:
            return
        if text(headers, "Event-Name") == "CHANNEL_ANSWER":
            self._leg = text(headers, "Unique-ID") or self._leg
            answered_us = _number(headers, "Caller-Channel-Answered-Time")
            if not self._answered_us:
                self._answered_us = answered_us or self._clock.now_ms() * 1000
                self._on_answer(self._answered_us // 1000)
        elif text(headers, "Unique-ID") == self._leg and not self._over.ready():
            self._over.set(headers)

    def _last_word(self) -> Mapping[str, Any] | None:
        """The far end's CHANNEL_HANGUP_COMPLETE; None: it did not come in time."""
        due_ms = self._clock.now_ms() + _END_WAIT_MS
        timer = self._clock.call_at(due_ms, lambda: self._over.ready() or self._over.set({}))
        try:
            return self._over.get() or None
        finally:
            timer.cancel()

    def _api(self, *commands: str) -> bool:
        """False: the last was not taken."""
        try:
            return [self._session.send(f"api {command}") for command in commands][-1].ok
        except (LinkLost, LinkBusy) as fault:
            log.warning("order_lost", channel=self._leg, why=fault.message)
            return False

    def _deadman_s(self, left_ms: int) -> int:
        return max(0, -(-left_ms // 1000)) + self._settings.deadman_margin_s


class IvrCounts(OutboundObserver, IvrObserver):
    """What is counted of the IVR, on the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._metrics = metrics
        self._open = Gauge("ocs_ivr_calls_open", "Callers in the menus", registry=registry)
        self._refused = Counter(
            "ocs_ivr_refused_total", "Connections closed without a call", ["why"], registry=registry
        )
        self._calls = Counter("ocs_ivr_calls_total", "Calls by how they ended", ["how"], registry=registry)
        self._actions = Counter(
            "ocs_ivr_actions_total", "What was done for callers", ["action", "outcome"], registry=registry
        )
        self._missing = Counter(
            "ocs_ivr_prompts_missing_total",
            "What was to be heard and is not recorded on the switch",
            ["prompt", "language"],
            registry=registry,
        )
        self._seconds = Histogram(
            "ocs_ivr_call_seconds",
            "How long callers were in the menus",
            buckets=(5, 15, 30, 60, 120, 300, 900, 3_600),
            registry=registry,
        )

    def call_began(self) -> None:
        """See `OutboundObserver.call_began`."""
        self._open.inc()

    def call_ended(self, how: str) -> None:
        """See `OutboundObserver.call_ended`."""
        self._open.dec()

    def call_refused(self, why: str) -> None:
        """See `OutboundObserver.call_refused`."""
        self._refused.labels(why).inc()

    def call_over(self, how: str, seconds: float) -> None:
        """See `IvrObserver.call_over`."""
        self._calls.labels(how).inc()
        self._seconds.observe(seconds)

    def prompt_missing(self, prompt: str, language: str) -> None:
        """See `ocs.runtime.ivr_voice.Missed`."""
        self._missing.labels(prompt, language).inc()

    def action(self, name: str, outcome: str) -> None:
        """See `IvrObserver.action`."""
        self._actions.labels(name, outcome).inc()


@contextmanager
def _gone() -> Iterator[None]:
    """The switch's word for it in ours."""
    try:
        yield
    except HungUp as gone:
        raise CallerGone(gone.message) from None


def _number(event: Mapping[str, Any], name: str) -> int:
    value = text(event, name)
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0
